"""Which scope a proxy is of: what is known of its pod, and of that only what something in the world asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mesh.model.destinationrule import DestinationRule
from mesh.model.gatewayapi import KubernetesGateway
from mesh.model.policy import PortTrafficPolicy, TrafficPolicy
from mesh.model.workload import NOWHERE, Locality, Pod
from mesh.world.index import locality_of_node
from mesh.world.memo import query
from mesh.world.proxy import GATEWAY_NAME, Proxy, Scope
from mesh.world.sidecars import mesh_config
from mesh.world.telemetry import traces_name_services
from mesh.world.world import World

# By which OpenTelemetry's spans are named (mesh.build.tracing)
APP_NAMES = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")


@query
def selected_labels(world: World) -> frozenset[str]:
    """The label keys by which anything in the world picks proxies."""
    keys = {*viewed_labels(world), *_labels_of_gateways(world)}
    for gateway in world.all("Gateway").values():
        keys.update(gateway.selector)
    if world.all("Ingress"):
        keys.add("istio")
    return frozenset(keys)


@query
def _labels_of_gateways(world: World) -> frozenset[str]:
    """Those by which a proxy is known as one of a Gateway of Gateway API."""
    keys: set[str] = set()
    for gateway in world.all("KubernetesGateway").values():
        keys.add(GATEWAY_NAME)
        for address in gateway.addresses:
            name, _, rest = address.value.partition(".")
            service = world.get("Service", rest.partition(".")[0] or gateway.meta.namespace, name)
            keys.update(service.selector if service else ())
    return frozenset(keys)


def _shows_certificates(gateway: KubernetesGateway) -> bool:
    """Whether the Gateway's proxies have a certificate of their own for backends, and so clusters of their own."""
    return gateway.tls is not None and gateway.tls.backend is not None


@query
def viewed_labels(world: World) -> frozenset[str]:
    """Those of them that clusters, endpoints or a sidecar's virtual hosts depend on."""
    keys: set[str] = set()
    for sidecar in world.all("Sidecar").values():
        if sidecar.workload_selector:
            keys.update(sidecar.workload_selector.labels)
    for rule in world.all("DestinationRule").values():
        if rule.workload_selector:
            keys.update(rule.workload_selector.match_labels)
        for balancer in (policy.load_balancer for policy in policies_of(rule)):
            if balancer and balancer.locality_lb_setting:
                keys.update(one.partition("=")[0] for one in balancer.locality_lb_setting.failover_priority)
    for telemetry in world.all("Telemetry").values():
        keys.update(telemetry.labels)
    if traces_name_services(world):
        keys.update(APP_NAMES)
    if any(_shows_certificates(one) for one in world.all("KubernetesGateway").values()):
        keys.update(_labels_of_gateways(world))
    for service in world.all("VirtualService").values():
        for http in (*service.http, *service.tls, *service.tcp):
            for match in http.match:
                keys.update(match.source_labels)
    return frozenset(keys)


@query
def locality_counts(world: World) -> bool:
    """Whether anything is decided by where a proxy runs: endpoints fail over by it, or are shared by it."""
    near = (
        *world.all("Service").values(),
        *(each for one in world.all("ServiceEntry").values() for each in one.services()),
    )
    return any(one.traffic_distribution for one in near) or any(
        policy.outlier_detection is not None or (policy.load_balancer and policy.load_balancer.locality_lb_setting)
        for rule in world.all("DestinationRule").values()
        for policy in policies_of(rule)
    )


def policies_of(rule: DestinationRule) -> Iterable[TrafficPolicy | PortTrafficPolicy]:
    """All that a DestinationRule says, of the host, its subsets, and their ports."""
    for policy in (rule.traffic_policy, *(subset.traffic_policy for subset in rule.subsets)):
        if policy is not None:
            yield policy
            yield from policy.port_level_settings


@query
def node_counts(world: World) -> bool:
    """Whether anything is decided by the node that a proxy runs on."""
    return any(
        one.internal_traffic_policy == "Local" or one.traffic_distribution.lower() == "prefersamenode"
        for one in world.all("Service").values()
    )


@query
def scope_of_pod(
    world: World, kind: str, namespace: str, pod: str, labels: tuple[tuple[str, str], ...], where: Locality, domain: str
) -> Scope:
    """The scope of a proxy; its Pod object is believed more than what it says of itself."""
    known: Pod | None = world.get("Pod", namespace, pod)
    all_: Mapping[str, str] = known.meta.labels if known else dict(labels)
    asked = selected_labels(world)
    if known and known.locality:
        where = Locality.parse(known.locality)
    elif known and known.node_name and not any(where):
        where = locality_of_node(world, known.node_name)
    return Scope(
        "router" if kind == "router" else "sidecar",
        namespace,
        tuple(sorted((key, value) for key, value in all_.items() if key in asked)),
        where if locality_counts(world) else NOWHERE,
        domain,
        known.node_name if known and node_counts(world) else "",
    )


def scope_of(world: World, proxy: Proxy) -> Scope:
    """The scope of a proxy."""
    labels = tuple(sorted(proxy.labels.items()))
    return scope_of_pod(world, proxy.kind, proxy.namespace, proxy.pod, labels, proxy.locality, proxy.domain)


# Kinds of which an object counts for proxies of its own namespace otherwise than for others.
OWN_KINDS = ("Sidecar", "DestinationRule", "ServiceEntry", "HTTPRoute", "GRPCRoute", "Telemetry")
# Kinds that can be kept from namespaces, or to them.
EXPORTED_KINDS = ("Service", "VirtualService", "DestinationRule", "ServiceEntry")


@query
def told_apart(world: World) -> frozenset[str] | None:
    """The namespaces whose proxies may see other services, rules or policies than those elsewhere; None for all."""
    config = mesh_config(world)
    defaults = (
        config.default_service_export_to,
        config.default_virtual_service_export_to,
        config.default_destination_rule_export_to,
    )
    root = config.root_namespace
    if any(tuple(one) != ("*",) for one in defaults) or any(key.namespace == root for key in world.all("Sidecar")):
        return None
    found: set[str] = set()
    for kind in OWN_KINDS:
        found.update(key.namespace for key in world.all(kind) if kind != "Telemetry" or key.namespace != root)
    # the certificate that their proxies show to backends
    gateways = world.all("KubernetesGateway").items()
    found.update(key.namespace for key, one in gateways if _shows_certificates(one))
    for kind in EXPORTED_KINDS:
        for key, value in world.all(kind).items():
            if value.export_to and "*" not in value.export_to:
                found.update((key.namespace, *value.export_to))
    for service in world.all("VirtualService").values():
        for rule in (*service.http, *service.tls, *service.tcp):
            found.update(match.source_namespace for match in rule.match)
    return frozenset(found)


@query
def view_of(world: World, scope: Scope) -> Scope:
    """What a scope shares with all others that see the same: itself without its namespace, where nothing asks for it,
    and without the labels by which only gateways are known.

    So a thousand namespaces have their clusters, endpoints and virtual hosts made once, and all Gateways theirs. Only
    the short names of a namespace's own Services are its own (`mesh.build.tables.table_domains`).
    """
    apart, keys = told_apart(world), viewed_labels(world)
    labels = tuple(label for label in scope.labels if label[0] in keys)
    namespace = scope.namespace if apart is None or scope.namespace in apart else ""
    return scope._replace(labels=labels, namespace=namespace)
