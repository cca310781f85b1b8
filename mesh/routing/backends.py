"""Destinations ──▶ targets: short names made whole, ports found, aliases followed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from mesh.model.common import Destination
from mesh.model.service import Resolution, Service
from mesh.routing.route import Backend, Target
from mesh.world.proxy import Scope

MESH = "mesh"

FindService = Callable[[str], "Service | None"]


class Asker(NamedTuple):
    """For whom routes are made: a class of proxies, the gateway whose rules are asked for, and the request's port.

    `gateway` is NAMESPACE/NAME, or `mesh` for what sidecars do. `service_of` finds a host among those the asker sees.
    """

    scope: Scope
    gateway: str
    port: int
    service_of: FindService


def whole_name(host: str, namespace: str, domain: str) -> str:
    """A host without a dot is a Service's name in that namespace; any other stands as it is, `reviews.default` too."""
    if not host or "." in host or "*" in host or ":" in host:
        return host
    return f"{host}.{namespace}.svc.{domain}"


def gateway_name(name: str, namespace: str) -> str:
    """NAMESPACE/NAME of a gateway as an object in `namespace` names it; `mesh` stays."""
    if name == MESH:
        return name
    first, slash, rest = name.rpartition("/")
    if slash:
        return f"{namespace if first == '.' else first}/{rest}"
    if "." in name:
        # Istio's old form, NAME.NAMESPACE.svc.DOMAIN
        short, its_namespace, *_ = name.split(".")
        return f"{its_namespace}/{short}"
    return f"{namespace}/{name}"


def target_of(destination: Destination, namespace: str, asker: Asker, *, connection: bool = False) -> Target:
    """The target of a destination that an object in `namespace` names.

    Without a port it is the request's; at a gateway, and for connections, the only one of a Service that has but one.
    """
    host = whole_name(destination.host, namespace, asker.scope.domain)
    service = asker.service_of(host)
    if service is not None and service.resolution is Resolution.ALIAS:
        # Istio's: a sidecar's request goes by an alias only where that has the request's port too
        if asker.gateway == MESH and not connection and service.port(asker.port) is None:
            return Target(host, destination.port.number if destination.port else asker.port, destination.subset)
        host, service = service.external_name, asker.service_of(service.external_name) or service
    if destination.port is not None:
        port = destination.port.number
    elif (asker.gateway != MESH or connection) and service is not None and len(service.ports) == 1:
        port = service.ports[0].number
    else:
        port = asker.port
    return Target(host, port, destination.subset)


def shared(backends: Iterable[Backend]) -> tuple[Backend, ...]:
    """Backends as they share the traffic: who has no weight gets none of it, but one alone gets all."""
    every = tuple(backends)
    return every if len(every) == 1 else tuple(one for one in every if one.weight)
