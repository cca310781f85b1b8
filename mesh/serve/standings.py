"""How far the proxies connected here are with each Gateway: what its condition Programmed follows from."""

from __future__ import annotations

from collections.abc import Iterable

from mesh.build.statuses import Standing, sets_of
from mesh.model.gatewayapi import KubernetesGateway
from mesh.model.meta import ObjectRef
from mesh.routing.listeners import is_ours, listener_sets, serves
from mesh.serve.connection import Connection
from mesh.serve.plane import Plane
from mesh.serve.progress import progress
from mesh.world.scopes import scope_of
from mesh.world.world import World


def standings(plane: Plane, connections: Iterable[Connection]) -> dict[ObjectRef, Standing]:
    """By Gateway, of those that are ours; while a build is under way nothing is known."""
    if not plane.is_settled:
        return {}
    world = plane.world
    routers = [(scope_of(world, one.proxy), one) for one in connections if one.proxy.kind == "router"]
    found = {}
    for gateway in world.all("KubernetesGateway").values():
        if is_ours(world, gateway):
            mine = [one for scope, one in routers if serves(world, scope, gateway)]
            found[gateway.meta.ref] = _standing(world, gateway, mine)
    return found


def _standing(world: World, gateway: KubernetesGateway, connections: list[Connection]) -> Standing:
    accepted, words = 0, ""
    own = {gateway.meta.ref, *listener_sets(world, gateway.meta.ref)}
    for one in connections:
        types = progress(one.machine).values()
        blamed = [of for of in types if of.stage == "ERROR" and not own.isdisjoint(of.origins)]
        if blamed:
            words = blamed[0].why
        elif one.machine.was_told(one.session.state) and one.machine.is_at_rest:
            # what another object spoils is not this Gateway's fault
            accepted += all(of.stage in ("SYNCED", "ERROR") or of.why == "nothing to send" for of in types)
    return Standing(gateway.meta.generation, len(connections), accepted, words, sets_of(world, gateway.meta.ref))
