"""All objects at one moment: tables by kind, changed by events, read by queries."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from mesh.model.problem import Problem
from mesh.world.events import Event, Key, Listed, Remove, Upsert
from mesh.world.memo import Memo

EMPTY: Mapping[Key, Any] = MappingProxyType({})

Groups = Callable[[Any], Iterable[Hashable]]


class World(Memo):
    """The objects, each kind's a table that is never changed but replaced.

    Between two calls of `apply` everything that is read belongs to one moment. Queries read through `get` and `all`,
    which record; `all` is for indices, which other queries then read by key. `group` is an index that is kept up
    object by object, so that a change touches none but the readers of its own group: `groups` tells, for a kind, under
    which keys a value is found.
    """

    def __init__(self, groups: Mapping[str, Groups] | None = None) -> None:
        super().__init__()
        self._groups = dict(groups or {})
        self._grouped: dict[str, dict[Hashable, dict[Key, Any]]] = {kind: {} for kind in self._groups}
        self._tables: dict[str, dict[Key, Any]] = {}
        self.listed: set[str] = set()
        self.problems: dict[tuple[str, Key], tuple[Problem, ...]] = {}
        """What is wrong in the objects themselves, those that could not be read among them."""

    def get(self, kind: str, namespace: str, name: str) -> Any:
        """An object, or None."""
        key = Key(namespace, name)
        return self.input((kind, key), self._tables.get(kind, EMPTY).get(key))

    @property
    def tables(self) -> dict[str, Mapping[Key, Any]]:
        """All objects by kind, as they are now, for who reads them elsewhere: a later change replaces tables."""
        return dict(self._tables)

    def all(self, kind: str) -> Mapping[Key, Any]:
        """All objects of a kind."""
        table = self._tables.get(kind)
        return self.input((kind,), EMPTY if table is None else MappingProxyType(table))  # type: ignore[no-any-return]

    def group(self, kind: str, group: Hashable) -> tuple[Any, ...]:
        """The objects of a group, sorted by namespace and name."""
        key = (kind, "group", group)
        # sorting them again for each who reads would cost more than all the rest
        return self.input(key, None if self.is_known(key) else self._members(kind, group))  # type: ignore[no-any-return]

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
            if kind in self._groups:
                self._regroup(kind, table, values)
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

    def _members(self, kind: str, group: Hashable) -> tuple[Any, ...]:
        members = self._grouped[kind].get(group)
        return tuple(members[key] for key in sorted(members)) if members else ()

    def _regroup(self, kind: str, before: Mapping[Key, Any], values: Mapping[Key, Any]) -> None:
        groups_of, grouped, touched = self._groups[kind], self._grouped[kind], dict[Hashable, None]()
        for key, value in values.items():
            if (old := before.get(key)) is not None:
                for group in groups_of(old):
                    touched[group] = None
                    if (members := grouped.get(group)) is not None:
                        members.pop(key, None)
                        if not members:
                            del grouped[group]
            if value is not None:
                for group in groups_of(value):
                    touched[group] = None
                    grouped.setdefault(group, {})[key] = value
        for group in touched:
            self.set_input((kind, "group", group), self._members(kind, group))


__all__ = ["Event", "Key", "Listed", "Remove", "Upsert", "World"]
