"""What a stream asks for of one type."""

from __future__ import annotations

from collections.abc import Iterable
from sys import intern

EVERYTHING = "*"


class Subscription:
    """Names, or everything, or both.

    A first request that names nothing asks for everything (where the type can be asked for so), and so on until names
    come in a state of the world, or `*` is given back.
    """

    __slots__ = ("everything", "names", "started")

    def __init__(self) -> None:
        self.started = False
        self.everything = False
        self.names: frozenset[str] = frozenset()

    def copy(self) -> Subscription:
        """One that can be changed without this one."""
        made = Subscription()
        made.started, made.everything, made.names = self.started, self.everything, self.names
        return made

    def wants(self, name: str) -> bool:
        """Is it asked for."""
        return self.everything or name in self.names

    def add(self, names: Iterable[str], *, whole: bool) -> tuple[list[str], bool]:
        """Delta's `resource_names_subscribe`. Returns the names, also those asked for before, and whether everything
        is asked for from now on."""
        added = [intern(name) for name in names if name != EVERYTHING]
        started = not self.everything and (EVERYTHING in names or (whole and not self.started and not added))
        self.everything = self.everything or started
        self.started = True
        if added:
            self.names |= frozenset(added)
        return added, started

    def drop(self, names: Iterable[str]) -> tuple[list[str], bool]:
        """Delta's `resource_names_unsubscribe`. Returns the names, and whether no longer everything is asked for."""
        dropped = [name for name in names if name != EVERYTHING]
        ended = EVERYTHING in names and self.everything
        if ended:
            self.everything = False
        if dropped:
            self.names -= frozenset(dropped)
        return dropped, ended

    def replace(self, names: Iterable[str], *, whole: bool) -> tuple[list[str], list[str], bool]:
        """The state of the world's `resource_names`. Returns what is new, what is no longer asked for, and whether
        everything is asked for from now on."""
        wanted = frozenset(intern(name) for name in names if name != EVERYTHING)
        everything = EVERYTHING in names or (
            whole and not wanted and (not self.started or (self.everything and not self.names))
        )
        added, dropped = sorted(wanted - self.names), sorted(self.names - wanted)
        began = everything and not self.everything
        self.started, self.everything, self.names = True, everything, wanted
        return added, dropped, began
