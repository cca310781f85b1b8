"""The statuses of policies (PolicyStatus): one entry for each Gateway at which they hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mesh.build.statuses import Entry, Status, beside_others
from mesh.model.gatewayapi import GROUP
from mesh.model.meta import Meta, ObjectRef
from mesh.routing.backendtls import POLICY, ancestors_of
from mesh.world.world import World

POLICIES = (POLICY,)


def policy_status(world: World, ref: ObjectRef, meta: Meta, now: str, before: Mapping[str, Any]) -> Status | None:
    """A policy's; None where nothing of it is ours. Other controllers' entries stay as they are."""
    mine = (
        Entry(
            {"group": GROUP, "kind": "Gateway", "namespace": one.gateway.namespace, "name": one.gateway.name},
            one.controller,
            one.conditions,
        )
        for one in ancestors_of(world, ref)
    )
    return beside_others("ancestors", "ancestorRef", mine, meta, now, before)
