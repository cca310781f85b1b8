"""RFC 6902 patches that users lay over a template's sidecar and init container, for what no value or annotation offers.

    patches:                                   in the injection configuration
    - name: more-memory                        for messages
      templates: [sidecar]                     left out: all
      sidecar: [{op: replace, path: /resources/limits/memory, value: 2Gi}]
      init:    [{op: add, path: /env, value: [{name: INVALID_DROP, value: "true"}]}]

Paths begin at the container. Operations are checked when settings load; one that finds no target in a pod refuses the
pod.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from common.errors import SettingsError
from webhook.merging import json_patched
from webhook.settings.containers import INIT, LISTS, PROXY, VALIDATION

_TARGETS = {"sidecar": (PROXY,), "init": (INIT, VALIDATION)}
_FIELDS = frozenset({"name", "templates", *_TARGETS})


@dataclass(frozen=True, slots=True)
class ContainerPatch:
    """A patch: for which templates (empty: all), and by container name the jsonpatch.JsonPatch to apply."""

    name: str
    templates: frozenset[str]
    by_container: Mapping[str, Any]

    def apply(self, template: str, overlay: dict[str, Any]) -> dict[str, Any]:
        """The template's overlay, its containers patched. Raises InjectionError where an operation does not apply."""
        if self.templates and template not in self.templates:
            return overlay
        spec = dict(overlay.get("spec") or {})
        for field in LISTS:
            if field in spec:
                spec[field] = [self._patched(container) for container in spec[field] or ()]
        return {**overlay, "spec": spec}

    def _patched(self, container: dict[str, Any]) -> dict[str, Any]:
        patch = self.by_container.get(container.get("name", ""))
        if patch is None:
            return container
        return json_patched(container, patch, f"patch {self.name}: container {container['name']}")


def parse_patches(entries: Iterable[Any]) -> tuple[ContainerPatch, ...]:
    """The patches of an injection configuration. Raises SettingsError."""
    return tuple(_parse(entry, f"injection configuration: patches[{n}]") for n, entry in enumerate(entries))


def _parse(entry: Any, where: str) -> ContainerPatch:
    if not isinstance(entry, dict) or entry.keys() - _FIELDS or not isinstance(entry.get("name"), str):
        raise SettingsError(f"{where}: {entry!r} is not an object with name, templates, sidecar and init")
    templates = entry.get("templates") or []
    if not isinstance(templates, list) or not all(isinstance(name, str) for name in templates):
        raise SettingsError(f"{where}.templates: {templates!r} is not a list of names")
    by_container: dict[str, Any] = {}
    for target, names in _TARGETS.items():
        if entry.get(target):
            by_container |= dict.fromkeys(names, _operations(entry[target], f"{where}.{target}"))
    return ContainerPatch(entry["name"], frozenset(templates), by_container)


def _operations(operations: Any, where: str) -> Any:
    from jsonpatch import InvalidJsonPatch, JsonPatch, JsonPointerException

    if not isinstance(operations, list):
        raise SettingsError(f"{where}: {operations!r} is not a list of operations (RFC 6902)")
    try:
        return JsonPatch(operations)
    except (InvalidJsonPatch, JsonPointerException, TypeError) as error:
        raise SettingsError(f"{where}: {error}") from error
