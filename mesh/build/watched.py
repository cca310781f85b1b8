"""The network filters that end a chain: HTTP's manager or TCP's proxy, with all that Telemetry wants of them.

`direction` is inbound, outbound or gateway. `host` and `ref` are the app's own Service at an inbound port.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from common.envoy.parts import Message
from mesh.build.filters import SESSION, http_manager, tcp_proxy
from mesh.build.logs import SIDES, logs
from mesh.build.metrics import counts_connections, own_state, peer_filter
from mesh.build.tracing import tracing
from mesh.model.meta import ObjectRef
from mesh.routing.parents import keeps_sessions
from mesh.world.proxy import Scope
from mesh.world.telemetry import metered, peers_told
from mesh.world.world import World


def http_filters(
    world: World,
    scope: Scope,
    direction: str,
    stat_prefix: str,
    routes: Message,
    *,
    filters: Iterable[Message] = (),
    host: str = "",
    ref: ObjectRef | None = None,
    **fields: Any,
) -> list[Message]:
    """For HTTP; the rest as for `http_manager`."""
    side = SIDES[direction]
    told = peers_told(world)
    first = [peer_filter()] if told and side == "SERVER" else []
    if direction != "inbound" and keeps_sessions(world):
        first.append(SESSION)
    written = logs(world, scope, direction, http=True, host=host, ref=ref)
    manager = http_manager(
        stat_prefix, routes, written, filters=[*first, *filters], **tracing(world, scope, side), **fields
    )
    knows = told if side == "CLIENT" else bool(metered(world, scope, side))
    return [own_state(), manager] if knows else [manager]


def tcp_filters(
    world: World,
    scope: Scope,
    direction: str,
    stat_prefix: str,
    clusters: Message,
    *,
    host: str = "",
    ref: ObjectRef | None = None,
) -> list[Message]:
    """For bytes; the rest as for `tcp_proxy`."""
    side = SIDES[direction]
    written = logs(world, scope, direction, http=False, host=host, ref=ref)
    options: Message = {}
    if counts_connections(world, scope, side):
        options["access_log_options"] = {"flush_access_log_on_connected": True}
    proxy = tcp_proxy(stat_prefix, clusters, written, **options)
    return [own_state(), proxy] if metered(world, scope, side) else [proxy]
