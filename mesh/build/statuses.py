"""Statuses as the API server keeps them: what objects are told of themselves, laid over what is there.

Of a status only what is ours is touched: conditions of our types, a Gateway's listeners and addresses, a route's
parents under our controllers' names. A condition keeps its time as long as it says the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mesh.build.deployment import asked_addresses, hindrance, is_manual, service_of, unknown_address
from mesh.model.gatewayapi import GROUP, GatewayClass, KubernetesGateway, ListenerSet, ParentReference
from mesh.model.meta import Meta, ObjectRef
from mesh.routing.certificates import certificate_fault
from mesh.routing.listeners import CONTROLLERS, gateway_of, is_ours, listener_sets, parent_gateway
from mesh.routing.listenerstanding import ListenerStanding, attached_routes, listeners_of
from mesh.routing.parents import KINDS
from mesh.routing.standing import MESH_CONTROLLER, Condition, parents_of
from mesh.world.memo import query
from mesh.world.world import World

Status = dict[str, Any]
OURS = frozenset((*CONTROLLERS, MESH_CONTROLLER))

# Names of https://pkg.go.dev/sigs.k8s.io/gateway-api/pkg/features, sorted as the API wants them.
FEATURES = tuple(
    sorted(
        (
            "BackendTLSPolicy", "BackendTLSPolicySANValidation",
            "GRPCRoute", "GRPCRouteNamedRouteRule", "Gateway", "GatewayAddressEmpty",
            "GatewayBackendClientCertificate", "GatewayFrontendClientCertificateValidation",
            "GatewayFrontendClientCertificateValidationInsecureFallback", "GatewayHTTPListenerIsolation",
            "GatewayHTTPSListenerDetectMisdirectedRequests", "GatewayInfrastructure", "GatewayPort8080",
            "GatewayStaticAddresses", "HTTPRoute", "HTTPRoute303RedirectStatusCode", "HTTPRoute307RedirectStatusCode",
            "HTTPRoute308RedirectStatusCode", "HTTPRouteBackendProtocolH2C", "HTTPRouteBackendProtocolWebSocket",
            "HTTPRouteBackendRequestHeaderModification", "HTTPRouteBackendTimeout", "HTTPRouteCORS",
            "HTTPRouteDestinationPortMatching", "HTTPRouteHostRewrite", "HTTPRouteMethodMatching",
            "HTTPRouteNamedRouteRule", "HTTPRouteParentRefPort", "HTTPRoutePathRedirect", "HTTPRoutePathRewrite",
            "HTTPRoutePortRedirect", "HTTPRouteQueryParamMatching", "HTTPRouteRequestMirror",
            "HTTPRouteRequestMultipleMirrors", "HTTPRouteRequestPercentageMirror", "HTTPRouteRequestTimeout",
            "HTTPRouteResponseHeaderModification", "HTTPRouteRetry", "HTTPRouteRetryBackendTimeout",
            "HTTPRouteRetryConnectionError", "HTTPRouteSchemeRedirect", "ListenerSet", "Mesh",
            "MeshConsumerRoute", "MeshHTTPRouteBackendRequestHeaderModification", "MeshHTTPRouteNamedRouteRule",
            "MeshHTTPRouteQueryParamMatching", "MeshHTTPRouteRedirectPath", "MeshHTTPRouteRedirectPort",
            "MeshHTTPRouteRewritePath", "MeshHTTPRouteSchemeRedirect", "ReferenceGrant", "TCPRoute", "TLSRoute",
            "TLSRouteModeMixed", "TLSRouteModeTerminate",
        )
    )
)  # fmt: skip


class Standing(NamedTuple):
    """How far a Gateway's proxies are with it: how many there are, how many have accepted all of it, who refused.

    `sets` names the ListenerSets that belong to it, each with its generation.
    """

    generation: int = 0
    proxies: int = 0
    accepted: int = 0
    words: str = ""
    sets: str = ""

    def beside(self, other: Standing) -> Standing:
        """Both together, as two replicas see them; of an older generation nothing counts as accepted."""
        if (self.generation, self.sets) != (other.generation, other.sets):
            other, newer = sorted((other, self), key=lambda one: one.generation)
            return newer._replace(proxies=newer.proxies + other.proxies)
        return self._replace(
            proxies=self.proxies + other.proxies,
            accepted=self.accepted + other.accepted,
            words=self.words or other.words,
        )


def sets_of(world: World, gateway: ObjectRef) -> str:
    """The ListenerSets of a Gateway, each with its generation."""
    return ",".join(
        f"{one.namespace}/{one.name}:{world.get(*one).meta.generation}" for one in listener_sets(world, gateway)
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
    world: World,
    one: KubernetesGateway,
    standing: Standing,
    pods: int,
    fault: str,
    now: str,
    before: Mapping[str, Any],
) -> Status | None:
    """A Gateway's, which runs in so many `pods`; None where it is not of a class of ours. `fault` tells why what runs
    it could not be made.
    """
    if not is_ours(world, one):
        return None
    every = listeners_of(world, one.meta.ref)
    listeners = [of for of in every if of.owner == one.meta.ref]
    addresses = _addresses(world, one)
    accepted = _accepted(_gateway_accepted(world, one), listeners)
    programmed = _programmed(world, one, accepted, standing, pods, _was_programmed(one.meta, before))
    if fault and accepted.holds:
        reason = "AddressNotUsable" if asked_addresses(one) else "NoResources"
        programmed = Condition("Programmed", False, reason, fault)
    told = [accepted, programmed, *_tls_conditions(world, one)]
    status: Status = {
        "addresses": addresses,
        "conditions": conditions(told, one.meta, now, before.get("conditions"), gone=_TLS_CONDITIONS),
        "listeners": _listeners(world, listeners, accepted, programmed, one.meta, now, before),
    }
    if sets := {of.owner for of in every if of.owner != one.meta.ref and of.serves}:
        status["attachedListenerSets"] = len(sets)
    elif before.get("attachedListenerSets"):
        status["attachedListenerSets"] = 0
    return status


def listener_set_status(
    world: World, one: ListenerSet, standing: Standing, pods: int, now: str, before: Mapping[str, Any]
) -> Status | None:
    """A ListenerSet's, whose Gateway runs in so many `pods`; None where its Gateway is not of a class of ours."""
    parent = parent_gateway(one)
    gateway: KubernetesGateway | None = world.get(*parent) if parent else None
    if gateway is None or not is_ours(world, gateway):
        return None
    if gateway_of(world, one.meta.ref) is None:
        why = "NotAllowed", f"Gateway {gateway.meta.namespace}/{gateway.meta.name} does not let it in"
        made = [Condition("Accepted", False, *why), Condition("Programmed", False, *why)]
        return {"conditions": conditions(made, one.meta, now, before.get("conditions")), "listeners": []}
    listeners = [of for of in listeners_of(world, gateway.meta.ref) if of.owner == one.meta.ref]
    accepted = _gateway_accepted(world, gateway)
    if not accepted.holds:
        accepted = accepted._replace(reason="ParentNotAccepted")
    accepted = _accepted(accepted, listeners)
    programmed = _programmed(world, gateway, accepted, standing, pods, _was_programmed(one.meta, before))
    if not accepted.holds:
        programmed = programmed._replace(reason=accepted.reason)
    elif programmed.reason not in ("Programmed", "Invalid"):
        programmed = programmed._replace(reason="Pending")
    return {
        "conditions": conditions([accepted, programmed], one.meta, now, before.get("conditions")),
        "listeners": _listeners(world, listeners, accepted, programmed, one.meta, now, before),
    }


