"""Gateway API's routes and what they attach to: Services in the mesh (GAMMA), and listeners of Gateways.

In the mesh a route in the Service's own namespace holds for all clients (its producer's), one elsewhere for the clients
of its own namespace (a consumer's), and there it stands in the place of the producer's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from mesh.model.gatewayapi import GROUP, Listener, ParentReference
from mesh.model.httproute import GRPCRoute, HTTPRoute
from mesh.model.l4route import L4RouteRule, TCPRoute, TLSRoute
from mesh.model.meta import ObjectRef
from mesh.model.names import narrower
from mesh.routing.grants import Permitted, granted
from mesh.routing.httproute import Maker, by_precedence, routes_of, target_of
from mesh.routing.listeners import Section, entry_of
from mesh.routing.route import NOWHERE, Backend, ConnectionRoute, Origin, Route
from mesh.world.index import service_of
from mesh.world.memo import query
from mesh.world.proxy import Scope
from mesh.world.sidecars import egress_at, egress_of
from mesh.world.world import World

KINDS = ("HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute")
# Which routes a listener takes where it does not say (Listener, allowedRoutes.kinds).
TAKEN = {
    "HTTP": ("HTTPRoute", "GRPCRoute"),
    "HTTPS": ("HTTPRoute", "GRPCRoute"),
    "TLS": ("TLSRoute", "TCPRoute"),
    "TCP": ("TCPRoute",),
}


def kinds_taken(listener: Listener) -> tuple[str, ...]:
    """Which kinds of routes a listener can take; TLS that passes through needs its server name."""
    if listener.protocol == "TLS" and listener.tls is not None and listener.tls.mode == "Passthrough":
        return ("TLSRoute",)
    return TAKEN.get(listener.protocol, ())


AnyRoute = HTTPRoute | GRPCRoute | TLSRoute | TCPRoute


NOBODY = (Backend(NOWHERE),)


class Parent(NamedTuple):
    """What a route names as its parent, by the kind that objects of it have here."""

    kind: str
    namespace: str
    name: str


class Attached(NamedTuple):
    """A route and one of its parentRefs. Sorted by the route's age."""

    age: tuple[str, str, str]
    ref: ObjectRef
    parent: ParentReference


def parent_of(ref: ParentReference, namespace: str) -> Parent | None:
    """The parent that a route in `namespace` means; None where its kind is none that routes attach to here."""
    kind = {
        ("", "Service"): "Service",
        ("networking.istio.io", "ServiceEntry"): "ServiceEntry",
        (GROUP, "Gateway"): "KubernetesGateway",
        (GROUP, "ListenerSet"): "ListenerSet",
    }.get((ref.group, ref.kind))
    return Parent(kind, ref.namespace or namespace, ref.name) if kind else None


@query
def _by_parent(world: World) -> Mapping[Parent, tuple[Attached, ...]]:
    found: dict[Parent, list[Attached]] = {}
    for kind in KINDS:
        for route in world.all(kind).values():
            for one in route.parent_refs:
                parent = parent_of(one, route.meta.namespace)
                if parent is not None:
                    found.setdefault(parent, []).append(Attached(route.meta.age, route.meta.ref, one))
    return {parent: tuple(sorted(mine, key=lambda one: one[:2])) for parent, mine in found.items()}


@query
def attached_to(world: World, parent: Parent) -> tuple[Attached, ...]:
    """The routes that name this parent, the oldest first."""
    return _by_parent(world).get(parent, ())


def _route(world: World, ref: ObjectRef) -> AnyRoute | None:
    return world.get(ref.kind, ref.namespace, ref.name)  # type: ignore[no-any-return]


# --- in the mesh ---------------------------------------------------------------------------------------------------


def service_rulers(world: World, scope: Scope, host: str, port: int) -> tuple[Attached, ...]:
    """The routes that rule a host's port for the scope, the oldest first."""
    service = service_of(world, scope, host)
    if service is None:
        return ()
    owner, egress = service.namespace, egress_at(egress_of(world, scope), port)
    mine = [
        one
        for one in attached_to(world, Parent(service.ref.kind, owner, service.ref.name))
        if one.ref.kind in ("HTTPRoute", "GRPCRoute")
        and one.parent.port in (None, port)
        and (egress is None or any(each.rules(one.ref.namespace, host) for each in egress))
    ]
    consumers = tuple(one for one in mine if one.ref.namespace == scope.namespace)
    return consumers or tuple(one for one in mine if one.ref.namespace == owner)


@query
def service_routes(world: World, scope: Scope, host: str, port: int) -> tuple[Route, ...]:
    """What Gateway API's routes say of a host's port, joined. In the mesh a backend elsewhere needs no grant."""
    refs = dict.fromkeys(one.ref for one in service_rulers(world, scope, host, port))
    return _joined(world, refs, scope.domain, lambda _: _anybody)


def _anybody(namespace: str, group: str, kind: str, name: str) -> bool:  # noqa: ARG001
    return True


def _joined(
    world: World, refs: Iterable[ObjectRef], domain: str, permitted: Callable[[ObjectRef], Permitted]
) -> tuple[Route, ...]:
    found: list[Route] = []
    for ref in refs:
        route = _route(world, ref)
        if isinstance(route, HTTPRoute | GRPCRoute):
            found += routes_of(route, Maker(domain, permitted(ref)))
    return by_precedence(found)


