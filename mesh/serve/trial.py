"""A world beside the one that is served, in which an object is tried: what would be wrong once it is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mesh.model.problem import Problem
from mesh.routing.analysis import problems
from mesh.world.events import Event, Key, Remove, Upsert
from mesh.world.index import new_world

Tables = Mapping[str, Mapping[Key, Any]]


class Trial:
    """Follows the served world by its tables, which are replaced and never changed; so it may run in another thread."""

    def __init__(self) -> None:
        self._world = new_world()
        self._world.hold(problems)
        self._tables: dict[str, Mapping[Key, Any]] = {}
        self._before: frozenset[Problem] = frozenset()

    def problems(self, tables: Tables, kind: str, key: Key, value: Any) -> list[Problem]:
        """What only all objects together show with this one among them: all about it, and what is new about others."""
        if self._follow(tables):
            self._before = frozenset(problems(self._world))
        there = self._tables.get(kind, {}).get(key)
        self._world.apply([Upsert(kind, key, value)])
        try:
            after = problems(self._world)
        finally:
            self._world.apply([Remove(kind, key) if there is None else Upsert(kind, key, there)])
            self._world.collect()
        ref = value.meta.ref
        return sorted(
            {one for one in after if one.ref == ref or one not in self._before},
            key=lambda one: (one.ref != ref, one.ref, one.path, one.code),
        )

    def _follow(self, tables: Tables) -> bool:
        """Takes over what is other; False where nothing is."""
        events: list[Event] = []
        for kind, table in tables.items():
            known = self._tables.get(kind, {})
            if table is known:
                continue
            events += (Upsert(kind, key, value) for key, value in table.items() if known.get(key) is not value)
            events += (Remove(kind, key) for key in known if key not in table)
            self._tables[kind] = table
        self._world.apply(events)
        return bool(events)