def _accepted(accepted: Condition, listeners: Sequence[ListenerStanding]) -> Condition:
    """With what is to be said of listeners that are not valid; one that is valid is enough."""
    wrong = [of.listener.name for of in listeners if not of.serves]
    if not accepted.holds or not wrong:
        return accepted
    told = f"not valid: {', '.join(wrong)}"
    return Condition("Accepted", len(wrong) < len(listeners), "ListenersNotValid", told)


def _listeners(
    world: World,
    listeners: Iterable[ListenerStanding],
    accepted: Condition,
    programmed: Condition,
    meta: Meta,
    now: str,
    before: Mapping[str, Any],
) -> list[dict[str, Any]]:
    there = {listener.get("name"): listener for listener in before.get("listeners") or ()}
    made = []
    for of in listeners:
        own = Condition("Programmed", False, "Invalid", "it is not valid")
        if of.serves:
            own = (
                programmed
                if not accepted.holds or not programmed.holds
                else Condition("Programmed", True, "Programmed")
            )
            own = own._replace(reason=own.reason if own.reason in ("Programmed", "Invalid") else "Pending")
        elif of.conditions[0].reason in ("HostnameConflict", "ProtocolConflict"):
            own = own._replace(reason=of.conditions[0].reason)
        old = there.get(of.listener.name, {}).get("conditions")
        made.append(
            {
                "name": of.listener.name,
                "supportedKinds": [{"group": GROUP, "kind": kind} for kind in of.kinds],
                "attachedRoutes": attached_routes(world, of),
                "conditions": conditions([*of.conditions, own], meta, now, old, alone=True),
            }
        )
    return made


