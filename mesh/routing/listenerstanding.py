"""What listeners are told of themselves: their conditions, as far as objects alone say it.

https://gateway-api.sigs.k8s.io/reference/spec/ (ListenerConditionType, ListenerEntryConditionType)
"""

from __future__ import annotations

from typing import NamedTuple

from mesh.model.gatewayapi import GROUP, KubernetesGateway, Listener
from mesh.model.meta import ObjectRef
from mesh.routing.certificates import Fault, authorities, certificate_fault
from mesh.routing.listeners import Entry, entries_of, frontend_of
from mesh.routing.parents import TAKEN, attached_at, kinds_taken
from mesh.routing.standing import Condition
from mesh.world.memo import query
from mesh.world.world import World

_CERTIFICATE = {"kind": "InvalidCertificateRef", "forbidden": "RefNotPermitted", "missing": "InvalidCertificateRef"}
_AUTHORITY = {"kind": "InvalidCACertificateKind", "forbidden": "RefNotPermitted", "missing": "InvalidCACertificateRef"}


class ListenerStanding(NamedTuple):
    """A listener: what it takes, what is wrong with it; `serves` if anything comes of it."""

    owner: ObjectRef
    listener: Listener
    kinds: tuple[str, ...]
    serves: bool
    conditions: tuple[Condition, ...]


@query
def listeners_of(world: World, gateway: ObjectRef) -> tuple[ListenerStanding, ...]:
    """All listeners of a Gateway, its own and those of ListenerSets, in their order of precedence."""
    found: KubernetesGateway | None = world.get(*gateway)
    return tuple(_standing(world, found, one) for one in entries_of(world, gateway)) if found else ()


def attached_routes(world: World, one: ListenerStanding) -> int:
    """How many routes a listener has."""
    return sum(1 for _ in attached_at(world, one.owner, one.listener)) if one.kinds else 0


def _standing(world: World, gateway: KubernetesGateway, entry: Entry) -> ListenerStanding:
    listener = entry.listener
    known = kinds_taken(listener)
    asked = listener.allowed_routes.kinds
    kinds = tuple(one for one in known if not asked or any((k.group, k.kind) == (GROUP, one) for k in asked))
    accepted = Condition("Accepted", True, "Accepted")
    if not known:
        told = f"{listener.protocol} is not served: {', '.join(TAKEN)}"
        accepted = Condition("Accepted", False, "UnsupportedProtocol", told)
    conflicted = Condition("Conflicted", False, "NoConflicts")
    if entry.conflict and known:
        told = "a listener of this Gateway that comes first has the port"
        conflicted = Condition("Conflicted", True, entry.conflict, told)
        accepted = Condition("Accepted", False, entry.conflict, told)
    resolved = Condition("ResolvedRefs", True, "ResolvedRefs")
    if strange := [one for one in asked if one.group != GROUP or one.kind not in known]:
        told = f"{strange[0].kind} is no route for {listener.protocol}"
        resolved = Condition("ResolvedRefs", False, "InvalidRouteKinds", told)
    certificate = _certificate_fault(world, entry)
    if certificate and not strange:
        resolved = Condition("ResolvedRefs", False, _CERTIFICATE[certificate.what], certificate.message)
    validation = frontend_of(gateway, listener.port) if listener.protocol == "HTTPS" else None
    if validation is not None:
        found, fault = authorities(world, gateway.meta.ref, validation.ca_certificate_refs)
        if fault and resolved.holds:
            resolved = Condition("ResolvedRefs", False, _AUTHORITY[fault.what], fault.message)
        if not found and accepted.holds:
            accepted = Condition("Accepted", False, "NoValidCACertificate", fault.message if fault else "")
    # with its other kinds of routes, or other authorities, it does its work
    serves = accepted.holds and certificate is None and bool(kinds)
    return ListenerStanding(entry.owner, listener, kinds, serves, (accepted, conflicted, resolved))


def _certificate_fault(world: World, entry: Entry) -> Fault | None:
    tls = entry.listener.tls
    if tls is None or tls.mode != "Terminate":
        return None
    return next((fault for ref in tls.certificate_refs if (fault := certificate_fault(world, entry.owner, ref))), None)
