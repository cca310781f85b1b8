"""Objects as they come, made events: parsed once, told only where they differ, with what went."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from mesh.model.kinds import BY_KEY, Kind, kind_of
from mesh.model.meta import ObjectRef
from mesh.model.problem import Problem
from mesh.model.reading import DOMAIN
from mesh.model.table import EMPTY
from mesh.world.events import Event, Key, Listed, Remove, Upsert

log = logging.getLogger(__name__)

TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"

Name = tuple[str, Key]  # a kind's key with the object's

# The whole mesh depends on it, so a mistake in it does not take back what held before.
_KEEPS_LAST = frozenset({"MeshConfig"})


def name_of(kind: Kind, thing: Mapping[str, Any]) -> Name:
    """What names an object among all; a name that is none is empty."""
    metadata = thing.get("metadata")
    data = metadata if isinstance(metadata, Mapping) else {}
    name, namespace = data.get("name"), data.get("namespace")
    return kind.key, Key(
        (namespace if isinstance(namespace, str) and namespace else "default") if kind.namespaced else "",
        name if isinstance(name, str) else "",
    )


class Intake:
    """Makes events of objects, and remembers which there are.

    `domain` is what Services' hostnames end with.
    """

    def __init__(self, domain: str = DOMAIN) -> None:
        self._domain = domain
        self._last: dict[Name, Any] = {}
        self.known: dict[str, dict[Key, str]] = {}
        """Of each kind the objects that were told, with their resourceVersion."""

    def upsert(
        self, kind: Kind, thing: Mapping[str, Any], more: Iterable[Problem] = (), changed: float = 0.0
    ) -> list[Event]:
        """The object is there, `changed` then. No event where it holds nothing that anybody asks for."""
        name = name_of(kind, thing)
        parsed = kind.parse(thing, self._domain)
        value, problems = parsed.value, (*parsed.problems, *more)
        if not problems and value is not None and not kind.wanted(value):
            return self.remove(name)
        if kind.key in _KEEPS_LAST:
            if value is None:
                value = self._last.get(name)
            else:
                self._last[name] = value
        self.known.setdefault(kind.key, {})[name[1]] = version_of(thing)
        return [Upsert(kind.key, name[1], value, problems, _told(kind, thing), changed)]

    def remove(self, name: Name) -> list[Event]:
        """The object is gone, if it was there."""
        kind, key = name
        if self.known.get(kind, {}).pop(key, None) is None:
            return []
        self._last.pop(name, None)
        return [Remove(kind, key)]


class Relist:
    """All objects of some kinds, told page by page: what is not among them at the end is gone."""

    def __init__(self, intake: Intake, kinds: Iterable[Kind]) -> None:
        self._intake = intake
        self._kinds = [kind.key for kind in kinds]
        self._unseen = {(key, one) for key in self._kinds for one in intake.known.get(key, {})}
        self.before = len(self._unseen)
        self.seen: set[Name] = set()

    def page(self, things: Iterable[Mapping[str, Any]]) -> list[Event]:
        """What is new or other among these."""
        events: list[Event] = []
        for thing in things:
            kind = kind_of(thing)
            if kind is None or kind.key not in self._kinds:
                continue
            name = name_of(kind, thing)
            self.seen.add(name)
            self._unseen.discard(name)
            version = version_of(thing)
            if not version or self._intake.known.get(kind.key, {}).get(name[1]) != version:
                events += self._intake.upsert(kind, thing)
        return events

    @property
    def gone(self) -> int:
        """How many would be gone if this were all."""
        return len(self._unseen)

    def finish(self) -> list[Event]:
        """What is gone, and a Listed for each kind."""
        events: list[Event] = []
        for name in sorted(self._unseen):
            events += self._intake.remove(name)
        return [*events, *(Listed(key) for key in self._kinds)]


def version_of(thing: Mapping[str, Any]) -> str:
    """An object's resourceVersion, or empty."""
    metadata = thing.get("metadata")
    version = metadata.get("resourceVersion") if isinstance(metadata, Mapping) else None
    return version if isinstance(version, str) else ""


def changed_at(thing: Mapping[str, Any]) -> float:
    """When an object was changed last, by its own word, in seconds since the epoch; 0 where it does not say.

    Of endpoints it is when the Service or pod changed that they follow from
    (https://kubernetes.io/docs/reference/labels-annotations-taints/#endpoints-kubernetes-io-last-change-trigger-time),
    of anything else the newest of metadata.managedFields, in whole seconds.
    """
    metadata = thing.get("metadata")
    data = metadata if isinstance(metadata, Mapping) else {}
    annotations = data.get("annotations")
    trigger = annotations.get(TRIGGER_TIME) if isinstance(annotations, Mapping) else None
    fields = data.get("managedFields")
    times = [one.get("time") for one in fields if isinstance(one, Mapping)] if isinstance(fields, list) else []
    # all are in UTC and written alike, so that the newest is the last by its text
    newest = trigger if isinstance(trigger, str) else max((one for one in times if isinstance(one, str)), default="")
    try:
        return datetime.fromisoformat(newest).timestamp() if newest else 0.0
    except ValueError:
        return 0.0


def _told(kind: Kind, thing: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object as it came, where its status may be written: not of the core's kinds, so that no key lies about."""
    return thing if kind.group else EMPTY


def unknown_kind(thing: Mapping[str, Any]) -> Problem | None:
    """Told where the kind is of a group that pymesh reads, but not this one or not this version."""
    version, name = thing.get("apiVersion"), thing.get("kind")
    if not isinstance(version, str) or not isinstance(name, str) or "/" not in version:
        return None
    group = version.rpartition("/")[0]
    kinds = [kind for kind in BY_KEY.values() if kind.group == group]
    if not kinds or group == "discovery.k8s.io" or group == "networking.k8s.io":
        return None
    metadata = thing.get("metadata")
    data: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
    ref = ObjectRef(name, str(data.get("namespace") or ""), str(data.get("name") or ""))
    same = next((kind for kind in kinds if kind.name == name), None)
    if same is not None:
        return Problem("not-allowed", ref, "apiVersion", f'"{version}" is not read: {", ".join(same.versions)}')
    return Problem("unknown-kind", ref, "kind", f"{group} has no {name} that is read here; it has no effect", "warning")
