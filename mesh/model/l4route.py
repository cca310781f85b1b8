"""TLSRoute, TCPRoute and UDPRoute (gateway.networking.k8s.io): connections as they are, to backends by weight."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.model.gatewayapi import SECTION, ParentReference, hostnames
from mesh.model.httproute import BackendRef, check_parents
from mesh.model.meta import Meta
from mesh.model.reading import Reading
from mesh.model.shape import one_of, subs, text


@dataclass(frozen=True, slots=True)
class L4RouteRule:
    """Backends (TLSRouteRule, TCPRouteRule, UDPRouteRule)."""

    name: str = text(pattern=SECTION, longest=253)
    backend_refs: tuple[BackendRef, ...] = subs(BackendRef, most=16)


@dataclass(frozen=True, slots=True)
class TLSRoute:
    """TLS goes on by the server name it asks for (TLSRoute); no hostnames means the listener's."""

    meta: Meta
    parent_refs: tuple[ParentReference, ...] = subs(ParentReference, most=32)
    hostnames: tuple[str, ...] = hostnames()
    rules: tuple[L4RouteRule, ...] = subs(L4RouteRule, needed=True)
    use_default_gateways: str = one_of("None", "All")

    def check(self, r: Reading) -> None:
        """Parents once; something to attach to."""
        check_parents(self.parent_refs, self.use_default_gateways, r)


@dataclass(frozen=True, slots=True)
class TCPRoute:
    """Connections to a port (TCPRoute)."""

    meta: Meta
    parent_refs: tuple[ParentReference, ...] = subs(ParentReference, most=32)
    rules: tuple[L4RouteRule, ...] = subs(L4RouteRule, needed=True)
    use_default_gateways: str = one_of("None", "All")

    def check(self, r: Reading) -> None:
        """Parents once; something to attach to."""
        check_parents(self.parent_refs, self.use_default_gateways, r)


@dataclass(frozen=True, slots=True)
class UDPRoute:
    """Datagrams to a port (UDPRoute); read, so that its problems are told, and not served."""

    meta: Meta
    parent_refs: tuple[ParentReference, ...] = subs(ParentReference, most=32)
    rules: tuple[L4RouteRule, ...] = subs(L4RouteRule, needed=True)
    use_default_gateways: str = one_of("None", "All")

    def check(self, r: Reading) -> None:
        """It has no effect here."""
        r.warn("not-supported", "UDP is not redirected to the proxy, so a UDPRoute has no effect")
