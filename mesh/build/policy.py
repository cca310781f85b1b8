"""A traffic policy ──▶ fields of a cluster (config.cluster.v3.Cluster), and of routes that lead to it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from common.envoy.parts import UNLIMITED, Message, Shared, extension, typed
from mesh.build.locality import PREFERRED
from mesh.build.routes import seconds
from mesh.build.rules import Policy, policy_of
from mesh.build.upstream_tls import transport_socket
from mesh.model.common import TcpKeepalive
from mesh.model.meshconfig import MeshConfig
from mesh.model.policy import (
    ConnectionPoolSettings,
    ConsistentHashLB,
    HTTPSettings,
    LoadBalancerSettings,
    LocalityLbSetting,
    OutlierDetection,
    RetryBudget,
    TCPSettings,
)
from mesh.model.service import Service, ServicePort
from mesh.routing.route import Target
from mesh.world.memo import query
from mesh.world.proxy import Scope
from mesh.world.world import World

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
BOTH_PROTOCOLS = Shared(http_protocol_options={}, http2_protocol_options={})
RAW_BUFFER = extension("envoy.transport_sockets.raw_buffer", "transport_sockets.raw_buffer.v3.RawBuffer")
# Fields of a cluster that finds its endpoints, which one that takes the client's address must not have.
OF_ENDPOINTS = ("eds_config", "eds_cluster_config", "load_assignment", "dns_lookup_family", "dns_refresh_rate",
                "respect_dns_ttl")  # fmt: skip


def with_policy(
    made: Message,
    policy: Policy,
    config: MeshConfig,
    service: Service,
    port: ServicePort | None,
    socket: Message | None = None,
) -> Message:
    """The cluster with all that a policy says of it; `made` is left as it is.

    `made` has name, type, and where its endpoints are; what the mesh says of every cluster is added too. `socket` is
    the transport socket where something else than the policy says it.
    """
    made = {**made, "connect_timeout": seconds(config.connect_timeout)}
    _pool(made, policy, config, port)
    if policy.outlier_detection is not None:
        _outliers(made, policy.outlier_detection)
    _balancer(made, policy, config, service)
    options: Message = {}
    if socket is None:
        socket, options = transport_socket(policy.tls, service, is_http2=_is_http2(made))
    if socket is not None:
        made["transport_socket"] = socket
    if options:
        made |= _http_options(made, upstream_http_protocol_options=options)
    if policy.proxy_protocol is not None:
        made["transport_socket"] = extension(
            "envoy.transport_sockets.upstream_proxy_protocol",
            "transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
            config={"version": policy.proxy_protocol.version},
            transport_socket=made.get("transport_socket", RAW_BUFFER),
        )
    if policy.refs:
        made["metadata"] = _metadata(made.get("metadata", {}), policy)
    return made


def _metadata(metadata: Mapping[str, Any], policy: Policy) -> Message:
    """Which object the cluster's policy is from, as Istio writes it."""
    filters = metadata.get("filter_metadata", {})
    ref = policy.refs[0]
    config = f"/apis/networking.istio.io/v1/namespaces/{ref.namespace}/destination-rule/{ref.name}"
    return {**metadata, "filter_metadata": {**filters, "istio": {**filters.get("istio", {}), "config": config}}}


# --- connections ---------------------------------------------------------------------------------------------------

_NO_TCP, _NO_HTTP, _NO_POOL = TCPSettings(), HTTPSettings(), ConnectionPoolSettings()


def pool_fields(
    made: Message, pool: ConnectionPoolSettings, config: MeshConfig, budget: RetryBudget | None = None
) -> Message:
    """The fields of a cluster that a connection pool changes, of one that goes to the app as of one that leads away."""
    tcp, http = pool.tcp or _NO_TCP, pool.http or _NO_HTTP
    found: Message = {"circuit_breakers": _limits(tcp, http, budget)}
    if tcp.connect_timeout is not None:
        found["connect_timeout"] = seconds(tcp.connect_timeout)
    if alive := _keepalive(config.tcp_keepalive, tcp.tcp_keepalive):
        found["upstream_connection_options"] = {"tcp_keepalive": alive}
    common: Message = {}
    idle = http.idle_timeout if http.idle_timeout is not None else tcp.idle_timeout
    if idle is not None:
        common["idle_timeout"] = seconds(idle)
    if http.max_requests_per_connection:
        common["max_requests_per_connection"] = http.max_requests_per_connection
    if tcp.max_connection_duration is not None:
        common["max_connection_duration"] = seconds(tcp.max_connection_duration)
    if common:
        found |= _http_options(made | found, common_http_protocol_options=common)
    if http.use_client_protocol:
        found |= _http_options(made | found, use_downstream_protocol_config=BOTH_PROTOCOLS)
    return found


