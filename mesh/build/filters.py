"""What connections pass in a listener: listener filters, HTTP's manager with its filters in one order, TCP's proxy.

The order of the HTTP filters, and why:

    session   to which pod a client belongs, where any route keeps sessions; its answers are told it last
    cors      a preflight is answered before anything else costs the app a request
    fault     what is broken on purpose is broken before it is sent
    router    last, for it sends
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from common.envoy.local import ADMIN
from common.envoy.parts import (
    HTTP_LOG,
    JSON_LOG,
    MAX_HEADERS,
    MAX_HEADERS_KB,
    TCP_LOG,
    Message,
    Shared,
    extension,
    wildcard,
)
from common.envoy.parts import http_manager as _manager
from common.envoy.sidecar import AccessLog
from mesh.world.sidecars import mesh_config
from mesh.world.world import World

READY_PORT = 15021
# Where the proxy itself listens, by its bootstrap or by what all of its kind are told: the interception's two ports,
# probes, readiness and metrics. A gateway, which binds to its ports, cannot have the admin API's either.
SIDECAR_PORTS = frozenset({15001, 15006, 15020, READY_PORT, 15090})
GATEWAY_PORTS = frozenset({15000, 15020, READY_PORT, 15090})


class OwnPortError(ValueError):
    """A port is the proxy's own, so nothing else can be met there."""

    def __init__(self, port: int) -> None:
        super().__init__(f"port {port} is the proxy's own")


ADS = Shared(ads={}, initial_fetch_timeout="0s", resource_api_version="V3")

ORIGINAL_DST = extension("envoy.filters.listener.original_dst", "filters.listener.original_dst.v3.OriginalDst")
TLS_INSPECTOR = extension("envoy.filters.listener.tls_inspector", "filters.listener.tls_inspector.v3.TlsInspector")
HTTP_INSPECTOR = extension("envoy.filters.listener.http_inspector", "filters.listener.http_inspector.v3.HttpInspector")

CORS = extension("envoy.filters.http.cors", "filters.http.cors.v3.Cors")
FAULT = extension("envoy.filters.http.fault", "filters.http.fault.v3.HTTPFault")
SESSION = extension("envoy.filters.http.stateful_session", "filters.http.stateful_session.v3.StatefulSession")
GRPC_WEB = extension("envoy.filters.http.grpc_web", "filters.http.grpc_web.v3.GrpcWeb")
ROUTER = extension("envoy.filters.http.router", "filters.http.router.v3.Router")


def access_logs(log: AccessLog | None, direction: str, *, http: bool) -> list[Message]:
    """The `access_log` of a filter that handles traffic of `direction` (inbound, outbound, gateway)."""
    if log is None:
        return []
    made: Message
    if isinstance(log.format, Mapping) or (log.json and log.format is None):
        made = {
            "json_format": dict(log.format) if isinstance(log.format, Mapping) else JSON_LOG | {"direction": direction}
        }
    else:
        text = log.format if log.format is not None else (HTTP_LOG if http else TCP_LOG).format(direction=direction)
        made = {"text_format_source": {"inline_string": text}}
    if log.path == "/dev/stdout":
        return [extension("stdout", "access_loggers.stream.v3.StdoutAccessLog", log_format=made)]
    return [extension("file", "access_loggers.file.v3.FileAccessLog", path=log.path, log_format=made)]


def by_rds(table: str) -> Message:
    """The routes come by RDS, as the table of this name."""
    return {"rds": {"config_source": ADS, "route_config_name": table}}


def http_manager(
    stat_prefix: str, routes: Message, logs: list[Message], *, filters: Iterable[Message] = (), **fields: Any
) -> Message:
    """The network filter that speaks HTTP. `routes` is `by_rds(…)` or {"route_config": …}.

    What the app sent arrives as it was sent, as far as routing allows: its limits are the app's to set, not Envoy's.
    """
    return extension(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=stat_prefix,
        **routes,
        http_filters=[*filters, CORS, FAULT, ROUTER],
        access_log=logs,
        **{
            "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "stream_idle_timeout": "0s",
            "max_request_headers_kb": MAX_HEADERS_KB,
            "common_http_protocol_options": {"max_headers_count": MAX_HEADERS},
            "http_protocol_options": {"accept_http_10": True},
        }
        | fields,
    )


def paths(world: World) -> Message:
    """What is made of paths before they are compared (MeshConfig.pathNormalization)."""
    made: Mapping[str, Message] = {
        "NONE": {"normalize_path": False},
        "MERGE_SLASHES": {"normalize_path": True, "merge_slashes": True},
        "DECODE_AND_MERGE_SLASHES": {
            "normalize_path": True,
            "merge_slashes": True,
            "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD",
        },
    }
    return made.get(mesh_config(world).path_normalization.normalization, {"normalize_path": True})


def tcp_proxy(stat_prefix: str, clusters: Message, logs: list[Message], **fields: Any) -> Message:
    """The network filter that passes bytes both ways; `clusters` is {"cluster": …} or {"weighted_clusters": …}."""
    return extension(
        "envoy.filters.network.tcp_proxy",
        "filters.network.tcp_proxy.v3.TcpProxy",
        stat_prefix=stat_prefix,
        **clusters,
        access_log=logs,
        **fields,
    )


def ready_listener() -> Message:
    """Where kubelet asks whether the proxy is ready.

    It comes by xDS, so nobody listens there before the first configuration was taken; then Envoy's own /ready answers.
    """
    get = {"name": ":method", "string_match": {"exact": "GET"}}
    route: Message = {
        "match": {"path": "/healthz/ready", "headers": [get]},
        "route": {"cluster": ADMIN, "prefix_rewrite": "/ready"},
    }
    return {
        "name": "ready",
        "address": wildcard(READY_PORT),
        # kubelet is answered also when clients have used up what connections there may be
        "ignore_global_conn_limit": True,
        "filter_chains": [{"filters": [_manager("ready", [route], generate_request_id=False)]}],
    }
