"""Port 15014: what Prometheus, kubelet and the tools ask. What is more than numbers is told to this machine alone.

/metrics          the control plane's own
/ready            200 once all kinds are listed and built, else 503 with what is waited for
/gateways         how far the proxies are with each Gateway       what another replica asks that writes the statuses
/debug/proxies    who is connected, and how far each is            what `proxy-status` shows
/debug/config     what a proxy is to have                          ?proxy=POD.NAMESPACE
/debug/problems   faults of objects
/dashboard/       the page, and what it reads (mesh.serve.dashboard)
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import generate_latest

from mesh.serve.dashboard.app import Source, as_json
from mesh.serve.dashboard.app import application as dashboard
from mesh.serve.dashboard.guard import local
from mesh.serve.metrics import Metrics
from mesh.serve.status import Status

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def application(status: Status, metrics: Metrics, source: Source) -> FastAPI:
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

    @app.get("/gateways")
    async def gateways() -> Response:
        return _json(
            [{"namespace": ref.namespace, "name": ref.name, **one._asdict()} for ref, one in status.standings().items()]
        )

    @app.get("/debug/proxies", dependencies=only_local)
    async def proxies() -> Response:
        return _json(status.proxies())

    @app.get("/debug/config", dependencies=only_local)
    async def config(proxy: str) -> Response:
        found = await asyncio.to_thread(status.config, proxy)
        if found is None:
            raise HTTPException(404, f"{proxy} is not connected here; proxies are named POD.NAMESPACE")
        return _json(found)

    @app.get("/debug/problems", dependencies=only_local)
    async def problems() -> Response:
        return _json(
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

    app.mount("/dashboard", dashboard(source))

    @app.exception_handler(HTTPException)
    async def said(_: Request, error: HTTPException) -> Response:
        return PlainTextResponse(f"{error.detail}\n", error.status_code)

    return app


def _json(data: Any) -> Response:
    return Response(as_json(data), media_type="application/json")
