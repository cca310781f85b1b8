"""What only all objects together show: names that nobody has, and two objects that want the same.

Everything here works, or is left out in silence by Istio; so all of it are warnings. Who sees the objects (exportTo,
Sidecar) is not asked: a name that is nowhere is nowhere for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mesh.model.common import Destination
from mesh.model.destinationrule import DestinationRule
from mesh.model.gateway import Gateway
from mesh.model.meta import Meta
from mesh.model.problem import Problem
from mesh.model.reading import DOMAIN, Key, spelled
from mesh.model.service import Service
from mesh.model.virtualservice import VirtualService
from mesh.routing.backends import gateway_name, whole_name
from mesh.world.index import service_at, services_by_host
from mesh.world.memo import query
from mesh.world.world import World


@query
def problems(world: World) -> tuple[Problem, ...]:
    """All of them, in no order that means anything."""
    checks = (_destinations, _gateways, _rivals, _rules, _subsets, _hidden_protocols)
    return tuple(problem for check in checks for problem in check(world))


def _warn(meta: Meta, code: str, message: str, *path: Key) -> Problem:
    return Problem(code, meta.ref, spelled(("spec", *path)), message, "warning")


def _services(world: World, host: str) -> list[Service]:
    """Who has the host: by its name, else by a wildcard."""
    by_host = services_by_host(world)
    keys = by_host.get(host, ())
    if not keys:
        labels = host.split(".")
        for start in range(1, len(labels)):
            keys = by_host.get("*." + ".".join(labels[start:]), ())
            if keys:
                break
    return [found for key in keys if (found := service_at(world, key)) is not None]


def _rules_by_host(world: World) -> Mapping[str, list[DestinationRule]]:
    found: dict[str, list[DestinationRule]] = {}
    for rule in world.all("DestinationRule").values():
        found.setdefault(whole_name(rule.host, rule.meta.namespace, DOMAIN), []).append(rule)
    return found


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


def _destinations(world: World) -> Iterator[Problem]:
    """A destination's host, port and subset; a delegate."""
    rules = _rules_by_host(world)
    for one in world.all("VirtualService").values():
        for destination, path in _all_destinations(one):
            host = whole_name(destination.host, one.meta.namespace, DOMAIN)
            services = _services(world, host)
            if not services:
                yield _warn(one.meta, "no-host", f"no Service and no ServiceEntry has the host {host}", *path, "host")
                continue
            port = destination.port.number if destination.port else 0
            if port and not any(service.port(port) for service in services):
                there = ", ".join(str(known.number) for known in services[0].ports) or "none"
                yield _warn(one.meta, "no-port", f"{host} has no port {port}; it has {there}", *path, "port", "number")
            if destination.subset:
                named = {
                    subset.name
                    for ruled, many in rules.items()
                    if ruled == host or (ruled.startswith("*") and _overlap(ruled, host))
                    for rule in many
                    for subset in rule.subsets
                }
                if destination.subset not in named:
                    there = ", ".join(sorted(named)) or "none"
                    message = f"no DestinationRule has subset {destination.subset} of {host}; there are: {there}"
                    yield _warn(one.meta, "no-subset", message, *path, "subset")
        for index, http in enumerate(one.http):
            if http.delegate is not None:
                namespace = http.delegate.namespace or one.meta.namespace
                if world.get("VirtualService", namespace, http.delegate.name) is None:
                    message = f"there is no VirtualService {namespace}/{http.delegate.name}; the rule falls through"
                    yield _warn(one.meta, "no-delegate", message, "http", index, "delegate")


def _gateways(world: World) -> Iterator[Problem]:
    """Gateways that a VirtualService names, and whether they take its hosts."""
    for one in world.all("VirtualService").values():
        for index, name in enumerate(one.gateways):
            if name == "mesh":
                continue
            namespace, _, bare = gateway_name(name, one.meta.namespace).partition("/")
            gateway: Gateway | None = world.get("Gateway", namespace, bare)
            if gateway is None:
                yield _warn(one.meta, "no-gateway", f"there is no Gateway {namespace}/{bare}", "gateways", index)
            elif not any(_taken(gateway, host, one.meta.namespace) for host in one.hosts):
                message = f"none of the hosts is one of Gateway {namespace}/{bare}'s"
                yield _warn(one.meta, "never-matches", message, "gateways", index)


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


def _rivals(world: World) -> Iterator[Problem]:
    """Two VirtualServices for one host in the mesh: the older counts alone."""
    first: dict[tuple[str, tuple[str, ...]], VirtualService] = {}
    for one in sorted(world.all("VirtualService").values(), key=lambda one: one.meta.age):
        if not one.in_mesh:
            continue
        for index, short in enumerate(one.hosts):
            host = whole_name(short, one.meta.namespace, DOMAIN)
            seen_by = tuple(sorted(one.export_to))
            if "." in seen_by:
                seen_by = (one.meta.namespace,)
            other = first.setdefault((host, seen_by), one)
            if other is not one:
                message = f"{other.meta.ref} is older and rules {host} in the mesh; this one has no effect there"
                yield _warn(one.meta, "two-for-one-host", message, "hosts", index)


def _rules(world: World) -> Iterator[Problem]:
    """A DestinationRule's host."""
    for host, rules in _rules_by_host(world).items():
        for rule in rules:
            if host.startswith("*"):
                if not any(_overlap(host, known) for known in services_by_host(world)):
                    yield _warn(rule.meta, "no-host", f"no host is one of {host}", "host")
            elif not _services(world, host):
                yield _warn(rule.meta, "no-host", f"no Service and no ServiceEntry has the host {host}", "host")


def _subsets(world: World) -> Iterator[Problem]:
    """Subsets that no pod of the Service is in."""
    pods = [pod for pod in world.all("Pod").values() if pod.ip]
    if not pods:
        return
    for host, rules in _rules_by_host(world).items():
        service = next((one for one in _services(world, host) if one.is_kubernetes and one.selector), None)
        if service is None:
            continue
        selected = [
            pod.meta.labels for pod in pods
            if pod.meta.namespace == service.namespace and service.selector.items() <= pod.meta.labels.items()
        ]  # fmt: skip
        for rule in rules:
            for index, subset in enumerate(rule.subsets):
                if not any(subset.labels.items() <= labels.items() for labels in selected):
                    message = f"no pod of {host} has these labels: requests to it are answered with 503"
                    yield _warn(rule.meta, "no-endpoints", message, "subsets", index, "labels")


def _hidden_protocols(world: World) -> Iterator[Problem]:
    """A VirtualService's http rules for a host none of whose ports is known to be HTTP."""
    for one in world.all("VirtualService").values():
        if not one.http or not one.in_mesh or one.tcp or one.tls:
            continue
        for index, short in enumerate(one.hosts):
            services = _services(world, whole_name(short, one.meta.namespace, DOMAIN))
            ports = [port for service in services for port in service.ports]
            if ports and not any(port.protocol.is_http or port.protocol.is_auto for port in ports):
                spoken = ", ".join(f"{port.name or port.number} is {port.protocol}" for port in ports)
                message = f"no HTTP here, so http rules have no effect: {spoken}; name it http-… or set appProtocol"
                yield _warn(one.meta, "hidden-protocol", message, "hosts", index)