@lru_cache(64)
def _limits(tcp: TCPSettings, http: HTTPSettings, budget: RetryBudget | None) -> Shared:
    # A sidecar must not refuse what the app would have taken, so what nobody limits has no limit.
    limits: Message = {
        "max_connections": tcp.max_connections or UNLIMITED,
        "max_pending_requests": http.http1_max_pending_requests or UNLIMITED,
        "max_requests": http.http2_max_requests or UNLIMITED,
        "max_retries": http.max_retries or UNLIMITED,
        "track_remaining": True,
    }
    if budget:
        limits["retry_budget"] = {
            "budget_percent": {"value": 20.0 if budget.percent is None else budget.percent},
            "min_retry_concurrency": budget.min_retry_concurrency or 3,
        }
    return Shared(thresholds=[limits])


NO_LIMITS = _limits(_NO_TCP, _NO_HTTP, None)


def _pool(made: Message, policy: Policy, config: MeshConfig, port: ServicePort | None) -> None:
    pool = policy.connection_pool or _NO_POOL
    http = pool.http or _NO_HTTP
    made |= pool_fields(made, pool, config, policy.retry_budget)
    if not http.use_client_protocol and _upgrades(http, config, port):
        made |= _http_options(made, explicit_http_config={"http2_protocol_options": {}})
    if http.max_concurrent_streams and _is_http2(made):
        streams = {"max_concurrent_streams": http.max_concurrent_streams}
        made |= _http_options(made, explicit_http_config={"http2_protocol_options": streams})


def _upgrades(http: HTTPSettings, config: MeshConfig, port: ServicePort | None) -> bool:
    """Whether requests become HTTP/2 on their way; where only the mesh says so, for ports that are HTTP by name."""
    if http.h2_upgrade_policy != "DEFAULT":
        return http.h2_upgrade_policy == "UPGRADE"
    return config.h2_upgrade_policy == "UPGRADE" and port is not None and port.protocol.is_http


def _keepalive(*settings: TcpKeepalive | None) -> Message:
    """Each that is said replaces what was said before, field by field."""
    made: Message = {}
    for one in settings:
        if one is not None:
            if one.probes:
                made["keepalive_probes"] = one.probes
            if one.time is not None:
                made["keepalive_time"] = int(one.time)
            if one.interval is not None:
                made["keepalive_interval"] = int(one.interval)
    return made


WAYS = ("explicit_http_config", "use_downstream_protocol_config", "auto_config")


def _http_options(made: Message, **fields: Any) -> Message:
    """The cluster's field with its HttpProtocolOptions, to which these are added; one way to choose a version holds."""
    extensions = made.get("typed_extension_protocol_options", {})
    options = dict(extensions.get(HTTP_OPTIONS) or typed("upstreams.http.v3.HttpProtocolOptions"))
    if any(way in fields for way in WAYS):
        for way in WAYS:
            options.pop(way, None)
    options |= fields
    if not any(way in options for way in WAYS):
        options["explicit_http_config"] = {"http_protocol_options": {}}
    return {"typed_extension_protocol_options": {**extensions, HTTP_OPTIONS: options}}


def _is_http2(made: Message) -> bool:
    options = made.get("typed_extension_protocol_options", {}).get(HTTP_OPTIONS, {})
    return "http2_protocol_options" in options.get("explicit_http_config", {})


# --- who is left out -----------------------------------------------------------------------------------------------


def _outliers(made: Message, outliers: OutlierDetection) -> None:
    # Envoy's own statistics over all endpoints are off: Istio counts errors alone.
    found: Message = {"enforcing_success_rate": 0}
    counts = [
        ("consecutive_5xx", outliers.consecutive_5xx_errors),
        ("consecutive_gateway_failure", outliers.consecutive_gateway_errors),
    ]
    if outliers.split_external_local_origin_errors:
        found |= {"split_external_local_origin_errors": True, "enforcing_local_origin_success_rate": 0}
        counts.append(("consecutive_local_origin_failure", outliers.consecutive_local_origin_failures or None))
    for name, count in counts:
        if count is not None:
            found |= {name: count, f"enforcing_{name}": 100 if count else 0}
    if outliers.interval is not None:
        found["interval"] = seconds(outliers.interval)
    if outliers.base_ejection_time is not None:
        found["base_ejection_time"] = seconds(outliers.base_ejection_time)
    if outliers.max_ejection_percent:
        found["max_ejection_percent"] = outliers.max_ejection_percent
    made["outlier_detection"] = found
    # With few pods half of them being left out is no reason to send to those that fail: Envoy's default would.
    panic = {"healthy_panic_threshold": {"value": float(outliers.min_health_percent)}}
    made["common_lb_config"] = {**made.get("common_lb_config", {}), **panic}


# --- who is chosen -------------------------------------------------------------------------------------------------


