"""Puts it together: sources, the loop, the ports; and takes it apart again at SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from mesh.model.kinds import BY_KEY
from mesh.serve.auth import Tokens
from mesh.serve.plane import Plane
from mesh.serve.server import Port, Server
from mesh.world.events import Event

log = logging.getLogger(__name__)


class Source(Protocol):
    """Where objects come from: `run` delivers events until it is cancelled."""

    @property
    def waiting(self) -> Mapping[str, str]:
        """The kinds that are not listed yet, and why."""

    async def run(self, deliver: Callable[[Iterable[Event]], None]) -> None:
        """Tells all there is, then what changes."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What `pymesh serve` was asked for; a debug address of "" is none."""

    ports: tuple[Port, ...]
    debug_address: str = "127.0.0.1:15014"
    name: str = "pymesh"


async def serve(
    source: Source, settings: Settings, tokens: Tokens | None = None, more: Iterable[Awaitable[None]] = ()
) -> None:
    """Serves until SIGTERM or SIGINT; `more` runs beside it. Raises UsageError, CertificateError."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop.set)
    plane = Plane(BY_KEY)
    server = Server(plane, tokens)
    tasks = [asyncio.ensure_future(one) for one in (plane.run(), source.run(plane.deliver), *more)]
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await server.start(*settings.ports)
        done, _ = await asyncio.wait((*tasks, stopped), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()  # what ended by itself ended by a fault, and is told
        log.info("stopping")
    finally:
        await server.stop()
        for task in (*tasks, stopped):
            task.cancel()
        await asyncio.gather(*tasks, stopped, return_exceptions=True)
