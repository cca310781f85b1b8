"""Port 15017: routing objects on their way into the API server. Errors are refused, warnings told to who writes them.

    POST /validate     an AdmissionReview v1 of an object of networking.istio.io or gateway.networking.k8s.io

The checks are those that the control plane makes when it reads the object, and `pymesh analyze`: what slips by here,
for the webhook fails open, is left out there. Nothing is written and nothing remembered, so that a dry run is like any
other. `Reviewer.answer` is the whole of it, without a socket.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from common.admission import Bodies, HTTPError, check_headers, encode, encode_refused, request_of
from common.errors import ReviewError
from mesh.model.gatewayapi import GROUP as GATEWAY_API
from mesh.model.kinds import ISTIO, TELEMETRY, Kind, kind_of
from mesh.model.problem import Problem
from mesh.model.reading import DOMAIN
from mesh.serve.follow import Tables
from mesh.serve.metrics import Metrics
from mesh.serve.trial import Trial
from mesh.world.events import Key

log = logging.getLogger(__name__)

GROUPS: Final = (ISTIO, TELEMETRY, GATEWAY_API)
# An API server passes on 4,096 characters of warnings, and cuts what is longer.
WARNINGS: Final = 20
WARNING_LENGTH: Final = 256
CAUSES: Final = 100
# The trial looks at the whole mesh. Who writes an object waits no longer for it than this.
TRIAL_SECONDS: Final = 2.0
# Trials are made one by one; so many may wait for their turn.
WAITING: Final = 8
# More bytes than this are read beside the loop.
LARGE: Final = 64 * 1024
# Younger than any that is there: an object that is being made has no time of creation everywhere.
NEWEST: Final = "9999-12-31T23:59:59Z"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, and what the log and the metrics say of it."""

    status: int
    body: bytes
    result: str
    ref: str = ""
    cause: str = ""


