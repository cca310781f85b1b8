"""VirtualService (networking.istio.io): rules that say where requests for a host go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mesh.model import fields as f
from mesh.model.common import Destination, Percent, duplicates, export_to
from mesh.model.httprule import (
    CorsPolicy,
    Delegate,
    Headers,
    HTTPDirectResponse,
    HTTPFaultInjection,
    HTTPMatchRequest,
    HTTPMirrorPolicy,
    HTTPRedirect,
    HTTPRetry,
    HTTPRewrite,
    HTTPRouteDestination,
    gateway_name,
)
from mesh.model.meta import Meta
from mesh.model.reading import Reading
from mesh.model.shape import duration, port, sub, subs, text, text_map, texts, whole


@dataclass(frozen=True, slots=True)
class HTTPRoute:
    """A rule: the first of which a match is met is taken (HTTPRoute). Without a match it takes all."""

    name: str = text()
    match: tuple[HTTPMatchRequest, ...] = subs(HTTPMatchRequest)
    route: tuple[HTTPRouteDestination, ...] = subs(HTTPRouteDestination)
    redirect: HTTPRedirect | None = sub(HTTPRedirect)
    direct_response: HTTPDirectResponse | None = sub(HTTPDirectResponse)
    delegate: Delegate | None = sub(Delegate)
    rewrite: HTTPRewrite | None = sub(HTTPRewrite)
    timeout: float | None = duration()
    retries: HTTPRetry | None = sub(HTTPRetry)
    fault: HTTPFaultInjection | None = sub(HTTPFaultInjection)
    mirror: Destination | None = sub(Destination)
    mirrors: tuple[HTTPMirrorPolicy, ...] = subs(HTTPMirrorPolicy)
    mirror_percent: int | None = whole(0, 100, doc="Deprecated: mirrorPercentage.")
    mirror_percentage: Percent | None = sub(Percent)
    cors_policy: CorsPolicy | None = sub(CorsPolicy)
    headers: Headers | None = sub(Headers)

    @property
    def takes_all(self) -> bool:
        """Whether every request meets it."""
        return not self.match or any(one.takes_all for one in self.match)

    def check(self, r: Reading) -> None:
        """One action, and what goes with it (Istio's validateHTTPRoute)."""
        if self.delegate is not None:
            for name, there in (
                ("redirect", self.redirect),
                ("route", self.route),
                ("directResponse", self.direct_response),
            ):
                if there:
                    r.error("conflict", f"a rule that delegates has no {name}", name)
            return
        if self.redirect or self.direct_response:
            action = "redirect" if self.redirect else "directResponse"
            others: dict[str, Any] = {"route": self.route, "rewrite": self.rewrite}
            if self.redirect:
                others |= {"fault": self.fault, "directResponse": self.direct_response}
            for name, other in others.items():
                if other:
                    r.error("conflict", f"a rule with {action} has no {name}", name)
        elif not self.route:
            r.error("missing", "a rule needs route, redirect, directResponse or delegate", "route")
        if self.mirror and self.mirrors:
            r.error("conflict", "only one of mirror and mirrors may be there", "mirrors")
        if self.rewrite and self.rewrite.authority and self.headers and self.headers.authority:
            r.error("conflict", "the authority is rewritten and set as a header too", "headers", "request")
        weights(self.route, r)
        if (self.mirror_percentage or self.mirror_percent is not None) and not self.mirror:
            r.warn("no-effect", "there is no mirror that it would hold for", "mirrorPercentage")


def weights(route: Sequence[Any], r: Reading) -> None:
    """Several destinations share by weight: not all zero, and all of it is meant for somebody."""
    if len(route) < 2:
        return
    if not sum(one.weight for one in route):
        r.error("not-allowed", "all weights are 0; they share the traffic in proportion", "route")
        return
    if sum(one.weight for one in route) >= 2**32:
        r.error("not-allowed", "the weights add up to more than 4294967295", "route")
        return
    for index, one in enumerate(route):
        if not one.weight:
            r.warn("no-effect", "weight 0: nothing goes there", "route", index, "weight")
    if (total := sum(one.weight for one in route)) != 100:
        r.warn("weights", f"the weights add up to {total}, not 100; each gets its share of {total}", "route")


@dataclass(frozen=True, slots=True)
class RouteDestination:
    """A destination of a tcp or tls rule (RouteDestination)."""

    destination: Destination = sub(Destination, needed=True)
    weight: int = whole(0, 2**31 - 1, default=0)


@dataclass(frozen=True, slots=True)
class L4MatchAttributes:
    """What a connection must have (L4MatchAttributes); `port` 0 is any."""

    destination_subnets: tuple[str, ...] = texts(f.subnet)
    port: int = port(0, low=0)
    source_subnet: str = text(f.subnet)
    source_labels: Mapping[str, str] = text_map()
    gateways: tuple[str, ...] = texts(gateway_name)
    source_namespace: str = text(f.label)

    def check(self, r: Reading) -> None:
        """Envoy's listeners are not told apart by it."""
        if self.source_subnet:
            r.warn("not-supported", "sourceSubnet is not looked at (nor is it by Istio)", "sourceSubnet")


@dataclass(frozen=True, slots=True)
class TLSMatchAttributes:
    """What a TLS connection must have (TLSMatchAttributes): the server name it asks for, and where it comes from."""

    sni_hosts: tuple[str, ...] = texts(f.wildcard_fqdn, least=1, needed=True)
    destination_subnets: tuple[str, ...] = texts(f.subnet)
    port: int = port(0, low=0)
    source_labels: Mapping[str, str] = text_map()
    gateways: tuple[str, ...] = texts(gateway_name)
    source_namespace: str = text(f.label)


@dataclass(frozen=True, slots=True)
class TCPRoute:
    """A rule for connections (TCPRoute)."""

    match: tuple[L4MatchAttributes, ...] = subs(L4MatchAttributes)
    route: tuple[RouteDestination, ...] = subs(RouteDestination)

    def check(self, r: Reading) -> None:
        """It goes somewhere."""
        if not self.route:
            r.error("missing", "a tcp rule needs a route", "route")
        weights(self.route, r)


@dataclass(frozen=True, slots=True)
class TLSRoute:
    """A rule for TLS that is passed on as it is (TLSRoute)."""

    match: tuple[TLSMatchAttributes, ...] = subs(TLSMatchAttributes, least=1, needed=True)
    route: tuple[RouteDestination, ...] = subs(RouteDestination)

    def check(self, r: Reading) -> None:
        """It goes somewhere."""
        if not self.route:
            r.error("missing", "a tls rule needs a route", "route")
        weights(self.route, r)


_HOST = f.one_of_checks((f.wildcard_fqdn, f.address), "a name, a DNS name, one that begins with *., or an IP address")


@dataclass(frozen=True, slots=True)
class VirtualService:
    """Routing rules for hosts (VirtualService).

    `gateways` empty means the mesh. `hosts` empty makes it the delegate of another. `export_to` empty is the mesh's
    default. Short hosts are completed with the object's namespace by whoever resolves them.
    """

    meta: Meta
    hosts: tuple[str, ...] = texts(_HOST)
    gateways: tuple[str, ...] = texts(gateway_name)
    http: tuple[HTTPRoute, ...] = subs(HTTPRoute)
    tls: tuple[TLSRoute, ...] = subs(TLSRoute)
    tcp: tuple[TCPRoute, ...] = subs(TCPRoute)
    export_to: tuple[str, ...] = texts()

    @property
    def is_delegate(self) -> bool:
        """Whether it only gives rules to others."""
        return not self.hosts

    @property
    def in_mesh(self) -> bool:
        """Whether sidecars obey it."""
        return not self.gateways or "mesh" in self.gateways

    def check(self, r: Reading) -> None:
        """What the rules are to each other (Istio's ValidateVirtualService)."""
        if not (self.http or self.tls or self.tcp):
            r.error("missing", "it needs http, tls or tcp", "http")
        if self.is_delegate:
            self._check_delegate(r)
        else:
            if self.in_mesh and "*" in self.hosts:
                message = 'the host "*" is for gateways alone; name gateways, or the hosts that are meant'
                r.error("not-allowed", message, "hosts", self.hosts.index("*"))
            duplicates(self.hosts, r, "hosts")
            self._check_sni(r)
        export_to(self.export_to, r, "exportTo")
        self._check_gateways(r)
        self._check_shadows(r)

    def _check_delegate(self, r: Reading) -> None:
        for name in ("gateways", "tls", "tcp"):
            if getattr(self, name):
                r.error("conflict", f"without hosts it is a delegate, which has no {name}", name)
        for index, rule in enumerate(self.http):
            if rule.delegate:
                r.error("conflict", "a delegate does not delegate further", "http", index, "delegate")

    def _check_sni(self, r: Reading) -> None:
        for index, rule in enumerate(self.tls):
            for number, match in enumerate(rule.match):
                for last, sni in enumerate(match.sni_hosts):
                    if not any(within(sni, host) for host in self.hosts):
                        message = f'"{sni}" is none of the hosts, so nothing asks for it here'
                        r.error("not-allowed", message, "tls", index, "match", number, "sniHosts", last)

    def _check_gateways(self, r: Reading) -> None:
        mine = set(self.gateways or ("mesh",))
        namespace = self.meta.namespace
        mine |= {f"{namespace}/{one}" for one in mine if "/" not in one and one != "mesh"}
        if self.is_delegate:
            return
        for kind, index, number, match in self._matches():
            named = getattr(match, "gateways", ())
            if named and not mine & {one if "/" in one or one == "mesh" else f"{namespace}/{one}" for one in named}:
                r.warn(
                    "never-matches", "none of these is among spec.gateways", kind, index, "match", number, "gateways"
                )
            if named and match.source_labels and "mesh" not in named:
                message = "a gateway's requests have no source labels"
                r.warn("never-matches", message, kind, index, "match", number, "sourceLabels")

    def _matches(self) -> Iterator[tuple[str, int, int, Any]]:
        kinds: tuple[tuple[str, tuple[Any, ...]], ...] = (("http", self.http), ("tls", self.tls), ("tcp", self.tcp))
        for kind, rules in kinds:
            for index, rule in enumerate(rules):
                for number, match in enumerate(rule.match):
                    yield kind, index, number, match

    def _check_shadows(self, r: Reading) -> None:
        all_at: int | None = None
        seen: list[tuple[int, HTTPMatchRequest]] = []
        for index, rule in enumerate(self.http):
            if all_at is not None:
                r.warn("shadowed", f"never reached: rule {all_at} before it takes every request", "http", index)
                continue
            for number, match in enumerate(rule.match):
                other = next((at for at, earlier in seen if at != index and earlier.covers(match)), None)
                if other is not None:
                    message = f"never reached: rule {other} before it takes all of this"
                    r.warn("shadowed", message, "http", index, "match", number)
                seen.append((index, match))
            # A rule that delegates falls through where the delegate has no rule.
            if rule.takes_all and rule.delegate is None:
                all_at = index
        for index, connection in enumerate(self.tcp[:-1]):
            if not connection.match:
                r.warn("shadowed", f"never reached: rule {index} before it takes every connection", "tcp", index + 1)
                break


def within(name: str, host: str) -> bool:
    """Whether every name that `name` stands for is one of `host`'s; both may begin with `*`."""
    if host == "*" or name == host:
        return True
    if host.startswith("*"):
        return name.lstrip("*").endswith(host[1:]) or name[1:] == host[1:]
    return False
