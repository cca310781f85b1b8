"""Who may refer to what in another namespace (ReferenceGrant)."""

from __future__ import annotations

from collections.abc import Callable

from mesh.model.gatewayapi import GROUP
from mesh.model.meta import ObjectRef
from mesh.world.world import World

Permitted = Callable[[str, str, str, str], bool]
"""(namespace, group, kind, name) ──▶ whether the referrer may use it."""


def granted(world: World, ref: ObjectRef) -> Permitted:
    """Whether a route may send to an object of another namespace."""
    return may_refer(world, ref.kind, ref.namespace)


def may_refer(world: World, from_kind: str, from_namespace: str) -> Permitted:
    """Whether an object of Gateway API may refer to one of another namespace: a ReferenceGrant there says so."""

    def permitted(namespace: str, group: str, kind: str, name: str) -> bool:
        return any(
            grant.meta.namespace == namespace and grant.allows(GROUP, from_kind, from_namespace, group, kind, name)
            for grant in world.all("ReferenceGrant").values()
        )

    return permitted
