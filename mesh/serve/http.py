"""HTTP ports beside xDS: 15014 for those who look, 15017 for API servers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import uvicorn

from common.errors import UsageError

log = logging.getLogger(__name__)

CONNECTIONS: Final = 100
KEEP_ALIVE_SECONDS: Final = 30
# A certificate lives for months, and is replaced long before it ends.
LOOK_SECONDS = 10.0
DATE_SECONDS: Final = 1.0


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.leaving = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process's own affair."""
        yield

    async def main_loop(self) -> None:
        """Looks at the clock once a second, for the date in answers; uvicorn's own would wake ten times for it."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.leaving.wait(), DATE_SECONDS)

    def leave(self) -> None:
        """Ends at once."""
        self.should_exit = True
        self.leaving.set()


class HttpPort:
    """A port; an empty address is none. `flag` is who is to blame for the address."""

    def __init__(
        self, flag: str, address: str, app: Any, certificate: Path | None = None, key: Path | None = None
    ) -> None:
        """`certificate` and `key` are files in PEM, read again when they change."""
        self._flag, self._address = flag, address
        self._files = (certificate, key) if certificate is not None and key is not None else None
        host, _, port = address.rpartition(":")
        self._server: _Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.bound = ""
        if not address:
            return
        if not port.isdecimal():
            raise UsageError(f"{flag} {address!r}: HOST:PORT is needed, such as 127.0.0.1:15014")
        self._at = host.strip("[]"), int(port)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=5,
            limit_concurrency=CONNECTIONS,
            ssl_certfile=certificate,
            ssl_keyfile=str(key) if key is not None else None,
        )
        self._server = _Server(config)

    async def start(self) -> None:
        """Listens. Raises UsageError where it cannot."""
        if self._server is None:
            return
        host = self._at[0]
        try:
            # asyncio's own would take IPv6 alone at [::]
            listening = socket.create_server(
                self._at,
                family=socket.AF_INET6 if ":" in host else socket.AF_INET,
                dualstack_ipv6=host == "::",
            )
        except OSError as error:
            raise UsageError(f"{self._flag} {self._address}: {error.strerror}") from None
        self.bound = f"{self._address.rpartition(':')[0]}:{listening.getsockname()[1]}"
        self._server.config.load()
        self._tasks.append(asyncio.create_task(self._server.serve(sockets=[listening])))
        if self._files is not None and self._server.config.ssl is not None:
            self._tasks.append(asyncio.create_task(self._renew(self._server.config.ssl, *self._files)))

    async def _renew(self, context: ssl.SSLContext, certificate: Path, key: Path) -> None:
        """Connections made after the files have changed get the new certificate; those that are open go on."""
        seen = _stamp(certificate)
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            with contextlib.suppress(OSError):
                if (now := _stamp(certificate)) == seen:
                    continue
                try:
                    context.load_cert_chain(certificate, key)
                except ssl.SSLError as error:
                    log.error(
                        "certificate not taken", extra={"fields": {"file": str(certificate), "reason": str(error)}}
                    )
                seen = now

    async def stop(self) -> None:
        """Ends."""
        if self._server is None or not self._tasks:
            return
        self._server.leave()
        serving, *others = self._tasks
        for task in others:
            task.cancel()
        await asyncio.gather(serving, *others, return_exceptions=True)


def _stamp(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_mtime_ns, found.st_ino
