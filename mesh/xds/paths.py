"""The ways that streams of a class went lately: who is where another was, and hears the same, goes the same way.

    position ──request, state──▶ position ──▶ … ──all is done──▶ position, one for all streams that have the same

So what a thousand streams do alike is done once, and a stream at rest is a reference. A step is a pure function of
position and input, but for what other streams of the class refused: that is in the key. Where a proxy refuses
something its stream goes on alone, until that is mended.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from mesh.xds.position import Position
from mesh.xds.verdicts import Verdicts

# Of steps lately taken, by what they weigh: one, and one more for each name that was asked for.
MOST = 100_000

R = TypeVar("R")


class Paths:
    """Of one class of proxies. `turn`, called every few seconds, forgets the steps that nobody took since the last."""

    def __init__(self) -> None:
        self.verdicts = Verdicts()
        self._starts = {delta: Position(delta=delta, verdicts=self.verdicts) for delta in (True, False)}
        self._new: dict[Hashable, tuple[Any, Position]] = {}
        self._old: dict[Hashable, tuple[Any, Position]] = {}
        self._weight = 0
        self._ends: WeakValueDictionary[Hashable, Position] = WeakValueDictionary()

    def start(self, *, delta: bool) -> Position:
        """Where a stream begins."""
        return self._starts[delta]

    def step(self, here: Position, key: Hashable, go: Callable[[Position], R], weight: int = 1) -> tuple[R, Position]:
        """What comes of it to `go` on from `here`, and where that leads; `key` tells steps from here apart.

        None is for a step that no other stream takes.
        """
        if not here.is_shared or key is None:
            there = here.copy() if here.is_shared else here
            result = go(there)
            return result, self._end(here, there)
        at = (here, self.verdicts.revision, key)
        if (found := self._new.get(at)) is not None:
            return found
        if (found := self._old.get(at)) is None:
            there = here.copy()
            result = go(there)
            found = result, self._end(here, there)
            if not found[1].is_shared:
                return found  # refused, or held back from this one: its own affair
        if self._weight >= MOST:
            self.turn()
        self._weight += weight
        self._new[at] = found
        return found

    def _end(self, here: Position, there: Position) -> Position:
        there.is_shared = there.is_plain
        if not there.is_shared:
            return there
        if (key := there.key) is not None:
            return self._ends.setdefault(key, there)
        if here is there or there.moved:
            return there
        here.ledgers = there.ledgers  # what was found out without going on
        return here

    def turn(self) -> None:
        """Forgets what is old."""
        self._old, self._new, self._weight = self._new, {}, 0
