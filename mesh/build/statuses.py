"""Statuses as the API server keeps them: what objects are told of themselves, laid over what is there.

Of a status only what is ours is touched: conditions of our types, a Gateway's listeners and addresses, a route's
parents under our controllers' names. A condition keeps its time as long as it says the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mesh.build.deployment import hindrance, is_manual, service_of
from mesh.model.gatewayapi import GROUP, GatewayClass, KubernetesGateway, ParentReference
from mesh.model.meta import Meta, ObjectRef
from mesh.routing.parents import CONTROLLERS, KINDS, is_ours
from mesh.routing.standing import MESH_CONTROLLER, Condition, listeners_of, parents_of
from mesh.world.memo import query
from mesh.world.world import World

Status = dict[str, Any]
OURS = frozenset((*CONTROLLERS, MESH_CONTROLLER))

# Names of https://pkg.go.dev/sigs.k8s.io/gateway-api/pkg/features, sorted as the API wants them.
FEATURES = tuple(
    sorted(
        (
            "GRPCRoute", "GRPCRouteNamedRouteRule", "Gateway", "GatewayAddressEmpty",
            "GatewayHTTPListenerIsolation", "GatewayInfrastructure",
            "GatewayPort8080", "HTTPRoute", "HTTPRoute303RedirectStatusCode", "HTTPRoute307RedirectStatusCode",
            "HTTPRoute308RedirectStatusCode", "HTTPRouteBackendProtocolH2C", "HTTPRouteBackendProtocolWebSocket",
            "HTTPRouteBackendRequestHeaderModification", "HTTPRouteBackendTimeout", "HTTPRouteCORS",
            "HTTPRouteDestinationPortMatching", "HTTPRouteHostRewrite", "HTTPRouteMethodMatching",
            "HTTPRouteNamedRouteRule", "HTTPRouteParentRefPort", "HTTPRoutePathRedirect", "HTTPRoutePathRewrite",
            "HTTPRoutePortRedirect", "HTTPRouteQueryParamMatching", "HTTPRouteRequestMirror",
            "HTTPRouteRequestMultipleMirrors", "HTTPRouteRequestPercentageMirror", "HTTPRouteRequestTimeout",
            "HTTPRouteResponseHeaderModification", "HTTPRouteRetry", "HTTPRouteRetryBackendTimeout",
            "HTTPRouteRetryConnectionError", "HTTPRouteSchemeRedirect", "Mesh",
            "MeshConsumerRoute", "MeshHTTPRouteBackendRequestHeaderModification", "MeshHTTPRouteNamedRouteRule",
            "MeshHTTPRouteQueryParamMatching", "MeshHTTPRouteRedirectPath", "MeshHTTPRouteRedirectPort",
            "MeshHTTPRouteRewritePath", "MeshHTTPRouteSchemeRedirect", "ReferenceGrant", "TCPRoute", "TLSRoute",
        )
    )
)  # fmt: skip


class Standing(NamedTuple):
    """How far a Gateway's proxies are with it: how many there are, how many have accepted all of it, who refused."""

    generation: int = 0
    proxies: int = 0
    accepted: int = 0
    words: str = ""

    def beside(self, other: Standing) -> Standing:
        """Both together, as two replicas see them; of an older generation nothing counts as accepted."""
        if self.generation != other.generation:
            older, newer = sorted((self, other), key=lambda one: one.generation)
            return newer._replace(proxies=newer.proxies + older.proxies)
        return Standing(
            self.generation, self.proxies + other.proxies, self.accepted + other.accepted, self.words or other.words
        )


def class_status(one: GatewayClass, now: str, before: Mapping[str, Any]) -> Status | None:
    """A GatewayClass's; None where it is another controller's."""
    if one.controller_name not in CONTROLLERS:
        return None
    accepted = Condition("Accepted", True, "Accepted")
    if one.parameters_ref is not None:
        told = f"{one.parameters_ref.kind} is no kind of parameters: there are none"
        accepted = Condition("Accepted", False, "InvalidParameters", told)
    made = conditions([accepted], one.meta, now, before.get("conditions"))
    return {"conditions": made, "supportedFeatures": [{"name": name} for name in FEATURES]}


def gateway_status(
    world: World, one: KubernetesGateway, standing: Standing, pods: int, now: str, before: Mapping[str, Any]
) -> Status | None:
    """A Gateway's, which runs in so many `pods`; None where it is not of a class of ours."""
    if not is_ours(world, one):
        return None
    listeners = listeners_of(world, one.meta.namespace, one.meta.name)
    addresses = _addresses(world, one)
    accepted = _gateway_accepted(world, one)
    good = [listener for listener in listeners if listener.serves]
    if accepted.holds and len(good) < len(listeners):
        told = ", ".join(listener.name for listener in listeners if not listener.serves)
        accepted = Condition("Accepted", bool(good), "ListenersNotValid", f"not valid: {told}")
    programmed = _programmed(world, one, accepted, bool(addresses), standing, pods, before)
    there = {listener.get("name"): listener for listener in before.get("listeners") or ()}
    made = []
    for listener in listeners:
        own = Condition("Programmed", False, "Invalid", "it is not valid")
        if listener.serves:
            own = (
                programmed
                if not accepted.holds or not programmed.holds
                else Condition("Programmed", True, "Programmed")
            )
            own = own._replace(reason=own.reason if own.reason in ("Programmed", "Invalid") else "Pending")
        old = there.get(listener.name, {}).get("conditions")
        made.append(
            {
                "name": listener.name,
                "supportedKinds": [{"group": GROUP, "kind": kind} for kind in listener.kinds],
                "attachedRoutes": listener.attached,
                "conditions": conditions([*listener.conditions, own], one.meta, now, old, alone=True),
            }
        )
    return {
        "addresses": addresses,
        "conditions": conditions([accepted, programmed], one.meta, now, before.get("conditions")),
        "listeners": made,
    }


