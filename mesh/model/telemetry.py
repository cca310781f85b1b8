"""Telemetry (telemetry.istio.io): what is counted, logged and traced, and for whom."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mesh.model import cel, formats
from mesh.model import fields as f
from mesh.model.common import MatchLabels
from mesh.model.meta import Meta
from mesh.model.reading import Reading
from mesh.model.shape import EMPTY, Sub, flag, map_of, number, one_of, read, sub, subs, text

# The metrics of the API by Istio's names, without `istio_` (as in Envoy's own counters below their prefix)
METRICS: Mapping[str, str] = {
    "REQUEST_COUNT": "requests_total",
    "REQUEST_DURATION": "request_duration_milliseconds",
    "REQUEST_SIZE": "request_bytes",
    "RESPONSE_SIZE": "response_bytes",
    "TCP_OPENED_CONNECTIONS": "tcp_connections_opened_total",
    "TCP_CLOSED_CONNECTIONS": "tcp_connections_closed_total",
    "TCP_SENT_BYTES": "tcp_sent_bytes_total",
    "TCP_RECEIVED_BYTES": "tcp_received_bytes_total",
}
# Of gRPC's streams Istio counts the messages; no access log tells them.
UNCOUNTED = ("GRPC_REQUEST_MESSAGES", "GRPC_RESPONSE_MESSAGES")
MODES = ("CLIENT_AND_SERVER", "CLIENT", "SERVER")


@dataclass(frozen=True, slots=True)
class ProviderRef:
    """An extension provider by its name (Telemetry ProviderRef)."""

    name: str = text(needed=True, empty=False)


@dataclass(frozen=True, slots=True)
class Selector:
    """Which side of the traffic is meant: the client's or the server's proxy (AccessLogging.LogSelector)."""

    mode: str = one_of(*MODES)


@dataclass(frozen=True, slots=True)
class MetricSelector:
    """Which metrics on which side (MetricSelector)."""

    ONE_OF = (("metric", "customMetric"),)

    metric: str = one_of("ALL_METRICS", *METRICS, *UNCOUNTED)
    custom_metric: str = text()
    mode: str = one_of(*MODES)

    def check(self, r: Reading) -> None:
        """A metric that this proxy makes."""
        if self.custom_metric and self.name not in METRICS.values():
            r.warn(
                "not-supported", f'there is no metric "{self.custom_metric}": those of Istio are made', "customMetric"
            )
        if self.metric in UNCOUNTED:
            r.warn("not-supported", f"{self.metric} is not counted by Envoy's own loggers", "metric")

    @property
    def name(self) -> str:
        """The metric without `istio_`; empty for all."""
        return self.custom_metric.removeprefix("istio_") if self.custom_metric else METRICS.get(self.metric, "")

    @property
    def counts_nothing(self) -> bool:
        """Whether no metric that is made is meant."""
        return self.metric in UNCOUNTED or bool(self.custom_metric and self.name not in METRICS.values())


# Attributes that differ from request to request would make a time series of each.
UNBOUNDED = frozenset(
    {
        *("request.id", "request.time", "request.path", "request.url_path", "request.query", "request.duration"),
        *("request.size", "request.total_size", "response.size", "response.total_size", "connection.id"),
    }
)


@dataclass(frozen=True, slots=True)
class TagOverride:
    """A label of a metric, given or taken away (MetricsOverrides.TagOverride)."""

    operation: str = one_of("UPSERT", "REMOVE")
    value: str = text(cel.expression)

    def check(self, r: Reading) -> None:
        """A value where one is needed, and one that does not make a series of each request."""
        if self.operation == "UPSERT" and not self.value:
            r.error("missing", "value is needed to set a tag", "value")
        if found := cel.attributes(self.value) & UNBOUNDED:
            r.error("not-allowed", f"{min(found)} differs by request: it would make a time series of each", "value")


_TAG = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def tag_name(text: str) -> str:
    """A label as Prometheus allows it."""
    return "" if _TAG.fullmatch(text) else f"a label's name: {_TAG.pattern}"


@dataclass(frozen=True, slots=True)
class MetricsOverrides:
    """What is other than usual in some metrics (MetricsOverrides)."""

    match: MetricSelector = read(Sub(MetricSelector), MetricSelector())
    disabled: bool | None = flag(None)
    tag_overrides: Mapping[str, TagOverride] = map_of(Sub(TagOverride), tag_name)


@dataclass(frozen=True, slots=True)
class Metrics:
    """Which metrics are made (Metrics)."""

    ALSO = ("reportingInterval",)

    providers: tuple[ProviderRef, ...] = subs(ProviderRef)
    overrides: tuple[MetricsOverrides, ...] = subs(MetricsOverrides)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which requests are logged: a CEL expression (AccessLogging.Filter)."""

    expression: str = text(cel.expression)