@query
def keeps_sessions(world: World) -> bool:
    """Whether any route keeps its clients with their pods."""
    routes = (route for kind in ("HTTPRoute", "GRPCRoute") for route in world.all(kind).values())
    return any(rule.session_persistence is not None for route in routes for rule in route.rules)


@query
def _called(world: World) -> frozenset[tuple[ObjectRef, int]]:
    return frozenset(
        (ObjectRef("Service", to.namespace or route.meta.namespace, to.name), to.port)
        for route in world.all("GRPCRoute").values()
        for rule in route.rules
        for to in rule.backend_refs
        if (to.group, to.kind) == ("", "Service") and to.port
    )


def is_called(world: World, service: ObjectRef, port: int) -> bool:
    """Whether a GRPCRoute leads to a port of a Service: gRPC is spoken there."""
    return (service, port) in _called(world)


# --- at a Gateway --------------------------------------------------------------------------------------------------


def refusal(world: World, ref: ObjectRef, parent: ParentReference, own: str, one: Listener) -> str:
    """Why a listener does not take a route, in the words of its conditions; empty if it does. `own` is the namespace
    of the Gateway or ListenerSet that the listener stands in.
    """
    if parent.section_name not in ("", one.name) or parent.port not in (None, one.port):
        return "NoMatchingParent"
    if not _takes_kind(one, ref.kind) or not _takes_namespace(world, one, own, ref.namespace):
        return "NotAllowedByListeners"
    route = _route(world, ref)
    if route is not None and not hosts_of(one, route):
        return "NoMatchingListenerHostname"
    return ""


def _takes_kind(listener: Listener, kind: str) -> bool:
    if kind not in kinds_taken(listener):
        return False
    kinds = listener.allowed_routes.kinds
    return not kinds or any((one.group, one.kind) == (GROUP, kind) for one in kinds)


def _takes_namespace(world: World, listener: Listener, own: str, namespace: str) -> bool:
    allowed = listener.allowed_routes.namespaces
    if allowed.from_ == "Selector":
        found = world.get("Namespace", "", namespace)
        return found is not None and allowed.selector is not None and allowed.selector.matches(found.meta.labels)
    return allowed.from_ == "All" or (allowed.from_ == "Same" and namespace == own)


def hosts_of(listener: Listener, route: AnyRoute) -> tuple[str, ...]:
    """The hosts for which a route holds at a listener: what both allow; `*` where neither says."""
    hosts: tuple[str, ...] = getattr(route, "hostnames", ())
    if not hosts:
        return (listener.hostname or "*",)
    return tuple(dict.fromkeys(both for host in hosts if (both := narrower(listener.hostname or "*", host))))


def attached_at(world: World, owner: ObjectRef, listener: Listener) -> Iterator[ObjectRef]:
    """The routes that a listener of a Gateway or ListenerSet takes, the oldest first."""
    seen: set[ObjectRef] = set()
    for one in attached_to(world, Parent(*owner)):
        if one.ref not in seen and not refusal(world, one.ref, one.parent, owner.namespace, listener):
            seen.add(one.ref)
            yield one.ref


def _taken(world: World, section: Section) -> Iterator[tuple[ObjectRef, AnyRoute, Listener]]:
    found = entry_of(world, section)
    if found is None or found.conflict:
        return
    for ref in attached_at(world, found.owner, found.listener):
        route = _route(world, ref)
        if route is not None:
            yield ref, route, found.listener


@query
def listener_hosts(world: World, section: Section) -> Mapping[str, tuple[ObjectRef, ...]]:
    """The hosts of an HTTP listener with the routes that rule each, the oldest first."""
    found: dict[str, list[ObjectRef]] = {}
    for ref, route, listener in _taken(world, section):
        if isinstance(route, HTTPRoute | GRPCRoute):
            for host in hosts_of(listener, route):
                found.setdefault(host, []).append(ref)
    return {host: tuple(refs) for host, refs in found.items()}


@query
def listener_routes(world: World, scope: Scope, section: Section, host: str) -> tuple[Route, ...]:
    """What Gateway API's routes say of a host at a listener, joined."""
    refs = listener_hosts(world, section).get(host, ())
    return _joined(world, refs, scope.domain, partial(granted, world))


@query
def listener_connections(world: World, scope: Scope, section: Section) -> tuple[ConnectionRoute, ...]:
    """The routes of a listener that passes bytes on; the oldest first, of two for one server name the first.

    The share of a backend that there is not is refused.
    """
    found: list[ConnectionRoute] = []
    taken: set[str] = set()
    for ref, route, listener in _taken(world, section):
        if isinstance(route, HTTPRoute | GRPCRoute):
            continue
        names = tuple(one for one in hosts_of(listener, route) if one not in taken)
        if not names:
            continue
        taken.update(names)
        rule, maker = (route.rules or (L4RouteRule(),))[0], Maker(scope.domain, granted(world, ref))
        backends = tuple(Backend(target_of(route, one, maker), one.weight) for one in rule.backend_refs if one.weight)
        sni = () if names == ("*",) else names
        found.append(ConnectionRoute(backends or NOBODY, (Origin(ref, "spec.rules[0]", rule.name),), sni))
    return tuple(found)
