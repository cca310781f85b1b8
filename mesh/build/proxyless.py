"""What gRPC's own xDS client is told: a program that speaks xDS itself and has no proxy beside it.

    xds:///reviews.bookinfo:9080 ──LDS, by that very name──▶ an API listener ──RDS──▶ HOST:PORT ──▶ clusters

It takes less than Envoy does (https://github.com/grpc/proposal, A27 to A41), and refuses what it does not know; so a
route has here what gRPC understands: matches, clusters with weights, retries, and how long a stream may take.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.envoy.parts import Message, typed
from mesh.build.clusters import cluster
from mesh.build.filters import ADS, ROUTER
from mesh.build.hostroutes import host_routes
from mesh.model.names import ClusterName, host_forms
from mesh.world.index import ports_seen, visible_services
from mesh.world.memo import query
from mesh.world.proxy import Scope
from mesh.world.world import World

# gRPC's words for what a call may be tried again after (A44).
RETRY_ON = ("cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable")
BALANCERS = ("ROUND_ROBIN", "RING_HASH")


@query
def targets(world: World, scope: Scope) -> Mapping[str, tuple[str, int]]:
    """The names that a client may ask for, with the host and port that each means."""
    found: dict[str, tuple[str, int]] = {}
    for key in visible_services(world, scope).values():
        for port in ports_seen(world, scope, key):
            if port.protocol.is_http:
                for form in host_forms(key.host, scope.namespace, scope.domain):
                    found.setdefault(f"{form}:{port.number}", (key.host, port.number))
    return found


def listener(world: World, scope: Scope, target: str) -> Message | None:
    """The listener of a target (listener.v3.Listener, api_listener alone)."""
    meant = targets(world, scope).get(target)
    if meant is None:
        return None
    manager = typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=target,
        rds={"config_source": ADS, "route_config_name": table_name(*meant)},
        http_filters=[ROUTER],
    )
    return {"name": target, "api_listener": {"api_listener": manager}}


def table_name(host: str, port: int) -> str:
    """The route table of a host's port."""
    return f"{host}:{port}"


@query
def table_names(world: World, scope: Scope) -> tuple[tuple[str, int], ...]:
    """The hosts and ports that have a table."""
    return tuple(dict.fromkeys(targets(world, scope).values()))


def table(world: World, scope: Scope, host: str, port: int) -> Message:
    """The table of a host's port (route.v3.RouteConfiguration)."""
    routes = [_route(one) for one in host_routes(world, scope, host, port)]
    name = table_name(host, port)
    return {"name": name, "virtual_hosts": [{"name": name, "domains": ["*"], "routes": routes}]}


def _route(one: Mapping[str, Any]) -> Message:
    made: Message = {"match": one["match"]}
    if "route" not in one:
        return made | {"non_forwarding_action": {}}  # what Envoy answers by itself, here no call can go to
    asked = one["route"]
    route: Message = {}
    if "weighted_clusters" in asked:
        shares = asked["weighted_clusters"]["clusters"]
        route["weighted_clusters"] = {"clusters": [{"name": s["name"], "weight": s["weight"]} for s in shares]}
    else:
        route["cluster"] = asked["cluster"]
    if (timeout := asked.get("timeout", "0s")) != "0s":
        route["max_stream_duration"] = {"max_stream_duration": timeout}
    retry = asked.get("retry_policy") or {}
    words = [word for word in str(retry.get("retry_on", "")).split(",") if word in RETRY_ON]
    if words:
        route["retry_policy"] = {
            "retry_on": ",".join(words),
            "num_retries": min(int(retry.get("num_retries", 1)), 4) or 1,
        }
    return made | {"route": route}


def plain_cluster(world: World, scope: Scope, name: ClusterName) -> Message | None:
    """A cluster as gRPC takes it (cluster.v3.Cluster): by EDS, balanced as it can."""
    found = cluster(world, scope, name)
    if found is None or found.get("type") != "EDS":
        return None
    balancer = found.get("lb_policy", "ROUND_ROBIN")
    kept = {key: found[key] for key in ("name", "type", "eds_cluster_config") if key in found}
    return kept | {"lb_policy": balancer if balancer in BALANCERS else "ROUND_ROBIN"}
