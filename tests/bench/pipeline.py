"""The injection alone, without HTTP: in all, and by stage, with this project's own settings and with Istio's values."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from tests.bench import pods
from tests.bench.report import Section, Table
from webhook.pod import authored, overlay
from webhook.pod import inject as pipeline
from webhook.serving import review
from webhook.serving.server import Answer, Cluster, Reviewer
from webhook.settings import Settings
from webhook.template.template import Template

# Of the values in Istio's chart, those that a sidecar is made of.
ISTIO_VALUES: dict[str, Any] = {
    "global": {
        "hub": "docker.io/istio",
        "tag": "1.29.6",
        "istioNamespace": "istio-system",
        "caAddress": "",
        "proxy": {
            "image": "proxyv2",
            "clusterDomain": "cluster.local",
            "logLevel": "warning",
            "componentLogLevel": "misc:error",
            "includeIPRanges": "*",
            "excludeIPRanges": "",
            "includeInboundPorts": "*",
            "excludeInboundPorts": "",
            "includeOutboundPorts": "",
            "excludeOutboundPorts": "",
            "statusPort": 15020,
            "readinessInitialDelaySeconds": 0,
            "readinessPeriodSeconds": 15,
            "readinessFailureThreshold": 4,
            "startupProbe": {"enabled": True, "failureThreshold": 600},
            "resources": {
                "requests": {"cpu": "100m", "memory": "128Mi"},
                "limits": {"cpu": "2000m", "memory": "1024Mi"},
            },
        },
        "proxy_init": {"image": "proxyv2"},
        "logging": {"level": "default:info"},
        "pilotCertProvider": "istiod",
        "sds": {"token": {"aud": "istio-ca"}},
        "sts": {"servicePort": 0},
        "multiCluster": {"clusterName": "Kubernetes"},
    },
    "pilot": {"cni": {"enabled": False}},
    "revision": "",
    "sidecarInjectorWebhook": {"rewriteAppHTTPProbe": True},
}


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the pipeline: the functions whose time is its own. What one of them calls of another stage is not."""

    name: str
    functions: tuple[tuple[object, str], ...]


STAGES = (
    Stage("decode", ((review, "decode"),)),
    Stage("decide", ((pipeline, "check_pod"), (pipeline, "decide"))),
    Stage("overlay", ((Template, "render"),)),
    Stage("merge", ((overlay, "strategic"), (authored, "strategic"))),
    Stage("patch", ((pipeline, "patch"),)),
    Stage("encode", ((review, "encode_allowed"),)),
)
REST = "rest"  # annotations, probes, order of containers, marks


def run(rounds: int) -> Section:
    """Microseconds a review, for each body; medians."""
    section = Section()
    bodies = {name: pods.review(make()) for name, make in pods.BODIES.items()}
    for title, key, settings in (
        ("profile standalone", "inject.pipeline", Settings.load()),
        ("Istio's values", "inject.istio", Settings.load(ISTIO_VALUES)),
    ):
        reviewer = Reviewer(settings, Cluster())
        freeze()
        rows = []
        for name, body in bodies.items():
            total = microseconds(reviewer, body, rounds)
            stages = _stages(reviewer, body, rounds)
            section.figures[f"{key}.{name}_us"] = total
            section.figures |= {f"{key}.{name}.{stage}_us": spent for stage, spent in stages.items()}
            rows.append((pods.TITLES[name], f"{total:,.0f}", *(f"{spent:,.0f}" for spent in stages.values())))
        columns = ("µs", "in all", *(stage.name for stage in STAGES), REST)
        section.tables.append(Table(f"Injection alone, {title}", columns, rows))
    return section


def freeze() -> None:
    """Keep the garbage collector away, as a worker does before it serves (webhook.serving.worker)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000)


def _answer(reviewer: Reviewer, body: bytes) -> Answer:
    return reviewer.answer(body, {})


def microseconds(reviewer: Reviewer, body: bytes, rounds: int) -> float:
    """The median of rounds of about 50 ms each."""
    _answer(reviewer, body)
    start = time.perf_counter()
    _answer(reviewer, body)
    repeats = max(3, int(0.05 / (time.perf_counter() - start)))
    times = []
    for _ in range(rounds * repeats):
        start = time.perf_counter()
        _answer(reviewer, body)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def _stages(reviewer: Reviewer, body: bytes, rounds: int) -> dict[str, float]:
    """The same by stage; the clocks around the stages add a few microseconds."""
    clock = _Clock()
    taken: list[Mapping[str, float]] = []
    with clock.around_stages():
        for _ in range(rounds * 20):
            clock.start()
            _answer(reviewer, body)
            taken.append(clock.stop())
    return {name: statistics.median(one[name] for one in taken) * 1e6 for name in (*(s.name for s in STAGES), REST)}


class _Clock:
    """Gives every moment to the stage that is running, the innermost one."""

    def start(self) -> None:
        self._spent = dict.fromkeys((*(stage.name for stage in STAGES), REST), 0.0)
        self._stage, self._since = REST, time.perf_counter()

    def stop(self) -> Mapping[str, float]:
        """Seconds by stage."""
        self._switch(REST)
        return self._spent

    @contextmanager
    def around_stages(self) -> Iterator[None]:
        """Every function of a stage tells when it begins and ends, for as long as this lasts."""
        patches = [
            mock.patch.object(owner, function, self._timed(stage.name, getattr(owner, function)))
            for stage in STAGES
            for owner, function in stage.functions
        ]
        for patch in patches:
            patch.start()
        try:
            yield
        finally:
            for patch in reversed(patches):
                patch.stop()

    def _switch(self, stage: str) -> str:
        now = time.perf_counter()
        self._spent[self._stage] += now - self._since
        before, self._stage, self._since = self._stage, stage, now
        return before

    def _timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            before = self._switch(stage)
            try:
                return function(*args, **kwargs)
            finally:
                self._switch(before)

        return timed