# conditions that are there only where there is something to tell
_TLS_CONDITIONS = ("ResolvedRefs", "InsecureFrontendValidationMode")


def _tls_conditions(world: World, one: KubernetesGateway) -> list[Condition]:
    """Of the certificate that is shown to backends, and of clients that are let in without a good one."""
    made = []
    if one.tls is not None and one.tls.backend is not None and one.tls.backend.client_certificate_ref is not None:
        resolved = Condition("ResolvedRefs", True, "ResolvedRefs")
        if fault := certificate_fault(world, one.meta.ref, one.tls.backend.client_certificate_ref):
            reason = "RefNotPermitted" if fault.what == "forbidden" else "InvalidClientCertificateRef"
            resolved = Condition("ResolvedRefs", False, reason, fault.message)
        made.append(resolved)
    frontend = one.tls.frontend if one.tls else None
    if frontend is not None:
        ends = (frontend.default, *(of.tls for of in frontend.per_port))
        if any(end and end.validation and end.validation.mode == "AllowInsecureFallback" for end in ends):
            told = "clients without a good certificate are let in"
            made.append(Condition("InsecureFrontendValidationMode", True, "ConfigurationChanged", told))
    return made


def _gateway_accepted(world: World, one: KubernetesGateway) -> Condition:
    if strange := unknown_address(one):
        return Condition("Accepted", False, "UnsupportedAddress", f"{strange} is not supported: IPAddress, Hostname")
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
    standing: Standing,
    pods: int,
    was: bool,
) -> Condition:
    if not accepted.holds:
        return Condition("Programmed", False, "Invalid", accepted.message)
    service = service_of(world, one)
    got = {*service.addresses, *service.load_balancer, *service.external_ips} if service else set()
    if missing := [value for value in asked_addresses(one) if value not in got]:
        return Condition("Programmed", False, "AddressNotUsable", f"its Service does not have {', '.join(missing)}")
    if not _addresses(world, one):
        return Condition("Programmed", False, "AddressNotAssigned", "its Service has no address yet")
    if standing.words:
        return Condition("Programmed", False, "Invalid", f"refused by Envoy: {standing.words[:1000]}")
    current = (standing.generation, standing.sets) == (one.meta.generation, sets_of(world, one.meta.ref))
    # a proxy that comes or is told more of other things does not undo what all had
    if was and pods:
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


def _was_programmed(meta: Meta, before: Mapping[str, Any]) -> bool:
    return any(
        (c.get("type"), c.get("status"), c.get("observedGeneration")) == ("Programmed", "True", meta.generation)
        for c in before.get("conditions") or ()
    )


def route_status(world: World, ref: ObjectRef, meta: Meta, now: str, before: Mapping[str, Any]) -> Status | None:
    """A route's; None where nothing of it is ours. Other controllers' entries stay as they are."""
    assert ref.kind in KINDS
    mine = (Entry(_parent(one.parent), one.controller, one.conditions) for one in parents_of(world, ref))
    return beside_others("parents", "parentRef", mine, meta, now, before)


class Entry(NamedTuple):
    """Of a list of a status: for whom (the field `at`), by which controller, and what holds."""

    at: dict[str, Any]
    controller: str
    conditions: Iterable[Condition]


def beside_others(
    listed: str, at: str, ours: Iterable[Entry], meta: Meta, now: str, before: Mapping[str, Any]
) -> Status | None:
    """The list `listed` of a status with our entries in it; None where there are none and were none. Other controllers'
    entries stay as they are."""
    there = [one for one in before.get(listed) or () if isinstance(one, Mapping)]
    others = [dict(one) for one in there if one.get("controllerName") not in OURS]
    mine = []
    for one in ours:
        known = (each for each in there if each.get("controllerName") == one.controller and each.get(at) == one.at)
        old = next((each.get("conditions") for each in known), None)
        told = conditions(one.conditions, meta, now, old, alone=True)
        mine.append({at: one.at, "controllerName": one.controller, "conditions": told})
    if not mine and len(others) == len(there):
        return None
    return {listed: [*others, *mine]}


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
    gone: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Conditions with their times (meta.v1.Condition); others' types stay unless the list is ours `alone`.

    `gone` are types of ours that are left out where they are not wanted.
    """
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
    ours = {*gone, *(one["type"] for one in made)}
    return [*made, *([] if alone else (dict(one) for type_, one in there.items() if type_ not in ours))]
