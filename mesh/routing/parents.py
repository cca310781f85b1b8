"""Gateway API's routes and what they attach to: Services in the mesh (GAMMA), and listeners of Gateways.

In the mesh a route in the Service's own namespace holds for all clients (its producer's), one elsewhere for the clients
of its own namespace (a consumer's), and there it stands in the place of the producer's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from mesh.model.gatewayapi import GROUP, GatewayClass, KubernetesGateway, Listener, ParentReference
from mesh.model.httproute import GRPCRoute, HTTPRoute
from mesh.model.l4route import TCPRoute, TLSRoute
from mesh.model.meta import ObjectRef
from mesh.model.names import narrower
from mesh.routing.httproute import Maker, Permitted, by_precedence, routes_of, target_of
from mesh.routing.route import Backend, ConnectionRoute, Origin, Route
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
AnyRoute = HTTPRoute | GRPCRoute | TLSRoute | TCPRoute
# Whose GatewayClasses are ours; Istio's name, so that its users' classes hold here too.
CONTROLLERS = ("istio.io/gateway-controller", "pysidecar.io/gateway-controller")


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


@query
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


# --- at a Gateway --------------------------------------------------------------------------------------------------


def refusal(world: World, ref: ObjectRef, parent: ParentReference, gateway: KubernetesGateway, one: Listener) -> str:
    """Why a listener does not take a route, in the words of its conditions; empty if it does."""
    if parent.section_name not in ("", one.name) or parent.port not in (None, one.port):
        return "NoMatchingParent"
    if not _takes_kind(one, ref.kind) or not _takes_namespace(world, one, gateway.meta.namespace, ref.namespace):
        return "NotAllowedByListeners"
    route = _route(world, ref)
    if route is not None and not hosts_of(one, route):
        return "NoMatchingListenerHostname"
    return ""


def _takes_kind(listener: Listener, kind: str) -> bool:
    if kind not in TAKEN.get(listener.protocol, ()):
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


def is_ours(world: World, gateway: KubernetesGateway) -> bool:
    """Whether a Gateway is of a class of ours; `istio` is one even where nobody made it."""
    found: GatewayClass | None = world.get("GatewayClass", "", gateway.gateway_class_name)
    return found.controller_name in CONTROLLERS if found else gateway.gateway_class_name == "istio"


class Section(NamedTuple):
    """A listener of a Gateway."""

    namespace: str
    gateway: str
    listener: str


def _listener(world: World, section: Section) -> tuple[KubernetesGateway, Listener] | None:
    gateway: KubernetesGateway | None = world.get("KubernetesGateway", section.namespace, section.gateway)
    listener = next((one for one in gateway.listeners if one.name == section.listener), None) if gateway else None
    return (gateway, listener) if gateway and listener else None


def _taken(world: World, section: Section) -> Iterator[tuple[ObjectRef, AnyRoute, Listener]]:
    found = _listener(world, section)
    if found is None:
        return
    gateway, listener = found
    seen: set[ObjectRef] = set()
    for one in attached_to(world, Parent("KubernetesGateway", section.namespace, section.gateway)):
        route = _route(world, one.ref)
        if route is not None and one.ref not in seen and not refusal(world, one.ref, one.parent, gateway, listener):
            seen.add(one.ref)
            yield one.ref, route, listener


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
    """The routes of a listener that passes bytes on; the oldest first, of two for one server name the first."""
    found: list[ConnectionRoute] = []
    taken: set[str] = set()
    for ref, route, listener in _taken(world, section):
        if isinstance(route, HTTPRoute | GRPCRoute):
            continue
        names = tuple(one for one in hosts_of(listener, route) if one not in taken)
        for index, rule in enumerate(route.rules[:1]):
            maker = Maker(scope.domain, granted(world, ref))
            to = (Backend(target_of(route, one, maker), one.weight) for one in rule.backend_refs if one.weight)
            backends = tuple(one for one in to if one.target.host)
            if backends and names:
                taken.update(names)
                sni = () if names == ("*",) else names
                found.append(ConnectionRoute(backends, (Origin(ref, f"spec.rules[{index}]", rule.name),), sni))
    return tuple(found)


def granted(world: World, ref: ObjectRef) -> Permitted:
    """Whether a route may send to an object of another namespace."""
    return may_refer(world, ref.kind, ref.namespace)


def may_refer(world: World, from_kind: str, from_namespace: str) -> Permitted:
    """Whether an object of Gateway API may refer to one of another namespace: a ReferenceGrant there says so."""

    def permitted(namespace: str, group: str, kind: str, name: str) -> bool:
        return any(
            grant.meta.namespace == namespace and grant.allows(GROUP, from_kind, from_namespace, group, kind, name)
            for grant in world.all("ReferenceGrant").values()
        )

    return permitted
