"""A world beside the one that is served, for questions about the whole that would hold up the streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from mesh.world.events import Event, Key, Remove, Upsert
from mesh.world.index import new_world
from mesh.world.world import World

Tables = Mapping[str, Mapping[Key, Any]]
T = TypeVar("T")

# A world that nobody asks takes memory for nothing.
IDLE_SECONDS = 300.0


class Follower:
    """Follows the served world by its tables, which are replaced and never changed; so it may run in another thread."""

    def __init__(self) -> None:
        self.world: World = new_world()
        self.tables: dict[str, Mapping[Key, Any]] = {}

    def follow(self, tables: Tables) -> bool:
        """Takes over what is other; False where nothing is."""
        events: list[Event] = []
        for kind, table in tables.items():
            known = self.tables.get(kind, {})
            if table is known:
                continue
            events += (Upsert(kind, key, value) for key, value in table.items() if known.get(key) is not value)
            events += (Remove(kind, key) for key in known if key not in table)
            self.tables[kind] = table
        self.world.apply(events)
        return bool(events)


class Aside:
    """Answers questions one by one in a thread of its own. What was asked is kept up to date while somebody asks.

    `tables` gives all objects as they are now, or None while not all kinds are listed. `held` are the queries, with
    their arguments, that questions are made of.
    """

    def __init__(self, tables: Callable[[], Tables | None], *held: tuple[Callable[..., Any], tuple[Any, ...]]) -> None:
        self._tables, self._held = tables, held
        self._thread = ThreadPoolExecutor(1, "aside")
        self._follower: Follower | None = None
        self._idle: asyncio.TimerHandle | None = None

    async def ask(self, question: Callable[[World], T]) -> T | None:
        """The answer; None while not all kinds are listed."""
        tables = self._tables()
        if tables is None:
            return None
        loop = asyncio.get_running_loop()
        if self._idle is not None:
            self._idle.cancel()
        self._idle = loop.call_later(IDLE_SECONDS, self._thread.submit, self._forget)
        return await loop.run_in_executor(self._thread, self._answer, tables, question)

    def close(self) -> None:
        """Ends its thread."""
        if self._idle is not None:
            self._idle.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _answer(self, tables: Tables, question: Callable[[World], T]) -> T:
        if self._follower is None:
            self._follower = Follower()
            for asked, arguments in self._held:
                self._follower.world.hold(asked, *arguments)
        self._follower.follow(tables)
        try:
            return question(self._follower.world)
        finally:
            self._follower.world.collect()

    def _forget(self) -> None:
        self._follower = None
