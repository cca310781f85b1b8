"""Kubernetes Ingress ──▶ routes. All Ingresses of our class share the ports 80 and 443 of the ingress gateway.

What several say of one host is joined: the longer path first, of equal ones the exact before the prefix (Ingress,
"multiple matches"), then the older object. What no rule takes goes to a defaultBackend.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mesh.model.ingress import HTTPIngressPath, Ingress, IngressBackend, IngressClass
from mesh.model.meta import ObjectRef
from mesh.model.service import Service
from mesh.routing.httproute import segments
from mesh.routing.route import ANY_PATH, Action, Backend, Forward, Match, Origin, Respond, Route, Target, Text
from mesh.world.memo import query
from mesh.world.proxy import Scope
from mesh.world.sidecars import mesh_config
from mesh.world.world import World

CONTROLLER = "istio.io/ingress-controller"
CLASS_ANNOTATION = "kubernetes.io/ingress.class"


@query
def ingresses(world: World) -> tuple[ObjectRef, ...]:
    """The Ingresses that are ours, the oldest first."""
    ours = (one for one in world.all("Ingress").values() if _is_ours(world, one))
    return tuple(one.meta.ref for one in sorted(ours, key=lambda each: each.meta.age))


def _is_ours(world: World, ingress: Ingress) -> bool:
    """By the annotation of old, by the controller of its class, or, where the mesh says so, for want of any."""
    config = mesh_config(world)
    if config.ingress_controller_mode == "OFF":
        return False
    named = ingress.meta.annotations.get(CLASS_ANNOTATION)
    if named is not None:
        return named == config.ingress_class
    if ingress.ingress_class_name:
        found: IngressClass | None = world.get("IngressClass", "", ingress.ingress_class_name)
        return found is not None and found.controller == CONTROLLER
    classes: Iterable[IngressClass] = world.all("IngressClass").values()
    if any(one.is_default and one.controller == CONTROLLER for one in classes):
        return True
    return config.ingress_controller_mode == "DEFAULT"


@query
def ingress_selector(world: World) -> tuple[tuple[str, str], ...]:
    """The label of the proxies that serve Ingresses (MeshConfig.ingressSelector)."""
    return (("istio", mesh_config(world).ingress_selector),)


@query
def ingress_hosts(world: World) -> Mapping[str, tuple[ObjectRef, ...]]:
    """The hosts that Ingresses name, `*` where they name none, each with the objects that rule it."""
    found: dict[str, dict[ObjectRef, None]] = {}
    for ref in ingresses(world):
        ingress = _ingress(world, ref)
        if ingress is not None:
            for host in [rule.host or "*" for rule in ingress.rules] + (["*"] if ingress.default_backend else []):
                found.setdefault(host, {})[ref] = None
    return {host: tuple(refs) for host, refs in found.items()}


def _ingress(world: World, ref: ObjectRef) -> Ingress | None:
    return world.get("Ingress", ref.namespace, ref.name)  # type: ignore[no-any-return]


def routes_at(world: World, scope: Scope, host: str) -> tuple[Route, ...]:
    """What Ingresses say of a virtual host: those that name it, else the closest wildcard that takes it."""
    named = ingress_hosts(world)
    wider = (one for one in named if one.startswith("*") and host.endswith(one[1:]))
    return ingress_routes(world, scope, host if host in named else max(wider, key=len, default=host))


@query
def ingress_routes(world: World, scope: Scope, host: str) -> tuple[Route, ...]:
    """What Ingresses say of the host that they name, joined."""
    found: list[Route] = []
    fallbacks: list[Route] = []
    for ref in ingress_hosts(world).get(host, ()):
        ingress = _ingress(world, ref)
        if ingress is None:
            continue
        for index, rule in enumerate(ingress.rules):
            if (rule.host or "*") != host or rule.http is None:
                continue
            for number, path in enumerate(rule.http.paths):
                if path.backend is not None:
                    at = f"spec.rules[{index}].http.paths[{number}]"
                    found.append(_route(world, scope, ref, at, _path(path), path.backend))
        if host == "*" and ingress.default_backend is not None:
            fallbacks.append(_route(world, scope, ref, "spec.defaultBackend", ANY_PATH, ingress.default_backend))
    found.sort(key=lambda one: (-len(one.match.path.value), one.match.path.how != "exact"))
    return (*found, *fallbacks)


def _path(path: HTTPIngressPath) -> Text:
    """As Istio reads it: what is ImplementationSpecific ends in `*` for a prefix, and is exact else."""
    if path.path_type == "Exact":
        return Text("exact", path.path)
    if path.path_type == "Prefix":
        return segments(path.path)
    if not path.path:
        return ANY_PATH
    for ending in (".*", "/*"):
        if path.path.endswith(ending):
            return segments(path.path.removesuffix(ending))
    return Text("exact", path.path)


def _route(world: World, scope: Scope, ref: ObjectRef, at: str, path: Text, backend: IngressBackend) -> Route:
    action: Action = Respond(503)
    target = _target(world, scope, ref.namespace, backend)
    if target is not None:
        action = Forward((Backend(target),))
    return Route(Match(path=path), action, (Origin(ref, at),), name=f"{ref.namespace}.{ref.name}")


def _target(world: World, scope: Scope, namespace: str, backend: IngressBackend) -> Target | None:
    """The Service's port, looked up where it is named; None where there is none of that name."""
    to = backend.service
    if to is None or to.port is None:
        return None
    number = to.port.number
    if not number:
        service: Service | None = world.get("Service", namespace, to.name)
        port = service.port_named(to.port.name) if service else None
        if port is None:
            return None
        number = port.number
    return Target(f"{to.name}.{namespace}.svc.{scope.domain}", number)
