"""Sidecar objects: which hosts the proxies of a scope see, and at which ports (networking.istio.io Sidecar)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from mesh.model.meshconfig import MeshConfig
from mesh.model.names import narrower
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

    def rules(self, namespace: str, host: str) -> bool:
        """Whether what this namespace says of a host counts here; either may be a wildcard for the other."""
        return any(where in ("*", namespace) and covers(pattern, host) for where, pattern in self.hosts)

    def names(self, namespace: str, host: str) -> bool:
        """Whether it names this host of this namespace: all that the host stands for, where it is a wildcard."""
        return any(where in ("*", namespace) and narrower(pattern, host) == host for where, pattern in self.hosts)


Sees = tuple[Egress, ...] | None
"""What a Sidecar lets in; None where nothing narrows what is exported."""


def egress_at(egress: Sees, port: int) -> Sees:
    """The listener that counts at a port: the one that names it, else the one for all others; none where none is."""
    if egress is None:
        return None
    return tuple(one for one in egress if one.port in (port, 0))[:1]


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
        if one.bind.startswith("unix:"):
            continue
        port, protocol = (one.port.number, one.port.protocol.upper()) if one.port else (0, "")
        found.append(Egress(port, protocol, one.bind, one.capture_mode != "NONE", tuple(hosts)))
    return tuple(found)


ALL_PORTS: frozenset[int] = frozenset({0})


@query
def inferred_destinations(world: World, scope: Scope) -> Mapping[str, frozenset[int]]:
    """Hosts that a VirtualService which counts sends to, each with the ports (0 for all): they have clusters though no
    egress names them.
    """
    egress = egress_of(world, scope)
    if egress is None:
        return {}
    default = mesh_config(world).default_virtual_service_export_to
    found: dict[str, set[int]] = {}
    for one in world.all("VirtualService").values():
        if not exported(one.export_to, default, one.meta.namespace, scope.namespace):
            continue
        for each in egress:
            if any(each.rules(one.meta.namespace, host) for host in _hosts(one, scope)):
                for host, port in _destinations(world, one, scope):
                    found.setdefault(host, set()).add(each.port or port)
    return {host: frozenset(ports) for host, ports in found.items()}


def _hosts(one: VirtualService, scope: Scope) -> Iterable[str]:
    return (absolute(host, one.meta.namespace, scope.domain) for host in one.hosts)


def _destinations(world: World, one: VirtualService, scope: Scope) -> Iterable[tuple[str, int]]:
    rules: list[tuple[str, Any]] = [(one.meta.namespace, rule) for rule in (*one.http, *one.tls, *one.tcp)]
    for http in one.http:
        if http.delegate:
            part = world.get("VirtualService", http.delegate.namespace or one.meta.namespace, http.delegate.name)
            rules += [(part.meta.namespace, rule) for rule in part.http] if part and part.is_delegate else []
    for namespace, rule in rules:
        if rule.match and not any(match.source_namespace in ("", scope.namespace) for match in rule.match):
            continue
        targets = [each.destination for each in (*rule.route, *getattr(rule, "mirrors", ()))]
        for to in [*targets, getattr(rule, "mirror", None)]:
            if to:
                yield absolute(to.host, namespace, scope.domain), to.port.number if to.port else 0


def absolute(host: str, namespace: str, domain: str) -> str:
    """A host as an object of `namespace` means it: without a dot it is a Service of that namespace."""
    return host.lower() if "." in host or host.startswith("*") else f"{host.lower()}.{namespace}.svc.{domain}"


def exported(export_to: Iterable[str], default: Iterable[str], owner: str, namespace: str) -> bool:
    """Whether what `owner`'s namespace has is seen from `namespace`: `*` all, `.` the own, `~` nobody, or by name."""
    allowed = tuple(export_to) or tuple(default) or ("*",)
    return "~" not in allowed and ("*" in allowed or namespace in allowed or ("." in allowed and namespace == owner))
