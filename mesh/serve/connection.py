"""One stream: a machine, a flag that wakes it, and nothing that queues."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from mesh.serve.mesh import Mesh
from mesh.world.proxy import Proxy
from mesh.xds import wire
from mesh.xds.machine import Machine
from mesh.xds.messages import Outcome, Request
from mesh.xds.paths import Paths

log = logging.getLogger(__name__)

# A proxy that takes nothing of what it was sent for so long is gone, or means harm: its stream ends.
WRITE_SECONDS = 60.0
# Requests beyond these wait in the proxy, not here. Envoy sends a few for each response; a large one counts for more.
BURST_REQUESTS = 1000.0
REQUESTS_PER_SECOND = 200.0
REQUEST_BYTES = 2048
REQUEST_NAMES = 2000  # of what is asked for already, where a request changes it
DRAIN_SECONDS = 30.0


class StuckError(Exception):
    """The proxy reads nothing."""


class Connection:
    """A proxy's stream. `read` gives its next request as bytes, another false value at the end; `write` returns when
    taken.
    """

    def __init__(
        self, proxy: Proxy, node_id: str, mesh: Mesh, paths: Paths, on_outcome: OnOutcome, *, delta: bool
    ) -> None:
        self.proxy, self.node_id, self.delta = proxy, node_id, delta
        self.since = time.time()
        self.requests = 0
        self.machine = Machine(delta=delta, paths=paths)
        self._on_outcome = on_outcome
        self._awake = asyncio.Event()
        self._ends = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._writing_since = 0.0  # 0 where nothing is being written
        self._stuck = False
        self._watcher: asyncio.TimerHandle
        self.session = mesh.connect(proxy, self._awake.set)

    async def run(
        self,
        first: Request,
        read: Callable[[], Awaitable[Any]],
        write: Callable[[bytes], Awaitable[None]],
        seconds: float,
    ) -> None:
        """Serves until the proxy ends the stream, or for `seconds`; then it comes again.

        Raises ProtocolError, and StuckError where it reads nothing.
        """
        end = time.monotonic() + seconds
        task = asyncio.current_task()
        assert task is not None
        self._take(first)
        reader = asyncio.create_task(self._read(read))
        reader.add_done_callback(lambda _: self._awake.set())
        self._watch(task)
        try:
            while not reader.done():
                self._awake.clear()
                self.machine.on_state(self.session.state)
                now = time.monotonic()
                self._ends = self._ends or now >= end
                # what ends between a response and its answer would have to be told again
                if self._ends and (self.machine.is_at_rest or now >= end + DRAIN_SECONDS):
                    return
                for response in self.machine.next(now):
                    self._writing_since = time.monotonic()
                    await write(wire.write(response, delta=self.delta))
                    self._writing_since = 0.0
                self._set_timer(end)
                await self._awake.wait()
            reader.result()
        except asyncio.CancelledError:
            if not self._stuck or task.uncancel():
                raise  # somebody else ends it, too
            raise StuckError(f"took nothing of a response within {WRITE_SECONDS:.0f} s") from None
        finally:
            reader.cancel()
            self._stop_timer()
            self._watcher.cancel()

    def _set_timer(self, end: float) -> None:
        deadline, now = self.machine.deadline, time.monotonic()
        until = min(end if now < end else end + DRAIN_SECONDS, deadline if deadline is not None else end)
        # a timer that sets the flag, and no task; set anew only where it is to be for another time
        if self._timer is None or until != self._timer_at:
            self._stop_timer()
            self._timer_at = until
            self._timer = asyncio.get_running_loop().call_later(max(0.0, until - now), self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._awake.set()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watch(self, task: asyncio.Task[None]) -> None:
        """Looks now and then whether the proxy reads: a limit for each response would cost more than the response."""
        left = self._writing_since + WRITE_SECONDS - time.monotonic() if self._writing_since else WRITE_SECONDS
        if left <= 0:
            self._stuck = True
            task.cancel()
        else:
            self._watcher = asyncio.get_running_loop().call_later(left, self._watch, task)

    async def _read(self, read: Callable[[], Awaitable[Any]]) -> None:
        allowance, last = BURST_REQUESTS, time.monotonic()
        while (body := await read()) or body == b"":
            request = wire.read_next(body, delta=self.delta)
            self._take(request)
            now = time.monotonic()
            allowance = min(BURST_REQUESTS, allowance + (now - last) * REQUESTS_PER_SECOND)
            allowance, last = allowance - 1 - len(body) / REQUEST_BYTES - self._names(request) / REQUEST_NAMES, now
            if allowance < 0:
                await asyncio.sleep(-allowance / REQUESTS_PER_SECOND)

    def _names(self, request: Request) -> int:
        changes = request.subscribe or request.unsubscribe or request.names
        return len(self.machine.ledgers[request.type_url].asked.names) if changes else 0

    def _take(self, request: Request) -> None:
        self.requests += 1
        outcome = self.machine.on_request(request, time.monotonic())
        # most answers are the last that is heard of a change: nothing is to be done about them
        if outcome is None or self._ends or not self.machine.is_quiet:
            self._awake.set()
        if outcome is not None:
            self._on_outcome(self, outcome)

    def end(self) -> None:
        """Ends the stream as soon as nothing is under way."""
        self._ends = True
        self._awake.set()

    def close(self) -> None:
        """The stream is over."""
        self.machine.close()
        self.session.close()


OnOutcome = Callable[[Connection, Outcome], None]


def log_outcome(connection: Connection, outcome: Outcome) -> None:
    """Logs what Envoy refused, with its words and the objects to blame."""
    for resource in outcome.refused:
        log.warning(
            "refused by Envoy",
            extra={
                "fields": {
                    "proxy": connection.proxy.name,
                    "type": outcome.type_url.rpartition(".")[2],
                    "resource": resource.name,
                    "objects": ", ".join(map(str, resource.origins)),
                    "words": outcome.words[:1000],
                }
            },
        )