@dataclass(frozen=True, slots=True)
class AccessLogging:
    """What is logged, and where to (AccessLogging)."""

    match: Selector = read(Sub(Selector), Selector())
    providers: tuple[ProviderRef, ...] = subs(ProviderRef)
    disabled: bool | None = flag(None)
    filter: Filter | None = sub(Filter)


@dataclass(frozen=True, slots=True)
class Literal:
    """A tag that always has this value."""

    value: str = text(needed=True, empty=False)


@dataclass(frozen=True, slots=True)
class Named:
    """A tag whose value is an environment variable's of Envoy, or a request header's."""

    name: str = text(needed=True, empty=False)
    default_value: str = text()


@dataclass(frozen=True, slots=True)
class Formatter:
    """A tag whose value is made by a format of Envoy's access log."""

    value: str = text(formats.log_format, needed=True, empty=False)


@dataclass(frozen=True, slots=True)
class CustomTag:
    """A tag of a span (Tracing.CustomTag): one of these."""

    ONE_OF = (("literal", "environment", "header", "formatter"),)

    literal: Literal | None = sub(Literal)
    environment: Named | None = sub(Named)
    header: Named | None = sub(Named)
    formatter: Formatter | None = sub(Formatter)

    def check(self, r: Reading) -> None:
        """A header's name where it is one's."""
        if self.header and (allowed := f.header_name(self.header.name)):
            r.error("not-allowed", f'"{self.header.name}" is not allowed: {allowed}', "header", "name")


def _some(text: str) -> str:
    return "" if text else "a name"


@dataclass(frozen=True, slots=True)
class Tracing:
    """What is traced, how often, and where to (Tracing)."""

    ALSO = ("useRequestIdForTraceSampling", "enableIstioTags")

    match: Selector = read(Sub(Selector), Selector())
    providers: tuple[ProviderRef, ...] = subs(ProviderRef)
    random_sampling_percentage: float | None = number(0, 100)
    disable_span_reporting: bool | None = flag(None)
    custom_tags: Mapping[str, CustomTag] = map_of(Sub(CustomTag), _some)


@dataclass(frozen=True, slots=True)
class TargetRef:
    """What a Telemetry is for, by its name (PolicyTargetReference)."""

    group: str = text()
    kind: str = text(needed=True)
    name: str = text(needed=True)
    namespace: str = text()

    def check(self, r: Reading) -> None:
        """A Gateway; Istio's other targets are those of waypoints, which there are none of here."""
        if self.kind != "Gateway":
            r.warn("not-supported", f'"{self.kind}" is for waypoints: nothing is selected', "kind")


@dataclass(frozen=True, slots=True)
class Telemetry:
    """All of it, for a mesh (in the root namespace), a namespace, or the pods that `selector` picks."""

    ONE_OF = (("selector", "targetRef", "targetRefs"),)

    meta: Meta
    selector: MatchLabels | None = sub(MatchLabels)
    target_ref: TargetRef | None = sub(TargetRef)
    target_refs: tuple[TargetRef, ...] = subs(TargetRef)
    tracing: tuple[Tracing, ...] = subs(Tracing)
    metrics: tuple[Metrics, ...] = subs(Metrics)
    access_logging: tuple[AccessLogging, ...] = subs(AccessLogging)

    @property
    def labels(self) -> Mapping[str, str]:
        """What a pod must have; empty for all."""
        return self.selector.match_labels if self.selector else EMPTY

    @property
    def targets(self) -> tuple[TargetRef, ...]:
        """The objects it is for."""
        return (self.target_ref,) if self.target_ref else self.target_refs
