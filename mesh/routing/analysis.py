"""What only all objects together show: names that nobody has, and two objects that want the same.

Everything here works, or is left out in silence by Istio; so all of it are warnings. Who sees the objects (exportTo,
Sidecar) is not asked: a name that is nowhere is nowhere for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mesh.model.common import Destination
from mesh.model.destinationrule import DestinationRule
from mesh.model.gateway import Gateway
from mesh.model.problem import Problem
from mesh.model.reading import DOMAIN, Key
from mesh.model.service import Service
from mesh.model.virtualservice import VirtualService
from mesh.routing import rivals, unmet
from mesh.routing.backends import gateway_name, whole_name
from mesh.routing.rivals import warn
from mesh.routing.unmet import knows_pods
from mesh.world.index import labels_by_item, service_at, services_by_host
from mesh.world.memo import query
from mesh.world.world import World


@query
def problems(world: World) -> tuple[Problem, ...]:
    """All of them, in no order that means anything."""
    return tuple(problem for kind in _CHECKS for key in world.all(kind) for problem in problems_of(world, kind, *key))


@query
def problems_of(world: World, kind: str, namespace: str, name: str) -> tuple[Problem, ...]:
    """Those of one object: looked for again only where what they follow from has changed."""
    one = world.get(kind, namespace, name)
    return () if one is None else tuple(problem for check in _CHECKS.get(kind, ()) for problem in check(world, one))


@query
def _services(world: World, host: str) -> tuple[Service, ...]:
    """Who has the host: by its name, else by a wildcard."""
    by_host = services_by_host(world)
    keys = by_host.get(host, ())
    if not keys:
        labels = host.split(".")
        for start in range(1, len(labels)):
            keys = by_host.get("*." + ".".join(labels[start:]), ())
            if keys:
                break
    return tuple(found for key in keys if (found := service_at(world, key)) is not None)


@query
def _subsets_by_host(world: World) -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for rule in world.all("DestinationRule").values():
        host = whole_name(rule.host, rule.meta.namespace, DOMAIN)
        found.setdefault(host, set()).update(subset.name for subset in rule.subsets)
    return {host: frozenset(names) for host, names in found.items()}


@query
def _subsets_by_wildcard(world: World) -> Mapping[str, frozenset[str]]:
    return {host: names for host, names in _subsets_by_host(world).items() if host.startswith("*")}


@query
def _subset_names(world: World, host: str) -> frozenset[str]:
    """The subsets of a host that some DestinationRule has, in whichever namespace."""
    wild = (names for ruled, names in _subsets_by_wildcard(world).items() if _overlap(ruled, host))
    return _subsets_by_host(world).get(host, frozenset()).union(*wild)


def _selected(world: World, service: Service) -> list[Mapping[str, str]]:
    by_item = labels_by_item(world, service.namespace)
    fewest = min((by_item.get(item, ()) for item in service.selector.items()), key=len)
    return [labels for labels in fewest if service.selector.items() <= labels.items()]


def _all_destinations(service: VirtualService) -> Iterator[tuple[Destination, tuple[Key, ...]]]:
    for index, rule in enumerate(service.http):
        for number, route in enumerate(rule.route):
            yield route.destination, ("http", index, "route", number, "destination")
        if rule.mirror is not None:
            yield rule.mirror, ("http", index, "mirror")
        for number, mirror in enumerate(rule.mirrors):
            yield mirror.destination, ("http", index, "mirrors", number, "destination")
    kinds: tuple[tuple[str, tuple[Any, ...]], ...] = (("tls", service.tls), ("tcp", service.tcp))
    for kind, rules in kinds:
        for index, connection in enumerate(rules):
            for number, route in enumerate(connection.route):
                yield route.destination, (kind, index, "route", number, "destination")


def _destinations(world: World, one: VirtualService) -> Iterator[Problem]:
    """A destination's host, port and subset; a delegate."""
    for destination, path in _all_destinations(one):
        host = whole_name(destination.host, one.meta.namespace, DOMAIN)
        services = _services(world, host)
        if not services:
            yield warn(one.meta, "no-host", f"no Service and no ServiceEntry has the host {host}", *path, "host")
            continue
        port = destination.port.number if destination.port else 0
        if port and not any(service.port(port) for service in services):
            there = ", ".join(str(known.number) for known in services[0].ports) or "none"
            yield warn(one.meta, "no-port", f"{host} has no port {port}; it has {there}", *path, "port", "number")
        if destination.subset and destination.subset not in (named := _subset_names(world, host)):
            there = ", ".join(sorted(named)) or "none"
            message = f"no DestinationRule has subset {destination.subset} of {host}; there are: {there}"
            yield warn(one.meta, "no-subset", message, *path, "subset")
    for index, http in enumerate(one.http):
        if http.delegate is not None:
            namespace = http.delegate.namespace or one.meta.namespace
            if world.get("VirtualService", namespace, http.delegate.name) is None:
                message = f"there is no VirtualService {namespace}/{http.delegate.name}; the rule falls through"
                yield warn(one.meta, "no-delegate", message, "http", index, "delegate")


