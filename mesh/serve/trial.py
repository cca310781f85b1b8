"""A world beside the one that is served, in which an object is tried: what would be wrong once it is there."""

from __future__ import annotations

from typing import Any

from mesh.model.problem import Problem
from mesh.routing.analysis import problems
from mesh.serve.follow import Follower, Tables
from mesh.world.events import Key, Remove, Upsert


class Trial:
    """Tries objects in a world of its own."""

    def __init__(self) -> None:
        self._follower = Follower()
        self._world = self._follower.world
        self._world.hold(problems)
        self._before: frozenset[Problem] = frozenset()

    def problems(self, tables: Tables, kind: str, key: Key, value: Any) -> list[Problem]:
        """What only all objects together show with this one among them: all about it, and what is new about others."""
        if self._follower.follow(tables):
            self._before = frozenset(problems(self._world))
        there = self._follower.tables.get(kind, {}).get(key)
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
