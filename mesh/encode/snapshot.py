"""All that a proxy is to have, as bytes: each resource built, checked and serialised once for all who get it.

What fails is left out alone and told; the others go on. The cost of a change is what it reaches: each resource is a
query of its own, and a part of a snapshot only collects what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, NamedTuple

from mesh.build import clusters, gateway, inbound, outbound, proxyless, tables
from mesh.build.filters import ready_listener
from mesh.build.inbound import Instance, instance_of
from mesh.build.outbound import Bind
from mesh.build.secrets import origins_of as secret_origins
from mesh.build.secrets import secret
from mesh.build.servers import Place, Ports, gateway_ports
from mesh.encode.check import check
from mesh.encode.messages import route_configuration
from mesh.encode.plans import encode
from mesh.encode.resource import Encoded, Part, Snapshot, State, encoded
from mesh.model.meta import ObjectRef
from mesh.model.names import VIRTUAL_INBOUND, VIRTUAL_OUTBOUND, ClusterName
from mesh.model.problem import Problem
from mesh.world.memo import query
from mesh.world.proxy import Proxy, Scope
from mesh.world.scopes import scope_of, view_of
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


class Unit(NamedTuple):
    """A resource, or None where there is none to be had, and what is wrong."""

    resource: Encoded | None
    problems: tuple[Problem, ...] = ()


NOTHING = Unit(None)


def unit(kind: str, name: str, make: Callable[[], Mapping[str, Any] | None], origins: tuple[ObjectRef, ...]) -> Unit:
    """Builds, checks and serialises one resource; a failure costs this one alone, and names what it is made of."""
    try:
        body = make()
        if body is None:
            return NOTHING
        violations = check(kind, body)
        if not violations:
            return Unit(encoded(name, encode(kind, body), origins))
        said = "; ".join(str(one) for one in violations)
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


def virtual_host_unit(world: World, scope: Scope, table: str, name: str) -> Unit:
    """A virtual host, to be put into its table."""
    domains = tables.table_domains(world, scope, table).get(name, ())
    return _virtual_host_unit(world, view_of(world, scope), table, name, domains)


@query
def _virtual_host_unit(world: World, view: Scope, table: str, name: str, domains: tuple[str, ...]) -> Unit:
    origins = tables.origins_of(world, view, table, name)
    return unit(VIRTUAL_HOST, name, lambda: tables.virtual_host(world, view, table, name, domains), origins)


@query
def table_unit(world: World, scope: Scope, table: str) -> Unit:
    """A route table, of the virtual hosts that could be built."""
    hosts = [virtual_host_unit(world, scope, table, name) for name in tables.virtual_hosts(world, scope, table)]
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
def own_listener_unit(world: World, scope: Scope, instance: Instance, name: str) -> Unit:
    """virtualInbound, virtualOutbound."""
    make = {VIRTUAL_INBOUND: inbound.inbound_listener, VIRTUAL_OUTBOUND: inbound.virtual_outbound}[name]
    origins = inbound.origins_of(world, scope, instance) if name == VIRTUAL_INBOUND else ()
    return unit(LISTENER, name, lambda: make(world, scope, instance), origins)


@query
def inbound_cluster_unit(world: World, scope: Scope, instance: Instance, port: int) -> Unit:
    """A port of the app."""
    name = str(ClusterName("inbound", port))
    origins = inbound.origins_of(world, scope, instance, port)
    return unit(CLUSTER, name, lambda: inbound.inbound_cluster(world, scope, instance, port), origins)


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
def outbound_clusters(world: World, scope: Scope) -> Part:
    """CDS of a scope."""
    return _part(cluster_unit(world, scope, name) for name in clusters.cluster_names(world, scope))


@query
def assignments(world: World, scope: Scope) -> Part:
    """EDS of a scope."""
    return _part(assignment_unit(world, scope, name) for name in clusters.cluster_names(world, scope))


@query
def outbound_listeners(world: World, scope: Scope) -> Part:
    """LDS of a scope."""
    return _part(listener_unit(world, scope, bind) for bind in outbound.listener_binds(world, scope))


@query
def route_tables(world: World, scope: Scope) -> Part:
    """RDS of a scope."""
    return _part(table_unit(world, scope, table) for table in tables.tables(world, scope))


@query
def own_listeners(world: World, scope: Scope, instance: Instance) -> Part:
    """LDS of one pod alone."""
    return _part(own_listener_unit(world, scope, instance, name) for name in (VIRTUAL_OUTBOUND, VIRTUAL_INBOUND))


@query
def own_clusters(world: World, scope: Scope, instance: Instance) -> Part:
    """CDS of one pod alone."""
    ports = inbound.inbound_ports(world, scope, instance)
    return _part(inbound_cluster_unit(world, scope, instance, port) for port in ports)


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


class Seat(NamedTuple):
    """All that a proxy's state depends on; proxies of one seat have the same state.

    `view` is what of the scope clusters and endpoints depend on: many scopes share one.
    """

    scope: Scope
    view: Scope
    instance: Instance | None = None
    """A sidecar's pod."""
    ports: Ports = ()
    """A gateway's ports."""
    plain: bool = False
    """A program that speaks xDS itself, without a proxy."""


