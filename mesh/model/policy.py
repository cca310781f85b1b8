"""What a DestinationRule says of the way to a host: balancing, pools, outliers, TLS (TrafficPolicy)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mesh.model import fields as f
from mesh.model.common import PortSelector, TcpKeepalive
from mesh.model.reading import Reading
from mesh.model.shape import duration, flag, map_of, number, one_of, port, sub, subs, text, texts, whole
from mesh.model.tls import ClientTLSSettings

_INT32 = 2**31 - 1


@dataclass(frozen=True, slots=True)
class RingHash:
    """ConsistentHashLB.RingHash."""

    minimum_ring_size: int = whole(0, 8388608, default=0)


@dataclass(frozen=True, slots=True)
class MagLev:
    """ConsistentHashLB.MagLev; the size is a prime, at most 5,000,011 (Envoy)."""

    table_size: int = whole(0, 5000011, default=0)

    def check(self, r: Reading) -> None:
        """Envoy takes a prime alone."""
        size = self.table_size
        if size and (size < 2 or any(size % divisor == 0 for divisor in range(2, int(size**0.5) + 1))):
            r.error("not-allowed", f"{size} is not a prime; Maglev's table needs one, such as 65537", "tableSize")


@dataclass(frozen=True, slots=True)
class CookieAttribute:
    """HTTPCookie.Attribute."""

    name: str = text(needed=True)
    value: str = text()


@dataclass(frozen=True, slots=True)
class HTTPCookie:
    """ConsistentHashLB.HTTPCookie; with a ttl (0 is a session's) the cookie is made where it is not there."""

    name: str = text(needed=True, empty=False)
    path: str = text()
    ttl: float | None = duration(0.0)
    attributes: tuple[CookieAttribute, ...] = subs(CookieAttribute)


@dataclass(frozen=True, slots=True)
class ConsistentHashLB:
    """By a hash of something in the request (ConsistentHashLB)."""

    ONE_OF = (("httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName"), ("ringHash", "maglev"))

    http_header_name: str | None = text(f.header_name, default=None)
    http_cookie: HTTPCookie | None = sub(HTTPCookie)
    use_source_ip: bool | None = flag(None)
    http_query_parameter_name: str | None = text(default=None)
    ring_hash: RingHash | None = sub(RingHash)
    maglev: MagLev | None = sub(MagLev)
    minimum_ring_size: int = whole(0, 8388608, default=0, doc="Deprecated: ringHash.minimumRingSize.")

    def check(self, r: Reading) -> None:
        """A hash of something."""
        keys = (self.http_header_name, self.http_cookie, self.use_source_ip, self.http_query_parameter_name)
        if not any(keys):
            r.error("missing", "a hash needs httpHeaderName, httpCookie, useSourceIp or httpQueryParameterName")


@dataclass(frozen=True, slots=True)
class Distribute:
    """How traffic from one place is shared among others, in percent (LocalityLoadBalancerSetting.Distribute)."""

    from_: str = text(name="from")
    to: Mapping[str, int] = map_of(f.Whole(0, 100))

    def check(self, r: Reading) -> None:
        """All of it goes somewhere."""
        if (total := sum(self.to.values())) != 100:
            r.error("not-allowed", f"the shares add up to {total}, not 100", "to")


@dataclass(frozen=True, slots=True)
class Failover:
    """Where traffic of a region goes when it fails (LocalityLoadBalancerSetting.Failover)."""

    from_: str = text(name="from")
    to: str = text()

    def check(self, r: Reading) -> None:
        """To somewhere else; regions only."""
        if self.from_ == self.to:
            r.error("not-allowed", f'"{self.to}" fails over to itself', "to")
        for name, region in (("from", self.from_), ("to", self.to)):
            if "/" in region or "*" in region:
                r.error("not-allowed", f'"{region}" is not allowed: a region alone', name)


@dataclass(frozen=True, slots=True)
class LocalityLbSetting:
    """Preference for what is near (LocalityLoadBalancerSetting); `enabled` None is the mesh's."""

    distribute: tuple[Distribute, ...] = subs(Distribute)
    failover: tuple[Failover, ...] = subs(Failover)
    failover_priority: tuple[str, ...] = texts()
    enabled: bool | None = flag(None)

    def check(self, r: Reading) -> None:
        """Distribute, or failover (Istio's validateLocalityLbSetting)."""
        if self.distribute and (self.failover or self.failover_priority):
            name = "failover" if self.failover else "failoverPriority"
            r.error("conflict", f"only one of distribute and {name} may be there", name)
        seen: set[str] = set()
        for index, one in enumerate(self.distribute):
            if one.from_ in seen:
                r.error("conflict", f'"{one.from_}" is there twice', "distribute", index, "from")
            seen.add(one.from_)


@dataclass(frozen=True, slots=True)
class WarmupConfiguration:
    """A new endpoint is given more and more (WarmupConfiguration)."""

    duration: float | None = duration(needed=True)
    minimum_percent: float | None = number(0, 100)
    aggression: float | None = number(1)


@dataclass(frozen=True, slots=True)
class LoadBalancerSettings:
    """How an endpoint is chosen (LoadBalancerSettings)."""

    ONE_OF = (("simple", "consistentHash"), ("warmup", "warmupDurationSecs"))

    simple: str | None = one_of(
        "UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST", default=None
    )
    consistent_hash: ConsistentHashLB | None = sub(ConsistentHashLB)
    locality_lb_setting: LocalityLbSetting | None = sub(LocalityLbSetting)
    warmup_duration_secs: float | None = duration(doc="Deprecated: warmup.")
    warmup: WarmupConfiguration | None = sub(WarmupConfiguration)

    def check(self, r: Reading) -> None:
        """Warming up is for what counts or goes round."""
        if self.simple == "LEAST_CONN":
            r.warn("deprecated", "LEAST_CONN is now LEAST_REQUEST", "simple")
        if self.simple == "PASSTHROUGH" or self.consistent_hash:
            for name, there in (("warmup", self.warmup), ("warmupDurationSecs", self.warmup_duration_secs)):
                if there:
                    r.error("conflict", "only ROUND_ROBIN and LEAST_REQUEST warm up", name)


@dataclass(frozen=True, slots=True)
class TCPSettings:
    """Of connections (ConnectionPoolSettings.TCPSettings); 0 is not set."""

    max_connections: int = whole(0, _INT32, default=0)
    connect_timeout: float | None = duration()
    tcp_keepalive: TcpKeepalive | None = sub(TcpKeepalive)
    max_connection_duration: float | None = duration()
    idle_timeout: float | None = duration(0.0)


@dataclass(frozen=True, slots=True)
class HTTPSettings:
    """Of HTTP requests (ConnectionPoolSettings.HTTPSettings); 0 is not set."""

    http1_max_pending_requests: int = whole(0, _INT32, default=0)
    http2_max_requests: int = whole(0, _INT32, default=0)
    max_requests_per_connection: int = whole(0, _INT32, default=0)
    max_retries: int = whole(0, _INT32, default=0)
    idle_timeout: float | None = duration(0.0)
    h2_upgrade_policy: str = one_of("DEFAULT", "DO_NOT_UPGRADE", "UPGRADE")
    use_client_protocol: bool = flag()
    max_concurrent_streams: int = whole(0, _INT32, default=0)

    def check(self, r: Reading) -> None:
        """One of the two ways to choose the version."""
        if self.h2_upgrade_policy == "UPGRADE" and self.use_client_protocol:
            r.error(
                "conflict",
                "only one of h2UpgradePolicy UPGRADE and useClientProtocol may be there",
                "useClientProtocol",
            )


@dataclass(frozen=True, slots=True)
class ConnectionPoolSettings:
    """How much at once (ConnectionPoolSettings)."""

    tcp: TCPSettings | None = sub(TCPSettings)
    http: HTTPSettings | None = sub(HTTPSettings)

    def check(self, r: Reading) -> None:
        """It says something (Istio's validateConnectionPool)."""
        if not (self.tcp or self.http):
            r.error("missing", "a connection pool needs tcp or http")


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """When an endpoint is left out for a while (OutlierDetection). None is not set; 0 errors switches one off."""

    consecutive_errors: int = whole(0, _INT32, default=0, doc="Deprecated: consecutive5xxErrors.")
    split_external_local_origin_errors: bool = flag()
    consecutive_local_origin_failures: int | None = whole()
    consecutive_gateway_errors: int | None = whole()
    consecutive_5xx_errors: int | None = whole()
    interval: float | None = duration()
    base_ejection_time: float | None = duration()
    max_ejection_percent: int = whole(0, 100, default=0)
    min_health_percent: int = whole(0, 100, default=0)

    def check(self, r: Reading) -> None:
        """What follows from what."""
        if self.consecutive_local_origin_failures and not self.split_external_local_origin_errors:
            message = "consecutiveLocalOriginFailures needs splitExternalLocalOriginErrors"
            r.error("conflict", message, "consecutiveLocalOriginFailures")
        if self.consecutive_errors:
            r.warn("deprecated", "use consecutive5xxErrors or consecutiveGatewayErrors", "consecutiveErrors")


@dataclass(frozen=True, slots=True)
class Tunnel:
    """Through a proxy by CONNECT or POST (TrafficPolicy.TunnelSettings)."""

    protocol: str = one_of("CONNECT", "POST")
    target_host: str = text(f.one_of_checks((f.fqdn, f.address), "a DNS name or an IP address"), needed=True)
    target_port: int = port(0, needed=True)


@dataclass(frozen=True, slots=True)
class ProxyProtocol:
    """The client's address in front of the bytes (TrafficPolicy.ProxyProtocol)."""

    version: str = one_of("V1", "V2")


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """How many retries at once, as a share of the requests (TrafficPolicy.RetryBudget)."""

    percent: float | None = number(0, 100)
    min_retry_concurrency: int = whole(default=0)


@dataclass(frozen=True, slots=True)
class PortTrafficPolicy:
    """Of one port (TrafficPolicy.PortTrafficPolicy): takes the place of all that is said of the host."""

    port: PortSelector | None = sub(PortSelector, needed=True)
    load_balancer: LoadBalancerSettings | None = sub(LoadBalancerSettings)
    connection_pool: ConnectionPoolSettings | None = sub(ConnectionPoolSettings)
    outlier_detection: OutlierDetection | None = sub(OutlierDetection)
    tls: ClientTLSSettings | None = sub(ClientTLSSettings)

    def check(self, r: Reading) -> None:
        """A port."""
        if self.port is not None and not self.port.number:
            r.error("missing", "the port's number is needed", "port", "number")


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    """The way to a host or a subset (TrafficPolicy)."""

    load_balancer: LoadBalancerSettings | None = sub(LoadBalancerSettings)
    connection_pool: ConnectionPoolSettings | None = sub(ConnectionPoolSettings)
    outlier_detection: OutlierDetection | None = sub(OutlierDetection)
    tls: ClientTLSSettings | None = sub(ClientTLSSettings)
    port_level_settings: tuple[PortTrafficPolicy, ...] = subs(PortTrafficPolicy, most=4096)
    tunnel: Tunnel | None = sub(Tunnel)
    proxy_protocol: ProxyProtocol | None = sub(ProxyProtocol)
    retry_budget: RetryBudget | None = sub(RetryBudget)

    def check(self, r: Reading) -> None:
        """It says something; a port once."""
        if not any(getattr(self, name) for name in self.__slots__):
            r.error("missing", "a trafficPolicy needs at least one field")
        seen: set[int] = set()
        for index, one in enumerate(self.port_level_settings):
            number = one.port.number if one.port else 0
            if number in seen:
                r.error("conflict", f"port {number} is there twice", "portLevelSettings", index, "port", "number")
            seen.add(number)
