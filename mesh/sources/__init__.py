"""Where objects come from: a folder of files, or the API server. Both tell the same events (mesh.world.events).

    source.run(deliver)   ──▶   deliver([Upsert, Remove, Listed, …])        in the event loop's thread, for ever

A source never ends by itself and never takes silence for deletion: what cannot be read keeps what it was known to hold,
and is told. `source.waiting` says which kinds are not listed yet, and why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from mesh.world.events import Event

Deliver = Callable[[Sequence[Event]], None]


class Source(Protocol):
    """A place where objects come from."""

    @property
    def waiting(self) -> Mapping[str, str]:
        """The kinds that are not listed yet, each with the reason as words; empty once all are."""

    async def run(self, deliver: Deliver) -> None:
        """Tells events until it is cancelled."""
