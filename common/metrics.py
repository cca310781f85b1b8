"""Prometheus metrics of a program: its registry, and the port where they are read.

registry = metrics.registry("pyinject", "1.0")     with pyinject_build_info{version="1.0"} 1
server, thread = metrics.serve(registry, "::", 9090)
"""

from __future__ import annotations

import threading
from pathlib import Path
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector


def registry(program: str, version: str) -> CollectorRegistry:
    """An empty registry, but for `<program>_build_info`, always 1, which says the version."""
    made = CollectorRegistry()
    Gauge(f"{program}_build_info", "Always 1", ["version"], registry=made).labels(version).set(1)
    return made


def serve(
    registry: CollectorRegistry, host: str, port: int, processes: Path | None = None
) -> tuple[WSGIServer, threading.Thread]:
    """Serve metrics at http://host:port/metrics, from a thread; with `processes` also those of other processes, which
    count into files of this directory (prometheus-client's multiprocess mode).
    """
    if processes is not None:
        MultiProcessCollector(registry, path=str(processes))  # type: ignore[no-untyped-call]
    return start_http_server(port, host, registry)


class LabelledCounter:
    """A counter whose labels' values are few: each is looked up once, for prometheus-client does it under a lock."""

    def __init__(self, name: str, help_text: str, labels: tuple[str, ...], registry: CollectorRegistry) -> None:
        self._counter = Counter(name, help_text, labels, registry=registry)
        self._known: dict[tuple[str, ...], Counter] = {}

    def count(self, *values: str) -> None:
        """Add one to the counter of these labels' values, in the order of the labels."""
        counter = self._known.get(values)
        if counter is None:
            counter = self._known[values] = self._counter.labels(*values)
        counter.inc()
