"""All objects at one moment: tables by kind, changed by events, read by queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from mesh.model.problem import Problem
from mesh.world.events import Event, Key, Listed, Remove, Upsert
from mesh.world.memo import Memo

EMPTY: Mapping[Key, Any] = MappingProxyType({})


class World(Memo):
    """The objects, each kind's a table that is never changed but replaced.

    Between two calls of `apply` everything that is read belongs to one moment. Queries read through `get` and `all`,
    which record; `all` is for indices, which other queries then read by key.
    """

    def __init__(self) -> None:
        super().__init__()
        self._tables: dict[str, dict[Key, Any]] = {}
        self.listed: set[str] = set()
        self.problems: dict[tuple[str, Key], tuple[Problem, ...]] = {}
        """What is wrong in the objects themselves, those that could not be read among them."""

    def get(self, kind: str, namespace: str, name: str) -> Any:
        """An object, or None."""
        key = Key(namespace, name)
        return self.input((kind, key), self._tables.get(kind, EMPTY).get(key))

    def all(self, kind: str) -> Mapping[Key, Any]:
        """All objects of a kind."""
        table = self._tables.get(kind)
        return self.input((kind,), EMPTY if table is None else MappingProxyType(table))  # type: ignore[no-any-return]

    def apply(self, events: Iterable[Event]) -> set[tuple[str, Key]]:
        """Takes the events in; returns which objects are other than before. An equal object is no change."""
        changed: dict[str, dict[Key, Any]] = {}
        for event in events:
            if isinstance(event, Listed):
                self.listed.add(event.kind)
                continue
            at = (event.kind, event.key)
            value = event.value if isinstance(event, Upsert) else None
            if isinstance(event, Upsert) and event.problems:
                self.problems[at] = event.problems
            else:
                self.problems.pop(at, None)
            now = self._tables.get(event.kind, EMPTY).get(event.key)
            staged = changed.setdefault(event.kind, {})
            if value == now:
                staged.pop(event.key, None)
            else:
                staged[event.key] = value
        for kind, values in changed.items():
            if not values:
                continue
            table = dict(self._tables.get(kind, EMPTY))
            for key, value in values.items():
                if value is None:
                    table.pop(key, None)
                else:
                    table[key] = value
            self._tables[kind] = table
            self.set_input((kind,), MappingProxyType(table))
            for key, value in values.items():
                self.set_input((kind, key), value)
        return {(kind, key) for kind, values in changed.items() for key in values}


__all__ = ["Event", "Key", "Listed", "Remove", "Upsert", "World"]
