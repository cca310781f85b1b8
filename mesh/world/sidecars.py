"""Sidecar objects: which hosts the proxies of a scope see, and at which ports (networking.istio.io Sidecar)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from mesh.model.meshconfig import MeshConfig
from mesh.model.sidecar import Sidecar
from mesh.model.virtualservice import VirtualService
from mesh.world.memo import query
from mesh.world.proxy import Scope
from mesh.world.world import World

DEFAULTS = MeshConfig()


@query
def mesh_config(world: World) -> MeshConfig:
    """The mesh's own settings; Istio's defaults where there are none."""
    config: MeshConfig
    for config in world.all("MeshConfig").values():
        return config
    return DEFAULTS


@query
def sidecar_of(world: World, scope: Scope) -> Sidecar | None:
    """The Sidecar that holds: one that selects the pod, else its namespace's, else the root namespace's.

    Of several the oldest counts, as with Istio.
    """
    if scope.kind != "sidecar":
        return None
    root = mesh_config(world).root_namespace
    found: list[tuple[int, tuple[str, str, str], Sidecar]] = []
    for one in world.all("Sidecar").values():
        labels = one.workload_selector.labels if one.workload_selector else {}
        if one.meta.namespace == scope.namespace:
            if scope.matches(labels):
                found.append((0 if labels else 1, one.meta.age, one))
        elif one.meta.namespace == root and not labels:
            found.append((2, one.meta.age, one))
    return min(found, key=lambda each: each[:2])[2] if found else None


class Egress(NamedTuple):
    """One egress listener: `port` 0 is for all ports that no other names. `hosts` are (namespace or `*`, host)."""

    port: int
    protocol: str
    bind: str
    captured: bool
    hosts: tuple[tuple[str, str], ...]

    def names(self, namespace: str, host: str) -> bool:
        """Whether it names this host of this namespace; `host` may be a wildcard."""
        return any(where in ("*", namespace) and covers(pattern, host) for where, pattern in self.hosts)


def covers(pattern: str, host: str) -> bool:
    """Whether two hosts, each perhaps a wildcard (`*`, `*.example.com`), have one in common (Istio's host.Matches)."""
    if pattern == host or pattern == "*" or host == "*":
        return True
    wild, other = pattern.startswith("*"), host.startswith("*")
    if wild and other:
        return pattern[1:].endswith(host[1:]) or host[1:].endswith(pattern[1:])
    if wild:
        return host.endswith(pattern[1:])
    return other and pattern.endswith(host[1:])


@query
def egress_of(world: World, scope: Scope) -> tuple[Egress, ...] | None:
    """What the proxies of the scope see; None where nothing narrows it."""
    sidecar = sidecar_of(world, scope)
    if sidecar is None or not sidecar.egress:
        return None
    found = []
    for one in sidecar.egress:
        hosts = []
        for text in one.hosts:
            namespace, _, host = text.partition("/")
            if namespace != "~":
                hosts.append((scope.namespace if namespace == "." else namespace, host))
        port, protocol = (one.port.number, one.port.protocol.upper()) if one.port else (0, "")
        found.append(Egress(port, protocol, one.bind, one.capture_mode != "NONE", tuple(hosts)))
    return tuple(found)


@query
def imports(world: World, scope: Scope, namespace: str, host: str) -> bool:
    """Whether an object of this namespace for this host counts for proxies of the scope, as far as Sidecar says."""
    egress = egress_of(world, scope)
    return egress is None or any(one.names(namespace, host) for one in egress)


@query
def imported_destinations(world: World, scope: Scope) -> frozenset[str]:
    """Hosts that a VirtualService which counts sends to: they can be sent to though no egress names them."""
    egress = egress_of(world, scope)
    if egress is None:
        return frozenset()
    default = mesh_config(world).default_virtual_service_export_to
    found: set[str] = set()
    for one in world.all("VirtualService").values():
        seen = exported(one.export_to, default, one.meta.namespace, scope.namespace)
        if seen and any(each.names(one.meta.namespace, host) for host in _hosts(one, scope) for each in egress):
            found.update(_destinations(one, scope))
            for rule in one.http:
                if rule.delegate:
                    part = world.get(
                        "VirtualService", rule.delegate.namespace or one.meta.namespace, rule.delegate.name
                    )
                    found.update(_destinations(part, scope) if part and part.is_delegate else ())
    return frozenset(found)


def _hosts(one: VirtualService, scope: Scope) -> Iterable[str]:
    return (absolute(host, one.meta.namespace, scope.domain) for host in one.hosts)


def _destinations(one: VirtualService, scope: Scope) -> Iterable[str]:
    routes = [each.route for rules in (one.http, one.tls, one.tcp) for each in rules]
    mirrors = [rule.mirror for rule in one.http if rule.mirror]
    mirrors += [each.destination for rule in one.http for each in rule.mirrors if each.destination]
    for to in [*(each.destination for route in routes for each in route), *mirrors]:
        if to:
            yield absolute(to.host, one.meta.namespace, scope.domain)


def absolute(host: str, namespace: str, domain: str) -> str:
    """A host as an object of `namespace` means it: without a dot it is a Service of that namespace."""
    return host.lower() if "." in host or host.startswith("*") else f"{host.lower()}.{namespace}.svc.{domain}"


def exported(export_to: Iterable[str], default: Iterable[str], owner: str, namespace: str) -> bool:
    """Whether what `owner`'s namespace has is seen from `namespace`: `*` all, `.` the own, `~` nobody, or by name."""
    allowed = tuple(export_to) or tuple(default) or ("*",)
    return "~" not in allowed and ("*" in allowed or namespace in allowed or ("." in allowed and namespace == owner))
