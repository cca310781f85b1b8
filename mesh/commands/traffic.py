"""Who called whom, asked of Prometheus: a fixed list of queries over Istio's standard metrics, and nothing else.

The command asks, with the rights of who runs it, and not the control plane: that needs no way to Prometheus then, no
credentials for it, and cannot be held up by it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import urlencode, urlsplit

from common.errors import NotReadyError, UsageError

SECONDS: Final = 10.0
MOST_BYTES: Final = 32 << 20
MOST_EDGES: Final = 5000

LABELS: Final = (
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "destination_workload",
    "destination_workload_namespace",
    "destination_service_name",
    "destination_service_namespace",
)
_BY: Final = ", ".join(LABELS)
_HTTP: Final = "sum by (" + _BY + ", request_protocol) (rate(istio_requests_total{%s}[%ds]))"
_TCP: Final = "sum by (" + _BY + ") (rate(istio_tcp_%s_total[%ds]))"
_TIME: Final = (
    "histogram_quantile(%s, sum by (le, " + _BY + ") (rate(istio_request_duration_milliseconds_bucket[%ds])))"
)
# gRPC's statuses that are the server's fault: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE,
# DATA_LOSS.
_FAULTS: Final = "2|4|12|13|14|15"


def queries(seconds: int) -> Mapping[str, str]:
    """The queries, by what each tells."""
    return {
        "rate": _HTTP % ("", seconds),
        "failed": _HTTP % ('response_code=~"5..|0"', seconds),
        "refused": _HTTP % ('response_code=~"4.."', seconds),
        "faults": _HTTP % (f'response_code="200", grpc_response_status=~"{_FAULTS}"', seconds),
        "p50": _TIME % ("0.5", seconds),
        "p95": _TIME % ("0.95", seconds),
        "p99": _TIME % ("0.99", seconds),
        "sent": _TCP % ("sent_bytes", seconds),
        "received": _TCP % ("received_bytes", seconds),
        "opened": _TCP % ("connections_opened", seconds),
    }


Sample = tuple[Mapping[str, str], float]
T = TypeVar("T")


def together(*asks: Callable[[], T]) -> list[T | Exception]:
    """What each gives or raises, side by side, in threads that nobody waits for at the end of the process."""
    found: list[T | Exception] = [NotReadyError("not asked")] * len(asks)

    def run(index: int, ask: Callable[[], T]) -> None:
        try:
            found[index] = ask()
        except Exception as error:
            found[index] = error

    threads = [threading.Thread(target=run, args=one, daemon=True) for one in enumerate(asks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


class Prometheus:
    """One Prometheus; `where` is how people call it, `connect` makes a connection to it, `path` stands before /api."""

    def __init__(self, where: str, connect: Callable[[], http.client.HTTPConnection], path: str = "") -> None:
        self.where, self._connect, self._path = where, connect, path.rstrip("/")

    @classmethod
    def at(cls, url: str) -> Prometheus:
        """The one at a URL. Raises UsageError."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise UsageError(f"--prometheus {url}: {error}") from None
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.username:
            raise UsageError(f"--prometheus {url}: no URL such as http://127.0.0.1:9090, or none for no graph of calls")

        def connect() -> http.client.HTTPConnection:
            if parts.scheme == "https":
                return http.client.HTTPSConnection(host, port, timeout=SECONDS, context=ssl.create_default_context())
            return http.client.HTTPConnection(host, port, timeout=SECONDS)

        return cls(url, connect, parts.path)

    def traffic(self, seconds: int) -> dict[str, Any]:
        """The edges of the last so many seconds, as the dashboard's API has them. Raises NotReadyError."""
        asked = queries(seconds)
        answers = together(*(partial(self.query, one) for one in asked.values()))
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        made = edges({name: answer for name, answer in zip(asked, answers, strict=True) if isinstance(answer, list)})
        why = "" if made else self._hint()
        return {
            "seconds": seconds,
            "prometheus": self.where,
            "why": why,
            "edges": made[:MOST_EDGES],
            "left_off": max(0, len(made) - MOST_EDGES),
        }

    def query(self, expression: str) -> list[Sample]:
        """What an expression gives now. Raises NotReadyError."""
        path = f"{self._path}/api/v1/query?{urlencode({'query': expression, 'timeout': f'{SECONDS:.0f}s'})}"
        body = self._get(path)
        try:
            data = json.loads(body)["data"]
            if data["resultType"] != "vector":
                raise ValueError(f"a {data['resultType']}, not a vector")
            return [
                ({str(key): str(value) for key, value in one["metric"].items()}, float(one["value"][1]))
                for one in data["result"]
            ]
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise NotReadyError(f"Prometheus {self.where} answers what is none of its answers: {error}") from None

    def _get(self, path: str) -> bytes:
        """The body of a GET; no longer than SECONDS in all, however slowly it comes."""
        late = threading.Event()
        try:
            connection = self._connect()
            if connection.sock is None:
                connection.connect()
        except OSError as error:
            raise NotReadyError(f"Prometheus {self.where} does not answer: {error}") from None
        # kept here: the connection forgets its own once it read the head of an answer that ends with it
        reading = connection.sock

        def stop() -> None:
            late.set()
            with contextlib.suppress(OSError):
                reading.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(SECONDS, stop)
        timer.daemon = True
        timer.start()
        began = time.monotonic()
        try:
            connection.request("GET", path, headers={"Accept": "application/json"})
            answer = connection.getresponse()
            body = answer.read(MOST_BYTES + 1)
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            slow = late.is_set() or time.monotonic() - began >= SECONDS
            why = f"nothing within {SECONDS:.0f} s" if slow else str(error) or type(error).__name__
            raise NotReadyError(f"Prometheus {self.where} does not answer: {why}") from None
        finally:
            timer.cancel()
            connection.close()
        if late.is_set():
            raise NotReadyError(f"Prometheus {self.where} does not answer: nothing within {SECONDS:.0f} s")
        if len(body) > MOST_BYTES:
            raise NotReadyError(f"Prometheus {self.where} answers with more than {MOST_BYTES >> 20} MiB")
        if answer.status != 200:
            said = body[:300].decode(errors="replace").strip()
            raise NotReadyError(f"Prometheus {self.where} answers with {answer.status}: {said}")
        return body

    def _hint(self) -> str:
        """Why there may be nothing to see."""
        if self.query("count(istio_requests_total) or count(istio_tcp_connections_opened_total)"):
            return ""
        if self.query("count(envoy_istio_requests_total)"):
            return "it has envoy_istio_requests_total: the scrape has to take envoy_ away (docs/telemetry.md)"
        return "it has no istio_requests_total: is the mesh scraped, and a metrics provider named (docs/telemetry.md)?"


