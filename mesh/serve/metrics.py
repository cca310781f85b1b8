"""What the control plane counts of itself, at /metrics of port 15014."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from common import metrics
from mesh import __version__

# From a change of an endpoint, some milliseconds, to a first synchronisation of many.
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
# An object says its time in whole seconds.
LAGS = (0.1, 0.5, 1, 2, 5, 10, 30, 60)

# Envoy's words of what it refuses, by what they begin or hold; the first that fits.
_CAUSES: Final = (
    ("unknown cluster", re.compile(r"unknown (weighted )?cluster|cluster .* not found", re.IGNORECASE)),
    ("duplicate", re.compile(r"duplicate|already exists|Only unique", re.IGNORECASE)),
    ("regex", re.compile(r"regex|RE2", re.IGNORECASE)),
    ("expression", re.compile(r"\bCEL\b|expression", re.IGNORECASE)),
    ("secret", re.compile(r"certificate|private key|secret", re.IGNORECASE)),
    ("address", re.compile(r"address|bind", re.IGNORECASE)),
    ("constraint", re.compile(r"constraint validation|validation failed", re.IGNORECASE)),
    ("extension", re.compile(r"extension|registered implementation|type URL|unknown field", re.IGNORECASE)),
)


def cause(words: str) -> str:
    """What Envoy's words are about, as one of a few; `other` for what is none of them."""
    return next((name for name, pattern in _CAUSES if pattern.search(words)), "other")


class Metrics:
    """All of them; each is one attribute."""

    def __init__(self) -> None:
        self.registry: CollectorRegistry = metrics.registry("pymesh", __version__)
        self.events = Counter("pymesh_events", "Objects that came or changed", ["kind"], registry=self.registry)
        self.lag = Histogram(
            "pymesh_event_lag_seconds",
            "From when an object was changed, by its own word, until the watch told it",
            ["kind"],
            buckets=LAGS,
            registry=self.registry,
        )
        self.builds = Counter("pymesh_builds", "Times that what proxies are to have was built", registry=self.registry)
        self.build_seconds = Histogram(
            "pymesh_build_duration_seconds", "How long a build took", buckets=SECONDS, registry=self.registry
        )
        self.failures = Counter(
            "pymesh_build_failures", "Builds that ended by a fault of pymesh's own", registry=self.registry
        )
        self.computed = Counter(
            "pymesh_queries_computed", "Derived values that were computed, and not found", registry=self.registry
        )
        self.kept = Gauge("pymesh_queries_kept", "Derived values that are kept", registry=self.registry)
        self.states = Counter(
            "pymesh_states",
            "What proxies are to have, by build: made, or shared with another proxy's",
            ["result"],
            registry=self.registry,
        )
        self.pushes = Counter(
            "pymesh_pushes", "Responses that proxies answered", ["type", "result"], registry=self.registry
        )
        self.converged = Histogram(
            "pymesh_convergence_seconds",
            "From a change until a proxy accepted what follows from it",
            ["type"],
            buckets=SECONDS,
            registry=self.registry,
        )
        # looked up by their labels once, for a change is answered by each proxy
        self.push, self.convergence = cache(self.pushes.labels), cache(self.converged.labels)
        self.rejects = Counter(
            "pymesh_rejected_resources", "Resources that Envoy refused", ["type", "cause"], registry=self.registry
        )
        self.proxies = Gauge("pymesh_proxies", "Proxies that are connected", ["kind", "state"], registry=self.registry)
        self.problems = Gauge(
            "pymesh_object_problems",
            "Faults of objects, as analyze tells them",
            ["code", "severity"],
            registry=self.registry,
        )
        self.reviews = Counter(
            "pymesh_reviews", "Objects that API servers asked about", ["result"], registry=self.registry
        )
        self.review_seconds = Histogram(
            "pymesh_review_duration_seconds", "How long a review took", buckets=SECONDS, registry=self.registry
        )
        self.ready = Gauge("pymesh_ready", "1 once all kinds are listed and built", registry=self.registry)
