"""All hosts and gateways at a glance, for the dashboard: a query a host, so that a change costs what it reaches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mesh.build.rules import rule_of
from mesh.model.httproute import GRPCRoute, HTTPRoute
from mesh.model.meta import ObjectRef
from mesh.model.reading import DOMAIN
from mesh.model.virtualservice import VirtualService
from mesh.routing import ingress, virtualservice
from mesh.routing.attach import mesh_routes, rulers_of
from mesh.routing.backends import MESH, whole_name
from mesh.routing.grants import granted
from mesh.routing.httproute import Maker, target_of
from mesh.routing.listeners import gateway_of
from mesh.routing.parents import KINDS, parent_of, service_rulers
from mesh.routing.route import Forward, Route
from mesh.world.index import endpoints_of, service_at, services_by_host
from mesh.world.memo import query
from mesh.world.proxy import Scope
from mesh.world.world import World


class PortOverview(NamedTuple):
    """A port of a host, and how many endpoints it has."""

    number: int
    name: str
    protocol: str
    endpoints: int


class Overview(NamedTuple):
    """A host. `workloads` are those behind it, with how many endpoints each has; `rules` its DestinationRules.

    `routes` are what rules requests to it in the mesh, as its own namespace sees it; `targets` the hosts that they
    send to, itself among them.
    """

    host: str
    ref: ObjectRef
    ports: tuple[PortOverview, ...]
    workloads: tuple[tuple[str, int], ...]
    rules: tuple[ObjectRef, ...]
    routes: tuple[ObjectRef, ...]
    targets: tuple[str, ...]
    is_external: bool = False


class Entrance(NamedTuple):
    """A gateway, the object that lets requests in there, and the hosts that it sends them to."""

    gateway: ObjectRef
    route: ObjectRef
    hosts: tuple[str, ...]
    targets: tuple[str, ...]


@query
def overviews(world: World, domain: str) -> tuple[Overview, ...]:
    """All hosts, sorted by namespace and name; of two objects for one host the one that counts for most."""
    found = (overview(world, host, domain) for host in services_by_host(world))
    return tuple(sorted((one for one in found if one is not None), key=lambda one: (one.ref.namespace, one.host)))


@query
def overview(world: World, host: str, domain: str) -> Overview | None:
    """One host."""
    key = next(iter(services_by_host(world).get(host, ())), None)
    service = service_at(world, key) if key else None
    if key is None or service is None:
        return None
    scope = Scope("sidecar", service.namespace, domain=domain)
    ports, workloads = [], dict[str, int]()
    targets: dict[str, None] = {}
    routes = dict.fromkeys(rulers_of(world, scope, host))
    for port in service.ports:
        endpoints = endpoints_of(world, key, port.number)
        ports.append(PortOverview(port.number, port.name, str(port.protocol), len(endpoints)))
        counted: dict[str, int] = {}
        for one in endpoints:
            if one.workload:
                counted[one.workload] = counted.get(one.workload, 0) + 1
        workloads |= {name: max(count, workloads.get(name, 0)) for name, count in counted.items()}
        if port.protocol.is_http or port.protocol.is_auto:
            routes |= dict.fromkeys(one.ref for one in service_rulers(world, scope, host, port.number))
            targets |= dict.fromkeys(_targets(mesh_routes(world, scope, host, port.number)))
    rule = rule_of(world, scope, host)
    return Overview(
        host,
        key.ref,
        tuple(ports),
        tuple(sorted(workloads.items())),
        rule.refs if rule else (),
        tuple(routes),
        tuple(targets),
        service.mesh_external,
    )


def _targets(routes: Iterable[Route]) -> Iterator[str]:
    for route in routes:
        if isinstance(route.action, Forward):
            yield from (one.target.host for one in route.action.backends if one.target.host)


@query
def entrances(world: World, domain: str) -> tuple[Entrance, ...]:
    """Where requests come in, sorted: by Istio's Gateways, by Gateway API's, by Ingresses."""
    found = [*_of_virtual_services(world), *_of_gateway_api(world, domain), *_of_ingresses(world, domain)]
    return tuple(sorted(found))


def _of_virtual_services(world: World) -> Iterator[Entrance]:
    services: Iterable[VirtualService] = world.all("VirtualService").values()
    for one in services:
        sent = [route.destination.host for rule in one.http for route in rule.route]
        sent += [route.destination.host for rule in one.tls for route in rule.route]
        sent += [route.destination.host for rule in one.tcp for route in rule.route]
        targets = tuple(dict.fromkeys(whole_name(host, one.meta.namespace, DOMAIN) for host in sent))
        for gateway in virtualservice.gateways_of(one):
            if gateway != MESH:
                namespace, _, name = gateway.partition("/")
                yield Entrance(ObjectRef("Gateway", namespace, name), one.meta.ref, one.hosts, targets)


def _of_gateway_api(world: World, domain: str) -> Iterator[Entrance]:
    for kind in KINDS:
        for route in world.all(kind).values():
            maker = Maker(domain, granted(world, route.meta.ref))
            backends = [target_of(route, ref, maker) for rule in route.rules for ref in rule.backend_refs]
            targets = tuple(dict.fromkeys(one.host for one in backends if one.host))
            hosts = route.hostnames if isinstance(route, HTTPRoute | GRPCRoute) else ()
            for ref in route.parent_refs:
                parent = parent_of(ref, route.meta.namespace)
                if parent is None or parent.kind not in ("KubernetesGateway", "ListenerSet"):
                    continue
                at = gateway_of(world, ObjectRef(*parent))
                if at is not None:
                    yield Entrance(at._replace(kind="Gateway"), route.meta.ref, hosts, targets)


def _of_ingresses(world: World, domain: str) -> Iterator[Entrance]:
    scope = Scope("router", "", domain=domain)
    for host, refs in ingress.ingress_hosts(world).items():
        targets = tuple(dict.fromkeys(_targets(ingress.ingress_routes(world, scope, host))))
        for ref in refs:
            yield Entrance(ObjectRef("Gateway", "", "Ingress"), ref, (host,), targets)