def edges(found: Mapping[str, Iterable[Sample]]) -> list[dict[str, Any]]:
    """One for each caller, Service and workload that was called, the busiest first.

    The client's side is what counts. Where a caller has no sidecar, the server's side is all there is.
    """
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for name, samples in found.items():
        for labels, value in samples:
            key = tuple(labels.get(label, "") for label in LABELS)
            row = rows.setdefault(key, dict.fromkeys(found) | {"grpc": False})
            row["grpc"] = row["grpc"] or labels.get("request_protocol") == "grpc"
            if math.isfinite(value):
                # one of HTTP and one of gRPC: their rates add up
                row[name] = value if name.startswith("p") or row[name] is None else row[name] + value
    told = {key[1:3] + key[5:7] for key in rows if key[0] == "source"}
    made = []
    for key, row in rows.items():
        if key[0] != "source" and key[1:3] + key[5:7] in told:
            continue
        is_tcp = row["rate"] is None
        if not (row["rate"] or row["opened"] or row["sent"] or row["received"]):
            continue
        made.append(
            {
                "source": {"workload": key[1] or "unknown", "namespace": key[2]},
                "workload": {"name": key[3] or "unknown", "namespace": key[4]},
                "service": {"name": key[5] or "unknown", "namespace": key[6]},
                "protocol": "tcp" if is_tcp else "grpc" if row["grpc"] else "http",
                "rate": _rounded(row["rate"] or 0),
                "errors": _rounded((row["failed"] or 0) + (row["faults"] or 0)),
                "refused": _rounded(row["refused"] or 0),
                **{name: None if row[name] is None else _rounded(row[name]) for name in ("p50", "p95", "p99")},
                **{name: _rounded(row[name] or 0) for name in ("sent", "received", "opened")},
                "reporter": key[0],
            }
        )
    return sorted(made, key=lambda one: (-one["rate"], -one["sent"], str(one)))


def _rounded(value: float) -> float:
    """Four digits: what follows is noise, and would make every answer another."""
    return float(f"{value:.4g}")
