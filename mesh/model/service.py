"""Service: what a Kubernetes Service is, and each host of a ServiceEntry. Also EndpointSlice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mesh.model import fields as f
from mesh.model.meta import Meta, ObjectRef
from mesh.model.protocol import Protocol, protocol_of
from mesh.model.reading import ABSENT, Reading
from mesh.model.shape import EMPTY, flag, one_of, port, read, shape_of, sub, subs, text, text_map, texts, whole
from mesh.model.workload import Workload, part

# Says of a Service or a ServiceEntry what trafficDistribution says of a Service.
DISTRIBUTION = "networking.istio.io/traffic-distribution"


class Resolution(StrEnum):
    """How the endpoints of a Service are found."""

    CLIENT_SIDE = "ClientSideLB"  # EndpointSlices, or the ServiceEntry's own addresses: the proxy balances
    PASSTHROUGH = "Passthrough"  # headless, or a ServiceEntry's NONE: to where the client meant to go
    DNS = "DNSLB"  # all addresses that DNS gives
    DNS_ROUND_ROBIN = "DNSRoundRobinLB"  # the first that DNS gives, again at each connection
    DYNAMIC_DNS = "DynamicDNS"  # a wildcard: what the client asked for is resolved
    ALIAS = "Alias"  # ExternalName: another name for a Service that is known, else DNS


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port of a Service. `target_port` is a number, a name (of a container's port), or 0 where `number` is meant."""

    number: int
    name: str = ""
    protocol: Protocol = Protocol.AUTO
    target_port: int | str = 0
    app_protocol: str | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """A host that can be called. `meta.ref` is the Service or ServiceEntry it comes from.

    `addresses` are cluster IPs, or a ServiceEntry's addresses, CIDRs among them; empty where the host has none.
    `export_to` is empty where the mesh's default holds; else namespaces, `.`, `*` or `~`.
    `selector` picks Pods; `workload_selector` (ServiceEntry) picks Pods and WorkloadEntries of its namespace.
    `session_affinity` is the seconds a client stays with one endpoint (ClientIP), or None.
    """

    meta: Meta
    hostname: str
    ports: tuple[ServicePort, ...] = ()
    addresses: tuple[str, ...] = ()
    resolution: Resolution = Resolution.CLIENT_SIDE
    mesh_external: bool = False
    export_to: tuple[str, ...] = ()
    selector: Mapping[str, str] = EMPTY
    workload_selector: Mapping[str, str] | None = None
    endpoints: tuple[Workload, ...] = ()
    subject_alt_names: tuple[str, ...] = ()
    type: str = "ClusterIP"
    external_name: str = ""
    external_ips: tuple[str, ...] = ()
    load_balancer: tuple[str, ...] = ()
    publish_not_ready: bool = False
    session_affinity: float | None = None
    internal_traffic_policy: str = "Cluster"
    traffic_distribution: str = ""

    @property
    def ref(self) -> ObjectRef:
        """The object that it comes from."""
        return self.meta.ref

    @property
    def name(self) -> str:
        """The object's name; a ServiceEntry's hosts are known by their hostname."""
        return self.meta.ref.name if self.is_kubernetes else self.hostname

    @property
    def namespace(self) -> str:
        """The object's namespace."""
        return self.meta.ref.namespace

    @property
    def is_kubernetes(self) -> bool:
        """Whether it is a Kubernetes Service and not a ServiceEntry's host."""
        return self.meta.ref.kind == "Service"

    @property
    def is_headless(self) -> bool:
        """A Kubernetes Service with clusterIP None."""
        return self.is_kubernetes and self.resolution is Resolution.PASSTHROUGH

    @property
    def is_wildcard(self) -> bool:
        """Whether the host begins with `*`."""
        return self.hostname.startswith("*")

    def port(self, number: int) -> ServicePort | None:
        """The port of this number."""
        for one in self.ports:
            if one.number == number:
                return one
        return None

    def port_named(self, name: str) -> ServicePort | None:
        """The port of this name."""
        return next((one for one in self.ports if one.name == name), None)


class _IntOrName:
    """A port's number or its name (intstr.IntOrString)."""

    def __call__(self, value: Any, r: Reading, /) -> Any:
        if isinstance(value, str):
            if value.isascii() and value.isdigit() and len(value) < 10:
                return f.Whole(1, 65535)(int(value), r)
            return value
        return f.Whole(0, 65535)(value, r)

    def schema(self) -> f.Schema:
        return {"x-kubernetes-int-or-string": True}


