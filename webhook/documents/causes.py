"""Which setting, annotation or label each part of an injected pod comes from, found by trying: the pod is injected
again with one of them taken away (or changed, where nothing works without it), and what differs comes from that one.

So the answer holds for every template, a user's own too, and follows no second description of what templates do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import starmap
from typing import Any

from common.errors import PysidecarError, SettingsError
from common.yamlio import load_yaml
from webhook.documents.edit import matches, same
from webhook.documents.pods import Path, at, replaced
from webhook.pod.annotations import STATUS
from webhook.pod.inject import Request, inject
from webhook.settings import Settings

Data = Mapping[str, Any] | None
Trial = tuple[Settings, Request]


@dataclass(frozen=True, slots=True)
class Sources:
    """Settings as they were given: data, None where there is none."""

    values: Data = None
    mesh: Data = None
    config: Data = None
    revision: str = ""

    @classmethod
    def of_texts(cls, values: str | None, mesh: str | None, config: str | None, revision: str) -> Sources:
        """From YAML or JSON. Raises SettingsError."""
        return cls(
            values=None if values is None else load_yaml(values, "values"),
            mesh=None if mesh is None else load_yaml(mesh, "mesh configuration"),
            config=None if config is None else load_yaml(config, "injection configuration"),
            revision=revision,
        )

    def settings(self) -> Settings:
        """The settings. Raises SettingsError."""
        return Settings.load(self.values, self.mesh, self.config, revision=self.revision)


class Causes:
    """Finds causes for any number of pods under the same settings."""

    def __init__(self, sources: Sources) -> None:
        self.settings = sources.settings()
        self._settings = self.settings.for_files()
        self._others = [
            (f"{field} {'.'.join(map(str, path))}={_shown(at(data, path))}", list(_changed(sources, field, path)))
            for field, data in (("values", sources.values), ("mesh", sources.mesh), ("config", sources.config))
            for path in leaves(data)
        ]

    def of(self, request: Request) -> dict[Path, tuple[str, ...]]:
        """What decided the parts of the injected pod, by their paths in it; for a pod that is injected.

        A cause reads ``annotation NAME=VALUE``, ``label NAME=VALUE``, ``values PATH=VALUE``, ``mesh PATH=VALUE``,
        ``config PATH=VALUE`` or ``ProxyConfig NAMESPACE/NAME``. What has none comes from the template as it is.
        """
        injected = inject(self._settings, request).pod
        found: dict[Path, list[str]] = {}
        for cause, own, trials in (
            *self._without_metadata(request),
            *self._without_proxy_configs(request),
            *self._with_other_settings(request),
        ):
            results = (result for result in starmap(_tried, trials) if result and not same(result, injected))
            for path in differing(next(results, injected), injected):
                if path != own:
                    found.setdefault(path, []).append(cause)
        return {path: tuple(names) for path, names in found.items()}

    def _without_metadata(self, request: Request) -> Iterator[tuple[str, Path, list[Trial]]]:
        """For each annotation and label: the pod without it, and its path."""
        for kind, field in (("annotation", "annotations"), ("label", "labels")):
            given = (request.pod.get("metadata") or {}).get(field) or {}
            for name, value in given.items():
                if name != STATUS:
                    rest = {other: text for other, text in given.items() if other != name}
                    without = replace(request, pod=replaced(request.pod, ("metadata", field), rest))
                    yield f"{kind} {name}={_shown(value)}", ("metadata", field, name), [(self._settings, without)]

    def _without_proxy_configs(self, request: Request) -> Iterator[tuple[str, Path, list[Trial]]]:
        """For each ProxyConfig resource that counts: the pod as it would be without."""
        configs, labels = request.proxy_configs, (request.pod.get("metadata") or {}).get("labels") or {}
        for resource in configs.counting(self._settings.root_namespace, request.namespace, labels):
            without = replace(request, proxy_configs=configs.without(resource))
            yield f"ProxyConfig {resource}", (), [(self._settings, without)]

    def _with_other_settings(self, request: Request) -> Iterator[tuple[str, Path, list[Trial]]]:
        for cause, others in self._others:
            yield cause, (), [(settings, request) for settings in others]


def _tried(settings: Settings, request: Request) -> Any:
    """The pod injected under these settings; None where it is not, or cannot be."""
    try:
        result = inject(settings, request)
    except PysidecarError:  # also a template that does not compile under other settings
        return None
    return result.pod if result.decision.inject else None


def _changed(sources: Sources, field: str, path: Path) -> Iterator[Settings]:
    """The settings without the one at `path`, and with another value there; those that can be taken."""
    data = getattr(sources, field)
    parent = at(data, path[:-1])
    without = {key: value for key, value in parent.items() if key != path[-1]}
    for changed in (replaced(data, path[:-1], without), replaced(data, path, _other(parent[path[-1]]))):
        with suppress(SettingsError):
            yield replace(sources, **{field: changed}).settings().for_files()


def differing(other: Any, value: Any, path: Path = ()) -> Iterator[Path]:
    """The paths of what `value` has and `other` has not or has otherwise, as deep down as they can be told."""
    if same(other, value):
        return
    if isinstance(other, dict) and isinstance(value, dict):
        for key, item in value.items():
            if key not in other:
                yield (*path, key)
            else:
                yield from differing(other[key], item, (*path, key))
    elif isinstance(other, list) and isinstance(value, list):
        if len(other) == len(value) and not any(isinstance(item, dict) for item in value):
            for index, (old, item) in enumerate(zip(other, value, strict=True)):
                yield from differing(old, item, (*path, index))
            return
        for index, (old, item) in enumerate(zip(matches(other, value), value, strict=True)):
            if old is None:
                yield (*path, index)
            else:
                yield from differing(other[old], item, (*path, index))
    else:
        yield path


def leaves(data: Any, path: Path = ()) -> Iterator[Path]:
    """The paths of all settings that say something: false, empty and null mean the same to a template as none."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from leaves(value, (*path, key))
    elif data:
        yield path


def _other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    return f"{value}-" if isinstance(value, str) else None


def _shown(value: Any) -> str:
    text = str(value).replace("\n", " ")
    return text if len(text) <= 60 else f"{text[:59]}…"
