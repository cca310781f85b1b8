"""Clusters: where a request can be sent, one for each port of each host and each subset of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from common.envoy.parts import Message, typed
from mesh.build.backend_tls import transport_socket
from mesh.build.filters import ADS
from mesh.build.locality import Group, arranged
from mesh.build.metrics import UNKNOWN, service_metadata
from mesh.build.policy import BOTH_PROTOCOLS, HTTP_OPTIONS, NO_LIMITS, locality_setting, with_policy
from mesh.build.routes import seconds
from mesh.build.rules import for_client, policy_of, subset_labels, subsets_of
from mesh.model.meta import ObjectRef
from mesh.model.names import BLACK_HOLE, PASSTHROUGH, ClusterName
from mesh.model.service import Resolution, Service, ServicePort
from mesh.routing.backendtls import Trust, trust_of
from mesh.routing.parents import is_called
from mesh.world.index import ServiceKey, endpoints_of, ports_seen, service_at, service_of, visible_services
from mesh.world.memo import query
from mesh.world.proxy import Scope
from mesh.world.sidecars import mesh_config
from mesh.world.telemetry import metered
from mesh.world.world import World

TYPES: Mapping[Resolution, str] = {
    Resolution.CLIENT_SIDE: "EDS",
    Resolution.PASSTHROUGH: "ORIGINAL_DST",
    Resolution.DNS: "STRICT_DNS",
    Resolution.DNS_ROUND_ROBIN: "LOGICAL_DNS",
}


class Assignment(NamedTuple):
    """The endpoints of a cluster (endpoint.v3.ClusterLoadAssignment), as `mesh.encode.assignments` writes them.

    `is_counted`: metrics are told who the endpoints are.
    """

    cluster: str
    groups: tuple[Group, ...]
    is_counted: bool = False


@query
def cluster_names(world: World, scope: Scope) -> tuple[ClusterName, ...]:
    """All clusters that lead to hosts which proxies of the scope know."""
    return tuple(name for key in visible_services(world, scope).values() for name in clusters_of(world, scope, key))


@query
def clusters_of(world: World, scope: Scope, key: ServiceKey) -> tuple[ClusterName, ...]:
    """The clusters of one host: each port, and each subset at each port."""
    service = service_at(world, key)
    if service is None or service.resolution not in TYPES:
        return ()
    subsets = ("", *subsets_of(world, scope, service.hostname))
    return tuple(
        ClusterName("outbound", port.number, subset, service.hostname)
        for port in ports_seen(world, scope, key)
        for subset in subsets
    )


def origins_of(world: World, scope: Scope, name: ClusterName) -> tuple[ObjectRef, ...]:
    """The objects that a cluster and its endpoints are made of: who says how it is called first, for he is to blame."""
    service = service_of(world, scope, name.host)
    refs = policy_of(world, scope, name.host, name.port, name.subset).refs
    if service and (trust := _trust(world, scope, name, service.ref)) is not None:
        refs = (trust.ref, *refs)
    return (*refs, service.ref) if service else refs


def cluster(world: World, scope: Scope, name: ClusterName) -> Message | None:
    """An outbound cluster (cluster.v3.Cluster)."""
    service = service_of(world, scope, name.host)
    port = service.port(name.port) if service else None
    if service is None or port is None:
        return None
    made: Message = {
        "name": str(name),
        "type": TYPES[_resolution(scope, service)],
        "metadata": _metadata(service, name, counted=bool(metered(world, scope, "CLIENT"))),
    }
    if options := _protocol(scope, port, calls=port.protocol.is_auto and is_called(world, service.ref, port.number)):
        made["typed_extension_protocol_options"] = {HTTP_OPTIONS: options}
    match _resolution(scope, service):
        case Resolution.CLIENT_SIDE:
            made["eds_cluster_config"] = {"eds_config": ADS, "service_name": str(name)}
        case Resolution.PASSTHROUGH:
            if port.target_port and not service.is_kubernetes:
                made["original_dst_lb_config"] = {"upstream_port_override": int(port.target_port)}
        case _:
            made |= {
                "dns_lookup_family": "V4_PREFERRED",
                "respect_dns_ttl": True,
                "dns_refresh_rate": seconds(mesh_config(world).dns_refresh_rate),
                "load_assignment": _assignment(world, scope, service, name),
            }
    policy = policy_of(world, scope, name.host, name.port, name.subset)
    socket: Message | None = None
    if (trust := _trust(world, scope, name, service.ref)) is not None:
        if not trust.is_valid:
            return None  # nobody is to be trusted there: who is sent there gets an error
        socket = transport_socket(world, scope, trust, is_http2=port.protocol.is_http2)
    policy = for_client(scope, policy)
    return with_policy(made, policy, mesh_config(world), service, port, socket)


def _trust(world: World, scope: Scope, name: ClusterName, ref: ObjectRef) -> Trust | None:
    """Whom a gateway trusts there, by a BackendTLSPolicy; sidecars have DestinationRules."""
    if scope.kind != "router" or ref.kind != "Service":
        return None
    service: Service | None = world.get(*ref)
    port = service.port(name.port) if service else None
    return trust_of(world, ref, port.name) if port else None


def _resolution(scope: Scope, service: Service) -> Resolution:
    """How a proxy finds the host's endpoints: a gateway's clients chose no address that could be passed on."""
    if scope.kind == "router" and service.resolution is Resolution.PASSTHROUGH:
        return Resolution.CLIENT_SIDE
    return service.resolution


def _protocol(scope: Scope, port: ServicePort, *, calls: bool) -> Message | None:
    """How HTTP is spoken to the endpoints; where nobody said as the client does, and from gateways as HTTP/1.1 (what
    their clients speak says nothing of the app), unless a GRPCRoute `calls`.
    """
    if port.protocol.is_http2 or (calls and scope.kind == "router"):
        return typed("upstreams.http.v3.HttpProtocolOptions", explicit_http_config={"http2_protocol_options": {}})
    if port.protocol.is_auto and scope.kind != "router":
        return typed(
            "upstreams.http.v3.HttpProtocolOptions",
            use_downstream_protocol_config=BOTH_PROTOCOLS,
        )
    return None


def _metadata(service: Service, name: ClusterName, *, counted: bool) -> Message:
    told: Message = {
        "services": [{"host": service.hostname, "name": service.name, "namespace": service.namespace}],
    }
    if name.subset:
        told["subset"] = name.subset
    if counted:
        told |= service_metadata(service.hostname, service.name, service.namespace)
    return {"filter_metadata": {"istio": told}}


def passthrough(*, counted: bool = False) -> list[Message]:
    """Where traffic goes that no rule names: to the address the client chose, or nowhere."""
    both: list[Message] = [
        {
            "name": PASSTHROUGH,
            "type": "ORIGINAL_DST",
            "connect_timeout": "10s",
            "lb_policy": "CLUSTER_PROVIDED",
            "circuit_breakers": NO_LIMITS,
            "typed_extension_protocol_options": {
                HTTP_OPTIONS: typed(
                    "upstreams.http.v3.HttpProtocolOptions",
                    use_downstream_protocol_config=BOTH_PROTOCOLS,
                )
            },
        },
        {"name": BLACK_HOLE, "type": "STATIC", "connect_timeout": "10s"},
    ]
    if counted:
        for one in both:
            told = service_metadata(UNKNOWN, one["name"], UNKNOWN)
            one["metadata"] = {"filter_metadata": {"istio": told}}
    return both


def assignment(world: World, scope: Scope, name: ClusterName) -> Assignment | None:
    """The endpoints of an EDS cluster."""
    service = service_of(world, scope, name.host)
    if service is None or TYPES[_resolution(scope, service)] != "EDS":
        return None
    balancer = policy_of(world, scope, name.host, name.port, name.subset).load_balancer
    if balancer is not None and balancer.simple == "PASSTHROUGH":
        return None
    return _assignment(world, scope, service, name)


def _assignment(world: World, scope: Scope, service: Service, name: ClusterName) -> Assignment:
    return Assignment(str(name), _arranged(world, scope, service, name), bool(metered(world, scope, "CLIENT")))


def _arranged(world: World, scope: Scope, service: Service, name: ClusterName) -> tuple[Group, ...]:
    """The endpoints of a cluster by where they are: those of its subset, the near ones first if that is wanted."""
    endpoints = endpoints_of(world, ServiceKey(service.hostname, service.ref), name.port)
    if service.internal_traffic_policy == "Local":
        endpoints = tuple(one for one in endpoints if one.node == scope.node)
    if name.subset:
        labels = set(subset_labels(world, scope, name.host, name.subset) or ())
        endpoints = tuple(one for one in endpoints if labels <= set(one.labels.items()))
    policy = policy_of(world, scope, name.host, name.port, name.subset)
    setting, falls = locality_setting(policy, mesh_config(world), service)
    return arranged(endpoints, setting, scope.locality, dict(scope.labels), outliers=falls, node=scope.node)
