"""What comes to the pod: virtualInbound, with a filter chain for each port of the app that a Service leads to.

    client ──▶ virtualInbound :15006 ──by destination port──▶ inbound|PORT|| ──▶ the app, where it was asked for
                                     └─▶ any other port ────▶ InboundPassthroughCluster

Traffic to a port that no Service names reaches the app as it is; the source is 127.0.0.6, by which the pod's own rules
know it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from common.envoy.parts import Message, address, inbound_bind, typed, wildcard
from common.envoy.traffic import HTTP_PROTOCOLS, KEEPALIVE
from mesh.build.clusters import HTTP_OPTIONS, NO_LIMITS
from mesh.build.filters import (
    HTTP_INSPECTOR,
    ORIGINAL_DST,
    TLS_INSPECTOR,
    access_logs,
    http_manager,
    tcp_proxy,
)
from mesh.build.outbound import unknown_chain
from mesh.model.names import BLACK_HOLE, INBOUND_PASSTHROUGH, VIRTUAL_INBOUND, VIRTUAL_OUTBOUND, ClusterName
from mesh.world.index import Target, access_log, targets_of
from mesh.world.memo import query
from mesh.world.proxy import Proxy, Scope
from mesh.world.world import World

OUTBOUND_PORT, PORT = 15001, 15006
TIMEOUT = "1s"


class Instance(NamedTuple):
    """The pod itself, as far as it decides what comes to it."""

    namespace: str
    pod: str
    labels: tuple[tuple[str, str], ...]
    addresses: tuple[str, ...]
    transparent: bool = False


def instance_of(proxy: Proxy) -> Instance:
    """The pod of a proxy."""
    return Instance(
        proxy.namespace,
        proxy.pod,
        tuple(sorted(proxy.labels.items())),
        proxy.addresses,
        proxy.metadata.get("INTERCEPTION_MODE") == "TPROXY",
    )


@query
def inbound_targets(world: World, scope: Scope, instance: Instance) -> Mapping[int, Target]:
    """The ports of the app; of two Services that lead to one port the older decides what is spoken."""
    found: dict[int, Target] = {}
    for target in targets_of(world, instance.namespace, instance.pod, instance.labels, instance.addresses):
        found.setdefault(target.number, target)
    return found


@query
def virtual_outbound(world: World, scope: Scope, instance: Instance) -> Message:
    """virtualOutbound: all that the app sends arrives here, and goes to the listener of the address that was meant.

    At 0.0.0.0 and not at ::, where the bootstrap's own listener passes traffic on as long as there is no control plane:
    the kernel gives a connection to the more particular socket. IPv6 is redirected to ::1.
    """
    made: Message = {
        "name": VIRTUAL_OUTBOUND,
        "address": address("0.0.0.0", OUTBOUND_PORT),
        "use_original_dst": True,
        "traffic_direction": "OUTBOUND",
        "filter_chains": [
            # who connects to the sidecar's own port asks it to connect to itself, without end
            {
                "name": f"{VIRTUAL_OUTBOUND}-blackhole",
                "filter_chain_match": {"destination_port": OUTBOUND_PORT},
                "filters": [tcp_proxy(BLACK_HOLE, {"cluster": BLACK_HOLE}, [])],
            }
        ],
        "default_filter_chain": unknown_chain(world, scope),
    }
    if any(":" in one for one in instance.addresses):
        made["additional_addresses"] = [{"address": address("::1", OUTBOUND_PORT)}]
    return made


@query
def inbound_listener(world: World, scope: Scope, instance: Instance) -> Message:
    """virtualInbound (listener.v3.Listener)."""
    targets = inbound_targets(world, scope, instance)
    chains: list[Message] = [
        # who connects to the sidecar's own port asks it to connect to itself, without end
        {
            "name": f"{VIRTUAL_INBOUND}-blackhole",
            "filter_chain_match": {"destination_port": PORT},
            "filters": [tcp_proxy(BLACK_HOLE, {"cluster": BLACK_HOLE}, [])],
        }
    ]
    for number, target in sorted(targets.items()):
        name = str(ClusterName("inbound", number))
        protocol = target.port.protocol
        if not protocol.is_http:
            chains.append(_tcp(world, f"0.0.0.0_{number}", {"destination_port": number}, name))
        if protocol.is_http or protocol.is_auto:
            match: Message = {"destination_port": number}
            if protocol.is_auto:
                match |= {"transport_protocol": "raw_buffer", "application_protocols": HTTP_PROTOCOLS}
            operation = f"{target.key.host}:{target.port.number}/*"
            chains.append(_http(world, f"0.0.0.0_{number}", match, name, operation))
    chains.append(
        _http(
            world,
            f"{VIRTUAL_INBOUND}-catchall-http",
            {"transport_protocol": "raw_buffer", "application_protocols": HTTP_PROTOCOLS},
            INBOUND_PASSTHROUGH,
            ":0/*",
        )
    )
    made: Message = {
        "name": VIRTUAL_INBOUND,
        "address": wildcard(PORT),
        "traffic_direction": "INBOUND",
        "socket_options": KEEPALIVE,
        "listener_filters": [ORIGINAL_DST, TLS_INSPECTOR, HTTP_INSPECTOR],
        "listener_filters_timeout": TIMEOUT,
        "continue_on_listener_filters_timeout": True,
        "filter_chains": chains,
        "default_filter_chain": _tcp(world, VIRTUAL_INBOUND, None, INBOUND_PASSTHROUGH),
    }
    return made | {"transparent": True} if instance.transparent else made


def _tcp(world: World, name: str, match: Message | None, to: str) -> Message:
    made: Message = {
        "name": name,
        "filters": [tcp_proxy(to, {"cluster": to}, access_logs(access_log(world), "inbound", http=False))],
    }
    return made | {"filter_chain_match": match} if match else made


def _http(world: World, name: str, match: Message, to: str, operation: str) -> Message:
    route: Message = {
        "name": "default",
        "match": {"prefix": "/"},
        "decorator": {"operation": operation},
        "route": {"cluster": to, "timeout": "0s", "max_grpc_timeout": "0s"},
    }
    host: Message = {
        "name": f"inbound|http|{to.split('|')[1] if '|' in to else 0}",
        "domains": ["*"],
        "routes": [route],
    }
    return {
        "name": name,
        "filter_chain_match": match,
        "filters": [
            http_manager(
                f"inbound_{name}",
                {"route_config": {"name": to, "virtual_hosts": [host], "validate_clusters": False}},
                access_logs(access_log(world), "inbound", http=True),
                use_remote_address=False,
                skip_xff_append=True,
                # an HTTP/2 connection to a port that only speaks HTTP/1 is the client's own affair
                codec_type="AUTO",
            )
        ],
    }


@query
def inbound_cluster(world: World, scope: Scope, instance: Instance, number: int) -> Message | None:
    """The cluster of one of the app's ports (cluster.v3.Cluster)."""
    target = inbound_targets(world, scope, instance).get(number)
    if target is None:
        return None
    made = _to_app(str(ClusterName("inbound", number)))
    if target.port.protocol.is_http2:
        made["typed_extension_protocol_options"] = {
            HTTP_OPTIONS: typed(
                "upstreams.http.v3.HttpProtocolOptions", explicit_http_config={"http2_protocol_options": {}}
            )
        }
    elif target.port.protocol.is_auto or target.port.protocol.is_http:
        made["typed_extension_protocol_options"] = {HTTP_OPTIONS: _as_client()}
    told = {"host": target.key.host, "name": target.key.ref.name, "namespace": target.key.ref.namespace}
    made["metadata"] = {"filter_metadata": {"istio": {"services": [told]}}}
    return made


def inbound_passthrough() -> Message:
    """For ports that no Service names."""
    return _to_app(INBOUND_PASSTHROUGH) | {"typed_extension_protocol_options": {HTTP_OPTIONS: _as_client()}}


def _as_client() -> Message:
    return typed(
        "upstreams.http.v3.HttpProtocolOptions",
        use_downstream_protocol_config={"http_protocol_options": {}, "http2_protocol_options": {}},
    )


def _to_app(name: str) -> Message:
    return {
        "name": name,
        "type": "ORIGINAL_DST",
        "connect_timeout": "10s",
        "lb_policy": "CLUSTER_PROVIDED",
        "circuit_breakers": NO_LIMITS,
        "upstream_bind_config": inbound_bind(),
    }