def locality_setting(policy: Policy, config: MeshConfig, service: Service) -> tuple[LocalityLbSetting | None, bool]:
    """What is said of places: by the rule, else by the Service (trafficDistribution), else by the mesh; None where it
    is switched off. And whether who fails is left to others further away.
    """
    own = policy.load_balancer.locality_lb_setting if policy.load_balancer else None
    falls = policy.outlier_detection is not None
    if own is None and (preferred := PREFERRED.get(service.traffic_distribution.lower())):
        return preferred, True
    setting = own if own is not None else config.locality_lb_setting
    return None if setting is None or setting.enabled is False else setting, falls


def _balancer(made: Message, policy: Policy, config: MeshConfig, service: Service) -> None:
    setting, falls = locality_setting(policy, config, service)
    if setting is not None and (setting.distribute or (falls and (setting.failover or setting.failover_priority))):
        made["common_lb_config"] = {**made.get("common_lb_config", {}), "locality_weighted_lb_config": {}}
    balancer = policy.load_balancer or LoadBalancerSettings()
    if made.get("type") == "ORIGINAL_DST" or balancer.simple == "PASSTHROUGH":
        for name in OF_ENDPOINTS:
            made.pop(name, None)
        made |= {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}
    elif balancer.consistent_hash is not None:
        made |= _hash_balancer(balancer.consistent_hash)
    elif balancer.simple == "RANDOM":
        made["lb_policy"] = "RANDOM"
    else:
        name = "ROUND_ROBIN" if balancer.simple == "ROUND_ROBIN" else "LEAST_REQUEST"
        made["lb_policy"] = name
        if warmup := _warmup(balancer):
            made[f"{name.lower()}_lb_config"] = {"slow_start_config": warmup}


def _warmup(balancer: LoadBalancerSettings) -> Message | None:
    """How a new endpoint is given more and more (Cluster.SlowStartConfig)."""
    warmup = balancer.warmup
    if warmup is None or warmup.duration is None:
        window = balancer.warmup_duration_secs
        return {"slow_start_window": seconds(window)} if window is not None else None
    made: Message = {"slow_start_window": seconds(warmup.duration)}
    if warmup.minimum_percent is not None:
        made["min_weight_percent"] = {"value": warmup.minimum_percent}
    if warmup.aggression is not None:
        # its own name, for Envoy wants one by which it can be changed at run time
        made["aggression"] = {"default_value": warmup.aggression, "runtime_key": "upstream.slow_start.aggression"}
    return made


def _hash_balancer(hashed: ConsistentHashLB) -> Message:
    if hashed.maglev is not None:
        size = hashed.maglev.table_size
        return {"lb_policy": "MAGLEV", **({"maglev_lb_config": {"table_size": size}} if size else {})}
    # 1024 is Istio's, where nothing at all is said of the ring
    least = hashed.ring_hash.minimum_ring_size if hashed.ring_hash is not None else hashed.minimum_ring_size or 1024
    return {"lb_policy": "RING_HASH", **({"ring_hash_lb_config": {"minimum_ring_size": least}} if least else {})}


def hash_policy(world: World, scope: Scope, target: Target) -> Message | None:
    """By what requests to a target keep their pod (RouteAction.HashPolicy); None where they do not."""
    hashed = _hash_of(world, scope, target)
    if hashed is None:
        return None
    if hashed.http_header_name:
        return {"header": {"header_name": hashed.http_header_name}}
    if hashed.http_query_parameter_name:
        return {"query_parameter": {"name": hashed.http_query_parameter_name}}
    if cookie := hashed.http_cookie:
        made: Message = {"name": cookie.name}
        if cookie.ttl is not None:
            made["ttl"] = seconds(cookie.ttl)
        if cookie.path:
            made["path"] = cookie.path
        if cookie.attributes:
            made["attributes"] = [{"name": one.name, "value": one.value} for one in cookie.attributes]
        return {"cookie": made}
    return {"connection_properties": {"source_ip": True}} if hashed.use_source_ip else None


def _hash_of(world: World, scope: Scope, target: Target) -> ConsistentHashLB | None:
    if not target.host:
        return None
    balancer = policy_of(world, scope, target.host, target.port, target.subset).load_balancer
    return balancer.consistent_hash if balancer else None


@query
def tcp_fields(world: World, scope: Scope, target: Target) -> Message:
    """What a policy says of connections to a target that are passed on as they are (fields of TcpProxy)."""
    if not target.host:
        return {}
    made: Message = {}
    policy = policy_of(world, scope, target.host, target.port, target.subset)
    tcp = policy.connection_pool.tcp if policy.connection_pool else None
    if tcp is not None and tcp.idle_timeout is not None:
        made["idle_timeout"] = seconds(tcp.idle_timeout)
    hashed = _hash_of(world, scope, target)
    if hashed is not None and hashed.use_source_ip:
        made["hash_policy"] = [{"source_ip": {}}]
    if tunnel := policy.tunnel:
        made["tunneling_config"] = {
            "hostname": f"{tunnel.target_host}:{tunnel.target_port}",
            "use_post": tunnel.protocol == "POST",
        }
    return made
