"""What the dashboard shows, asked of all replicas of the control plane and of Prometheus."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import quote, urlencode

from fastapi import HTTPException

from common.errors import NotReadyError, PysidecarError
from mesh.commands import admin, control_plane
from mesh.commands.traffic import SECONDS, Prometheus, together

API: Final = "/dashboard/api"
# What several tabs ask at once is asked once, and kept for so long.
KEPT_SECONDS: Final = 1.0
TRAFFIC_SECONDS: Final = 5.0
FOUND_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 20.0
MOST_AT_ONCE: Final = 64
# Which pods are Prometheus's: by the labels of its charts and its operator, and of Istio's samples.
PROMETHEUS_LABELS: Final = ("app.kubernetes.io/name=prometheus", "app=prometheus")
PROMETHEUS_PORT: Final = 9090


class Several:
    """A source over several. Each answer is asked for in a thread, and shared by all who ask meanwhile."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Raises UsageError, KubernetesError."""
        self._find = control_plane.finder(args)
        self._found: list[tuple[str, admin.Get]] = []
        self._found_at = -FOUND_SECONDS
        self._kept: dict[str, tuple[float, asyncio.Task[Any]]] = {}
        self._prometheus, self._why = _prometheus(args)

    @property
    def calls(self) -> str:
        """Where the graph's calls are from, for people."""
        return f"from Prometheus {self._prometheus.where}" if self._prometheus else f"none: {self._why}"

    def probe(self) -> None:
        """Whether there is a control plane that has a dashboard. Raises NotReadyError, KubernetesError."""
        errors: list[str] = []
        for whom, get in self._replicas():
            try:
                get(f"{API}/proxies")
                return
            except admin.RefusedError as error:
                old = "is older than this command and has no dashboard: upgrade it"
                errors.append(f"{whom} {old}" if error.status == 404 else str(error))
            except NotReadyError as error:
                errors.append(str(error))
        raise NotReadyError("; ".join(errors))

    async def proxies(self) -> Any:
        """Those of all replicas; a replica that does not answer is told with the reason."""
        return await self._shared("proxies", KEPT_SECONDS, self._proxies)

    async def services(self) -> Any:
        """Those of the first replica that answers: all of them see the same objects."""
        return await self._shared("services", KEPT_SECONDS, lambda: self._first(f"{API}/services"))

    async def service(self, host: str) -> Any:
        """One host."""
        path = f"{API}/service?{urlencode({'host': host}, quote_via=quote)}"
        return await self._shared(path, KEPT_SECONDS, lambda: self._first(path))

    async def problems(self) -> Any:
        """Those of all replicas, each once: some are told only where the proxy is that lacks something."""
        return await self._shared("problems", KEPT_SECONDS, self._problems)

    async def traffic(self, seconds: int) -> Any:
        """Who called whom, or why nobody knows."""
        prometheus = self._prometheus
        nothing = {"seconds": seconds, "prometheus": "", "why": self._why, "edges": [], "left_off": 0}
        if prometheus is None:
            return nothing

        def ask() -> Any:
            try:
                return prometheus.traffic(seconds)
            except PysidecarError as error:
                return {**nothing, "prometheus": prometheus.where, "why": str(error)}

        return await self._shared(f"traffic {seconds}", TRAFFIC_SECONDS, ask, 4 * SECONDS)

    # --- asking

    async def _shared(
        self, key: str, seconds: float, ask: Callable[[], Any], most_seconds: float = ANSWER_SECONDS
    ) -> Any:
        now = time.monotonic()
        self._kept = {name: kept for name, kept in self._kept.items() if not kept[1].done() or kept[0] > now}
        if key not in self._kept:
            if len(self._kept) >= MOST_AT_ONCE:
                raise HTTPException(503, f"more than {MOST_AT_ONCE} questions at once")
            future = _in_thread(ask)

            async def answer() -> Any:
                found = await future
                self._kept[key] = (time.monotonic() + seconds, task)
                return found

            task = asyncio.create_task(answer())
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, where nobody waits for it
            self._kept[key] = (now, task)
        try:
            return await asyncio.wait_for(asyncio.shield(self._kept[key][1]), most_seconds)
        except TimeoutError:
            raise HTTPException(504, f"no answer within {most_seconds:.0f} s") from None
        except PysidecarError as error:
            raise HTTPException(502, str(error)) from None

    def _replicas(self) -> list[tuple[str, admin.Get]]:
        now = time.monotonic()
        if now - self._found_at >= FOUND_SECONDS or not self._found:
            self._found, self._found_at = self._find(), now
        return self._found

    def _again(self) -> None:
        """Who did not answer may be gone, and another in its place."""
        self._found_at = -FOUND_SECONDS

    def _answers(self, path: str) -> list[tuple[str, Any]]:
        """What each replica answers, in its place the error."""
        replicas = self._replicas()
        answers = together(*(partial(get, path) for _, get in replicas))
        errors = [f"{error}" for error in answers if isinstance(error, Exception)]
        if errors:
            self._again()
        if len(errors) == len(answers):
            raise NotReadyError("; ".join(errors))
        return [(whom, answer) for (whom, _), answer in zip(replicas, answers, strict=True)]

    def _first(self, path: str) -> Any:
        errors = []
        for _, get in self._replicas():
            try:
                return get(path)
            except admin.RefusedError as error:
                if error.status == 404:
                    return None
                errors.append(str(error))
            except PysidecarError as error:
                errors.append(str(error))
            self._again()
        raise NotReadyError("; ".join(errors))

    def _proxies(self) -> Any:
        planes: list[Any] = []
        proxies: list[Any] = []
        for whom, answer in self._answers(f"{API}/proxies"):
            if isinstance(answer, Exception):
                planes.append({"name": whom, "version": "", "ready": False, "waits_for": [], "error": str(answer)})
            else:
                planes += answer["control_planes"]
                proxies += answer["proxies"]
        proxies.sort(key=lambda one: (one["namespace"], one["pod"], one["connected"]))
        return {"control_planes": planes, "proxies": proxies}

    def _problems(self) -> Any:
        answers = [answer for _, answer in self._answers(f"{API}/problems") if not isinstance(answer, Exception)]
        return list({json.dumps(one, sort_keys=True): one for answer in answers for one in answer}.values())


