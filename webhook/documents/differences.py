"""How one value differs from another, so that it can still be applied when somebody has edited the first meanwhile.

    between(before, after) ──▶ [{"at": ["spec", "containers", {"name": "web"}, "port"], "was": "9f86d0…", "value": 80}]
    apply(before, edited or not, differences) ──▶ after, and the places of differences that do not fit any more

Not a JSON Patch (RFC 6902), which counts a list's entries: a container put in front would get what was another's. Here
an entry goes by its name, and a difference is applied only where there still is what was there before (`was`, a digest;
left out where nothing was). Each stands for itself: one that does not fit is left out alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Final

from webhook.documents.edit import same

# at: names of fields, for a list's entry an object that it matches, or its number where its list has no names;
# was, value: before and after, each left out where there is none; or order: the names of a list's entries, in order
Difference = dict[str, Any]
Step = str | int | dict[str, Any]

_MISSING: Final = object()


class _MisfitError(Exception):
    """A difference that does not fit the value."""


def between(before: Any, after: Any) -> list[Difference]:
    """The differences that make `after` of `before`."""
    return list(_between(before, after, []))


def apply(value: Any, differences: list[Any]) -> tuple[Any, list[str]]:
    """The value with the differences that fit it, and where the others are ("spec.containers[web].port")."""
    misfits = []
    for difference in differences:
        try:
            value = _applied(value, difference["at"], difference)
        except (_MisfitError, KeyError, TypeError, AttributeError):
            misfits.append(_place(difference))
    return value, misfits


def _between(before: Any, after: Any, at: list[Step]) -> Iterator[Difference]:
    if same(before, after):
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for name in (*before, *(name for name in after if name not in before)):
            if name not in after:
                yield {"at": [*at, name], "was": _digest(before[name])}
            elif name not in before:
                yield {"at": [*at, name], "value": after[name]}
            else:
                yield from _between(before[name], after[name], [*at, name])
        return
    if isinstance(before, list) and isinstance(after, list):
        old, new = _named(before), _named(after)
        if old is not None and new is not None:
            yield from _between_named(old, new, at)
            return
        if len(before) == len(after) and _are_objects(before) and _are_objects(after):
            for index, (one, other) in enumerate(zip(before, after, strict=True)):
                yield from _between(one, other, [*at, index])
            return
    yield {"at": at, "was": _digest(before), "value": after}


def _between_named(before: dict[str, Any], after: dict[str, Any], at: list[Step]) -> Iterator[Difference]:
    for name, entry in before.items():
        if name not in after:
            yield {"at": [*at, json.loads(name)], "was": _digest(entry)}
    for name, entry in after.items():
        if name not in before:
            yield {"at": [*at, json.loads(name)], "value": entry}
        else:
            yield from _between(before[name], entry, [*at, json.loads(name)])
    there = [name for name in before if name in after] + [name for name in after if name not in before]
    if there != list(after):
        yield {"at": at, "order": [json.loads(name) for name in after]}


def _named(entries: list[Any]) -> dict[str, Any] | None:
    """The entries by what names them (as JSON), in order; None where one has no name, or another's."""
    found = {}
    for entry in entries:
        step = _name_of(entry)
        if step is None:
            return None
        found[json.dumps(step, sort_keys=True)] = entry
    return found if len(found) == len(entries) else None


def _name_of(entry: Any) -> dict[str, Any] | None:
    """What an entry goes by: a container's name; kind, name and namespace of an object in a List."""
    if not isinstance(entry, dict):
        return None
    if isinstance(entry.get("name"), str):
        return {"name": entry["name"]}
    metadata = entry.get("metadata")
    if isinstance(entry.get("kind"), str) and isinstance(metadata, dict) and isinstance(metadata.get("name"), str):
        known = {key: metadata[key] for key in ("name", "namespace") if isinstance(metadata.get(key), str)}
        return {"kind": entry["kind"], "metadata": known}
    return None


def _are_objects(entries: list[Any]) -> bool:
    return all(isinstance(entry, dict) for entry in entries)


def _applied(value: Any, at: list[Step], difference: Difference) -> Any:
    if not at:
        return _ordered(value, difference["order"]) if "order" in difference else _replaced(value, difference)
    step, rest = at[0], at[1:]
    if isinstance(step, str):
        if not isinstance(value, dict):
            raise _MisfitError
        new = _below(value.get(step, _MISSING), rest, difference)
        if new is _MISSING:
            return {key: entry for key, entry in value.items() if key != step}
        return {**value, step: new}
    if not isinstance(value, list):
        raise _MisfitError
    index = step if isinstance(step, int) else _index(value, step)
    new = _below(value[index] if index < len(value) else _MISSING, rest, difference)
    return [*value[:index], *([] if new is _MISSING else [new]), *value[index + 1 :]]


def _below(value: Any, at: list[Step], difference: Difference) -> Any:
    if at and value is _MISSING:
        raise _MisfitError
    return _applied(value, at, difference)


def _replaced(value: Any, difference: Difference) -> Any:
    new = difference.get("value", _MISSING)
    if value is not _MISSING and new is not _MISSING and same(value, new):
        return value
    if (None if value is _MISSING else _digest(value)) != difference.get("was"):
        raise _MisfitError
    return new


def _ordered(value: Any, order: list[dict[str, Any]]) -> list[Any]:
    """The entries that `order` names in its order, on the places that they have; others stay where they are."""
    if not isinstance(value, list):
        raise _MisfitError
    places = [index for index in (_index(value, step) for step in order) if index < len(value)]
    result = list(value)
    for place, index in zip(sorted(places), places, strict=True):
        result[place] = value[index]
    return result


def _index(entries: list[Any], step: dict[str, Any]) -> int:
    """The place of the entry that the step names; behind the last where there is none."""
    return next((index for index, entry in enumerate(entries) if _name_of(entry) == step), len(entries))


def _digest(value: Any) -> str:
    return sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]


def _place(difference: Any) -> str:
    at = difference.get("at") if isinstance(difference, dict) else None
    text = ""
    for step in at if isinstance(at, list) else ():
        if isinstance(step, str):
            text += f".{step}" if text else step
        else:
            name = step.get("metadata", step).get("name") if isinstance(step, dict) else step
            text += f"[{name}]"
    return text or "what the comment at its end keeps"