class Reviewer:
    """Answers reviews. `tables` gives all objects as they are now, or None while not all kinds are listed."""

    def __init__(self, tables: Callable[[], Tables | None], domain: str = DOMAIN) -> None:
        self._tables, self._domain = tables, domain
        self._trial = Trial()
        self._thread = ThreadPoolExecutor(1, "trial")
        self._waiting = 0

    def close(self) -> None:
        """Ends its thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def answer(self, body: bytes) -> Answer:
        """The answer to the AdmissionReview in `body`. Never raises: the API server always gets a verdict."""
        uid = ""
        try:
            uid, request = request_of(body)
            return await self._review(uid, request, large=len(body) > LARGE)
        except ReviewError as error:
            if not uid:
                return Answer(400, str(error).encode(), "malformed", cause=str(error))
            return Answer(200, encode_refused(uid, 400, str(error)), "malformed", cause=str(error))
        except Exception:
            log.exception("review failed", extra={"fields": {"uid": uid}})
            message = f"pymesh failed on this object; its log has the cause, under uid {uid}"
            return Answer(200, _allowed(uid, [message]), "failed", cause=message)  # a fault of ours is not theirs

    async def _review(self, uid: str, request: Mapping[str, Any], *, large: bool) -> Answer:
        thing = request.get("object")
        if not isinstance(thing, dict):
            if request.get("operation") in ("DELETE", "CONNECT"):
                return Answer(200, _allowed(uid, ()), "passed")
            raise ReviewError("request.object is no object: limit the webhook's rules to CREATE and UPDATE", uid)
        kind = kind_of(thing)
        if kind is None or kind.group not in GROUPS or request.get("subResource"):
            return Answer(200, _allowed(uid, ()), "passed")
        thing = _dated(thing)
        # streams are answered meanwhile
        parsed = await asyncio.to_thread(kind.parse, thing, self._domain) if large else kind.parse(thing, self._domain)
        errors = [one for one in parsed.problems if one.severity == "error"]
        told = [one for one in parsed.problems if one.severity == "warning"]
        if errors and not _is_old(thing, request.get("oldObject")):
            first = _line(errors[0])
            return Answer(200, _refused(uid, kind, thing, errors), "refused", str(parsed.ref), first)
        told = [*errors, *told]
        if parsed.value is not None:
            told += await self._tried(kind, parsed.value)
        result = "warned" if told else "allowed"
        lines = [f"{one.ref}: {_line(one)}" if one.ref != parsed.ref else _line(one) for one in told]
        return Answer(200, _allowed(uid, lines), result, str(parsed.ref), lines[0] if lines else "")

    async def _tried(self, kind: Kind, value: Any) -> list[Problem]:
        """What only the whole shows; nothing while that is unknown, and where it would take too long."""
        tables = self._tables()
        if tables is None or self._waiting >= WAITING:
            return []
        ref = value.meta.ref

        def done(tried: asyncio.Future[list[Problem]]) -> None:
            self._waiting -= 1
            if not tried.cancelled():
                tried.exception()  # seen, where nobody waits for it any more

        self._waiting += 1
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(
            self._thread, self._trial.problems, tables, kind.key, Key(ref.namespace, ref.name), value
        )
        future.add_done_callback(done)
        try:
            return await asyncio.wait_for(asyncio.shield(future), TRIAL_SECONDS)
        except TimeoutError:
            log.warning("no time for what all objects together show", extra={"fields": {"object": str(ref)}})
            return []


class Endpoint:
    """The ASGI application behind /validate: bytes in, bytes out, a log line and a count."""

    def __init__(self, reviewer: Reviewer, metrics: Metrics) -> None:
        self._reviewer, self._metrics = reviewer, metrics
        self._bodies = Bodies()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = time.perf_counter()
        try:
            check_headers(scope)
            answer = await self._reviewer.answer(await self._bodies.read(receive))
        except HTTPError as error:
            answer = Answer(error.status, error.message.encode(), "malformed", cause=error.message)
        content_type = b"application/json" if answer.status == 200 else b"text/plain; charset=utf-8"
        headers = [(b"content-type", content_type), (b"content-length", str(len(answer.body)).encode())]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})
        seconds = time.perf_counter() - started
        self._metrics.reviews.labels(answer.result).inc()
        self._metrics.review_seconds.observe(seconds)
        fields = {
            "object": answer.ref,
            "ms": round(seconds * 1000, 3),
            **({"cause": answer.cause} if answer.cause else {}),
        }
        quiet = answer.result in ("allowed", "passed")
        log.log(logging.DEBUG if quiet else logging.INFO, "review %s", answer.result, extra={"fields": fields})


def application(reviewer: Reviewer, metrics: Metrics) -> ASGIApp:
    """The application."""
    return Starlette(routes=[Route("/validate", Endpoint(reviewer, metrics), methods=["POST"])])


def _dated(thing: dict[str, Any]) -> dict[str, Any]:
    metadata = thing.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("creationTimestamp"):
        return thing
    return {**thing, "metadata": {**metadata, "creationTimestamp": NEWEST}}


def _is_old(thing: Mapping[str, Any], old: Any) -> bool:
    """Whether it says no more than what is there: labels change, a finalizer goes, and its faults are not new."""
    if not isinstance(old, dict):
        return False
    return thing.get("spec") == old.get("spec")


def _line(problem: Problem) -> str:
    return f"{problem.path}: {problem.message}" if problem.path else problem.message


def _allowed(uid: str, warnings: Sequence[str]) -> bytes:
    response: dict[str, Any] = {"uid": uid, "allowed": True}
    if len(warnings) > WARNINGS:
        more = len(warnings) - WARNINGS + 1
        warnings = [*warnings[: WARNINGS - 1], f"and {more} more; pymesh analyze tells them all"]
    if warnings:
        response["warnings"] = [
            one if len(one) <= WARNING_LENGTH else f"{one[: WARNING_LENGTH - 1]}…" for one in warnings
        ]
    return encode(response)


def _refused(uid: str, kind: Kind, thing: Mapping[str, Any], errors: Sequence[Problem]) -> bytes:
    """A meta.v1.Status as the API server makes it of its own checks: all faults, each a cause with its field."""
    causes = [{"reason": "FieldValueInvalid", "field": one.path, "message": one.message} for one in errors[:CAUSES]]
    lines = [_line(one) for one in errors[:WARNINGS]]
    if len(errors) > WARNINGS:
        lines.append(f"and {len(errors) - WARNINGS} more")
    message = lines[0] if len(lines) == 1 else f"{len(errors)} errors: [{'; '.join(lines)}]"
    name = str(thing["metadata"].get("name") or "") if isinstance(thing.get("metadata"), Mapping) else ""
    details = {"group": kind.group, "kind": kind.name, "name": name, "causes": causes}
    return encode_refused(uid, 422, message, reason="Invalid", details=details)
