"""The webhook's HTTP side: routes, what a request is answered with, and what is logged and counted of it.

    POST /inject                        an AdmissionReview v1 of a pod
    POST /inject/cluster/C/net/N        the same; the proxy learns the cluster's and the network's names (Istio's form)
    POST /inject/:ENV:cluster=C         likewise (Istio's older form)
    GET  /healthz                       the process answers
    GET  /readyz                        a TLS call to this very server goes through

`Reviewer.answer` is the whole of an admission, without a socket; the ASGI endpoint around it moves bytes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from common.admission import Bodies, HTTPError, check_headers, encode_refused
from common.errors import NotReadyError, ReviewError
from webhook.errors import InjectionError
from webhook.limits import PATH_VARIABLES, Limits
from webhook.pod.inject import NO_PROXY_CONFIGS, Request, inject
from webhook.serving import events, review
from webhook.serving.metrics import ReviewMetrics
from webhook.serving.timed import bounded
from webhook.settings import Settings
from webhook.settings.proxyconfigs import ProxyConfigs

log = logging.getLogger("pyinject")


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a pod's sidecar depends on beside the pod and the settings, as last heard of the API server."""

    native_sidecars: bool = False
    other_nodes: frozenset[str] = frozenset()  # names of nodes for which it is the other way round
    namespaces: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # name → metadata
    proxy_configs: ProxyConfigs = NO_PROXY_CONFIGS

    def native_for(self, pod: Mapping[str, Any]) -> bool:
        """Whether the pod's sidecar can be a native one: on the node that it names, else on whichever it gets."""
        named = (pod.get("spec") or {}).get("nodeName")
        return self.native_sidecars != (isinstance(named, str) and named in self.other_nodes)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, and what the log and the metrics say of it."""

    status: int
    body: bytes
    result: str
    reason: str
    message: str
    pod: str = ""


class Reviewer:
    """Answers admission requests with the settings in force. `settings` and `cluster` may be replaced at any time."""

    def __init__(self, settings: Settings, cluster: Cluster, seconds: float = 0.0) -> None:
        """`seconds` of processor time are what a review may take; 0: as many as it likes. For the main thread alone."""
        self.settings = settings
        self.cluster = cluster
        self._seconds = seconds
        self.tell: Callable[[bytes], None] | None = None  # of pods that are refused; None: nobody

    def answer(self, body: bytes, proxy_env: Mapping[str, str]) -> Answer:
        """The answer to the AdmissionReview in `body`. Never raises: the API server always gets a verdict."""
        uid, pod = "", ""
        try:
            asked = review.decode(body)
            uid = asked.uid
            pod = _pod_name(asked)
            request = Request(
                pod=asked.pod,
                namespace=asked.namespace,
                namespace_metadata=self.cluster.namespaces.get(asked.namespace),
                native_sidecars=self.cluster.native_for(asked.pod),
                proxy_env=proxy_env,
                proxy_configs=self.cluster.proxy_configs,
            )
            with bounded(self._seconds):
                result = inject(self.settings, request)
            decision = result.decision
            encoded = review.encode_allowed(uid, decision.reason, decision.message, result.patch, result.warnings)
        except ReviewError as error:
            if not error.uid:
                return Answer(400, str(error).encode(), "malformed", "not-a-review", str(error))
            return Answer(200, encode_refused(error.uid, 400, str(error)), "malformed", "no-pod", str(error))
        except InjectionError as error:
            if self.tell and not asked.dry_run and (told := events.line(asked.pod, asked.namespace, str(error))):
                self.tell(told)
            return Answer(200, encode_refused(uid, 400, str(error)), "refused", "bad-annotation", str(error), pod)
        except Exception:
            log.exception("injection failed", extra={"fields": {"pod": pod, "uid": uid}})
            message = f"pyinject failed on this pod; its log has the cause, under uid {uid}"
            return Answer(200, encode_refused(uid, 500, message), "failed", "internal-error", message, pod)
        return Answer(
            200, encoded, "injected" if decision.inject else "skipped", decision.reason, decision.message, pod
        )


class InjectEndpoint:
    """The ASGI application behind /inject: bytes in, bytes out, a log line and a count."""

    def __init__(self, reviewer: Reviewer, metrics: ReviewMetrics, limits: Limits) -> None:
        self._reviewer = reviewer
        self._metrics = metrics
        self._limits = limits
        self._bodies = Bodies(limits.body_bytes, limits.bodies_bytes, limits.body_seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            check_headers(scope, self._limits.body_bytes)
            environment = _proxy_env(scope["path_params"].get("environment", ""))
            body = await self._bodies.read(receive)
        except HTTPError as error:
            answer = Answer(error.status, error.message.encode(), "malformed", error.reason, error.message)
            started = time.perf_counter()
        else:
            started = time.perf_counter()
            answer = self._reviewer.answer(body, environment)
        seconds = time.perf_counter() - started
        content_type = b"application/json" if answer.status == 200 else b"text/plain; charset=utf-8"
        headers = [(b"content-type", content_type), (b"content-length", str(len(answer.body)).encode())]
        if answer.result == "malformed" and answer.status != 200:
            headers.append((b"connection", b"close"))  # what is left of its body is not read
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})
        self._metrics.count(answer.result, answer.reason, seconds)
        level = logging.INFO if answer.result in ("injected", "skipped") else logging.WARNING
        if log.isEnabledFor(level):
            fields = {"pod": answer.pod, "reason": answer.reason, "ms": round(seconds * 1000, 3)}
            if level > logging.INFO or answer.result == "skipped":
                fields["cause"] = answer.message
            log.log(level, answer.result, extra={"fields": fields})


def create_app(endpoint: InjectEndpoint, ready: Callable[[], Awaitable[None]]) -> FastAPI:
    """The application. `ready` raises NotReadyError while this server should get no requests."""
    app = FastAPI(title="pyinject", openapi_url=None)
    # For the review FastAPI routes and no more: a model of it would cost more than the injection, and drop what it does
    # not know of a pod, which has to come back whole.
    app.router.routes += [
        Route("/inject", endpoint, methods=["POST"]),
        Route("/inject/{environment:path}", endpoint, methods=["POST"]),
    ]

    @app.get("/healthz")
    async def healthz() -> PlainTextResponse:
        return PlainTextResponse("ok")

    @app.get("/readyz")
    async def readyz() -> PlainTextResponse:
        try:
            await ready()
        except NotReadyError as error:
            log.warning("not ready", extra={"fields": {"cause": str(error)}})
            return PlainTextResponse(str(error), status_code=503)
        return PlainTextResponse("ok")

    return app


def _pod_name(asked: review.Review) -> str:
    metadata = asked.pod.get("metadata", {})
    return f"{asked.namespace}/{metadata.get('name') or metadata.get('generateName', '')}"


# Istio's abbreviations in the path of the webhook's URL; any other key is the variable's own name.
_PATH_VARIABLES = {"cluster": "ISTIO_META_CLUSTER_ID", "net": "ISTIO_META_NETWORK"}


def _proxy_env(path: str) -> Mapping[str, str]:
    """Environment of the proxy from ``cluster/C/net/N``, where ``--slash--`` stands for a slash in a value, or from
    Istio's older form, ``:ENV:cluster=C:ENV:net=N``. Raises HTTPError for more variables than PATH_VARIABLES.
    """
    if not path:
        return {}
    if path.startswith(":ENV:"):
        given = [pair.partition("=") for pair in path.rstrip("/").split(":ENV:")]
        pairs = [(name, value) for name, equals, value in given if name and equals]
    else:
        parts = path.strip("/").split("/")
        pairs = [(key, value.replace("--slash--", "/")) for key, value in zip(parts[::2], parts[1::2], strict=False)]
    if len(pairs) > PATH_VARIABLES:
        raise HTTPError(400, "path", f"the path sets {len(pairs)} variables; {PATH_VARIABLES} are allowed")
    return {_PATH_VARIABLES.get(name, name.upper()): value for name, value in pairs}
