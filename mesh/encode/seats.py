"""Where a proxy sits: all that its state depends on, and the state. Those of one seat have the same.

proxy ──▶ Guest ──▶ Seat ──▶ parts ──▶ State
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import partial
from typing import NamedTuple

from mesh.build import clusters, gateway, outbound, tables
from mesh.build.inbound import Inbound, Instance, inbound_of, instance_of
from mesh.build.servers import Ports, gateway_ports
from mesh.encode.resource import Part, Snapshot, State
from mesh.encode.snapshot import (
    ASSIGNMENTS,
    CLUSTERS,
    LISTENERS,
    SECRETS,
    TABLES,
    assignment_unit,
    assignments,
    cluster_unit,
    common_clusters,
    common_listeners,
    gateway_host_unit,
    gateway_listeners,
    gateway_secrets,
    gateway_tables,
    listener_unit,
    outbound_clusters,
    outbound_listeners,
    own_clusters,
    own_listeners,
    plain_clusters,
    plain_listeners,
    plain_tables,
    route_tables,
    shown_secrets,
    virtual_host_units,
)
from mesh.model.problem import Problem
from mesh.model.workload import Locality
from mesh.world.memo import query
from mesh.world.proxy import Kind, Proxy, Scope
from mesh.world.scopes import scope_of_pod, view_of
from mesh.world.world import World


class Seat(NamedTuple):
    """All that a proxy's state depends on; proxies of one seat have the same state.

    `view` is what of the scope clusters and endpoints depend on: many scopes share one.
    """

    scope: Scope
    view: Scope
    own: Inbound | None = None
    """What comes to a sidecar's pod."""
    ports: Ports = ()
    """A gateway's ports."""
    plain: bool = False
    """A program that speaks xDS itself, without a proxy."""


NOBODY = Inbound(())


class Guest(NamedTuple):
    """What a proxy says of itself, as far as it decides where it sits."""

    kind: Kind
    instance: Instance
    locality: Locality
    domain: str
    plain: bool


def guest_of(proxy: Proxy) -> Guest:
    """A proxy as the one that is to be seated."""
    plain = proxy.metadata.get("GENERATOR") == "grpc"
    return Guest(proxy.kind, instance_of(proxy), proxy.locality, proxy.domain, plain)


@query
def seat_of(world: World, guest: Guest) -> Seat:
    """The seat of a proxy; equal ones are one and the same object."""
    pod = guest.instance
    scope = scope_of_pod(world, guest.kind, pod.namespace, pod.pod, pod.labels, guest.locality, guest.domain)
    if guest.plain:
        return _seat(world, scope, None, (), True)
    if guest.kind == "sidecar":
        return _seat(world, scope, inbound_of(world, scope, pod), (), False)
    return _seat(world, scope, None, gateway_ports(world, pod), False)


@query
def _seat(world: World, scope: Scope, own: Inbound | None, ports: Ports, plain: bool) -> Seat:
    return Seat(scope, view_of(world, scope), own, ports, plain)


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
    if seat.own is None:
        gate = (scope, seat.ports)
        return {
            CLUSTERS: ((common_clusters, ()), (outbound_clusters, (view,))),
            ASSIGNMENTS: ((assignments, (view,)),),
            LISTENERS: ((common_listeners, ()), (gateway_listeners, gate)),
            TABLES: ((gateway_tables, gate),),
            SECRETS: ((gateway_secrets, gate),),
        }
    own = (scope, seat.own)
    return {
        CLUSTERS: ((common_clusters, ()), (outbound_clusters, (view,)), (own_clusters, own)),
        ASSIGNMENTS: ((assignments, (view,)),),
        LISTENERS: ((common_listeners, ()), (outbound_listeners, (scope,)), (own_listeners, own)),
        TABLES: ((route_tables, (scope,)),),
        SECRETS: ((shown_secrets, (scope,)),),
    }


def state_of(world: World, seat: Seat, before: State | None = None) -> State:
    """What a proxy of this seat is to have. What is as in `before` is the same object, so nobody looks at it again."""
    known = before or {}
    made = {
        type_url: _kept(Snapshot(tuple(part(world, *args) for part, args in asked)), known.get(type_url))
        for type_url, asked in parts(seat).items()
    }
    return known if known and all(one is known.get(type_url) for type_url, one in made.items()) else made


def _kept(made: Snapshot, before: Snapshot | None) -> Snapshot:
    return before if before is not None and made.is_same(before) else made


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
    return seat if seat.own is None else Seat(seat.scope, seat.view, NOBODY)


def steps(world: World, seat: Seat) -> Iterable[Callable[[], object]]:
    """The same work in small steps: after all of them `state_of` finds everything made."""
    scope, view, ports = seat.scope, seat.view, seat.ports
    for name in clusters.cluster_names(world, view):
        yield partial(cluster_unit, world, view, name)
        yield partial(assignment_unit, world, view, name)
    if seat.plain:
        return
    if seat.own is None:
        for table in gateway.gateway_tables(world, scope, ports):
            for host in gateway.gateway_hosts(world, scope, ports, table):
                yield partial(gateway_host_unit, world, scope, ports, table, host)
        return
    for bind in outbound.listener_binds(world, scope):
        yield partial(listener_unit, world, scope, bind)
    for table in tables.tables(world, scope):
        yield from virtual_host_units(world, scope, table)