@dataclass(frozen=True, slots=True)
class _Port:
    ALSO = ("nodePort",)

    port: int = port(0, needed=True)
    name: str = text()
    protocol: str = one_of("TCP", "UDP", "SCTP")
    target_port: int | str = read(_IntOrName(), 0)
    app_protocol: str | None = text(default=None)


@dataclass(frozen=True, slots=True)
class _ClientIP:
    timeout_seconds: int = whole(1, 86400, 10800)


@dataclass(frozen=True, slots=True)
class _Affinity:
    client_ip: _ClientIP | None = sub(_ClientIP, name="clientIP")


@dataclass(frozen=True, slots=True)
class _ServiceSpec:
    """core/v1 ServiceSpec."""

    ALSO = (
        "allocateLoadBalancerNodePorts", "externalTrafficPolicy", "healthCheckNodePort", "ipFamilies", "ipFamilyPolicy",
        "loadBalancerClass", "loadBalancerIP", "loadBalancerSourceRanges", "topologyKeys",
    )  # fmt: skip

    ports: tuple[_Port, ...] = subs(_Port)
    selector: Mapping[str, str] = text_map()
    type: str = one_of("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
    cluster_ip: str = text(name="clusterIP")
    cluster_ips: tuple[str, ...] = texts(name="clusterIPs")
    external_name: str = text()
    external_ips: tuple[str, ...] = texts(f.address, name="externalIPs")
    publish_not_ready_addresses: bool = flag()
    session_affinity: str = one_of("None", "ClientIP")
    session_affinity_config: _Affinity | None = sub(_Affinity)
    internal_traffic_policy: str = one_of("Cluster", "Local")
    traffic_distribution: str = text()


def service(thing: Mapping[str, Any], meta: Meta, r: Reading) -> Service:
    """A Service from core/v1's; its hostname is `name.namespace.svc.DOMAIN`."""
    spec: _ServiceSpec = part(_ServiceSpec, thing, "spec", r)
    addresses = tuple(dict.fromkeys(one for one in (spec.cluster_ip, *spec.cluster_ips) if one and one != "None"))
    for one in addresses:
        if not f.is_address(one):
            r.error("not-allowed", f'"{one}" is not an IP address', "spec", "clusterIP")
    addresses = tuple(dict.fromkeys(f.canonical(one) for one in addresses if f.is_address(one)))
    resolution = Resolution.CLIENT_SIDE
    if spec.type == "ExternalName" and spec.external_name:
        resolution = Resolution.ALIAS
    elif not addresses:
        # Istio's too: without an address of its own there is nothing that could be balanced.
        resolution = Resolution.PASSTHROUGH
    affinity: float | None = None
    if spec.session_affinity == "ClientIP":
        config = spec.session_affinity_config
        affinity = float(config.client_ip.timeout_seconds if config and config.client_ip else 10800)
    return Service(
        meta=meta,
        hostname=f"{meta.name}.{meta.namespace}.svc.{r.domain}",
        ports=tuple(
            ServicePort(
                one.port,
                one.name,
                protocol_of(one.port, one.name, one.protocol, one.app_protocol),
                one.target_port,
                one.app_protocol,
            )
            for one in spec.ports
        ),
        addresses=addresses,
        resolution=resolution,
        export_to=_exported(meta.annotations.get("networking.istio.io/exportTo", "")),
        selector=spec.selector,
        type=spec.type,
        external_name=spec.external_name.removesuffix("."),
        external_ips=spec.external_ips,
        load_balancer=_load_balancer(thing),
        publish_not_ready=spec.publish_not_ready_addresses,
        session_affinity=affinity,
        internal_traffic_policy=spec.internal_traffic_policy,
        traffic_distribution=meta.annotations.get(DISTRIBUTION) or spec.traffic_distribution,
    )


def _load_balancer(thing: Mapping[str, Any]) -> tuple[str, ...]:
    """Where a load balancer takes its connections (status.loadBalancer): addresses or names."""
    found: Any = thing
    for key in ("status", "loadBalancer", "ingress"):
        found = found.get(key) if isinstance(found, Mapping) else None
    entries = [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []
    texts = (one.get("ip") or one.get("hostname") for one in entries)
    return tuple(dict.fromkeys(one for one in texts if isinstance(one, str)))


def _exported(text: str) -> tuple[str, ...]:
    return tuple(one.strip() for one in text.split(",") if one.strip())


@dataclass(frozen=True, slots=True)
class SlicePort:
    """A port of an EndpointSlice; without a number it means every port."""

    name: str = text()
    port: int | None = port()
    protocol: str = text(default="TCP")
    app_protocol: str | None = text(default=None)


@dataclass(frozen=True, slots=True)
class _Conditions:
    ready: bool | None = flag(None)
    serving: bool | None = flag(None)
    terminating: bool | None = flag(None)


@dataclass(frozen=True, slots=True)
class _Named:
    ALSO = ("*",)

    name: str = text()


@dataclass(frozen=True, slots=True)
class _Hints:
    for_zones: tuple[_Named, ...] = subs(_Named)
    for_nodes: tuple[_Named, ...] = subs(_Named)


@dataclass(frozen=True, slots=True)
class _Target:
    ALSO = ("*",)

    kind: str = text()
    namespace: str = text()
    name: str = text()


@dataclass(frozen=True, slots=True)
class _Endpoint:
    ALSO = ("deprecatedTopology",)

    addresses: tuple[str, ...] = texts()
    conditions: _Conditions | None = sub(_Conditions)
    hostname: str = text()
    node_name: str = text()
    zone: str = text()
    hints: _Hints | None = sub(_Hints)
    target_ref: _Target | None = sub(_Target)


@dataclass(frozen=True, slots=True)
class SliceEndpoint:
    """An endpoint of a slice. An unknown condition counts as EndpointConditions says: ready, serving, not terminating.

    All its `addresses` are the same endpoint; `for_zones` are the hints of topology-aware routing.
    """

    addresses: tuple[str, ...] = ()
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    hostname: str = ""
    node_name: str = ""
    zone: str = ""
    for_zones: tuple[str, ...] = ()
    for_nodes: tuple[str, ...] = ()
    target: ObjectRef | None = None


@dataclass(frozen=True, slots=True)
class _Slice:
    ALSO = ("apiVersion", "kind", "metadata")

    address_type: str = one_of("IPv4", "IPv6", "FQDN", needed=True)
    endpoints: tuple[_Endpoint, ...] = subs(_Endpoint)
    ports: tuple[SlicePort, ...] = subs(SlicePort)


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    """Endpoints of a Service (discovery.k8s.io/v1); `service` is its name, in the slice's namespace, or empty."""

    meta: Meta
    service: str = ""
    address_type: str = "IPv4"
    endpoints: tuple[SliceEndpoint, ...] = ()
    ports: tuple[SlicePort, ...] = ()


def endpoint_slice(thing: Mapping[str, Any], meta: Meta, r: Reading) -> EndpointSlice | None:
    """An EndpointSlice from discovery.k8s.io/v1."""
    raw = shape_of(_Slice).read(thing, r)
    if raw is ABSENT:
        return None
    if raw.address_type != "FQDN":
        for index, one in enumerate(raw.endpoints):
            for place, text in enumerate(one.addresses):
                if not f.is_address(text):
                    r.error("not-allowed", f'"{text}" is not an IP address', "endpoints", index, "addresses", place)
    return EndpointSlice(
        meta=meta,
        service=meta.labels.get("kubernetes.io/service-name", ""),
        address_type=raw.address_type,
        endpoints=tuple(_endpoint(one, raw.address_type == "IPv6") for one in raw.endpoints),
        ports=raw.ports,
    )


_UNKNOWN = _Conditions()


def _endpoint(raw: _Endpoint, ipv6: bool) -> SliceEndpoint:
    conditions, hints, target = raw.conditions or _UNKNOWN, raw.hints, raw.target_ref
    ready = conditions.ready is not False
    return SliceEndpoint(
        addresses=tuple(f.canonical(one) for one in raw.addresses if f.is_address(one)) if ipv6 else raw.addresses,
        ready=ready,
        serving=ready if conditions.serving is None else conditions.serving,
        terminating=bool(conditions.terminating),
        hostname=raw.hostname,
        node_name=raw.node_name,
        zone=raw.zone,
        for_zones=tuple(one.name for one in hints.for_zones) if hints else (),
        for_nodes=tuple(one.name for one in hints.for_nodes) if hints else (),
        target=ObjectRef(target.kind, target.namespace, target.name) if target and target.kind else None,
    )