def _gateway_accepted(world: World, one: KubernetesGateway) -> Condition:
    if strange := [address.type for address in one.addresses if address.type not in ("IPAddress", "Hostname")]:
        return Condition("Accepted", False, "UnsupportedAddress", f"{strange[0]} is not supported: IPAddress, Hostname")
    if one.infrastructure is not None and (ref := one.infrastructure.parameters_ref) is not None:
        return Condition("Accepted", False, "InvalidParameters", f"{ref.kind} {ref.name} is no kind of parameters")
    if not is_manual(one) and (why := hindrance(world, one)):
        return Condition("Accepted", False, "Invalid", why)
    return Condition("Accepted", True, "Accepted")


def _addresses(world: World, one: KubernetesGateway) -> list[dict[str, str]]:
    service = service_of(world, one)
    if service is None:
        return []
    found = service.load_balancer or service.addresses
    return [{"type": "IPAddress" if _is_ip(value) else "Hostname", "value": value} for value in found]


def _is_ip(text: str) -> bool:
    return ":" in text or text.replace(".", "").isdecimal()


def _programmed(
    world: World,
    one: KubernetesGateway,
    accepted: Condition,
    addressed: bool,
    standing: Standing,
    pods: int,
    before: Mapping[str, Any],
) -> Condition:
    if not accepted.holds:
        return Condition("Programmed", False, "Invalid", accepted.message)
    if not addressed:
        return Condition("Programmed", False, "AddressNotAssigned", "its Service has no address yet")
    service = service_of(world, one)
    got = {*service.addresses, *service.load_balancer, *service.external_ips} if service else set()
    wanted = [address.value for address in one.addresses if address.type == "IPAddress" and address.value]
    if missing := [value for value in wanted if value not in got]:
        return Condition("Programmed", False, "AddressNotUsable", f"its Service does not have {', '.join(missing)}")
    if standing.words:
        return Condition("Programmed", False, "Invalid", f"refused by Envoy: {standing.words[:1000]}")
    current = standing.generation == one.meta.generation
    # a proxy that comes or is told more of other things does not undo what all had
    if _was_programmed(one, before) and pods:
        return Condition("Programmed", True, "Programmed")
    if current and standing.proxies and standing.accepted == standing.proxies:
        return Condition("Programmed", True, "Programmed")
    told = f"{standing.accepted if current else 0} of {standing.proxies} proxies have accepted it"
    return Condition("Programmed", False, "Pending", told if standing.proxies else "no proxy is connected yet")


@query
def ready_pods(world: World, namespace: str, name: str) -> int:
    """How many pods of a Gateway are ready."""
    gateway: KubernetesGateway | None = world.get("KubernetesGateway", namespace, name)
    service = service_of(world, gateway) if gateway is not None else None
    if service is None or not service.selector:
        return 0
    return sum(
        pod.ready and pod.meta.namespace == service.namespace and service.selector.items() <= pod.meta.labels.items()
        for pod in world.all("Pod").values()
    )


def _was_programmed(one: KubernetesGateway, before: Mapping[str, Any]) -> bool:
    return any(
        (c.get("type"), c.get("status"), c.get("observedGeneration")) == ("Programmed", "True", one.meta.generation)
        for c in before.get("conditions") or ()
    )


def route_status(world: World, ref: ObjectRef, meta: Meta, now: str, before: Mapping[str, Any]) -> Status | None:
    """A route's; None where nothing of it is ours. Other controllers' entries stay as they are."""
    assert ref.kind in KINDS
    there = [one for one in before.get("parents") or () if isinstance(one, Mapping)]
    others = [dict(one) for one in there if one.get("controllerName") not in OURS]
    mine = []
    for one in parents_of(world, ref):
        parent = _parent(one.parent)
        old = next(
            (
                found.get("conditions")
                for found in there
                if found.get("controllerName") == one.controller and found.get("parentRef") == parent
            ),
            None,
        )
        mine.append(
            {
                "parentRef": parent,
                "controllerName": one.controller,
                "conditions": conditions(one.conditions, meta, now, old, alone=True),
            }
        )
    if not mine and len(others) == len(there):
        return None
    return {"parents": [*others, *mine]}


def _parent(ref: ParentReference) -> dict[str, Any]:
    more = (("namespace", ref.namespace), ("sectionName", ref.section_name), ("port", ref.port))
    return {"group": ref.group, "kind": ref.kind, "name": ref.name} | {key: value for key, value in more if value}


def conditions(
    wanted: Iterable[Condition],
    meta: Meta,
    now: str,
    before: Sequence[Mapping[str, Any]] | None,
    *,
    alone: bool = False,
) -> list[dict[str, Any]]:
    """Conditions with their times (meta.v1.Condition); others' types stay unless the list is ours `alone`."""
    there = {one.get("type"): one for one in before or ()}
    made = []
    for one in wanted:
        status = "True" if one.holds else "False"
        old = there.get(one.type, {})
        since = old.get("lastTransitionTime") if old.get("status") == status else None
        made.append(
            {
                "type": one.type,
                "status": status,
                "reason": one.reason,
                "message": one.message,
                "observedGeneration": meta.generation,
                "lastTransitionTime": since or now,
            }
        )
    ours = {one["type"] for one in made}
    return [*made, *([] if alone else (dict(one) for type_, one in there.items() if type_ not in ours))]
