"""What the objects say, as JSON: names are those of the API's objects, texts are for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mesh.build.describe import Description, OfService
from mesh.build.overview import Entrance, Overview
from mesh.model.meta import ObjectRef
from mesh.model.problem import CODES, Problem
from mesh.model.service import ServicePort
from mesh.routing.route import Backend, ConnectionRoute, Forward, Origin, Redirect, Route
from mesh.routing.words import besides, conditions, connections
from mesh.world.index import Endpoint

Json = dict[str, Any]

# Of one port's endpoints so many are sent; the count is of all.
ENDPOINTS = 500


def ref(one: ObjectRef) -> Json:
    """Which object."""
    return {"kind": one.kind, "namespace": one.namespace, "name": one.name}


def problem(one: Problem) -> Json:
    """One thing wrong, and what its code means."""
    return {
        "severity": one.severity,
        "code": one.code,
        "means": CODES.get(one.code, ""),
        "object": ref(one.ref),
        "path": one.path,
        "message": one.message,
    }


def overview(one: Overview) -> Json:
    """A host in the list of all."""
    return {
        "host": one.host,
        "object": ref(one.ref),
        "external": one.is_external,
        "ports": [port._asdict() for port in one.ports],
        "workloads": [{"name": name, "endpoints": count} for name, count in one.workloads],
        "rules": [ref(rule) for rule in one.rules],
        "routes": [ref(route) for route in one.routes],
        "targets": one.targets,
    }


def entrance(one: Entrance) -> Json:
    """A way in."""
    return {"gateway": ref(one.gateway), "route": ref(one.route), "hosts": one.hosts, "targets": one.targets}


def description(found: Description, refused: Iterable[Problem] = ()) -> Json:
    """One host as a picture: each port's rules in order, where they lead, and who is there.

    Of what proxies `refused`, that is told which is of the same objects.
    """
    [one] = found.services
    refs = {one.service.ref, *one.rules, *one.routes}
    problems = dict.fromkeys((*found.problems, *(each for each in refused if each.ref in refs)))
    subsets = [{"name": name, "labels": dict(labels)} for name, labels, _ in one.subsets]
    return {
        "host": one.service.hostname,
        "object": ref(one.service.ref),
        "addresses": one.service.addresses,
        "resolution": str(one.service.resolution),
        "external": one.service.mesh_external,
        "rules": [ref(rule) for rule in one.rules],
        "policy": one.has_policy,
        "routes": [{**ref(route), "heard": rank == 0} for rank, route in enumerate(one.routes)],
        "subsets": subsets,
        "ports": [_port(one, port) for port in one.ports],
        "problems": [problem(each) for each in problems],
    }


def _port(one: OfService, port: ServicePort) -> Json:
    endpoints = one.endpoints.get(port.number, ())
    table = [_rule(route) for route in one.tables.get(port.number, ())]
    table += [_connection(route) for route in one.connections.get(port.number, ())]
    return {
        "number": port.number,
        "name": port.name,
        "protocol": str(port.protocol),
        "rules": table,
        "endpoints": [_endpoint(each, one.subsets) for each in endpoints[:ENDPOINTS]],
        "count": len(endpoints),
        "counts": {
            name: sum(labels.items() <= each.labels.items() for each in endpoints) for name, labels, _ in one.subsets
        },
    }


def _endpoint(one: Endpoint, subsets: Iterable[tuple[str, Mapping[str, str], Any]]) -> Json:
    return {
        "address": f"[{one.address}]:{one.port}" if ":" in one.address else f"{one.address}:{one.port}",
        "workload": one.workload,
        "labels": dict(one.labels),
        "locality": "/".join(part for part in one.locality if part),
        "node": one.node,
        "weight": one.weight,
        "healthy": one.healthy,
        "subsets": [name for name, labels, _ in subsets if labels.items() <= one.labels.items()],
    }


def _rule(route: Route) -> Json:
    action, backends = route.action, tuple[Backend, ...]()
    if isinstance(action, Forward):
        kind, status, backends = "forward", action.missing_status, action.backends
    else:
        kind, status = "redirect" if isinstance(action, Redirect) else "respond", action.status
    return {
        "name": route.name,
        "conditions": list(conditions(route.match)),
        "all": route.match.is_catch_all,
        "action": kind,
        "status": status,
        "besides": list(besides(route)),
        "backends": _backends(backends),
        "origins": [_origin(one) for one in route.origins],
    }


def _connection(route: ConnectionRoute) -> Json:
    met = list(connections(route))
    return {
        "name": route.name,
        "conditions": met or ["every connection"],
        "all": not met,
        "action": "forward",
        "status": 0,
        "besides": [],
        "backends": _backends(route.backends),
        "origins": [_origin(one) for one in route.origins],
    }


def _backends(backends: tuple[Backend, ...]) -> list[Json]:
    total = sum(one.weight for one in backends)
    return [
        {
            "host": one.target.host,
            "port": one.target.port,
            "subset": one.target.subset,
            "weight": one.weight,
            "share": 100 * one.weight / total if total else 100 / len(backends),
        }
        for one in backends
    ]


def _origin(one: Origin) -> Json:
    return {"object": ref(one.ref), "path": one.path, "rule": one.name}
