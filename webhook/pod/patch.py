"""JSON Patch (RFC 6902) from the tree before to the tree after.

Steps of the pipeline share what they leave alone, so `is` says that nothing below changed: only the spine of what was
edited is walked, and the patch costs what was edited, not what the pod holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

Operation = dict[str, Any]


def patch(before: dict[str, Any], after: dict[str, Any]) -> list[Operation]:
    """The operations that make `after` from `before`, in the order to apply them."""
    return list(_objects(before, after, ""))


def _values(before: Any, after: Any, path: str) -> Iterator[Operation]:
    if before is after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _objects(before, after, path)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _lists(before, after, path)
    elif not _equal(before, after):
        yield {"op": "replace", "path": path, "value": after}


def _objects(before: dict[str, Any], after: dict[str, Any], path: str) -> Iterator[Operation]:
    for key, value in before.items():
        if key not in after:
            yield {"op": "remove", "path": f"{path}/{_escaped(key)}"}
        elif value is not after[key]:
            yield from _values(value, after[key], f"{path}/{_escaped(key)}")
    for key, value in after.items():
        if key not in before:
            yield {"op": "add", "path": f"{path}/{_escaped(key)}", "value": value}


def _lists(before: list[Any], after: list[Any], path: str) -> Iterator[Operation]:
    """Pair the entries that stay; remove the others of `before` from the end, then put those of `after` in place."""
    entries = (*before, *after)
    if not all(isinstance(entry, dict) for entry in entries):
        if not _equal(before, after):
            yield {"op": "replace", "path": path, "value": after}
        return
    named = any("name" in entry for entry in entries)
    pairs = _pairs(before, after) if named else [(n, n) for n in range(min(len(before), len(after)))]
    stay = {index for index, _ in pairs}
    for index in reversed(range(len(before))):
        if index not in stay:
            yield {"op": "remove", "path": f"{path}/{index}"}
    partners = {there: here for here, there in pairs}
    for index, value in enumerate(after):
        if index in partners:
            yield from _values(before[partners[index]], value, f"{path}/{index}")
        else:
            yield {"op": "add", "path": f"{path}/{index}", "value": value}


def _pairs(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """Indexes of entries that are the same one, or have the same name, in rising order on both sides.

    An entry that was moved past others is not among them: it is taken out and put in again.
    """
    places: dict[object, int] = {}
    for index, entry in enumerate(after):
        places.setdefault(id(entry), index)
        if isinstance(name := entry.get("name"), str):
            places.setdefault(name, index)
    candidates = []
    for index, entry in enumerate(before):
        place = places.get(id(entry))
        if place is None and isinstance(name := entry.get("name"), str):
            place = places.get(name)
        if place is not None:
            candidates.append((index, place))
    return _rising(candidates)


def _rising(candidates: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest part of the pairs whose second indexes rise."""
    if all(left[1] < right[1] for left, right in pairwise(candidates)):
        return candidates
    # patience sorting: `ends[n]` is the pair with the lowest end of a rising part of n + 1 pairs
    ends: list[tuple[int, int]] = []
    previous: dict[tuple[int, int], tuple[int, int] | None] = {}
    for pair in candidates:
        low, high = 0, len(ends)
        while low < high:
            middle = (low + high) // 2
            if ends[middle][1] < pair[1]:
                low = middle + 1
            else:
                high = middle
        previous[pair] = ends[low - 1] if low else None
        ends[low : low + 1] = [pair]
    result: list[tuple[int, int]] = []
    pair_or_none = ends[-1] if ends else None
    while pair_or_none is not None:
        result.append(pair_or_none)
        pair_or_none = previous[pair_or_none]
    return result[::-1]


def _equal(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON: there true is not 1."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(value, other[key]) for key, value in one.items())
    return bool(one == other)


def _escaped(key: object) -> str:
    """A key as a reference token of a JSON Pointer (RFC 6901)."""
    return str(key).replace("~", "~0").replace("/", "~1")
