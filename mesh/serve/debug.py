"""Port 15014: what Prometheus, kubelet and the tools ask. What is more than numbers is told to this machine alone.

/metrics          the control plane's own
/ready            200 once all kinds are listed and built, else 503 with what is waited for
/debug/proxies    who is connected, and how far each is            what `proxy-status` shows
/debug/config     what a proxy is to have                          ?proxy=POD.NAMESPACE
/debug/problems   faults of objects
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import generate_latest

from common.errors import UsageError
from mesh.serve.metrics import Metrics
from mesh.serve.status import Status

log = logging.getLogger(__name__)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def local(request: Request) -> None:
    """Lets this machine's own in: people come by `kubectl port-forward`, which asks the API server who may."""
    host = request.client.host if request.client else ""
    with contextlib.suppress(ValueError):
        address = ip_address(host)
        mapped = getattr(address, "ipv4_mapped", None)
        if address.is_loopback or (mapped is not None and mapped.is_loopback):
            return
    raise HTTPException(403, "only from this machine: use kubectl port-forward, or pymesh proxy-status")


def application(status: Status, metrics: Metrics) -> FastAPI:
    """The application."""
    app = FastAPI(title="pymesh", docs_url=None, redoc_url=None, openapi_url=None)
    only_local = [Depends(local)]

    @app.get("/metrics")
    def measured() -> Response:
        status.measure()
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE)

    @app.get("/ready")
    async def ready() -> Response:
        waits_for = status.waits_for
        lines = "".join(f"waits for {what}: {why}\n" for what, why in waits_for.items())
        return PlainTextResponse(lines or "ready\n", 503 if waits_for else 200)

    @app.get("/debug/proxies", dependencies=only_local)
    async def proxies() -> Response:
        return JSONResponse(status.proxies())

    @app.get("/debug/config", dependencies=only_local)
    async def config(proxy: str) -> Response:
        found = await asyncio.to_thread(status.config, proxy)
        if found is None:
            raise HTTPException(404, f"{proxy} is not connected here; proxies are named POD.NAMESPACE")
        return JSONResponse(found)

    @app.get("/debug/problems", dependencies=only_local)
    async def problems() -> Response:
        return JSONResponse(
            [
                {
                    "severity": one.severity,
                    "code": one.code,
                    "object": str(one.ref),
                    "path": one.path,
                    "message": one.message,
                }
                for one in status.problems()
            ]
        )

    @app.exception_handler(HTTPException)
    async def said(_: Request, error: HTTPException) -> Response:
        return PlainTextResponse(f"{error.detail}\n", error.status_code)

    return app


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process's own affair."""
        yield


class DebugPort:
    """The port; an empty address is none."""

    def __init__(self, address: str, app: Any) -> None:
        self._address = address
        host, _, port = address.rpartition(":")
        self._server: _Server | None = None
        if address:
            if not port.isdecimal():
                raise UsageError(f"--debug-address {address!r}: HOST:PORT is needed, such as 127.0.0.1:15014")
            self._at = host.strip("[]"), int(port)
            config = uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_keep_alive=30,
                limit_concurrency=100,
            )
            self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

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
            raise UsageError(f"--debug-address {self._address}: {error.strerror}") from None
        self._task = asyncio.create_task(self._server.serve(sockets=[listening]))

    async def stop(self) -> None:
        """Ends."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task
