"""Each resource as bytes: built, checked and serialised once for all who get it, and the parts that it is in.

What fails is left out alone and told; the others go on. The cost of a change is what it reaches: each resource is a
query of its own, and a part of a snapshot only collects what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple
from zlib import crc32

from mesh.build import clusters, gateway, inbound, outbound, proxyless, rules, tables
from mesh.build.filters import ready_listener
from mesh.build.inbound import Inbound
from mesh.build.outbound import Bind
from mesh.build.secrets import origins_of as secret_origins
from mesh.build.secrets import secret
from mesh.build.servers import Place, Ports
from mesh.encode.assignments import written
from mesh.encode.check import check, holds
from mesh.encode.messages import route_configuration
from mesh.encode.plans import encode
from mesh.encode.resource import Encoded, Part, encoded, joined
from mesh.model.meta import ObjectRef
from mesh.model.names import VIRTUAL_INBOUND, VIRTUAL_OUTBOUND, ClusterName
from mesh.model.problem import Problem
from mesh.world.memo import query
from mesh.world.proxy import Scope
from mesh.world.scopes import view_of
from mesh.world.telemetry import peers_told
from mesh.world.world import World

CLUSTER = "envoy.config.cluster.v3.Cluster"
ASSIGNMENT = "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = "envoy.config.listener.v3.Listener"
TABLE = "envoy.config.route.v3.RouteConfiguration"
VIRTUAL_HOST = "envoy.config.route.v3.VirtualHost"
SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"
CLUSTERS, ASSIGNMENTS, LISTENERS, TABLES, SECRETS = (
    f"type.googleapis.com/{kind}" for kind in (CLUSTER, ASSIGNMENT, LISTENER, TABLE, SECRET)
)


GROUP = 32  # clusters of a scope that are looked through together


class Unit(NamedTuple):
    """A resource, or None where there is none to be had, and what is wrong."""

    resource: Encoded | None
    problems: tuple[Problem, ...] = ()


NOTHING = Unit(None)


Made = Mapping[str, Any] | clusters.Assignment | None


def unit(kind: str, name: str, make: Callable[[], Made], origins: tuple[ObjectRef, ...]) -> Unit:
    """Builds, checks and serialises one resource; a failure costs this one alone, and names what it is made of."""
    try:
        body = make()
        if body is None:
            return NOTHING
        if isinstance(body, clusters.Assignment):
            return Unit(encoded(name, written(body), origins))
        if holds(kind, body):
            return Unit(encoded(name, encode(kind, body), origins))
        said = "; ".join(map(str, check(kind, body)))
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    blamed = origins or (ObjectRef(kind.rpartition(".")[2], "", name),)
    return Unit(None, tuple(Problem("refused-by-envoy", ref, "", f"{name} is left out: {said}") for ref in blamed))


@query
def cluster_unit(world: World, scope: Scope, name: ClusterName) -> Unit:
    """An outbound cluster."""
    origins = clusters.origins_of(world, scope, name)
    return unit(CLUSTER, str(name), lambda: clusters.cluster(world, scope, name), origins)


@query
def assignment_unit(world: World, scope: Scope, name: ClusterName) -> Unit:
    """The endpoints of a cluster."""
    origins = clusters.origins_of(world, scope, name)
    return unit(ASSIGNMENT, str(name), lambda: clusters.assignment(world, scope, name), origins)


@query
def listener_unit(world: World, scope: Scope, bind: Bind) -> Unit:
    """An outbound listener."""
    origins = outbound.origins_of(world, scope, bind)
    return unit(LISTENER, bind.name, lambda: outbound.listener(world, scope, bind), origins)


def virtual_host_units(world: World, scope: Scope, table: str) -> Iterator[Callable[[], Unit]]:
    """The virtual hosts of a table, each to be built or looked up, in order."""
    view, domains = view_of(world, scope), tables.table_domains(world, scope, table)
    for name in tables.virtual_hosts(world, scope, table):
        yield partial(_virtual_host_unit, world, view, table, name, domains.get(name, ()))


@query
def _virtual_host_unit(world: World, view: Scope, table: str, name: str, domains: tuple[str, ...]) -> Unit:
    origins = tables.origins_of(world, view, table, name)
    return unit(VIRTUAL_HOST, name, lambda: tables.virtual_host(world, view, table, name, domains), origins)


@query
def table_unit(world: World, scope: Scope, table: str) -> Unit:
    """A route table, of the virtual hosts that could be built."""
    hosts = [made() for made in virtual_host_units(world, scope, table)]
    return _table(table, tables.table_head(table), hosts)


def _table(name: str, head: Mapping[str, Any], hosts: Iterable[Unit]) -> Unit:
    units = list(hosts)
    parts = tuple(one.resource for one in units if one.resource is not None)
    body = route_configuration(head, (one.body for one in parts))
    return Unit(encoded(name, body, (), parts), tuple(problem for one in units for problem in one.problems))


@query
def gateway_listener_unit(world: World, scope: Scope, ports: Ports, place: Place) -> Unit:
    """A listener of a gateway."""
    name = f"{place.address}_{place.port}"
    origins = gateway.origins_at(world, scope, ports, place)
    return unit(LISTENER, name, lambda: gateway.gateway_listener(world, scope, ports, place), origins)


@query
def gateway_host_unit(world: World, scope: Scope, ports: Ports, table: str, host: str) -> Unit:
    """A virtual host of a gateway, to be put into its table."""
    origins = gateway.origins_of(world, scope, ports, table, host)
    return unit(VIRTUAL_HOST, host, lambda: gateway.gateway_virtual_host(world, scope, ports, table, host), origins)


@query
def gateway_table_unit(world: World, scope: Scope, ports: Ports, table: str) -> Unit:
    """A route table of a gateway, of the virtual hosts that could be built."""
    hosts = (
        gateway_host_unit(world, scope, ports, table, host)
        for host in gateway.gateway_hosts(world, scope, ports, table)
    )
    return _table(table, tables.table_head(table), hosts)


@query
def secret_unit(world: World, scope: Scope, name: str) -> Unit:
    """A certificate."""
    return unit(SECRET, name, lambda: secret(world, scope, name), secret_origins(scope, name))


@query
def own_listener_unit(world: World, scope: Scope, own: Inbound, name: str) -> Unit:
    """virtualInbound, virtualOutbound."""
    make = {VIRTUAL_INBOUND: inbound.inbound_listener, VIRTUAL_OUTBOUND: inbound.virtual_outbound}[name]
    origins = inbound.origins_of(world, scope, own) if name == VIRTUAL_INBOUND else ()
    return unit(LISTENER, name, lambda: make(world, scope, own), origins)


@query
def inbound_cluster_unit(world: World, scope: Scope, own: Inbound, port: int) -> Unit:
    """A port of the app."""
    name = str(ClusterName("inbound", port))
    origins = inbound.origins_of(world, scope, own, port)
    return unit(CLUSTER, name, lambda: inbound.inbound_cluster(world, scope, own, port), origins)


@query
def common_listeners(world: World) -> Part:
    """The listeners that every proxy has."""
    return _part([unit(LISTENER, "ready", ready_listener, ())])


@query
def common_clusters(world: World) -> Part:
    """The clusters that every proxy has."""
    bodies = [*clusters.passthrough(counted=peers_told(world)), inbound.inbound_passthrough()]
    return _part(unit(CLUSTER, body["name"], lambda body=body: body, ()) for body in bodies)  # type: ignore[misc]


@query
def _groups(world: World, scope: Scope) -> tuple[tuple[ClusterName, ...], ...]:
    """The clusters of a scope in groups by their hosts, so that a change has one group looked through and not all."""
    names = clusters.cluster_names(world, scope)
    made: list[list[ClusterName]] = [[] for _ in range(1 << (len(names) // GROUP).bit_length())]
    for name in names:
        made[crc32(name.host.encode()) % len(made)].append(name)
    return tuple(map(tuple, made))


@query
def _group(world: World, scope: Scope, number: int) -> tuple[ClusterName, ...]:
    groups = _groups(world, scope)
    return groups[number] if number < len(groups) else ()


@query
def _clusters_in(world: World, scope: Scope, number: int) -> Part:
    return _part(cluster_unit(world, scope, name) for name in _group(world, scope, number))


@query
def _assignments_in(world: World, scope: Scope, number: int) -> Part:
    return _part(assignment_unit(world, scope, name) for name in _group(world, scope, number))


@query
def outbound_clusters(world: World, scope: Scope) -> Part:
    """CDS of a scope."""
    return joined(_clusters_in(world, scope, number) for number in range(len(_groups(world, scope))))


@query
def assignments(world: World, scope: Scope) -> Part:
    """EDS of a scope."""
    return joined(_assignments_in(world, scope, number) for number in range(len(_groups(world, scope))))


@query
def outbound_listeners(world: World, scope: Scope) -> Part:
    """LDS of a scope."""
    return _part(listener_unit(world, scope, bind) for bind in outbound.listener_binds(world, scope))


@query
def route_tables(world: World, scope: Scope) -> Part:
    """RDS of a scope."""
    return _part(table_unit(world, scope, table) for table in tables.tables(world, scope))


@query
def own_listeners(world: World, scope: Scope, own: Inbound) -> Part:
    """LDS of those pods alone to which the same comes."""
    return _part(own_listener_unit(world, scope, own, name) for name in (VIRTUAL_OUTBOUND, VIRTUAL_INBOUND))


@query
def own_clusters(world: World, scope: Scope, own: Inbound) -> Part:
    """CDS of those pods alone to which the same comes."""
    return _part(inbound_cluster_unit(world, scope, own, port.number) for port in own.ports)


def _part(units: Iterable[Unit]) -> Part:
    resources: dict[str, Encoded] = {}
    problems: list[Problem] = []
    for one in units:
        if one.resource is not None:
            resources[one.resource.name] = one.resource
        problems += one.problems
    return Part(resources, tuple(problems))


@query
def gateway_listeners(world: World, scope: Scope, ports: Ports) -> Part:
    """LDS of a gateway."""
    return _part(
        gateway_listener_unit(world, scope, ports, place) for place in gateway.gateway_places(world, scope, ports)
    )


@query
def gateway_tables(world: World, scope: Scope, ports: Ports) -> Part:
    """RDS of a gateway."""
    return _part(gateway_table_unit(world, scope, ports, name) for name in gateway.gateway_tables(world, scope, ports))


@query
def gateway_secrets(world: World, scope: Scope, ports: Ports) -> Part:
    """SDS of a gateway: the certificates that its servers name."""
    return _part(secret_unit(world, scope, name) for name in gateway.credentials(world, scope, ports))


@query
def shown_secrets(world: World, scope: Scope) -> Part:
    """SDS of a sidecar: what DestinationRules that pick it have it show."""
    return _part(secret_unit(world, scope, name) for name in rules.shown_secrets(world, scope))


@query
def plain_listeners(world: World, scope: Scope) -> Part:
    """LDS of gRPC's own clients."""
    return _part(
        unit(LISTENER, name, lambda name=name: proxyless.listener(world, scope, name), ())  # type: ignore[misc]
        for name in proxyless.targets(world, scope)
    )


@query
def plain_table_unit(world: World, scope: Scope, host: str, port: int) -> Unit:
    """A route table of gRPC's own clients."""
    return unit(TABLE, proxyless.table_name(host, port), lambda: proxyless.table(world, scope, host, port), ())


@query
def plain_tables(world: World, scope: Scope) -> Part:
    """RDS of gRPC's own clients."""
    return _part(plain_table_unit(world, scope, *meant) for meant in proxyless.table_names(world, scope))


@query
def plain_cluster_unit(world: World, scope: Scope, name: ClusterName) -> Unit:
    """A cluster of gRPC's own clients."""
    return unit(CLUSTER, str(name), lambda: proxyless.plain_cluster(world, scope, name), ())


@query
def plain_clusters(world: World, scope: Scope) -> Part:
    """CDS of gRPC's own clients."""
    return _part(plain_cluster_unit(world, scope, name) for name in clusters.cluster_names(world, scope))
