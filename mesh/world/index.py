"""What follows from the objects before any word of Envoy's: who sees which host, and where its endpoints are.

An index a question; each a query, so that a change touches the answers it changes and no others.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, NamedTuple

from common.envoy.sidecar import AccessLog
from mesh.model.meta import ObjectRef
from mesh.model.service import EndpointSlice, Resolution, Service, ServicePort
from mesh.model.workload import NOWHERE, Locality, Pod, Workload
from mesh.world.memo import query
from mesh.world.proxy import Scope
from mesh.world.sidecars import Egress, egress_of, exported, imported_destinations, mesh_config, sidecar_of
from mesh.world.world import World


class ServiceKey(NamedTuple):
    """A host that can be called, with the object that says so: two objects may name the same host."""

    host: str
    ref: ObjectRef


class Endpoint(NamedTuple):
    """Where a connection can go. `port` is the pod's own; `weight` is relative, 0 for unsaid."""

    address: str
    port: int
    labels: Mapping[str, str]
    locality: Locality = NOWHERE
    node: str = ""
    weight: int = 0
    healthy: bool = True
    workload: str = ""


def _slice_groups(value: EndpointSlice) -> Iterable[Hashable]:
    yield "service", value.meta.namespace, value.service
    for endpoint in value.endpoints:
        for address in endpoint.addresses:
            yield "address", address


GROUPS: Mapping[str, Any] = {
    "EndpointSlice": _slice_groups,
    "Service": lambda value: (value.namespace,),
    "Pod": lambda value: (value.meta.namespace,),
    "WorkloadEntry": lambda value: (value.meta.namespace,),
}


@query
def access_log(world: World) -> AccessLog | None:
    """Where Envoy writes a line for each request and connection (MeshConfig.accessLogFile)."""
    config = mesh_config(world)
    if not config.access_log_file:
        return None
    as_json, text = config.access_log_encoding == "JSON", config.access_log_format
    if not (as_json and text):
        return AccessLog(config.access_log_file, text or None, as_json)
    try:
        fields = json.loads(text)
    except ValueError:
        fields = None
    return AccessLog(config.access_log_file, fields if isinstance(fields, dict) else None, as_json)


def new_world() -> World:
    """An empty world with the groups that the queries here read."""
    return World(GROUPS)


@query
def services_by_host(world: World) -> Mapping[str, tuple[ServiceKey, ...]]:
    """All that can be called; of one host's the Kubernetes Service first, then the oldest."""
    found: dict[str, list[tuple[bool, tuple[str, str, str], ServiceKey]]] = {}
    for one in _all_services(world):
        key = ServiceKey(one.hostname, one.ref)
        found.setdefault(one.hostname, []).append((not one.is_kubernetes, one.meta.age, key))
    return {host: tuple(key for _, _, key in sorted(keys)) for host, keys in found.items()}


def _all_services(world: World) -> Iterable[Service]:
    yield from world.all("Service").values()
    for entry in world.all("ServiceEntry").values():
        yield from entry.services()


@query
def service_at(world: World, key: ServiceKey) -> Service | None:
    """The Service of that key."""
    value = world.get(key.ref.kind, key.ref.namespace, key.ref.name)
    if value is None or isinstance(value, Service):
        return value
    return next((one for one in value.services() if one.hostname == key.host), None)


@query
def visible_services(world: World, scope: Scope) -> Mapping[str, ServiceKey]:
    """The hosts that proxies of the scope know, each with the one object that counts for them, sorted by host."""
    default = mesh_config(world).default_service_export_to
    egress, sent_to = egress_of(world, scope), imported_destinations(world, scope)
    seen: dict[str, ServiceKey] = {}
    for host, keys in services_by_host(world).items():
        mine = []
        for key in keys:
            service = service_at(world, key)
            if (
                service
                and exported(service.export_to, default, service.namespace, scope.namespace)
                and (egress is None or host in sent_to or _imported(service, egress))
            ):
                mine.append(key)
        if mine:
            # a Kubernetes Service first; else the scope's own namespace, so that nobody takes a host from elsewhere
            own = next((key for key in mine if key.ref.namespace == scope.namespace), mine[0])
            seen[host] = mine[0] if mine[0].ref.kind == "Service" else own
    return dict(sorted(seen.items()))


def _imported(service: Service, egress: tuple[Egress, ...]) -> bool:
    return any(
        one.names(service.namespace, service.hostname) and (not one.port or service.port(one.port)) for one in egress
    )


@query
def ports_seen(world: World, scope: Scope, key: ServiceKey) -> tuple[ServicePort, ...]:
    """The ports of a host that proxies of the scope know."""
    service = service_at(world, key)
    if service is None:
        return ()
    ports = tuple(one for one in service.ports if one.protocol != "UDP")
    egress = egress_of(world, scope)
    if egress is None or key.host in imported_destinations(world, scope):
        return ports
    named = [one for one in egress if one.names(service.namespace, service.hostname)]
    if any(not one.port for one in named):
        return ports
    return tuple(port for port in ports if any(one.port == port.number for one in named))


@query
def service_of(world: World, scope: Scope, host: str) -> Service | None:
    """What a host is to the proxies of the scope; None if they do not know it."""
    key = visible_services(world, scope).get(host)
    return service_at(world, key) if key else None


