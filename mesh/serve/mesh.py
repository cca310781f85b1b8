"""What the streams ask of the rest: a session a stream, with the newest state of its proxy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mesh.encode.resource import State
from mesh.world.proxy import Proxy


class Session(Protocol):
    """One proxy's. `state` is swapped as a whole, then `wake` is called; it is empty until it has been built."""

    @property
    def state(self) -> State:
        """What the proxy is to have."""

    def close(self) -> None:
        """The stream ended."""


class Mesh(Protocol):
    """Where states come from. `connect` may be called before anything is listed: the stream then waits."""

    def connect(self, proxy: Proxy, wake: Callable[[], None]) -> Session:
        """A stream began."""
