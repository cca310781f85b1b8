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
from mesh.build.filters import (
    HTTP_INSPECTOR,
    ORIGINAL_DST,
    TLS_INSPECTOR,
    paths,
    tcp_proxy,
)
from mesh.build.outbound import UNSPECIFIED, unknown_chain
from mesh.build.policy import HTTP_OPTIONS, NO_LIMITS, pool_fields
from mesh.build.rules import inbound_pool
from mesh.build.watched import http_filters, tcp_filters
from mesh.model.meta import ObjectRef
from mesh.model.names import BLACK_HOLE, INBOUND_PASSTHROUGH, VIRTUAL_INBOUND, VIRTUAL_OUTBOUND, ClusterName
from mesh.model.protocol import Protocol, protocol_named
from mesh.world.index import targets_of
from mesh.world.memo import query
from mesh.world.proxy import Proxy, Scope
from mesh.world.sidecars import mesh_config, sidecar_of
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


class AppPort(NamedTuple):
    """A port of the app: what is spoken there, and for whom. `endpoint` is where it goes, or empty for where it was
    meant to go."""

    number: int
    protocol: Protocol
    host: str
    port: int
    """The Service's own port."""
    ref: ObjectRef | None = None
    endpoint: str = ""


class Inbound(NamedTuple):
    """What comes to a pod, without the pod: those to which the same comes share what is made of it.

    `addresses` are the pod's own where something is sent to them by address, else empty.
    """

    ports: tuple[AppPort, ...]
    ipv6: bool = False
    transparent: bool = False
    addresses: tuple[str, ...] = ()


@query
def inbound_of(world: World, scope: Scope, instance: Instance) -> Inbound:
    """What comes to a pod."""
    ports = inbound_ports(world, scope, instance)
    by_address = any(_host(app.endpoint)[0] in UNSPECIFIED for app in ports.values())
    return Inbound(
        tuple(app for _, app in sorted(ports.items())),
        any(":" in one for one in instance.addresses),
        instance.transparent,
        instance.addresses if by_address else (),
    )


@query
def inbound_ports(world: World, scope: Scope, instance: Instance) -> Mapping[int, AppPort]:
    """The ports of the app by number: those of a Sidecar's ingress where there is one, else what Services lead to.

    Of two Services that lead to one port the older decides what is spoken. The sidecar's own port is none of the app's.
    """
    found: dict[int, AppPort] = {}
    targets = targets_of(world, instance.namespace, instance.pod, instance.labels, instance.addresses)
    for key, port, number in targets:
        if number != PORT:
            found.setdefault(number, AppPort(number, port.protocol, key.host, port.number, key.ref))
    sidecar = sidecar_of(world, scope)
    if sidecar is None or not sidecar.ingress:
        return found
    told: dict[int, AppPort] = {}
    for one in sidecar.ingress:
        if one.port is None or one.port.number == PORT:
            continue
        number = one.port.number
        known = found.get(number)
        told[number] = AppPort(
            number,
            protocol_named(one.port.protocol),
            known.host if known else "",
            known.port if known else number,
            known.ref if known else None,
            one.default_endpoint or f"0.0.0.0:{number}",
        )
    return told


@query
def origins_of(world: World, scope: Scope, inbound: Inbound, number: int = 0) -> tuple[ObjectRef, ...]:
    """The objects that say what comes to the app, at this port or at any: the Sidecar, and Services."""
    sidecar = sidecar_of(world, scope)
    found: dict[ObjectRef, None] = {sidecar.meta.ref: None} if sidecar and sidecar.ingress else {}
    found.update((app.ref, None) for app in inbound.ports if app.ref and number in (0, app.number))
    return tuple(found)


@query
def virtual_outbound(world: World, scope: Scope, inbound: Inbound) -> Message:
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
    if inbound.ipv6:
        made["additional_addresses"] = [{"address": address("::1", OUTBOUND_PORT)}]
    return made