@query
def locality_of_node(world: World, name: str) -> Locality:
    """Where a node stands."""
    node = world.get("Node", "", name)
    return node.locality if node else NOWHERE


@query
def endpoints_of(world: World, key: ServiceKey, port: int) -> tuple[Endpoint, ...]:
    """The endpoints behind a port of a Service, that can be sent to now, sorted by address.

    What the EndpointSlices' conditions say alone counts. Those that end are left out, so that connections drain; only
    where no other is left do they serve on, as with kube-proxy.
    """
    service = service_at(world, key)
    wanted = service.port(port) if service else None
    if service is None or wanted is None:
        return ()
    if not service.is_kubernetes:
        return _entry_endpoints(world, service, wanted)
    ready: dict[tuple[str, int], Endpoint] = {}
    ending: dict[tuple[str, int], Endpoint] = {}
    for one in world.group("EndpointSlice", ("service", service.namespace, service.name)):
        number = next((p.port for p in one.ports if p.name == wanted.name and p.port is not None), None)
        if number is None or one.address_type == "FQDN":
            continue
        for endpoint in one.endpoints:
            if endpoint.ready or (service.publish_not_ready and not endpoint.terminating):
                into = ready
            elif endpoint.serving and endpoint.terminating:
                into = ending
            else:
                continue
            pod = _target_pod(world, endpoint.target)
            where = locality_of_node(world, endpoint.node_name) if endpoint.node_name else NOWHERE
            for address in endpoint.addresses[:1]:
                labels, workload = (pod.meta.labels, pod.workload) if pod else (EMPTY_LABELS, "")
                into[address, number] = Endpoint(address, number, labels, where, endpoint.node_name, workload=workload)
    found = ready or ending
    return tuple(found[at] for at in sorted(found))


def _target_pod(world: World, target: ObjectRef | None) -> Pod | None:
    return world.get("Pod", target.namespace, target.name) if target and target.kind == "Pod" else None


def _entry_endpoints(world: World, service: Service, port: ServicePort) -> tuple[Endpoint, ...]:
    """A ServiceEntry's own endpoints, or the Pods and WorkloadEntries that it selects in its namespace."""
    number = int(port.target_port or port.number)
    if service.workload_selector is None:
        # DNS without endpoints resolves the host itself
        own = service.endpoints or ((Workload(service.hostname),) if service.resolution in BY_NAME else ())
        return tuple(_of_workload(one, port, number if service.endpoints else port.number) for one in own)
    wanted = set(service.workload_selector.items())
    found = [
        Endpoint(
            one.ip,
            number,
            one.meta.labels,
            locality_of_node(world, one.node_name),
            one.node_name,
            workload=one.workload,
        )
        for one in world.group("Pod", service.namespace)
        if one.ip and one.ready and not one.terminating and wanted <= set(one.meta.labels.items())
    ]
    found += [
        _of_workload(one, port, number)
        for one in world.group("WorkloadEntry", service.namespace)
        if wanted <= set(one.labels.items())
    ]
    return tuple(sorted(found, key=lambda one: (one.address, one.port)))


def _of_workload(one: Workload, port: ServicePort, number: int) -> Endpoint:
    where = Locality.parse(one.locality) if one.locality else NOWHERE
    return Endpoint(one.address, one.ports.get(port.name, number), one.labels, where, "", one.weight)


BY_NAME = frozenset({Resolution.DNS, Resolution.DNS_ROUND_ROBIN})


EMPTY_LABELS: Mapping[str, str] = {}


class Target(NamedTuple):
    """A port of the proxy's own app that a Service leads to."""

    key: ServiceKey
    port: ServicePort
    number: int
    """The port at the app."""


@query
def targets_of(
    world: World, namespace: str, pod: str, labels: tuple[tuple[str, str], ...], addresses: tuple[str, ...]
) -> tuple[Target, ...]:
    """The ports at which Services lead to this pod, ready or not; of two for one port the older Service first."""
    me: Pod | None = world.get("Pod", namespace, pod)
    # what the proxy says of its labels counts only until its Pod is known
    mine = set(me.meta.labels.items() if me else labels)
    found: list[tuple[tuple[str, str, str], Target]] = []
    for service in world.group("Service", namespace):
        if service.selector and set(service.selector.items()) <= mine:
            for port in service.ports:
                number = port.target_port or port.number
                if isinstance(number, str):
                    number = (me.port_named(number) if me else None) or 0
                if number and port.protocol != "UDP":
                    found.append((service.meta.age, Target(ServiceKey(service.hostname, service.ref), port, number)))
    for address in addresses:
        for one in world.group("EndpointSlice", ("address", address)):
            service = world.get("Service", one.meta.namespace, one.service)
            if service is None or service.selector:
                continue
            for slice_port in one.ports:
                port = service.port_named(slice_port.name)
                if port and slice_port.port:
                    found.append(
                        (service.meta.age, Target(ServiceKey(service.hostname, service.ref), port, slice_port.port))
                    )
    return tuple(target for _, target in sorted(found, key=lambda one: one[0]))


@query
def registry_only(world: World, scope: Scope) -> bool:
    """Whether traffic to what nobody knows ends here (outboundTrafficPolicy), by the Sidecar or the mesh."""
    sidecar = sidecar_of(world, scope)
    own = sidecar.outbound_traffic_policy if sidecar else None
    return (own or mesh_config(world).outbound_traffic_policy).mode == "REGISTRY_ONLY"