def _gateways(world: World, one: VirtualService) -> Iterator[Problem]:
    """Gateways that it names, and whether they take its hosts."""
    for index, name in enumerate(one.gateways):
        if name == "mesh":
            continue
        namespace, _, bare = gateway_name(name, one.meta.namespace).partition("/")
        gateway: Gateway | None = world.get("Gateway", namespace, bare)
        if gateway is None:
            yield warn(one.meta, "no-gateway", f"there is no Gateway {namespace}/{bare}", "gateways", index)
        elif not any(_taken(gateway, host, one.meta.namespace) for host in one.hosts):
            message = f"none of the hosts is one of Gateway {namespace}/{bare}'s"
            yield warn(one.meta, "never-matches", message, "gateways", index)


def _taken(gateway: Gateway, host: str, namespace: str) -> bool:
    for server in gateway.servers:
        for each in server.hosts:
            where, slash, pattern = each.rpartition("/")
            if slash and where not in ("*", namespace) and not (where == "." and namespace == gateway.meta.namespace):
                continue
            if _overlap(pattern, host):
                return True
    return False


def _overlap(one: str, other: str) -> bool:
    """Whether some name is both; each may begin with `*`."""
    if one == other or "*" in (one, other):
        return True
    if one.startswith("*") and other.startswith("*"):
        return one[1:].endswith(other[1:]) or other[1:].endswith(one[1:])
    if one.startswith("*"):
        return other.endswith(one[1:])
    return other.startswith("*") and one.endswith(other[1:])


def _ruled_host(world: World, rule: DestinationRule) -> Iterator[Problem]:
    """A DestinationRule's host."""
    host = whole_name(rule.host, rule.meta.namespace, DOMAIN)
    if host.startswith("*"):
        if not any(_overlap(host, known) for known in services_by_host(world)):
            yield warn(rule.meta, "no-host", f"no host is one of {host}", "host")
    elif not _services(world, host):
        yield warn(rule.meta, "no-host", f"no Service and no ServiceEntry has the host {host}", "host")


def _subsets(world: World, rule: DestinationRule) -> Iterator[Problem]:
    """Subsets that no pod of the Service is in."""
    host = whole_name(rule.host, rule.meta.namespace, DOMAIN)
    service = next((one for one in _services(world, host) if one.is_kubernetes and one.selector), None)
    if service is None or not rule.subsets or not knows_pods(world):
        return
    selected = _selected(world, service)
    for index, subset in enumerate(rule.subsets):
        if not any(subset.labels.items() <= labels.items() for labels in selected):
            message = f"no pod of {host} has these labels: requests to it are answered with 503"
            yield warn(rule.meta, "no-endpoints", message, "subsets", index, "labels")


def _hidden_protocols(world: World, one: VirtualService) -> Iterator[Problem]:
    """Rules for HTTP, and a host none of whose ports is known to be that."""
    if not one.http or not one.in_mesh or one.tcp or one.tls:
        return
    for index, short in enumerate(one.hosts):
        services = _services(world, whole_name(short, one.meta.namespace, DOMAIN))
        ports = [port for service in services for port in service.ports]
        if ports and not any(port.protocol.is_http or port.protocol.is_auto for port in ports):
            spoken = ", ".join(f"{port.name or port.number} is {port.protocol}" for port in ports)
            message = f"no HTTP here, so http rules have no effect: {spoken}; name it http-… or set appProtocol"
            yield warn(one.meta, "hidden-protocol", message, "hosts", index)


_CHECKS: Mapping[str, tuple[Callable[[World, Any], Iterator[Problem]], ...]] = {
    "VirtualService": (_destinations, _gateways, rivals.virtual_services, _hidden_protocols, unmet.delegates),
    "DestinationRule": (_ruled_host, _subsets, rivals.destination_rules, unmet.shown),
    "ServiceEntry": (rivals.service_entries,),
    "Sidecar": (rivals.sidecars,),
    "Gateway": (unmet.gateways, rivals.gateways),
    "Telemetry": (unmet.providers, rivals.telemetries),
}
