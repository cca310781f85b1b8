"""What follows from the objects before any word of Envoy's: who sees which host, and where its endpoints are.

An index a question; each a query, so that a change touches the answers it changes and no others.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from common.envoy.sidecar import AccessLog
from mesh.model.meta import ObjectRef
from mesh.model.service import EndpointSlice, Resolution, Service, ServicePort
from mesh.model.workload import LOCALITY, NOWHERE, Locality, Pod, Workload
from mesh.world.memo import query
from mesh.world.proxy import Scope
from mesh.world.sidecars import Egress, egress_of, exported, inferred_destinations, mesh_config, sidecar_of
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
    """The Service of that key. What younger ServiceEntries of its namespace say of the same host is joined to it."""
    service = own_service(world, key)
    if service is None or service.is_kubernetes or len(siblings := joined_entries(world, key)) < 2:
        return service
    ports = {port.number: port for one in reversed(siblings) for port in one.ports}
    first = [port.number for port in service.ports]
    return replace(service, ports=tuple(ports[number] for number in dict.fromkeys([*first, *ports])))


def own_service(world: World, key: ServiceKey) -> Service | None:
    """The Service as its object alone has it."""
    value = world.get(key.ref.kind, key.ref.namespace, key.ref.name)
    if value is None or isinstance(value, Service):
        return value
    return next((one for one in value.services() if one.hostname == key.host), None)


def joined_entries(world: World, key: ServiceKey) -> tuple[Service, ...]:
    """A host's Services in its namespace that are one: the oldest ServiceEntry, which the key names, and those that say
    the same of all but ports, addresses and endpoints (Istio's canMergeServices).
    """
    first = own_service(world, key)
    if first is None or first.is_kubernetes:
        return (first,) if first else ()
    return _joined_entries(world, key)


@query
def _joined_entries(world: World, key: ServiceKey) -> tuple[Service, ...]:
    first = own_service(world, key)
    if first is None:
        return ()
    mine = [one for one in services_by_host(world).get(key.host, ()) if one.ref.namespace == key.ref.namespace]
    if mine[0] != key:
        return (first,)
    others = (own_service(world, one) for one in mine[1:])
    return (first, *(one for one in others if one and _is_one_with(first, one)))


def _is_one_with(first: Service, other: Service) -> bool:
    return (
        (first.resolution, first.export_to, first.workload_selector)
        == (other.resolution, other.export_to, other.workload_selector)
        and first.meta.labels == other.meta.labels
        and not other.is_kubernetes
    )  # fmt: skip


@query
def visible_services(world: World, scope: Scope) -> Mapping[str, ServiceKey]:
    """The hosts that proxies of the scope can send to, each with the one object that counts for them, sorted by host:
    those that they know, and those that only a rule for them sends to.
    """
    found = dict(known_services(world, scope))
    for host in inferred_destinations(world, scope):
        if host not in found and (mine := _seen(world, scope, host)):
            own = [key for key in mine if key.ref.namespace == scope.namespace]
            found[host] = own[0] if own else min(mine, key=lambda key: key.ref.namespace)
    return dict(sorted(found.items()))


@query
def known_services(world: World, scope: Scope) -> Mapping[str, ServiceKey]:
    """The hosts that proxies of the scope know by name or address, each with the one object that counts for them."""
    egress = egress_of(world, scope)
    found: dict[str, ServiceKey] = {}
    for host in services_by_host(world):
        mine = _seen(world, scope, host)
        if egress is not None:
            mine = [key for key in mine if _imported(world, key, egress)]
        if mine:
            # what the scope's own namespace says; a Kubernetes Service before any ServiceEntry; then the oldest
            found[host] = next((key for key in mine if key.ref.namespace == scope.namespace), mine[0])
    return found


def _seen(world: World, scope: Scope, host: str) -> list[ServiceKey]:
    default = mesh_config(world).default_service_export_to
    return [
        key
        for key in services_by_host(world).get(host, ())
        if (one := own_service(world, key)) and exported(one.export_to, default, one.namespace, scope.namespace)
    ]


def _imported(world: World, key: ServiceKey, egress: tuple[Egress, ...]) -> bool:
    service = service_at(world, key)
    return service is not None and any(
        one.names(key.ref.namespace, key.host) and (not one.port or service.port(one.port)) for one in egress
    )


def ports_seen(world: World, scope: Scope, key: ServiceKey) -> tuple[ServicePort, ...]:
    """The ports of a host that proxies of the scope can send to."""
    service = service_at(world, key)
    if service is None:
        return ()
    ports = tuple(one for one in service.ports if one.protocol != "UDP")
    egress = egress_of(world, scope)
    if egress is None:
        return ports
    # those of listeners that name it; 0 is every port
    seen = {one.port for one in egress if one.names(service.namespace, key.host)}
    seen |= inferred_destinations(world, scope).get(key.host, frozenset())
    return ports if 0 in seen else tuple(port for port in ports if port.number in seen)


def aliases_of(world: World, host: str) -> tuple[str, ...]:
    """The ExternalName Services that are other names for a host, also by way of another alias; sorted."""
    return _aliases(world).get(host, ())


@query
def _aliases(world: World) -> Mapping[str, tuple[str, ...]]:
    named = {
        one.hostname: one.external_name
        for one in world.all("Service").values()
        if one.resolution is Resolution.ALIAS
    }  # fmt: skip
    found: dict[str, list[str]] = {}
    for alias in sorted(named):
        host, seen = named[alias], {alias}
        while host in named and host not in seen:
            seen.add(host)
            host = named[host]
        if host not in seen:  # a circle leads nowhere
            found.setdefault(host, []).append(alias)
    return {host: tuple(aliases) for host, aliases in found.items()}


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


def locality_of_pod(world: World, pod: Pod | None, node: str) -> Locality:
    """Where a pod runs: by its own label, else its node's."""
    if pod is not None and pod.locality:
        return Locality.parse(pod.locality)
    return locality_of_node(world, node) if node else NOWHERE


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
        entries = joined_entries(world, key)
        return tuple(
            endpoint
            for one in entries
            if (named := one.port_named(wanted.name))
            for endpoint in _entry_endpoints(world, one, named)
        )
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
            where = locality_of_pod(world, pod, endpoint.node_name)
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
        return tuple(_of_workload(one, port, number) for one in own)
    wanted = set(service.workload_selector.items())
    found = [
        Endpoint(
            one.ip,
            number,
            one.meta.labels,
            locality_of_pod(world, one, one.node_name),
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
    said = one.locality or one.labels.get(LOCALITY, "")
    where = Locality.parse(said) if said else NOWHERE
    return Endpoint(one.address, one.ports.get(port.name, number), one.labels, where, "", one.weight)


BY_NAME = frozenset({Resolution.DNS, Resolution.DNS_ROUND_ROBIN})


@query
def labels_by_item(world: World, namespace: str) -> Mapping[tuple[str, str], tuple[Mapping[str, str], ...]]:
    """The labels of a namespace's pods that run, by each label that they have."""
    found: dict[tuple[str, str], list[Mapping[str, str]]] = {}
    for pod in world.group("Pod", namespace):
        if pod.ip:
            for item in pod.meta.labels.items():
                found.setdefault(item, []).append(pod.meta.labels)
    return {item: tuple(many) for item, many in found.items()}


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
