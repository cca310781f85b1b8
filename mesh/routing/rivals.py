"""Two objects that want the same: which one has it, and what the other is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from mesh.model.destinationrule import DestinationRule
from mesh.model.gateway import Gateway
from mesh.model.meta import Meta, ObjectRef
from mesh.model.problem import Problem
from mesh.model.reading import DOMAIN, Key, spelled
from mesh.model.serviceentry import ServiceEntry
from mesh.model.sidecar import Sidecar
from mesh.model.telemetry import Telemetry
from mesh.model.virtualservice import VirtualService
from mesh.routing.backends import whole_name
from mesh.world.index import joined_entries, services_by_host
from mesh.world.memo import query
from mesh.world.world import World


def warn(meta: Meta, code: str, message: str, *path: Key) -> Problem:
    """A warning about a field of an object's spec."""
    return Problem(code, meta.ref, spelled(("spec", *path)), message, "warning")


class Wanted(NamedTuple):
    """What an object wants for itself."""

    what: str
    seen_by: tuple[str, ...] = ()


def _first(world: World, kind: str, wanted: Callable[[Any], Iterator[Wanted]]) -> Mapping[Wanted, ObjectRef]:
    first: dict[Wanted, ObjectRef] = {}
    for one in sorted(world.all(kind).values(), key=lambda one: one.meta.age):
        for each in wanted(one):
            first.setdefault(each, one.meta.ref)
    return first


# --- VirtualService: a host in the mesh ------------------------------------------------------------------------------


def _ruled(one: VirtualService) -> Iterator[Wanted]:
    """Each host of a VirtualService for the mesh, with the namespaces that see it."""
    seen_by = (one.meta.namespace,) if "." in one.export_to else tuple(sorted(one.export_to))
    for short in one.hosts if one.in_mesh else ():
        yield Wanted(whole_name(short, one.meta.namespace, DOMAIN), seen_by)


@query
def _rulers(world: World) -> Mapping[Wanted, ObjectRef]:
    return _first(world, "VirtualService", _ruled)


@query
def _ruler(world: World, wanted: Wanted) -> ObjectRef:
    return _rulers(world)[wanted]


def virtual_services(world: World, one: VirtualService) -> Iterator[Problem]:
    """Two VirtualServices for one host in the mesh: the older counts alone."""
    for index, ruled in enumerate(_ruled(one)):
        other = _ruler(world, ruled)
        if other == one.meta.ref:
            continue
        if _speaks_to_all(world.get(*other)):
            message = f"{other} is older and rules {ruled.what} in the mesh; this one has no effect there"
            yield warn(one.meta, "two-for-one-host", message, "hosts", index)
        else:
            message = f"{other} is older and rules {ruled.what} in the mesh; this one is for those it says nothing to"
            yield warn(one.meta, "shadowed", message, "hosts", index)


def _speaks_to_all(one: VirtualService) -> bool:
    """Whether some rule of it is for all clients and ports; else the next for the host may count."""
    return not one.http or any(
        not rule.match or any(not (m.source_labels or m.source_namespace or m.port or m.gateways) for m in rule.match)
        for rule in one.http
    )


# --- DestinationRule: a host's policy, a subset's name ---------------------------------------------------------------


def _said(one: DestinationRule) -> Iterator[Wanted]:
    if one.workload_selector is not None:
        return
    at = f"{one.meta.namespace}/{whole_name(one.host, one.meta.namespace, DOMAIN)}"
    seen_by = tuple(sorted(one.export_to))
    if one.traffic_policy is not None:
        yield Wanted(at, seen_by)
    yield from (Wanted(f"{at} {subset.name}", seen_by) for subset in one.subsets)


@query
def _sayers(world: World) -> Mapping[Wanted, ObjectRef]:
    return _first(world, "DestinationRule", _said)


@query
def _sayer(world: World, wanted: Wanted) -> ObjectRef:
    return _sayers(world)[wanted]


