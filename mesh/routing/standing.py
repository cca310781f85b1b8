"""What routes are told of themselves: their conditions at each parent.

https://gateway-api.sigs.k8s.io/reference/spec/ (RouteConditionType)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mesh.model.gatewayapi import BackendObjectReference, KubernetesGateway, ListenerSet, ParentReference
from mesh.model.httproute import BackendRef, GRPCRouteRule, HTTPRouteRule
from mesh.model.l4route import L4RouteRule
from mesh.model.meta import ObjectRef
from mesh.model.service import Service
from mesh.routing.grants import may_refer
from mesh.routing.listeners import gateway_of, is_ours, listeners_at, parent_gateway
from mesh.routing.parents import AnyRoute, parent_of, refusal
from mesh.world.memo import query
from mesh.world.world import World

MESH_CONTROLLER = "pysidecar.io/mesh-controller"


class Condition(NamedTuple):
    """One condition (meta.v1.Condition) without its times."""

    type: str
    holds: bool
    reason: str
    message: str = ""


class ParentStanding(NamedTuple):
    """A route at one of its parents; `controller` is whose parent it is."""

    parent: ParentReference
    controller: str
    conditions: tuple[Condition, ...]


@query
def parents_of(world: World, ref: ObjectRef) -> tuple[ParentStanding, ...]:
    """A route at each of its parents that is ours: Gateways of our classes, and Services."""
    route: AnyRoute | None = world.get(ref.kind, ref.namespace, ref.name)
    if route is None:
        return ()
    found: list[ParentStanding] = []
    for parent in route.parent_refs:
        at = parent_of(parent, ref.namespace)
        if at is None:
            continue
        if at.kind in ("KubernetesGateway", "ListenerSet"):
            gateway = gateway_at(world, ObjectRef(*at))
            if gateway is None:
                continue
            accepted = _accepted(world, ref, parent, ObjectRef(*at))
            resolved = _resolved(world, route, mesh=False)
            controller = controller_of(world, gateway)
        elif at.kind == "Service":
            service: Service | None = world.get("Service", at.namespace, at.name)
            accepted = Condition("Accepted", True, "Accepted")
            if ref.kind not in ("HTTPRoute", "GRPCRoute"):
                told = f"{ref.kind} holds at Gateways alone"
                accepted = Condition("Accepted", False, "NotAllowedByListeners", told)
            elif service is None:
                accepted = Condition(
                    "Accepted", False, "NoMatchingParent", f"there is no Service {at.namespace}/{at.name}"
                )
            elif parent.port is not None and service.port(parent.port) is None:
                told = f"Service {at.namespace}/{at.name} has no port {parent.port}"
                accepted = Condition("Accepted", False, "NoMatchingParent", told)
            resolved = _resolved(world, route, mesh=True)
            controller = MESH_CONTROLLER
        else:
            continue
        found.append(ParentStanding(parent, controller, (accepted, resolved)))
    return tuple(found)


def gateway_at(world: World, owner: ObjectRef) -> KubernetesGateway | None:
    """The Gateway of ours that a route meets at a parent, also where it does not let the ListenerSet in."""
    ref: ObjectRef | None = owner
    if owner.kind == "ListenerSet":
        one: ListenerSet | None = world.get(*owner)
        ref = parent_gateway(one) if one else None
    gateway: KubernetesGateway | None = world.get(*ref) if ref else None
    return gateway if gateway is not None and is_ours(world, gateway) else None


def controller_of(world: World, gateway: KubernetesGateway) -> str:
    """The name of the controller in the Gateway's class."""
    found = world.get("GatewayClass", "", gateway.gateway_class_name)
    return found.controller_name if found else "istio.io/gateway-controller"


_SAID = {
    "NoMatchingParent": "the {kind} has no such listener",
    "NotAllowedByListeners": "no listener takes such routes of this namespace",
    "NoMatchingListenerHostname": "no listener takes any of its hostnames",
}


def _accepted(world: World, ref: ObjectRef, parent: ParentReference, owner: ObjectRef) -> Condition:
    if gateway_of(world, owner) is None:
        return Condition("Accepted", False, "NoMatchingParent", "the Gateway does not take this ListenerSet")
    reasons = {refusal(world, ref, parent, owner.namespace, one) for one in listeners_at(world, owner)}
    if "" in reasons:
        return Condition("Accepted", True, "Accepted")
    # the reason of the listener that came closest to taking it
    found = next((one for one in reversed(_SAID) if one in reasons), "NoMatchingParent")
    return Condition("Accepted", False, found, _SAID[found].format(kind=parent.kind))


def _resolved(world: World, route: AnyRoute, *, mesh: bool) -> Condition:
    for path, ref in references(route):
        if wrong := _reference(world, route, ref, mesh=mesh):
            return wrong._replace(message=f"{path}: {wrong.message}")
    return Condition("ResolvedRefs", True, "ResolvedRefs")


def references(route: AnyRoute) -> Iterator[tuple[str, BackendRef | BackendObjectReference]]:
    """All that a route sends to, copies too, each with its path in the route."""
    rules: tuple[HTTPRouteRule | GRPCRouteRule | L4RouteRule, ...] = route.rules
    for index, rule in enumerate(rules):
        for number, ref in enumerate(rule.backend_refs):
            yield f"spec.rules[{index}].backendRefs[{number}]", ref
        if isinstance(rule, HTTPRouteRule | GRPCRouteRule):
            for number, one in enumerate(rule.filters):
                if one.request_mirror is not None and one.request_mirror.backend_ref is not None:
                    yield f"spec.rules[{index}].filters[{number}]", one.request_mirror.backend_ref


def _reference(
    world: World, route: AnyRoute, ref: BackendRef | BackendObjectReference, *, mesh: bool
) -> Condition | None:
    own, kind = route.meta.namespace, route.meta.ref.kind
    namespace = ref.namespace or own
    if (ref.group, ref.kind) == ("networking.istio.io", "Hostname"):
        return None
    if (ref.group, ref.kind) != ("", "Service"):
        return Condition("ResolvedRefs", False, "InvalidKind", f"nothing can be sent to {ref.kind} {ref.name}: Service")
    if not mesh and namespace != own and not may_refer(world, kind, own)(namespace, "", "Service", ref.name):
        told = f"no ReferenceGrant in {namespace} lets a {kind} of {own} send to Service {ref.name}"
        return Condition("ResolvedRefs", False, "RefNotPermitted", told)
    service: Service | None = world.get("Service", namespace, ref.name)
    if service is None:
        return Condition("ResolvedRefs", False, "BackendNotFound", f"there is no Service {namespace}/{ref.name}")
    if ref.port is not None and service.port(ref.port) is None:
        told = f"Service {namespace}/{ref.name} has no port {ref.port}"
        return Condition("ResolvedRefs", False, "BackendNotFound", told)
    return None
