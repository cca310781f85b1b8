"""The four ways in which one thing is laid over another, each as those do it whose data it is.

strategic     a template over a pod, as `kubectl patch` and Istio's injector do: objects merge field by field, a null
              deletes, and lists that the API declares so are merged by a key
as_values     values over a profile's, as Helm does: mappings merge, all else is replaced
as_message    a proxy configuration over another, as protobuf does: messages and maps merge, lists grow, and of fields
              that exclude each other the new one stays
json_patched  a user's operations on a container (RFC 6902)

Nothing is changed in place: results share what neither side changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from webhook.errors import InjectionError, PodError


@dataclass(frozen=True, slots=True)
class Schema:
    """Which fields of an object are lists merged by a key (with their entries' schema), or objects with such lists."""

    lists: Mapping[str, tuple[str, Schema]] = field(default_factory=dict)
    objects: Mapping[str, Schema] = field(default_factory=dict)


_PLAIN = Schema()
_CONTAINER = Schema(
    {
        "env": ("name", _PLAIN),
        "ports": ("containerPort", _PLAIN),
        "volumeMounts": ("mountPath", _PLAIN),
        "volumeDevices": ("devicePath", _PLAIN),
    }
)
_SPEC = Schema(
    {
        "containers": ("name", _CONTAINER),
        "initContainers": ("name", _CONTAINER),
        "ephemeralContainers": ("name", _CONTAINER),
        "volumes": ("name", _PLAIN),
        "imagePullSecrets": ("name", _PLAIN),
        "hostAliases": ("ip", _PLAIN),
        "topologySpreadConstraints": ("topologyKey", _PLAIN),
        "resourceClaims": ("name", _PLAIN),
        "schedulingGates": ("name", _PLAIN),
    }
)
POD = Schema(objects={"spec": _SPEC})


def strategic(
    target: Mapping[str, Any], overlay: Mapping[str, Any], schema: Schema = POD, path: str = "pod"
) -> dict[str, Any]:
    """The target with the overlay laid over it. Raises PodError for a list to be merged that holds no objects.

    An entry of a list with a key (patchMergeKey in core/v1) merges into the one with the same key. The order that comes
    out is the API machinery's too: the overlay's entries in the overlay's order, and the others among them where the
    target had them, or behind them where no order between the two is known.
    """
    result = dict(target)
    for key, value in overlay.items():
        if value is None:
            result.pop(key, None)
            continue
        before = result.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            result[key] = strategic(before, value, schema.objects.get(key, _PLAIN), f"{path}.{key}")
        elif key in schema.lists and value == []:
            pass  # nothing to merge
        elif key in schema.lists and isinstance(value, list) and before:
            merge_key, entries = schema.lists[key]
            result[key] = _merge_list(before, value, merge_key, entries, f"{path}.{key}")
        else:
            result[key] = value
    return result


def _merge_list(
    target: object, overlay: Sequence[dict[str, Any]], key: str, schema: Schema, path: str
) -> list[dict[str, Any]]:
    if not isinstance(target, list):
        raise PodError(path, target, "a list")
    positions: dict[object, int] = {}
    for index, entry in enumerate(target):
        positions.setdefault(_key(entry, key, f"{path}[{index}]"), index)
    merged: list[dict[str, Any]] = list(target)
    wanted: dict[object, int] = {}
    for index, entry in enumerate(overlay):
        value = _key(entry, key, f"{path}[{index}]")
        wanted.setdefault(value, index)
        if (position := positions.get(value)) is None:
            positions[value] = len(merged)
            merged.append(entry)
        else:
            merged[position] = strategic(merged[position], entry, schema, f"{path}[{position}]")
    if len(merged) == len(target) + len(overlay):
        return [*overlay, *target]

    ours = sorted((entry for entry in merged if entry.get(key) in wanted), key=lambda entry: wanted[entry.get(key)])
    others = [entry for entry in merged if entry.get(key) not in wanted]
    return _interleave(others, ours, {value: index for value, index in positions.items() if index < len(target)}, key)


def _interleave(
    others: list[dict[str, Any]], ours: list[dict[str, Any]], before: Mapping[object, int], key: str
) -> list[dict[str, Any]]:
    """Both lists in their own order; one of `others` goes before one of `ours` only where the target had them so."""
    result: list[dict[str, Any]] = []
    position = 0
    for entry in ours:
        place = before.get(entry.get(key))
        while place is not None and position < len(others) and before[others[position].get(key)] < place:
            result.append(others[position])
            position += 1
        result.append(entry)
    return result + others[position:]


def _key(entry: object, key: str, path: str) -> object:
    if not isinstance(entry, dict):
        raise PodError(path, entry, "an object")
    value = entry.get(key)
    if isinstance(value, (dict, list)):
        raise PodError(f"{path}.{key}", value, "a string or number")
    return value


def as_values(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `over` laid over it: mappings merge, all else is replaced."""
    merged = dict(base)
    for name, value in over.items():
        before = merged.get(name)
        merged[name] = as_values(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def as_message(
    base: Mapping[str, Any], over: Mapping[str, Any], either: Iterable[frozenset[str]] = ()
) -> dict[str, Any]:
    """`base` with what `over` sets: messages and maps merge, lists grow, all else is replaced.

    `either` are groups of fields of which a message has one at most: setting one takes the others away.
    """
    merged = dict(base)
    for name, value in over.items():
        for group in either:
            if name in group:
                for other in group - {name}:
                    merged.pop(other, None)
        before = merged.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            merged[name] = as_message(before, value, either)
        elif isinstance(before, list) and isinstance(value, list):
            merged[name] = before + value
        else:
            merged[name] = value
    return merged


def json_patched(value: dict[str, Any], patch: Any, what: str) -> dict[str, Any]:
    """The value with a jsonpatch.JsonPatch applied. Raises InjectionError, which names `what`, if it does not apply."""
    from jsonpatch import JsonPatchException, JsonPointerException

    try:
        patched: dict[str, Any] = patch.apply(value)
    except (JsonPatchException, JsonPointerException, TypeError, ValueError) as error:
        raise InjectionError(f"{what}: {error}") from error
    return patched
