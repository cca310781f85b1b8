"""Messages that several kinds share: string matches, percentages, ports, selectors; and what names may be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from common.selectors import Requirement
from mesh.model import fields as f
from mesh.model.reading import Key, Reading
from mesh.model.shape import duration, number, one_of, port, sub, subs, text, text_map, texts, whole


@dataclass(frozen=True, slots=True)
class StringMatch:
    """How a text is compared (networking.istio.io StringMatch); all None means it must only be there."""

    ONE_OF = (("exact", "prefix", "regex"),)

    exact: str | None = text(default=None)
    prefix: str | None = text(default=None)
    regex: str | None = text(f.regex, default=None)

    def covers(self, other: StringMatch) -> bool:
        """Whether all that `other` takes, this takes too; False where it cannot be told easily."""
        if self == other:
            return True
        if self.prefix is not None:
            inner = other.exact if other.exact is not None else other.prefix
            return inner is not None and inner.startswith(self.prefix)
        return False


@dataclass(frozen=True, slots=True)
class Percent:
    """A share of all, 0 to 100 (networking.istio.io Percent); without a value it is 0."""

    value: float = number(0, 100, 0.0)


@dataclass(frozen=True, slots=True)
class PortSelector:
    """A port by its number (networking.istio.io PortSelector)."""

    number: int = port(0)


@dataclass(frozen=True, slots=True)
class WorkloadSelector:
    """Picks workloads whose labels have all of these (networking.istio.io WorkloadSelector)."""

    labels: Mapping[str, str] = text_map()

    def check(self, r: Reading) -> None:
        """No wildcards."""
        no_wildcards(self.labels, r, "labels")


@dataclass(frozen=True, slots=True)
class MatchLabels:
    """The same, spelled as istio.type.v1beta1 WorkloadSelector does."""

    match_labels: Mapping[str, str] = text_map()

    def check(self, r: Reading) -> None:
        """No wildcards."""
        no_wildcards(self.match_labels, r, "matchLabels")


def no_wildcards(labels: Mapping[str, str], r: Reading, *at: Key) -> None:
    """A selector's labels are compared literally."""
    for key, value in labels.items():
        if "*" in key or "*" in value:
            r.error("not-allowed", "a selector has no wildcards", *at, key)


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a request goes (networking.istio.io Destination): a host of the registry, a subset of it, a port."""

    host: str = text(
        f.one_of_checks((f.wildcard_fqdn, f.address), "a Service's name or a DNS name"), needed=True, empty=False
    )
    subset: str = text(f.label)
    port: PortSelector | None = sub(PortSelector)

    def check(self, r: Reading) -> None:
        """`*` alone is nobody."""
        if self.host == "*":
            r.error("not-allowed", '"*" is no destination', "host")


@dataclass(frozen=True, slots=True)
class TcpKeepalive:
    """When an idle connection is probed (ConnectionPoolSettings.TCPSettings.TcpKeepalive)."""

    probes: int = whole(default=0)
    time: float | None = duration()
    interval: float | None = duration()


_NAMESPACE_OR = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
PROTOCOLS = (
    "HTTP", "HTTPS", "HTTP2", "GRPC", "GRPC-WEB", "TCP", "TLS", "UDP", "MONGO", "MYSQL", "REDIS", "HTTP_PROXY", "AUTO",
)  # fmt: skip


def export_to(names: Iterable[str], r: Reading, *at: Key) -> None:
    """Namespaces, `.` (its own), `*` (all) or `~` (none); the latter two stand alone (Istio's validateExportTo)."""
    seen: set[str] = set()
    listed = list(names)
    for index, name in enumerate(listed):
        if name in seen:
            r.error("conflict", f'"{name}" is there twice', *at, index)
        seen.add(name)
        if name in ("*", "~") and len(listed) > 1:
            r.error("conflict", f'"{name}" must be alone', *at, index)
        elif name not in (".", "*", "~") and not _NAMESPACE_OR.fullmatch(name):
            r.error("not-allowed", f'"{name}" is not allowed: a namespace, ".", "*" or "~"', *at, index)


def duplicates(names: Iterable[str], r: Reading, *at: Key) -> None:
    """Each name once."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            r.error("conflict", f'"{name}" is there twice', *at, index)
        seen.add(name)


@dataclass(frozen=True, slots=True)
class LabelSelectorRequirement:
    """A requirement on one label (meta.v1 LabelSelectorRequirement)."""

    key: str = text(needed=True, empty=False)
    operator: str = one_of("In", "NotIn", "Exists", "DoesNotExist", needed=True)
    values: tuple[str, ...] = texts()

    def check(self, r: Reading) -> None:
        """Values go with In and NotIn alone."""
        if bool(self.values) != (self.operator in ("In", "NotIn")):
            r.error("not-allowed", f"{'no values' if self.values else 'values'} with {self.operator}", "values")


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """Picks by labels (meta.v1 LabelSelector); an empty one takes all."""

    match_labels: Mapping[str, str] = text_map()
    match_expressions: tuple[LabelSelectorRequirement, ...] = subs(LabelSelectorRequirement)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels meet all of it."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            Requirement(one.key, one.operator, frozenset(one.values)).holds(labels) for one in self.match_expressions
        )
