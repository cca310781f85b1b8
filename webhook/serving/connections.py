"""Connections of a worker: accepted one by one, with the certificate of the day, and within bounds.

    listening socket, shared by all workers ──accept──▶ handshake ──▶ new ──▶ half ──▶ busy ──▶ idle
                                                                       └── one byte ─┘     └───┘

uvicorn answers requests; what it leaves unbounded is bounded here. Where a worker has as many connections as it may,
whoever has waited longest makes room: first who sends half a header, then who sends nothing, then who has had his
answer. Who is being answered is left alone.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

import uvicorn
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from webhook.limits import PIPELINED, Limits
from webhook.serving.metrics import ConnectionMetrics

SWEEP_SECONDS: Final = 1.0
# How long a peer may take to confirm that a connection is closed: after that it is.
CLOSE_SECONDS: Final = 1.0
_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

log = logging.getLogger("pyinject")


class Connections:
    """All connections of a worker by what they do, each kind in the order of its waiting: connection → since when."""

    def __init__(self, limits: Limits, metrics: ConnectionMetrics) -> None:
        self.limits = limits
        self.new: dict[Connection, float] = {}
        self.half: dict[Connection, float] = {}
        self.busy: dict[Connection, float] = {}
        self.idle: dict[Connection, float] = {}
        self._metrics = metrics

    def __len__(self) -> int:
        return len(self.new) + len(self.half) + len(self.busy) + len(self.idle)

    def make_room(self) -> bool:
        """Make room for one more; tells whether there is."""
        if len(self) < self.limits.connections:
            return True
        for waiting in (self.half, self.new, self.idle):
            if waiting:
                next(iter(waiting)).drop("full")
                return True
        self.closed("full")
        return False

    def sweep(self, now: float) -> None:
        """Close what has waited too long."""
        limits = self.limits
        late = (
            (self.half, limits.header_seconds, "header-late"),
            (self.new, limits.idle_seconds, "idle"),
            (self.idle, limits.idle_seconds, "idle"),
            # a body has its own timeout; what is left is an answer that nobody takes
            (self.busy, 2 * limits.body_seconds, "answer-late"),
        )
        for waiting, seconds, why in late:
            for connection in [one for one, since in waiting.items() if now - since > seconds]:
                connection.drop(why)

    def move(self, connection: Connection, to: dict[Connection, float], now: float) -> None:
        """The connection does something else from `now` on."""
        self.forget(connection)
        to[connection] = now
        self._metrics.count(len(self), len(self.busy))

    def forget(self, connection: Connection) -> None:
        """The connection is no more."""
        for those in (self.busy, self.idle, self.new, self.half):
            if those.pop(connection, None) is not None:
                break
        self._metrics.count(len(self), len(self.busy))

    def closed(self, why: str) -> None:
        """Count a connection that was closed or refused for its bounds."""
        self._metrics.closed(why)


class Connection(HttpToolsProtocol):
    """One connection; with bounds, and without leaving anything behind when it breaks."""

    def __init__(self, config: Config, server_state: ServerState, connections: Connections) -> None:
        super().__init__(config, server_state, {})
        self.handshake: asyncio.Task[Any] | None = None
        self._all = connections
        self._made = False
        self._head: int | None = 0  # bytes of the request's head so far; None while its body comes
        self._refusal = (400, "this is no HTTP request")

    def drop(self, why: str) -> None:
        """Close it at once, for others or since it has waited too long."""
        self._all.closed(why)
        halfway = self in self._all.half
        self._all.forget(self)
        if not self._made:
            if self.handshake is not None:
                self.handshake.cancel()
            return
        if halfway:
            self._refuse(408, "the request's headers did not come in time; others wait")
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The handshake is done."""
        super().connection_made(transport)
        self._made = True
        self._all.move(self, self._all.new, self.loop.time())

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed, or with `exc` broken."""
        self._all.forget(self)
        # uvicorn cancels the timer of those alone that are closed in good order: a broken one's would hold its buffers
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request, or of several."""
        if self.transport.is_closing():
            return
        if self._head is None:
            super().data_received(data)
            return
        room = self._all.limits.header_bytes - self._head
        self._head += len(data)
        if len(data) <= room:
            super().data_received(data)
        else:
            super().data_received(data[:room])
            # the parser knows by now whether what is left belongs to the head
            if self._head is None or self._head == 0:
                super().data_received(data[room:])
            elif not self.transport.is_closing():
                bound = self._all.limits.header_bytes
                self._refuse(431, f"the request's headers are larger than {bound} bytes", "header-too-large")
        if self._head and self not in self._all.half and not self.transport.is_closing():
            self._all.move(self, self._all.half, self.loop.time())

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header has come."""
        bound = self._all.limits.header_lines
        if len(self.headers) >= bound:
            self._refusal = (431, f"the request has more than {bound} headers")
            raise ValueError
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head has come; what follows is its body."""
        if len(self.pipeline) >= PIPELINED:
            self._refusal = (503, f"more than {PIPELINED} requests were sent ahead of their answers")
            raise ValueError
        self._head = None
        self._all.move(self, self._all.busy, self.loop.time())
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body has come; what follows is another request."""
        self._head = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is on its way."""
        super().on_response_complete()
        if not self.pipeline and not self.transport.is_closing():
            self._all.move(self, self._all.idle, self.loop.time())

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """uvicorn's answer to what it cannot parse, and ours to what one of the callbacks above has raised."""
        status, message = self._refusal
        self._refuse(status, message, "header-too-large" if status == 431 else "malformed")

    def _refuse(self, status: int, message: str, why: str = "") -> None:
        if why:
            self._all.closed(why)
        text = message.encode()
        lines = (
            STATUS_LINE[status],
            b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\ncontent-length: ",
            str(len(text)).encode(),
            b"\r\n\r\n",
            text,
        )
        self.transport.write(b"".join(lines))
        self.transport.close()


