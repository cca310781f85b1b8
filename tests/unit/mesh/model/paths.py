"""The paths of an object, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mesh.model.reading import Key, spelled


def _keys(value: Any, path: tuple[Key, ...]) -> Iterator[tuple[tuple[Key, ...], Any]]:
    yield path, value
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _keys(one, (*path, str(key)))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from _keys(one, (*path, index))


class PathsOf:
    """All paths of an object, and those one step beyond an object in it, which name what is missing."""

    def __init__(self, thing: Any) -> None:
        self._paths = {spelled(path): value for path, value in _keys(thing, ())}

    def __contains__(self, path: object) -> bool:
        text = str(path)
        if text in self._paths:
            return True
        # what is missing, one or two steps below an object that is there: port.number of a port that is not
        parent = text
        for _ in range(3):
            parent, dot, _name = parent.rpartition(".")
            if not dot:
                return "[" not in text and '"' not in text
            if isinstance(self._paths.get(parent), dict):
                return True
        return False
