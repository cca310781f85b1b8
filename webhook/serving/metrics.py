"""What pyinject counts: in each worker, added up and served by the supervisor on :9090/metrics.

Workers count into memory-mapped files in a directory that the supervisor names in PROMETHEUS_MULTIPROC_DIR
(prometheus-client's multiprocess mode): no lock, no system call, and a worker that dies takes no count with it.
"""

from __future__ import annotations

import threading
from pathlib import Path
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.multiprocess import mark_process_dead

from common import metrics
from webhook import __version__

DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

# A pod takes some 0.2 ms; an API server gives up after its timeoutSeconds (10 by default, 30 at most).
_SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class ReviewMetrics:
    """What a worker counts: one counter for every review, whatever came of it, and its time."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self._reviews = metrics.LabelledCounter(
            "pyinject_reviews",
            "Admission reviews by result (injected, skipped, refused, malformed, failed) and reason",
            ("result", "reason"),
            registry,
        )
        self._seconds = Histogram(
            "pyinject_review_seconds",
            "Time from the request's last byte to the answer",
            buckets=_SECONDS,
            registry=registry,
        )

    def count(self, result: str, reason: str, seconds: float) -> None:
        """Count one review."""
        self._reviews.count(result, reason)
        self._seconds.observe(seconds)


class ConnectionMetrics:
    """What a worker tells of its connections, and of the certificate that it serves them with."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self._open = Gauge("pyinject_connections", "Open connections", registry=registry, multiprocess_mode="livesum")
        self._busy = Gauge(
            "pyinject_requests_in_flight",
            "Connections whose request is being read or answered",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._closed = metrics.LabelledCounter(
            "pyinject_connections_refused",
            "Connections closed for a bound (full, idle, malformed, header-too-large, header-late, answer-late)",
            ("reason",),
            registry,
        )
        self._certificate_expiry = Gauge(
            "pyinject_certificate_expiry_timestamp_seconds",
            "When the serving certificate ends (Unix time): the earliest, where workers serve with several",
            registry=registry,
            multiprocess_mode="livemin",
        )

    def count(self, connections: int, busy: int) -> None:
        """Tell how many connections there are, and how many of them are busy."""
        self._open.set(connections)
        self._busy.set(busy)

    def closed(self, why: str) -> None:
        """Count a connection that was closed for a bound."""
        self._closed.count(why)

    def certificate_expires(self, timestamp: float) -> None:
        """Tell when the certificate ends that new connections get."""
        self._certificate_expiry.set(timestamp)


class SupervisorMetrics:
    """What the supervisor knows: reloads and its workers; and the HTTP server for all of it."""

    def __init__(self) -> None:
        self.registry = metrics.registry("pyinject", __version__)
        self._reloads = Counter(
            "pyinject_reloads",
            "Updates of settings and certificates, by what they changed and result (applied, refused)",
            ["what", "result"],
            registry=self.registry,
        )
        self._last_reload = Gauge(
            "pyinject_last_reload_successful",
            "Whether the last update was put in force (1) or refused (0), by what it changed",
            ["what"],
            registry=self.registry,
        )
        self._worker_restarts = Counter(
            "pyinject_worker_restarts",
            "Workers that ended by themselves and were started again",
            registry=self.registry,
        )

    def reloaded(self, what: str, *, applied: bool) -> None:
        """Count an update of `what` (settings, certificate, cluster) that was put in force or refused."""
        self._reloads.labels(what, "applied" if applied else "refused").inc()
        self._last_reload.labels(what).set(applied)

    def worker_restarted(self) -> None:
        """Count a worker that ended unasked."""
        self._worker_restarts.inc()

    @staticmethod
    def worker_ended(pid: int, workers_directory: Path) -> None:
        """Forget what a worker had open; what it has counted stays."""
        mark_process_dead(pid, str(workers_directory))  # type: ignore[no-untyped-call]

    def serve(self, host: str, port: int, workers_directory: Path) -> tuple[WSGIServer, threading.Thread]:
        """Serve the supervisor's and the workers' metrics at http://host:port/metrics, from a thread."""
        return metrics.serve(self.registry, host, port, workers_directory)
