"""The statuses of policies (PolicyStatus): one entry for each Gateway at which they hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mesh.build.statuses import OURS, Status, conditions
from mesh.model.gatewayapi import GROUP
from mesh.model.meta import Meta, ObjectRef
from mesh.routing.backendtls import POLICY, ancestors_of
from mesh.world.world import World

POLICIES = (POLICY,)


def policy_status(world: World, ref: ObjectRef, meta: Meta, now: str, before: Mapping[str, Any]) -> Status | None:
    """A policy's; None where nothing of it is ours. Other controllers' entries stay as they are."""
    there = [one for one in before.get("ancestors") or () if isinstance(one, Mapping)]
    others = [dict(one) for one in there if one.get("controllerName") not in OURS]
    mine = []
    for one in ancestors_of(world, ref):
        at = {"group": GROUP, "kind": "Gateway", "namespace": one.gateway.namespace, "name": one.gateway.name}
        old = next(
            (
                found.get("conditions")
                for found in there
                if found.get("controllerName") == one.controller and found.get("ancestorRef") == at
            ),
            None,
        )
        mine.append(
            {
                "ancestorRef": at,
                "controllerName": one.controller,
                "conditions": conditions(one.conditions, meta, now, old, alone=True),
            }
        )
    if not mine and len(others) == len(there):
        return None
    return {"ancestors": [*others, *mine]}
