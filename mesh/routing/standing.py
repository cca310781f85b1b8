"""What Gateways' listeners and routes are told of themselves: their conditions, as far as objects alone say it.

https://gateway-api.sigs.k8s.io/reference/spec/ (GatewayConditionType, ListenerConditionType, RouteConditionType)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mesh.model.gatewayapi import GROUP, BackendObjectReference, KubernetesGateway, Listener, ParentReference
from mesh.model.httproute import BackendRef, GRPCRouteRule, HTTPRouteRule
from mesh.model.l4route import L4RouteRule
from mesh.model.meta import ObjectRef
from mesh.model.secret import Secret
from mesh.model.service import Service
from mesh.routing.parents import TAKEN, AnyRoute, Parent, attached_to, is_ours, may_refer, parent_of, refusal
from mesh.world.memo import query
from mesh.world.world import World

MESH_CONTROLLER = "pysidecar.io/mesh-controller"
# Servers of different kinds cannot share a port.
_FAMILY = {"HTTP": "http", "HTTPS": "tls", "TLS": "tls", "TCP": "tcp"}


class Condition(NamedTuple):
    """One condition (meta.v1.Condition) without its times."""

    type: str
    holds: bool
    reason: str
    message: str = ""


class ListenerStanding(NamedTuple):
    """A listener: what it takes, how many routes it has, what is wrong with it; `serves` if anything comes of it."""

    name: str
    kinds: tuple[str, ...]
    attached: int
    serves: bool
    conditions: tuple[Condition, ...]


class ParentStanding(NamedTuple):
    """A route at one of its parents; `controller` is whose parent it is."""

    parent: ParentReference
    controller: str
    conditions: tuple[Condition, ...]


@query
def listeners_of(world: World, namespace: str, name: str) -> tuple[ListenerStanding, ...]:
    """The listeners of a Gateway, in its order."""
    gateway: KubernetesGateway | None = world.get("KubernetesGateway", namespace, name)
    if gateway is None:
        return ()
    return tuple(_listener(world, gateway, index, one) for index, one in enumerate(gateway.listeners))


def _listener(world: World, gateway: KubernetesGateway, index: int, listener: Listener) -> ListenerStanding:
    known = TAKEN.get(listener.protocol, ())
    asked = listener.allowed_routes.kinds
    kinds = tuple(one for one in known if not asked or any((k.group, k.kind) == (GROUP, one) for k in asked))
    accepted = Condition("Accepted", True, "Accepted")
    if not known:
        told = f"{listener.protocol} is not served: {', '.join(TAKEN)}"
        accepted = Condition("Accepted", False, "UnsupportedProtocol", told)
    conflicted = Condition("Conflicted", False, "NoConflicts")
    if (why := _conflict(gateway, index, listener)) and known:
        told = "an older listener of this Gateway has the port"
        conflicted = Condition("Conflicted", True, why, told)
        accepted = Condition("Accepted", False, why, told)
    resolved = Condition("ResolvedRefs", True, "ResolvedRefs")
    if strange := [one for one in asked if one.group != GROUP or one.kind not in known]:
        told = f"{strange[0].kind} is no route for {listener.protocol}"
        resolved = Condition("ResolvedRefs", False, "InvalidRouteKinds", told)
    elif wrong := _certificates(world, gateway, listener):
        resolved = wrong
    attached = sum(1 for _ in _attached(world, gateway, listener)) if kinds else 0
    serves = accepted.holds and (resolved.holds or (bool(kinds) and resolved.reason == "InvalidRouteKinds"))
    return ListenerStanding(listener.name, kinds, attached, serves, (accepted, conflicted, resolved))


def _conflict(gateway: KubernetesGateway, index: int, listener: Listener) -> str:
    """With a listener before it: of two for one place the first has it."""
    for one in gateway.listeners[:index]:
        if one.port == listener.port and one.protocol in _FAMILY:
            if _FAMILY[one.protocol] != _FAMILY.get(listener.protocol):
                return "ProtocolConflict"
            if one.hostname == listener.hostname:
                return "HostnameConflict"
    return ""


def _certificates(world: World, gateway: KubernetesGateway, listener: Listener) -> Condition | None:
    if listener.tls is None or listener.tls.mode != "Terminate":
        return None
    own = gateway.meta.namespace
    for ref in listener.tls.certificate_refs:
        namespace = ref.namespace or own
        wrong = "InvalidCertificateRef"
        if (ref.group, ref.kind) != ("", "Secret"):
            return Condition("ResolvedRefs", False, wrong, f"{ref.kind} is no kind of certificate: Secret")
        if namespace != own and not may_refer(world, "Gateway", own)(namespace, "", "Secret", ref.name):
            told = f"no ReferenceGrant in {namespace} lets Gateways of {own} use Secret {ref.name}"
            return Condition("ResolvedRefs", False, "RefNotPermitted", told)
        found: Secret | None = world.get("Secret", namespace, ref.name)
        if found is None or not found.certificate or not found.key:
            told = f"Secret {namespace}/{ref.name} has no certificate with its key"
            return Condition("ResolvedRefs", False, wrong, told)
    return None


def _attached(world: World, gateway: KubernetesGateway, listener: Listener) -> Iterator[ObjectRef]:
    seen: set[ObjectRef] = set()
    for one in attached_to(world, Parent("KubernetesGateway", gateway.meta.namespace, gateway.meta.name)):
        if one.ref not in seen and not refusal(world, one.ref, one.parent, gateway, listener):
            seen.add(one.ref)
            yield one.ref


# --- routes ----------------------------------------------------------------------------------------------------------


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
        if at.kind == "KubernetesGateway":
            gateway: KubernetesGateway | None = world.get(at.kind, at.namespace, at.name)
            if gateway is None or not is_ours(world, gateway):
                continue
            accepted = _accepted(world, ref, parent, gateway)
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


def controller_of(world: World, gateway: KubernetesGateway) -> str:
    """The name of the controller in the Gateway's class."""
    found = world.get("GatewayClass", "", gateway.gateway_class_name)
    return found.controller_name if found else "istio.io/gateway-controller"


_SAID = {
    "NoMatchingParent": "the Gateway has no such listener",
    "NotAllowedByListeners": "no listener takes such routes of this namespace",
    "NoMatchingListenerHostname": "no listener takes any of its hostnames",
}


def _accepted(world: World, ref: ObjectRef, parent: ParentReference, gateway: KubernetesGateway) -> Condition:
    reasons = {refusal(world, ref, parent, gateway, one) for one in gateway.listeners}
    if "" in reasons:
        return Condition("Accepted", True, "Accepted")
    # the reason of the listener that came closest to taking it
    for reason in ("NoMatchingListenerHostname", "NotAllowedByListeners"):
        if reason in reasons:
            return Condition("Accepted", False, reason, _SAID[reason])
    return Condition("Accepted", False, "NoMatchingParent", _SAID["NoMatchingParent"])


def _resolved(world: World, route: AnyRoute, *, mesh: bool) -> Condition:
    for path, ref in _references(route):
        if wrong := _reference(world, route, ref, mesh=mesh):
            return wrong._replace(message=f"{path}: {wrong.message}")
    return Condition("ResolvedRefs", True, "ResolvedRefs")


def _references(route: AnyRoute) -> Iterator[tuple[str, BackendRef | BackendObjectReference]]:
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