class Acceptor:
    """Takes connections from a socket that other processes accept from as well, one at a time: so they share them."""

    def __init__(
        self,
        listening: socket.socket,
        context: ssl.SSLContext,
        connections: Connections,
        make: Callable[[], Connection],
    ) -> None:
        self.context = context
        self._listening = listening
        self._connections = connections
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._open = True
        listening.setblocking(False)
        self._loop.add_reader(listening, self._accept)
        self._sweeping = self._loop.create_task(self._sweep())

    def close(self) -> None:
        """Accept no more. Connections that are there go on."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._listening)
            self._sweeping.cancel()

    async def wait_closed(self) -> None:
        """Nothing is left to wait for."""

    def _accept(self) -> None:
        try:
            accepted, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another worker was quicker, or the client has gone
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            log.error("no connection can be accepted: %s", error)
            self._loop.remove_reader(self._listening)
            self._loop.call_later(SWEEP_SECONDS, self._accept_again)
            return
        if not self._connections.make_room():
            accepted.close()
            return
        accepted.setblocking(False)
        connection = self._make()
        self._connections.move(connection, self._connections.new, self._loop.time())
        connection.handshake = self._loop.create_task(self._shake_hands(connection, accepted))

    def _accept_again(self) -> None:
        if self._open:
            self._loop.add_reader(self._listening, self._accept)

    async def _shake_hands(self, connection: Connection, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=self.context,
                ssl_handshake_timeout=self._connections.limits.handshake_seconds,
                ssl_shutdown_timeout=CLOSE_SECONDS,
            )
        except (OSError, asyncio.CancelledError) as error:  # of TLS, too: who connects and says nothing, or no TLS
            log.debug("no TLS handshake: %r", error)
            self._connections.forget(connection)
            accepted.close()
        finally:
            connection.handshake = None

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self._connections.sweep(self._loop.time())


class Server(uvicorn.Server):
    """uvicorn's server behind an `Acceptor`."""

    def __init__(
        self, config: Config, listening: socket.socket, context: ssl.SSLContext, connections: Connections
    ) -> None:
        super().__init__(config)
        self._listening = listening
        self._context = context
        self._connections = connections
        self._acceptor: Acceptor | None = None

    def use(self, context: ssl.SSLContext) -> None:
        """Connections made from now on get this context's certificate; those that are open go on."""
        self._context = context
        if self._acceptor is not None:
            self._acceptor.context = context

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002
        """Begin to accept."""
        await self.lifespan.startup()
        self._acceptor = Acceptor(
            self._listening,
            self._context,
            self._connections,
            lambda: Connection(self.config, self.server_state, self._connections),
        )
        self.servers = [self._acceptor]  # type: ignore[list-item]
        self.started = True
