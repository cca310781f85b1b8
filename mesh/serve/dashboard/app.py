"""The page's files and its API, over whatever can answer: the control plane itself, or a command that asks several."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from importlib import resources
from typing import Any, Final, NamedTuple, Protocol

import orjson
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import PlainTextResponse

from mesh.serve.dashboard.guard import HEADERS, local

# Less than this is sent as it is.
SMALL_BYTES: Final = 4096
MOST_SECONDS: Final = 3600
TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}


class Source(Protocol):
    """Answers as JSON has them. Raises HTTPException where there is none, with the reason."""

    async def proxies(self) -> Any:
        """The control planes, and the proxies that are connected to each, with how far they are."""

    async def services(self) -> Any:
        """All hosts at a glance, and where requests come in."""

    async def service(self, host: str) -> Any:
        """One host with its ports, rules, subsets and endpoints; None if nobody has it."""

    async def problems(self) -> Any:
        """What is wrong in objects."""

    async def traffic(self, seconds: int) -> Any:
        """Who called whom in the last so many seconds."""


class File(NamedTuple):
    """A file of the page, as it is sent."""

    body: bytes
    media_type: str
    tag: str


def page_files() -> dict[str, File]:
    """The page's files by name; `index.html` is the page."""
    found = {}
    for one in resources.files("mesh.serve.dashboard").joinpath("static").iterdir():
        ending = f".{one.name.rpartition('.')[2]}"
        if one.is_file() and ending in TYPES:
            body = one.read_bytes()
            found[one.name] = File(body, f"{TYPES[ending]}; charset=utf-8", tag_of(body))
    return found


def tag_of(body: bytes) -> str:
    """The ETag of what is sent."""
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def application(source: Source) -> FastAPI:
    """The application: the page at /, the API at /api/. GET alone, for this machine alone."""
    app = FastAPI(title="pymesh dashboard", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    router = APIRouter(dependencies=[Depends(local)])
    files = page_files()

    @router.get("/api/proxies")
    async def proxies(request: Request) -> Response:
        return await _said(request, await source.proxies())

    @router.get("/api/services")
    async def services(request: Request) -> Response:
        return await _said(request, await source.services())

    @router.get("/api/service")
    async def service(request: Request, host: str) -> Response:
        found = await source.service(host)
        if found is None:
            raise HTTPException(404, f"no Service and no ServiceEntry has the host {host[:300]}")
        return await _said(request, found)

    @router.get("/api/problems")
    async def problems(request: Request) -> Response:
        return await _said(request, await source.problems())

    @router.get("/api/traffic")
    async def traffic(request: Request, seconds: int = 60) -> Response:
        if not 10 <= seconds <= MOST_SECONDS:
            raise HTTPException(400, f"seconds={seconds}: 10 to {MOST_SECONDS} are allowed")
        return await _said(request, await source.traffic(seconds))

    @router.get("/{name:path}")
    async def page(request: Request, name: str) -> Response:
        file = files.get(name or "index.html")
        if file is None:
            raise HTTPException(404, f"the dashboard has no {name[:200]}")
        return _answer(request, file.body, file.media_type, file.tag)

    app.include_router(router)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        return PlainTextResponse(f"{error.detail}\n", error.status_code, {**HEADERS, "Cache-Control": "no-store"})

    return app


async def _said(request: Request, data: Any) -> Response:
    # what is large takes a while, and streams are answered by the same loop
    packed = "gzip" in request.headers.get("accept-encoding", "")
    body, small = await asyncio.to_thread(_packed, data, packed)
    return _answer(request, body, "application/json", tag_of(body), small)


def _packed(data: Any, packed: bool) -> tuple[bytes, bytes]:
    body = as_json(data)
    return body, gzip.compress(body, compresslevel=1, mtime=0) if packed and len(body) >= SMALL_BYTES else b""


def as_json(data: Any) -> bytes:
    """JSON of anything that was read as JSON or YAML: half of a surrogate pair, too, which is no text in UTF-8."""
    try:
        return orjson.dumps(data)
    except TypeError:
        return json.dumps(data).encode()


def _answer(request: Request, body: bytes, media_type: str, tag: str, packed: bytes = b"") -> Response:
    headers = {**HEADERS, "Cache-Control": "no-cache, private", "ETag": tag, "Vary": "Accept-Encoding"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if packed:
        headers["Content-Encoding"] = "gzip"
    return Response(packed or body, media_type=media_type, headers=headers)
