"""What is spoken at a port (Istio's "Protocol Selection")."""

from __future__ import annotations

from enum import StrEnum


class Protocol(StrEnum):
    """A port's protocol, spelled as Istio spells it. AUTO is where nobody said: the proxy looks at the first bytes."""

    HTTP = "HTTP"
    HTTP2 = "HTTP2"
    GRPC = "GRPC"
    GRPC_WEB = "GRPC-Web"
    HTTP_PROXY = "HTTP_PROXY"
    HTTPS = "HTTPS"
    TLS = "TLS"
    TCP = "TCP"
    UDP = "UDP"
    MONGO = "Mongo"
    REDIS = "Redis"
    MYSQL = "MySQL"
    AUTO = "UnsupportedProtocol"

    @property
    def is_http(self) -> bool:
        """Plain text HTTP of any version."""
        return self in _HTTP

    @property
    def is_http2(self) -> bool:
        """HTTP/2 on the wire."""
        return self in _HTTP2

    @property
    def is_grpc(self) -> bool:
        """GRPC or GRPC-Web."""
        return self in (Protocol.GRPC, Protocol.GRPC_WEB)

    @property
    def is_tls(self) -> bool:
        """TLS that the client began: HTTPS or TLS."""
        return self in (Protocol.HTTPS, Protocol.TLS)

    @property
    def is_tcp(self) -> bool:
        """Bytes, TLS among them."""
        return self in _TCP

    @property
    def is_auto(self) -> bool:
        """Found out from the first bytes."""
        return self is Protocol.AUTO

    @property
    def inside_tls(self) -> Protocol:
        """What is spoken once TLS is taken off."""
        return {Protocol.HTTPS: Protocol.HTTP, Protocol.TLS: Protocol.TCP}.get(self, self)


_HTTP = frozenset({Protocol.HTTP, Protocol.HTTP2, Protocol.HTTP_PROXY, Protocol.GRPC, Protocol.GRPC_WEB})
_HTTP2 = frozenset({Protocol.HTTP2, Protocol.GRPC, Protocol.GRPC_WEB})
_TCP = frozenset({Protocol.TCP, Protocol.HTTPS, Protocol.TLS, Protocol.MONGO, Protocol.REDIS, Protocol.MYSQL})
_BY_NAME = {one.value.lower(): one for one in Protocol if one is not Protocol.AUTO}

# Here the server speaks first, so looking at the first bytes would wait in vain: SMTP, DNS, MySQL, MongoDB.
_SERVER_FIRST = frozenset({25, 53, 3306, 27017})

_APP_PROTOCOLS = {
    "kubernetes.io/h2c": Protocol.HTTP2,
    "kubernetes.io/ws": Protocol.HTTP,
    "kubernetes.io/wss": Protocol.HTTPS,
}


def protocol_named(name: str) -> Protocol:
    """A protocol by its name, whatever its case; AUTO if there is none of this name."""
    return _BY_NAME.get(name.lower(), Protocol.AUTO)


def protocol_of(port: int, name: str, transport: str = "TCP", app_protocol: str | None = None) -> Protocol:
    """The protocol of a Service's port: by `appProtocol`, else by its name up to the first `-`."""
    if transport == "UDP":
        return Protocol.UDP
    if app_protocol is not None:
        if app_protocol in _APP_PROTOCOLS:
            return _APP_PROTOCOLS[app_protocol]
        name = app_protocol
    if name[:8].lower() == "grpc-web":
        return Protocol.GRPC_WEB
    found = protocol_named(name.partition("-")[0])
    return Protocol.TCP if found is Protocol.AUTO and port in _SERVER_FIRST else found
