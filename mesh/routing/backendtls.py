"""Which BackendTLSPolicy holds for a port of a Service, whom Gateways trust there, and what the policy is told of it.

One that names the port comes before one for the whole Service; of two for the same the older one holds (GEP-713).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from mesh.model.gatewayapi import BackendTLSPolicy, KubernetesGateway, SubjectAltName
from mesh.model.meta import ObjectRef
from mesh.routing.certificates import authorities
from mesh.routing.parents import KINDS, parent_of
from mesh.routing.standing import Condition, controller_of, gateway_at, references
from mesh.world.memo import query
from mesh.world.world import World

POLICY = "BackendTLSPolicy"
SYSTEM = "System"
# as many as a status may have (PolicyStatus, ancestors)
MOST_ANCESTORS = 16
_UNRESOLVED = {"kind": "InvalidKind", "forbidden": "InvalidCACertificateRef", "missing": "InvalidCACertificateRef"}


class Trust(NamedTuple):
    """Whom to trust at a port: who signed its certificate (`authorities` as PEM, empty for the system's), and whose it
    is: one of `names`, or where there are none `hostname`, which is asked for in any case.

    Where `is_valid` is not set nobody is to be trusted.
    """

    ref: ObjectRef
    hostname: str
    names: tuple[SubjectAltName, ...]
    authorities: bytes
    is_valid: bool


class Ancestor(NamedTuple):
    """A Gateway that a policy holds at."""

    gateway: ObjectRef
    controller: str
    conditions: tuple[Condition, ...]


class _Target(NamedTuple):
    service: ObjectRef
    section: str


@query
def _holders(world: World) -> Mapping[_Target, ObjectRef]:
    """The policy that holds for each target."""
    found: dict[_Target, ObjectRef] = {}
    policies = world.all(POLICY).values()
    for one in sorted(policies, key=lambda one: (one.meta.created, one.meta.namespace, one.meta.name)):
        for target in _targets(one):
            found.setdefault(target, one.meta.ref)
    return found


def _targets(policy: BackendTLSPolicy) -> list[_Target]:
    return [
        _Target(ObjectRef("Service", policy.meta.namespace, one.name), one.section_name)
        for one in policy.target_refs
        if (one.group, one.kind) == ("", "Service")
    ]


@query
def trust_of(world: World, service: ObjectRef, port_name: str) -> Trust | None:
    """Whom Gateways trust at a port of a Service; None where no policy says, and it is spoken to in plain text."""
    holders = _holders(world)
    ref = holders.get(_Target(service, port_name)) or holders.get(_Target(service, ""))
    policy: BackendTLSPolicy | None = world.get(*ref) if ref else None
    if policy is None or policy.validation is None:
        return None
    accepted, _ = _conditions(world, policy)
    found, _ = authorities(world, policy.meta.ref, policy.validation.ca_certificate_refs)
    return Trust(
        policy.meta.ref, policy.validation.hostname, policy.validation.subject_alt_names, found, accepted.holds
    )


def _conditions(world: World, policy: BackendTLSPolicy) -> tuple[Condition, Condition]:
    """Accepted and ResolvedRefs, as far as the policy alone says."""
    accepted, resolved = Condition("Accepted", True, "Accepted"), Condition("ResolvedRefs", True, "ResolvedRefs")
    validation = policy.validation
    if validation is None:
        return Condition("Accepted", False, "Invalid", "it has no validation"), resolved
    if (known := validation.well_known_ca_certificates) and known != SYSTEM:
        return Condition(
            "Accepted", False, "Invalid", f"wellKnownCACertificates {known} is not known: {SYSTEM}"
        ), resolved
    found, fault = authorities(world, policy.meta.ref, validation.ca_certificate_refs)
    if fault:
        resolved = Condition("ResolvedRefs", False, _UNRESOLVED[fault.what], fault.message)
        if not found:
            accepted = Condition("Accepted", False, "NoValidCACertificate", fault.message)
    return accepted, resolved


@query
def ancestors_of(world: World, ref: ObjectRef) -> tuple[Ancestor, ...]:
    """The Gateways of ours whose routes lead to a policy's Services, with what it is told at each."""
    policy: BackendTLSPolicy | None = world.get(*ref)
    if policy is None:
        return ()
    accepted, resolved = _conditions(world, policy)
    targets, holders = _targets(policy), _holders(world)
    if accepted.holds and targets and all(holders[one] != ref for one in targets):
        told = f"{holders[targets[0]]} came first for {targets[0].service}"
        accepted = Condition("Accepted", False, "Conflicted", told)
    gateways = dict.fromkeys(gateway for target in targets for gateway in _gateways_to(world).get(target.service, ()))
    found = []
    for gateway in list(gateways)[:MOST_ANCESTORS]:
        one: KubernetesGateway | None = world.get(*gateway)
        if one is not None:
            found.append(Ancestor(gateway, controller_of(world, one), (accepted, resolved)))
    return tuple(found)


@query
def _gateways_to(world: World) -> Mapping[ObjectRef, tuple[ObjectRef, ...]]:
    """The Gateways of ours from which routes lead to each Service."""
    found: dict[ObjectRef, dict[ObjectRef, None]] = {}
    for route in (route for kind in KINDS for route in world.all(kind).values()):
        own = route.meta.namespace
        parents = (parent_of(one, own) for one in route.parent_refs)
        refs = [
            ObjectRef(*one) for one in parents if one is not None and one.kind in ("KubernetesGateway", "ListenerSet")
        ]
        gateways = [one.meta.ref for ref in refs if (one := gateway_at(world, ref)) is not None]
        for _, to in references(route) if gateways else ():
            if (to.group, to.kind) == ("", "Service"):
                service = ObjectRef("Service", to.namespace or own, to.name)
                found.setdefault(service, {}).update(dict.fromkeys(gateways))
    return {service: tuple(sorted(gateways)) for service, gateways in found.items()}