def destination_rules(world: World, one: DestinationRule) -> Iterator[Problem]:
    """Two of a namespace for one host are joined: of the policy, and of a subset, the older's counts."""
    numbers = {subset.name: index for index, subset in enumerate(one.subsets)}
    for wanted in _said(one):
        other = _sayer(world, wanted)
        if other != one.meta.ref:
            subset = wanted.what.partition(" ")[2]
            what = f"has subset {subset}" if subset else "has a trafficPolicy"
            path: tuple[Key, ...] = ("subsets", numbers[subset]) if subset else ("trafficPolicy",)
            message = f"{other} is older and {what} of this host; this one has no effect"
            yield warn(one.meta, "no-effect", message, *path)


# --- ServiceEntry: a host --------------------------------------------------------------------------------------------


def service_entries(world: World, one: ServiceEntry) -> Iterator[Problem]:
    """A host that a Kubernetes Service has, or an older entry of the namespace that cannot be joined."""
    for index, service in enumerate(one.services()):
        for key in services_by_host(world).get(service.hostname, ()):
            if key.ref == one.meta.ref:
                break
            if key.ref.namespace != one.meta.namespace:
                continue
            if not any(each.ref == one.meta.ref for each in joined_entries(world, key)):
                why = (
                    "is a Kubernetes Service"
                    if key.ref.kind == "Service"
                    else "is older and differs in more than ports"
                )
                message = f"{key.ref} has the host {service.hostname} and {why}; this one has no effect"
                yield warn(one.meta, "two-for-one-host", message, "hosts", index)
            break


# --- Sidecar: a namespace's pods -------------------------------------------------------------------------------------


def _picked(one: Sidecar) -> Iterator[Wanted]:
    labels = sorted(one.workload_selector.labels.items()) if one.workload_selector else []
    yield Wanted(f"{one.meta.namespace} {labels}")


@query
def _pickers(world: World) -> Mapping[Wanted, ObjectRef]:
    return _first(world, "Sidecar", _picked)


def sidecars(world: World, one: Sidecar) -> Iterator[Problem]:
    """Two Sidecars for the same pods: the older counts."""
    yield from _for_the_same_pods(one.meta, _picked(one), _pickers(world), "two-sidecars")


def _for_the_same_pods(
    meta: Meta, mine: Iterator[Wanted], first: Mapping[Wanted, ObjectRef], code: str
) -> Iterator[Problem]:
    for wanted in mine:
        if (other := first[wanted]) != meta.ref:
            yield warn(meta, code, f"{other} is older and for the same pods; this one has no effect")


# --- Telemetry: a namespace's pods -----------------------------------------------------------------------------------


def _watched(one: Telemetry) -> Iterator[Wanted]:
    if one.targets:
        yield from (Wanted(f"{one.meta.namespace} {target.kind} {target.name}") for target in one.targets)
    else:
        yield Wanted(f"{one.meta.namespace} {sorted(one.labels.items())}")


@query
def _watchers(world: World) -> Mapping[Wanted, ObjectRef]:
    return _first(world, "Telemetry", _watched)


def telemetries(world: World, one: Telemetry) -> Iterator[Problem]:
    """Two Telemetry objects for the same pods: the older counts."""
    yield from _for_the_same_pods(one.meta, _watched(one), _watchers(world), "two-telemetries")


# --- Gateway: a name with a certificate ------------------------------------------------------------------------------


def _certified(one: Gateway) -> Iterator[Wanted]:
    for index in range(len(one.servers)):
        yield from _certified_of(one, index)


@query
def _certifiers(world: World) -> Mapping[Wanted, ObjectRef]:
    return _first(world, "Gateway", _certified)


def gateways(world: World, one: Gateway) -> Iterator[Problem]:
    """Two servers with TLS for one name at one port: the older counts, the other is left out with all its names."""
    for index, server in enumerate(one.servers):
        for number, wanted in enumerate(_certified_of(one, index)):
            other = _certifiers(world)[wanted]
            if other != one.meta.ref:
                message = (
                    f"{other} is older and has {server.hosts[number]} at this port with TLS; this server is left out"
                )
                yield warn(one.meta, "two-certificates", message, "servers", index, "hosts", number)


def _certified_of(one: Gateway, index: int) -> list[Wanted]:
    server = one.servers[index]
    if server.port is None or server.tls is None:
        return []
    at = f"{sorted(one.selector.items())} {server.bind} {server.port.number}"
    return [Wanted(f"{at} {host}") for host in server.hosts]
