"""Puts it together: a source, the loop, the ports; and takes it apart again at SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from mesh.model.kinds import BY_KEY
from mesh.model.reading import DOMAIN
from mesh.serve import admission
from mesh.serve.admission import Reviewer
from mesh.serve.auth import Tokens
from mesh.serve.dashboard.live import Live
from mesh.serve.debug import application
from mesh.serve.http import HttpPort
from mesh.serve.metrics import Metrics
from mesh.serve.plane import Plane
from mesh.serve.rehearsal import rehearse
from mesh.serve.server import Port, Server
from mesh.serve.status import Status
from mesh.sources import Source

log = logging.getLogger(__name__)

# Nearly all that is read and made here stays: the collector has to look only when so much more is there.
GARBAGE_OBJECTS = 100_000

Beside = Callable[[Plane, Status], Iterable[Awaitable[None]]]
"""What runs beside the loop, in a cluster: certificates, the Lease, what is written for others to read."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What `pymesh serve` was asked for; an empty debug address is none. `name` is the replica's.

    `admission` is where API servers ask about objects; nobody does where there is no cluster.
    """

    ports: tuple[Port, ...]
    debug_address: str = ""
    name: str = "pymesh"
    admission: Port | None = None
    domain: str = DOMAIN


def nothing(_plane: Plane, _status: Status) -> Iterable[Awaitable[None]]:
    """Nothing runs beside the loop."""
    return ()


async def serve(source: Source, settings: Settings, tokens: Tokens | None = None, beside: Beside = nothing) -> None:
    """Serves until SIGTERM or SIGINT. Raises UsageError, CertificateError, and what ends one of its parts."""
    gc.set_threshold(GARBAGE_OBJECTS)
    stop = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    rehearse()
    metrics = Metrics()
    plane = Plane(BY_KEY, metrics)
    status = Status(settings.name, plane, source, metrics)
    server = status.server = Server(plane, tokens, status.on_outcome)
    live = Live(plane, status, settings.domain)
    http = [HttpPort("--debug-address", settings.debug_address, application(status, metrics, live))]
    reviewer = Reviewer(lambda: plane.world.tables if plane.ready.is_set() else None, settings.domain)
    if (port := settings.admission) is not None:
        app = admission.application(reviewer, metrics)
        http.append(HttpPort("--admission-address", port.address, app, port.certificate, port.key))
    tasks = [asyncio.ensure_future(one) for one in (plane.run(), source.run(plane.deliver), *beside(plane, status))]
    stopped = asyncio.ensure_future(stop.wait())
    try:
        for one in http:
            await one.start()
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
        for one in http:
            await one.stop()
        reviewer.close()
        live.close()