def _in_thread(ask: Callable[[], Any]) -> asyncio.Future[Any]:
    """What it gives or raises. Nobody waits for the thread when the process ends."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def told() -> None:
        [found] = together(ask)

        def tell() -> None:
            if future.done():
                return
            if isinstance(found, Exception):
                future.set_exception(found)
            else:
                future.set_result(found)

        with contextlib.suppress(RuntimeError):  # the loop is closed: we end
            loop.call_soon_threadsafe(tell)

    threading.Thread(target=told, daemon=True).start()
    return future


def _prometheus(args: argparse.Namespace) -> tuple[Prometheus | None, str]:
    """Whom to ask about calls, else why nobody is asked. Raises UsageError."""
    if args.prometheus == "none":
        return None, "--prometheus none was given"
    if args.prometheus:
        return Prometheus.at(args.prometheus), ""
    if args.debug_address:
        return None, "no Prometheus is named; start with --prometheus URL"
    from common.kube import Kubernetes

    kubernetes = Kubernetes(args.kubeconfig, args.context)
    try:
        for selector in PROMETHEUS_LABELS:
            query = {"labelSelector": selector, "limit": "50"}
            with kubernetes.reading("/api/v1/pods", query, ANSWER_SECONDS) as answer:
                pods = json.loads(answer.read())["items"]
            for pod in pods:
                if control_plane.is_ready(pod):
                    return _in_pod(kubernetes, pod), ""
    except PysidecarError as error:
        return None, f"Prometheus cannot be looked for: {error}; name it with --prometheus URL"
    return None, "no Prometheus is in the cluster (by its pods' labels); name it with --prometheus URL"


def _in_pod(kubernetes: Any, pod: Mapping[str, Any]) -> Prometheus:
    import http.client

    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    ports = [one for container in pod["spec"]["containers"] for one in container.get("ports") or ()]
    named = [one["containerPort"] for one in ports if one.get("name") in ("web", "http-web", "http")]
    numbers = [one["containerPort"] for one in ports]
    port = PROMETHEUS_PORT if PROMETHEUS_PORT in numbers or not named else named[0]

    def connect() -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("localhost", timeout=SECONDS)
        connection.sock = kubernetes.forward(namespace, name, port)
        connection.sock.settimeout(SECONDS)
        return connection

    return Prometheus(f"pod {namespace}/{name}", connect)
