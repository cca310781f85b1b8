"""Sidecar (networking.istio.io): what the proxies of a namespace, or some of them, see and serve."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mesh.model import fields as f
from mesh.model.common import Destination, WorkloadSelector
from mesh.model.meta import Meta
from mesh.model.policy import ConnectionPoolSettings
from mesh.model.reading import Reading
from mesh.model.serviceentry import check_protocol
from mesh.model.shape import one_of, port, sub, subs, text, texts
from mesh.model.tls import ServerTLSSettings


@dataclass(frozen=True, slots=True)
class SidecarPort:
    """A port that the proxy listens at (SidecarPort)."""

    number: int = port(0, low=0)
    protocol: str = text()
    name: str = text()
    target_port: int = port(0, low=0, doc="Deprecated.")

    def check(self, r: Reading) -> None:
        """A protocol that there is."""
        check_protocol(self.protocol, r)


def bind(text: str) -> str:
    """Where a listener binds: an IP address or a unix domain socket."""
    return "" if text.startswith(("unix:///", "unix://@")) or f.is_address(text) else "an IP address or unix:///path"


_ENDPOINT = re.compile(r"(?:127\.0\.0\.1|0\.0\.0\.0|\[::1\]|\[::\]):([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class IstioIngressListener:
    """A port of the app, told by hand (IstioIngressListener)."""

    port: SidecarPort | None = sub(SidecarPort, needed=True)
    bind: str = text(bind)
    capture_mode: str = one_of("DEFAULT", "IPTABLES", "NONE")
    default_endpoint: str = text()
    tls: ServerTLSSettings | None = sub(ServerTLSSettings)
    connection_pool: ConnectionPoolSettings | None = sub(ConnectionPoolSettings)

    def check(self, r: Reading) -> None:
        """Where it goes."""
        if self.port is not None and not self.port.number:
            r.error("missing", "the port's number is needed", "port", "number")
        target = self.default_endpoint
        match = _ENDPOINT.fullmatch(target)
        if target.startswith("unix://"):
            if not target.startswith(("unix:///", "unix://@")):
                r.error("not-allowed", f'"{target}" is not allowed: unix:///path', "defaultEndpoint")
        elif target and not (match and 0 < int(match[1]) < 65536):
            allowed = "127.0.0.1:PORT, [::1]:PORT, 0.0.0.0:PORT, [::]:PORT (the pod's own address) or unix:///path"
            r.error("not-allowed", f'"{target}" is not allowed: {allowed}', "defaultEndpoint")


@dataclass(frozen=True, slots=True)
class IstioEgressListener:
    """What is seen, at one port or where no other listener says (IstioEgressListener)."""

    port: SidecarPort | None = sub(SidecarPort)
    bind: str = text(bind)
    capture_mode: str = one_of("DEFAULT", "IPTABLES", "NONE")
    hosts: tuple[str, ...] = texts(least=1, needed=True)

    def check(self, r: Reading) -> None:
        """Hosts with their namespaces (Istio's validateNamespaceSlashWildcardHostname)."""
        for index, host in enumerate(self.hosts):
            if allowed := scoped_host(host):
                r.error("not-allowed", f'"{host}" is not allowed: {allowed}', "hosts", index)
        if self.port is None and (self.bind or self.capture_mode == "NONE"):
            name = "bind" if self.bind else "captureMode"
            r.error("missing", f"{name} needs a port", "port")
        if self.port is not None and not self.port.number and not self.bind.startswith("unix:"):
            r.error("missing", "the port's number is needed", "port", "number")


def scoped_host(text: str) -> str:
    """`namespace/host`, where the namespace may be `*`, `.` or `~`, and the host `*`."""
    namespace, slash, host = text.partition("/")
    allowed = "namespace/host such as ./*, */*, istio-system/*, ./reviews.default.svc.cluster.local, ~/*"
    if not slash:
        return allowed
    if namespace not in ("*", ".", "~") and f.label(namespace):
        return allowed
    return allowed if host != "*" and f.wildcard_fqdn(host) else ""


@dataclass(frozen=True, slots=True)
class OutboundTrafficPolicy:
    """What becomes of traffic to nobody known (OutboundTrafficPolicy)."""

    mode: str = one_of("REGISTRY_ONLY", "ALLOW_ANY")
    egress_proxy: Destination | None = sub(Destination)


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What proxies see and serve (Sidecar). Without a selector it holds for its namespace;
    the root namespace's holds for all. An empty `egress` sees what the mesh's default would.
    """

    meta: Meta
    workload_selector: WorkloadSelector | None = sub(WorkloadSelector)
    ingress: tuple[IstioIngressListener, ...] = subs(IstioIngressListener)
    egress: tuple[IstioEgressListener, ...] = subs(IstioEgressListener)
    inbound_connection_pool: ConnectionPoolSettings | None = sub(ConnectionPoolSettings)
    outbound_traffic_policy: OutboundTrafficPolicy | None = sub(OutboundTrafficPolicy)

    def check(self, r: Reading) -> None:
        """One listener a port, one for the rest, the last (Istio's ValidateSidecar)."""
        ports: set[int] = set()
        for index, ingress in enumerate(self.ingress):
            number = ingress.port.number if ingress.port else 0
            if number in ports:
                r.error("conflict", f"port {number} is there twice", "ingress", index, "port", "number")
            ports.add(number)
        seen: set[tuple[str, int]] = set()
        rest: int | None = None
        for index, egress in enumerate(self.egress):
            if egress.port is None:
                if rest is not None:
                    r.error("conflict", f"egress[{rest}] is for all other ports already", "egress", index)
                rest = index
                continue
            at = (egress.bind, egress.port.number)
            if at in seen:
                r.error("conflict", f"port {at[1]} is there twice", "egress", index, "port", "number")
            seen.add(at)
        if rest is not None and rest != len(self.egress) - 1:
            r.error("not-allowed", "the listener without a port must be the last", "egress", rest)
        policy = self.outbound_traffic_policy
        if policy and policy.egress_proxy and policy.mode != "ALLOW_ANY":
            r.error("conflict", "egressProxy goes with ALLOW_ANY alone", "outboundTrafficPolicy", "egressProxy")