NOBODY = Instance("", "", (), ())


def seat_of(world: World, proxy: Proxy) -> Seat:
    """The seat of a proxy."""
    scope, instance = scope_of(world, proxy), instance_of(proxy)
    view = view_of(world, scope)
    if proxy.metadata.get("GENERATOR") == "grpc":
        return Seat(scope, view, plain=True)
    return (
        Seat(scope, view, instance)
        if proxy.kind == "sidecar"
        else Seat(scope, view, None, gateway_ports(world, instance))
    )


Asked = tuple[Callable[..., Part], tuple[Hashable, ...]]
"""A query of a part, and its arguments."""


def parts(seat: Seat) -> Mapping[str, tuple[Asked, ...]]:
    """The queries that a proxy's state is put together from, by type URL."""
    scope, view = seat.scope, seat.view
    if seat.plain:
        return {
            CLUSTERS: ((plain_clusters, (view,)),),
            ASSIGNMENTS: ((assignments, (view,)),),
            LISTENERS: ((plain_listeners, (scope,)),),
            TABLES: ((plain_tables, (scope,)),),
            SECRETS: (),
        }
    if seat.instance is None:
        gate = (scope, seat.ports)
        return {
            CLUSTERS: ((common_clusters, ()), (outbound_clusters, (view,))),
            ASSIGNMENTS: ((assignments, (view,)),),
            LISTENERS: ((common_listeners, ()), (gateway_listeners, gate)),
            TABLES: ((gateway_tables, gate),),
            SECRETS: ((gateway_secrets, gate),),
        }
    own = (scope, seat.instance)
    return {
        CLUSTERS: ((common_clusters, ()), (outbound_clusters, (view,)), (own_clusters, own)),
        ASSIGNMENTS: ((assignments, (view,)),),
        LISTENERS: ((common_listeners, ()), (outbound_listeners, (scope,)), (own_listeners, own)),
        TABLES: ((route_tables, (scope,)),),
        SECRETS: (),
    }


def state_of(world: World, seat: Seat) -> State:
    """What a proxy of this seat is to have."""
    return {
        type_url: Snapshot(tuple(part(world, *args) for part, args in asked)) for type_url, asked in parts(seat).items()
    }


def problems_of(states: Iterable[State]) -> tuple[Problem, ...]:
    """What the proxies of these states are without, each problem once."""
    parts = {id(part): part for state in states for of_type in state.values() for part in of_type.parts}
    return tuple(dict.fromkeys(problem for part in parts.values() for problem in part.problems))


def hold(world: World, seat: Seat) -> None:
    """Keeps what is made for a seat until `release`."""
    for asked in parts(seat).values():
        for part, args in asked:
            world.hold(part, *args)


def release(world: World, seat: Seat) -> None:
    """Undoes one `hold`."""
    for asked in parts(seat).values():
        for part, args in asked:
            world.release(part, *args)


def shared(seat: Seat) -> Seat:
    """One and the same for all seats whose `steps` are the same."""
    return seat if seat.instance is None else Seat(seat.scope, seat.view, NOBODY)


def steps(world: World, seat: Seat) -> Iterable[Callable[[], object]]:
    """The same work in small steps: after all of them `state_of` finds everything made."""
    scope, view, ports = seat.scope, seat.view, seat.ports
    for name in clusters.cluster_names(world, view):
        yield lambda name=name: cluster_unit(world, view, name)  # type: ignore[misc]
        yield lambda name=name: assignment_unit(world, view, name)  # type: ignore[misc]
    if seat.plain:
        return
    if seat.instance is None:
        for table in gateway.gateway_tables(world, scope, ports):
            for host in gateway.gateway_hosts(world, scope, ports, table):
                yield lambda table=table, host=host: gateway_host_unit(world, scope, ports, table, host)  # type: ignore[misc]
        return
    for bind in outbound.listener_binds(world, scope):
        yield lambda bind=bind: listener_unit(world, scope, bind)  # type: ignore[misc]
    for table in tables.tables(world, scope):
        for host in tables.virtual_hosts(world, scope, table):
            yield lambda table=table, host=host: virtual_host_unit(world, scope, table, host)  # type: ignore[misc]