@query
def inbound_listener(world: World, scope: Scope, inbound: Inbound) -> Message:
    """virtualInbound (listener.v3.Listener)."""
    chains: list[Message] = [
        # who connects to the sidecar's own port asks it to connect to itself, without end
        {
            "name": f"{VIRTUAL_INBOUND}-blackhole",
            "filter_chain_match": {"destination_port": PORT},
            "filters": [tcp_proxy(BLACK_HOLE, {"cluster": BLACK_HOLE}, [])],
        }
    ]
    for app in inbound.ports:
        number = app.number
        name = str(ClusterName("inbound", number))
        protocol = app.protocol
        if not protocol.is_http:
            chains.append(_tcp(world, scope, f"0.0.0.0_{number}", {"destination_port": number}, name, app))
        if protocol.is_http or protocol.is_auto:
            match: Message = {"destination_port": number}
            if protocol.is_auto:
                match |= {"transport_protocol": "raw_buffer", "application_protocols": HTTP_PROTOCOLS}
            operation = f"{app.host}:{app.port}/*"
            chains.append(_http(world, scope, f"0.0.0.0_{number}", match, name, operation, app))
    chains.append(
        _http(
            world,
            scope,
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
        "default_filter_chain": _tcp(world, scope, VIRTUAL_INBOUND, None, INBOUND_PASSTHROUGH),
    }
    return made | {"transparent": True} if inbound.transparent else made


def _tcp(world: World, scope: Scope, name: str, match: Message | None, to: str, app: AppPort | None = None) -> Message:
    host, ref = (app.host, app.ref) if app else ("", None)
    made: Message = {
        "name": name,
        "filters": tcp_filters(world, scope, "inbound", to, {"cluster": to}, host=host, ref=ref),
    }
    return made | {"filter_chain_match": match} if match else made


def _http(
    world: World, scope: Scope, name: str, match: Message, to: str, operation: str, app: AppPort | None = None
) -> Message:
    route: Message = {
        "name": "default",
        "match": {"prefix": "/"},
        "decorator": {"operation": operation},
        # a connection that the app closes just then is no answer of its
        "route": {
            "cluster": to,
            "timeout": "0s",
            "max_grpc_timeout": "0s",
            "retry_policy": {"retry_on": "reset-before-request", "num_retries": 2},
        },
    }
    host: Message = {
        "name": f"inbound|http|{to.split('|')[1] if '|' in to else 0}",
        "domains": ["*"],
        "routes": [route],
    }
    return {
        "name": name,
        "filter_chain_match": match,
        "filters": http_filters(
            world,
            scope,
            "inbound",
            f"inbound_{name}",
            {"route_config": {"name": to, "virtual_hosts": [host], "validate_clusters": False}},
            host=app.host if app else "",
            ref=app.ref if app else None,
            use_remote_address=False,
            **paths(world),
            skip_xff_append=True,
            # an HTTP/2 connection to a port that only speaks HTTP/1 is the client's own affair
            codec_type="AUTO",
        ),
    }


@query
def inbound_cluster(world: World, scope: Scope, inbound: Inbound, number: int) -> Message | None:
    """The cluster of one of the app's ports (cluster.v3.Cluster)."""
    app = next((one for one in inbound.ports if one.number == number), None)
    if app is None:
        return None
    name = str(ClusterName("inbound", number))
    made = _fixed(name, _address(app.endpoint, inbound.addresses)) if app.endpoint else _to_app(name)
    if app.protocol.is_http2:
        made["typed_extension_protocol_options"] = {
            HTTP_OPTIONS: typed(
                "upstreams.http.v3.HttpProtocolOptions", explicit_http_config={"http2_protocol_options": {}}
            )
        }
    elif app.protocol.is_auto or app.protocol.is_http:
        made["typed_extension_protocol_options"] = {HTTP_OPTIONS: _as_client()}
    made |= _limited(world, scope, app, made)
    if app.ref:
        told = {"host": app.host, "name": app.ref.name, "namespace": app.ref.namespace}
        made["metadata"] = {"filter_metadata": {"istio": {"services": [told]}}}
    return made


def _limited(world: World, scope: Scope, app: AppPort, made: Message) -> Message:
    """What the app takes at once: as its port's ingress listener says, its Sidecar, or its DestinationRule."""
    sidecar = sidecar_of(world, scope)
    own = [one for one in (sidecar.ingress if sidecar else ()) if one.port and one.port.number == app.number]
    pool = own[0].connection_pool if own else None
    pool = pool or (sidecar.inbound_connection_pool if sidecar else None)
    if pool is None and app.host:
        pool = inbound_pool(world, scope, app.host, app.port)
    return pool_fields(made, pool, mesh_config(world)) if pool else {}


def _address(endpoint: str, addresses: tuple[str, ...]) -> Message:
    """Where a Sidecar's ingress sends to: 127.0.0.1:PORT, 0.0.0.0:PORT for the pod's own address, or unix:///path."""
    if endpoint.startswith("unix://"):
        return {"pipe": {"path": endpoint.removeprefix("unix://")}}
    host, port = _host(endpoint)
    if host in UNSPECIFIED:
        own = [one for one in addresses if (":" in one) == (host == "::")] or addresses
        host = own[0]
    return address(host, int(port))


def _host(endpoint: str) -> tuple[str, str]:
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), port


def _fixed(name: str, where: Message) -> Message:
    made: Message = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "10s",
        "circuit_breakers": NO_LIMITS,
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": where}}]}]},
    }
    # the loopback's own addresses need no other source
    return made if "pipe" in where else made | {"upstream_bind_config": inbound_bind()}


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
