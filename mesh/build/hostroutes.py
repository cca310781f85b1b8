"""The routes of a host, as Envoy is told them: what rules it, rendered; else the way to the host itself."""

from __future__ import annotations

from functools import partial

from common.envoy.parts import Message
from mesh.build.policy import hash_policy, tcp_fields
from mesh.build.routes import DEFAULT_RETRY, default_route, render, weighted_tcp
from mesh.model.meta import ObjectRef
from mesh.routing.attach import http_routes, mesh_routes
from mesh.routing.backends import MESH
from mesh.routing.route import ConnectionRoute, Retry, Route, Target
from mesh.routing.virtualservice import retry_of
from mesh.world.memo import query
from mesh.world.proxy import Scope
from mesh.world.sidecars import mesh_config
from mesh.world.world import World


@query
def default_retry(world: World) -> Retry:
    """How requests are tried again where no rule says so (MeshConfig.defaultHttpRetryPolicy)."""
    return retry_of(mesh_config(world).default_http_retry_policy) or DEFAULT_RETRY


def host_routes(world: World, scope: Scope, host: str, port: int) -> tuple[Message, ...]:
    """The routes of a Service's host in a sidecar, at one of its ports."""
    found = mesh_routes(world, scope, host, port)
    if found:
        return rendered(world, scope, found, port)
    return (
        default_route(
            Target(host, port), default_retry=default_retry(world), hash_policy=partial(hash_policy, world, scope)
        ),
    )


@query
def ruled_routes(world: World, scope: Scope, ref: ObjectRef, port: int) -> tuple[Message, ...]:
    """The routes of a host in a sidecar that no Service has, by the VirtualService that rules it."""
    return rendered(world, scope, http_routes(world, scope, ref, MESH, port), port)


def rendered(
    world: World, scope: Scope, routes: tuple[Route, ...], port: int, *, tls: bool = False
) -> tuple[Message, ...]:
    """Routes with the mesh's retries and the hashes of their targets. `port` is where requests come to."""
    retry, hashes = default_retry(world), partial(hash_policy, world, scope)
    return tuple(render(one, port, tls=tls, default_retry=retry, hash_policy=hashes) for one in routes)


def connection_fields(world: World, scope: Scope, route: ConnectionRoute) -> Message:
    """Fields of TcpProxy for a route: where to, and what its first target's policy says of connections."""
    return {**weighted_tcp(route.backends), **tcp_fields(world, scope, route.backends[0].target)}
