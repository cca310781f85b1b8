"""What bears on a pod or a Service, of all objects: for `pymesh describe` and the dashboard.

It asks the same queries that make a proxy's configuration, so that what it says is what the proxy is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mesh.build.rules import rule_of
from mesh.model.meta import ObjectRef
from mesh.model.problem import Problem
from mesh.model.service import Service, ServicePort
from mesh.model.workload import NOWHERE, Pod
from mesh.routing.analysis import problems
from mesh.routing.attach import mesh_routes, rulers_of, tcp_routes, tls_routes
from mesh.routing.route import ConnectionRoute, Route
from mesh.world.index import Endpoint, ServiceKey, aliases_of, endpoints_of, service_at, services_by_host, targets_of
from mesh.world.proxy import Scope
from mesh.world.scopes import scope_of_pod
from mesh.world.sidecars import sidecar_of
from mesh.world.world import World


@dataclass(frozen=True, slots=True)
class OfService:
    """A Service, with what holds for it as proxies of its own namespace see it.

    `targets` are the pod's ports that each of its ports leads to, by number; `endpoints` where they are.
    `subsets` are the DestinationRule's, each with whether the pod is in it (None where no pod is asked about).
    `routes` are the VirtualServices for its host: the first counts, the others are not heard.
    `aliases` are the ExternalName Services that lead to it.
    `tables` are the rules that HTTP requests to each port meet, in order; none where they go to the Service as it is.
    `connections` are the rules that connections to each of the other ports meet.
    """

    service: Service
    ports: tuple[ServicePort, ...]
    targets: Mapping[int, tuple[int, ...]]
    endpoints: Mapping[int, tuple[Endpoint, ...]]
    rules: tuple[ObjectRef, ...]
    has_policy: bool
    subsets: tuple[tuple[str, Mapping[str, str], bool | None], ...]
    routes: tuple[ObjectRef, ...]
    tables: Mapping[int, tuple[Route, ...]]
    connections: Mapping[int, tuple[ConnectionRoute, ...]]
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Description:
    """The pod, where one was asked about, its Services, the Sidecar that narrows what it sees, and what is wrong."""

    pod: Pod | None
    services: tuple[OfService, ...]
    sidecar: ObjectRef | None = None
    problems: tuple[Problem, ...] = field(default=())


def of_pod(world: World, namespace: str, name: str, domain: str) -> Description | None:
    """What bears on a pod; None if there is none of that name."""
    pod: Pod | None = world.get("Pod", namespace, name)
    if pod is None:
        return None
    labels = tuple(sorted(pod.meta.labels.items()))
    scope = scope_of_pod(world, "sidecar", namespace, name, labels, NOWHERE, domain)
    targets: dict[str, dict[int, list[int]]] = {}
    found: dict[str, Service] = {}
    for key, port, number in targets_of(world, namespace, name, labels, pod.ips):
        service = service_at(world, key)
        if service is not None:
            found[key.host] = service
            targets.setdefault(key.host, {}).setdefault(port.number, []).append(number)
    services = tuple(_service(world, scope, found[host], targets[host], pod) for host in sorted(found))
    sidecar = sidecar_of(world, scope)
    narrowed = sidecar.meta.ref if sidecar else None
    return Description(pod, services, narrowed, _problems(world, namespace, [pod.meta.ref], services, narrowed))


def of_service(world: World, namespace: str, name: str, domain: str) -> Description | None:
    """What bears on a Service; None if there is none of that name."""
    service: Service | None = world.get("Service", namespace, name)
    if service is None:
        return None
    return _described(world, service, domain)


def of_host(world: World, host: str, domain: str) -> Description | None:
    """What bears on a host, a Service's or a ServiceEntry's; None if nobody has it."""
    key = next(iter(services_by_host(world).get(host, ())), None)
    service = service_at(world, key) if key else None
    return _described(world, service, domain) if service else None


def _described(world: World, service: Service, domain: str) -> Description:
    services = (_service(world, Scope("sidecar", service.namespace, domain=domain), service, {}, None),)
    return Description(None, services, None, _problems(world, service.namespace, [], services, None))


def _service(
    world: World, scope: Scope, service: Service, targets: Mapping[int, Iterable[int]], pod: Pod | None
) -> OfService:
    host = service.hostname
    rule = rule_of(world, scope, host)
    subsets = tuple(
        (one.name, one.labels, None if pod is None else set(one.labels.items()) <= set(pod.meta.labels.items()))
        for one in (rule.subsets if rule else ())
    )
    key = ServiceKey(host, service.ref)
    return OfService(
        service=service,
        ports=service.ports,
        targets={port: tuple(numbers) for port, numbers in targets.items()},
        endpoints={port.number: endpoints_of(world, key, port.number) for port in service.ports},
        rules=rule.refs if rule else (),
        has_policy=bool(rule and rule.traffic_policy is not None),
        subsets=subsets,
        routes=rulers_of(world, scope, host),
        aliases=aliases_of(world, host),
        tables={
            port.number: table
            for port in service.ports
            if _is_http(port) and (table := mesh_routes(world, scope, host, port.number))
        },
        connections={
            port.number: found
            for port in service.ports
            if not _is_http(port)
            and (found := tls_routes(world, scope, host, port.number) + tcp_routes(world, scope, host, port.number))
        },
    )


def _is_http(port: ServicePort) -> bool:
    return port.protocol.is_http or port.protocol.is_auto


def _problems(
    world: World, namespace: str, about: Iterable[ObjectRef], services: Iterable[OfService], sidecar: ObjectRef | None
) -> tuple[Problem, ...]:
    """Those of the objects named, and the errors of the namespace: what has one is left out, so whom it was for is not
    known.
    """
    refs = {*about, *([sidecar] if sidecar else ())}
    for one in services:
        refs |= {one.service.ref, *one.rules, *one.routes}
    own = (problem for many in world.problems.values() for problem in many)
    found = dict.fromkeys(
        problem
        for problem in (*own, *problems(world))
        if problem.ref in refs or (problem.severity == "error" and problem.ref.namespace == namespace)
    )
    return tuple(sorted(found, key=lambda problem: (problem.severity, problem.ref, problem.path)))
