"""Envoy messages that several listeners and clusters need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from common.envoy.sidecar import AccessLog

Message = dict[str, Any]
T = TypeVar("T")


class Shared(dict[str, Any]):
    """A message that stands in many others as the very same object, so that who encodes it need do so once.

    It is not to be changed.
    """

    __slots__ = ("known",)

    def __init__(self, **fields: Any) -> None:
        super().__init__(fields)
        self.known: dict[object, Any] = {}

    def once(self, reader: object, read: Callable[[dict[str, Any]], T]) -> T:
        """What a reader makes of it, made at its first time and kept; not if it fails."""
        if reader not in self.known:
            self.known[reader] = read(self)
        found: T = self.known[reader]
        return found

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise TypeError("a message that many share is not to be changed")

    __setitem__ = __delitem__ = __ior__ = update = setdefault = pop = popitem = clear = _refuse


EXTENSIONS = "type.googleapis.com/envoy.extensions."
# The source address of what the sidecar sends to its own app. The pod's rules let it pass uncaptured, and the app can
# tell it from a client's. Linux has all of 127.0.0.0/8 on lo; ::6 has to be added there, which pyinit does.
INBOUND_SOURCE, INBOUND_SOURCE_V6 = "127.0.0.6", "::6"
# A sidecar must not refuse what the app would have taken, so Envoy's limits for an edge proxy are lifted.
MAX_HEADERS, MAX_HEADERS_KB, UNLIMITED = 1000, 8192, 2**32 - 1

HTTP_LOG = (
    '[%START_TIME%] {direction} "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% '
    "%RESPONSE_FLAGS% %DURATION%ms in=%BYTES_RECEIVED% out=%BYTES_SENT% host=%REQ(:AUTHORITY)% "
    "%DOWNSTREAM_REMOTE_ADDRESS% -> %DOWNSTREAM_LOCAL_ADDRESS%, then %UPSTREAM_LOCAL_ADDRESS% -> %UPSTREAM_HOST% "
    "id=%REQ(X-REQUEST-ID)%\n"
)
TCP_LOG = (
    "[%START_TIME%] {direction} TCP %RESPONSE_FLAGS% %DURATION%ms in=%BYTES_RECEIVED% out=%BYTES_SENT% "
    "%DOWNSTREAM_REMOTE_ADDRESS% -> %DOWNSTREAM_LOCAL_ADDRESS%, then %UPSTREAM_LOCAL_ADDRESS% -> %UPSTREAM_HOST%\n"
)
JSON_LOG = {
    "start_time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "duration": "%DURATION%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "authority": "%REQ(:AUTHORITY)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "upstream_host": "%UPSTREAM_HOST%",
}


def literal(text: str) -> str:
    """The text as kubelet must find it in `args` to leave it as it is: `$$` is a dollar, `$(NAME)` a variable."""
    return text.replace("$", "$$")


def typed(kind: str, **fields: Any) -> Message:
    """An extension's message with its type, below envoy.extensions: "filters.network.tcp_proxy.v3.TcpProxy"."""
    return {"@type": EXTENSIONS + kind, **fields}


def extension(name: str, kind: str, **fields: Any) -> Message:
    """A named extension: {name, typed_config}."""
    return {"name": name, "typed_config": typed(kind, **fields)}


def address(host: str, port: int) -> Message:
    """A socket's address; host is an IP address."""
    return {"socket_address": {"address": host, "port_value": port}}


def wildcard(port: int) -> Message:
    """All addresses of the pod, of both families (ipv6(7): a socket on :: takes IPv4 too, without IPV6_V6ONLY)."""
    return {"socket_address": {"address": "::", "port_value": port, "ipv4_compat": True}}


def inbound_bind() -> Message:
    """The source address towards the app, by the family of the app's address (core.v3.BindConfig)."""
    return {
        "extra_source_addresses": [{"address": {"address": INBOUND_SOURCE_V6, "port_value": 0}}],
        "source_address": {"address": INBOUND_SOURCE, "port_value": 0},
    }


def cluster(name: str, kind: str, **fields: Any) -> Message:
    """A cluster (cluster.v3.Cluster) of the type `kind`."""
    return {"name": name, "type": kind, "connect_timeout": "10s", **fields}


def endpoint(name: str, host: str, port: int) -> Message:
    """What a cluster of one fixed address has as `load_assignment`."""
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(host, port)}}]}]}


def tcp_proxy(stat_prefix: str, to: str, logs: list[Message]) -> Message:
    """The network filter that passes bytes both ways, for as long as both sides want."""
    return extension(
        "envoy.filters.network.tcp_proxy",
        "filters.network.tcp_proxy.v3.TcpProxy",
        stat_prefix=stat_prefix,
        cluster=to,
        idle_timeout="0s",
        access_log=logs,
    )


def http_manager(stat_prefix: str, routes: list[Message], *, filters: Iterable[Message] = (), **fields: Any) -> Message:
    """The network filter that speaks HTTP, with `filters` before the router and one virtual host for all hosts."""
    router = extension("envoy.filters.http.router", "filters.http.router.v3.Router", suppress_envoy_headers=True)
    return extension(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=stat_prefix,
        route_config={
            "name": stat_prefix,
            "virtual_hosts": [{"name": stat_prefix, "domains": ["*"], "routes": routes}],
            "validate_clusters": False,
        },
        http_filters=[*filters, router],
        **fields,
    )


def access_logs(log: AccessLog | None, direction: str, *, http: bool) -> list[Message]:
    """The `access_log` of a filter that handles traffic of `direction` (inbound, outbound)."""
    if log is None:
        return []
    fields: Message = {"log_format": _log_format(log, direction, http=http)}
    if log.path == "/dev/stdout":
        return [extension("stdout", "access_loggers.stream.v3.StdoutAccessLog", **fields)]
    return [extension("file", "access_loggers.file.v3.FileAccessLog", path=literal(log.path), **fields)]


def _log_format(log: AccessLog, direction: str, *, http: bool) -> Message:
    if isinstance(log.format, Mapping) or (log.json and log.format is None):
        own = log.format if isinstance(log.format, Mapping) else JSON_LOG | {"direction": direction}
        return {
            "json_format": {name: literal(value) if isinstance(value, str) else value for name, value in own.items()}
        }
    text = (
        literal(log.format) if log.format is not None else (HTTP_LOG if http else TCP_LOG).format(direction=direction)
    )
    return {"text_format_source": {"inline_string": text}}
