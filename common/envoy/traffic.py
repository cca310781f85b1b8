"""The two listeners that the pod's rules redirect to, and where they pass the traffic on.

    app ──▶ OUTPUT, REDIRECT ──▶ virtualOutbound :15001 ──▶ PassthroughCluster ──▶ the address the app asked for
    client ──▶ PREROUTING, REDIRECT ──▶ virtualInbound :15006 ──▶ InboundPassthroughCluster ──▶ the app, from 127.0.0.6

Both read the address that was asked for from the kernel (SO_ORIGINAL_DST), look at the first bytes for HTTP/1 or
HTTP/2, and connect to that same address: requests get an access log line each and a response header, other
protocols are passed on as they are. A protocol in which the server speaks first (MySQL, SMTP) sends nothing to look
at: after `detection_timeout` it is passed on too.
"""

from __future__ import annotations

from typing import Any

from common.envoy.parts import (
    MAX_HEADERS,
    MAX_HEADERS_KB,
    UNLIMITED,
    Message,
    access_logs,
    cluster,
    extension,
    http_manager,
    inbound_bind,
    tcp_proxy,
    typed,
    wildcard,
)
from common.envoy.sidecar import Sidecar

OUTBOUND, INBOUND, BLACK_HOLE = "PassthroughCluster", "InboundPassthroughCluster", "BlackHoleCluster"
# The header by which a response shows the sidecars it passed, the nearest to the client last.
PASSED_HEADER = "x-sidecar"
# Servers close idle connections, many after 2 or 5 seconds; the sidecar does first, lest a request meet a closing one.
IDLE = "1s"
# Keepalive of the app's would be answered by the sidecar, which therefore looks itself whether a peer is still there,
# after so many seconds without traffic. The numbers are Linux's: SOL_SOCKET and SO_KEEPALIVE (socket(7)), IPPROTO_TCP
# and TCP_KEEPIDLE (tcp(7)).
KEEPALIVE_SECONDS = 300
KEEPALIVE: list[Message] = [
    {"level": 1, "name": 9, "int_value": 1},
    {"level": 6, "name": 4, "int_value": KEEPALIVE_SECONDS},
]
# As http_inspector names what it saw (listener.v3.FilterChainMatch, application_protocols).
HTTP_PROTOCOLS = ["http/1.0", "http/1.1", "h2c"]
# Header names keep the case they were sent in, and trailers pass.
HTTP1: Message = {
    "enable_trailers": True,
    "header_key_format": {
        "stateful_formatter": {
            "name": "preserve_case",
            "typed_config": typed("http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"),
        }
    },
}


def listeners(sidecar: Sidecar) -> list[Message]:
    """virtualOutbound and virtualInbound."""
    outbound_route = {"direct_response": {"status": 502}} if sidecar.registry_only else {"route": _route(OUTBOUND)}
    outbound = _listener(
        sidecar,
        "outbound",
        sidecar.outbound_port,
        outbound_route,
        BLACK_HOLE if sidecar.registry_only else OUTBOUND,
    )
    inbound = _listener(sidecar, "inbound", sidecar.inbound_port, {"route": _route(INBOUND)}, INBOUND)
    return [outbound, inbound | {"transparent": True} if sidecar.transparent else inbound]


def clusters() -> list[Message]:
    """The three clusters that the listeners pass traffic to."""
    return [
        passthrough(OUTBOUND),
        passthrough(INBOUND, upstream_bind_config=inbound_bind()),
        cluster(BLACK_HOLE, "STATIC"),
    ]


def _listener(sidecar: Sidecar, direction: str, port: int, route: Message, to: str) -> Message:
    name = f"virtual{direction.title()}"
    return {
        "name": name,
        "address": wildcard(port),
        "traffic_direction": direction.upper(),
        "socket_options": KEEPALIVE,
        "listener_filters": [
            extension("envoy.filters.listener.original_dst", "filters.listener.original_dst.v3.OriginalDst"),
            extension("envoy.filters.listener.http_inspector", "filters.listener.http_inspector.v3.HttpInspector"),
        ],
        "listener_filters_timeout": sidecar.detection_timeout,
        "continue_on_listener_filters_timeout": True,
        "filter_chains": [
            # Who connects to the sidecar's own port asks it to connect to itself, without end.
            {
                "name": f"{name}-blackhole",
                "filter_chain_match": {"destination_port": port},
                "filters": [tcp_proxy(BLACK_HOLE, BLACK_HOLE, access_logs(sidecar.access_log, direction, http=False))],
            },
            {
                "name": f"{name}-http",
                "filter_chain_match": {"application_protocols": HTTP_PROTOCOLS},
                "filters": [_http(sidecar, direction, route)],
            },
        ],
        "default_filter_chain": {
            "name": f"{name}-tcp",
            "filters": [tcp_proxy(to, to, access_logs(sidecar.access_log, direction, http=False))],
        },
    }


def _http(sidecar: Sidecar, direction: str, route: Message) -> Message:
    passed = {
        "response_headers_to_add": [
            {"header": {"key": PASSED_HEADER, "value": direction}, "append_action": "APPEND_IF_EXISTS_OR_ADD"}
        ]
    }
    # CONNECT asks a forward proxy for a tunnel; Envoy matches it by a matcher of its own.
    matches: list[Message] = [{"connect_matcher": {}}, {"prefix": "/"}]
    return http_manager(
        direction,
        [{"match": match, **route, **passed} for match in matches],
        access_log=access_logs(sidecar.access_log, direction, http=True),
        # The app's own headers arrive as they were sent: Server, X-Forwarded-For, X-Request-Id, Expect.
        server_header_transformation="PASS_THROUGH",
        skip_xff_append=True,
        preserve_external_request_id=True,
        proxy_100_continue=True,
        # How long a response may take is for the app and its client to decide.
        stream_idle_timeout="0s",
        upgrade_configs=[{"upgrade_type": "websocket"}, {"upgrade_type": "CONNECT"}],
        max_request_headers_kb=MAX_HEADERS_KB,
        common_http_protocol_options={"max_headers_count": MAX_HEADERS},
        http_protocol_options=HTTP1 | {"accept_http_10": True, "default_host_for_http_10": "localhost"},
        http2_protocol_options={"allow_connect": True},
    )


def _route(to: str) -> Message:
    """To the cluster, without Envoy's 15 seconds a response may take; what was never sent may be sent again."""
    retry = {"retry_on": "refused-stream,reset-before-request", "num_retries": 2}
    return {"cluster": to, "timeout": "0s", "retry_policy": retry}


def passthrough(name: str, **fields: Any) -> Message:
    """Connects to where the client wanted to, in the client's protocol."""
    options = {
        "common_http_protocol_options": {
            "max_headers_count": MAX_HEADERS,
            "max_response_headers_kb": MAX_HEADERS_KB,
            "idle_timeout": IDLE,
        },
        "use_downstream_protocol_config": {
            "http_protocol_options": HTTP1,
            "http2_protocol_options": {"allow_connect": True},
        },
    }
    limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), UNLIMITED)
    return cluster(
        name,
        "ORIGINAL_DST",
        lb_policy="CLUSTER_PROVIDED",
        circuit_breakers={"thresholds": [limits]},
        upstream_connection_options={"tcp_keepalive": {"keepalive_time": KEEPALIVE_SECONDS}},
        typed_extension_protocol_options={
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
                "upstreams.http.v3.HttpProtocolOptions", **options
            )
        },
        **fields,
    )
