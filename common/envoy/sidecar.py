"""What the bootstrap depends on, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Long enough for a client in a cluster to send its first bytes, and hardly felt where the server speaks first.
DETECTION_TIMEOUT = "0.1s"


@dataclass(frozen=True, slots=True)
class AccessLog:
    """Where Envoy writes a line for each request and connection, and how.

    `path` is a file or /dev/stdout. `format` is Envoy's (with operators such as %RESPONSE_CODE%): a text, or the fields
    of a JSON object; None takes the project's own, in JSON when `json` is set.
    """

    path: str = "/dev/stdout"
    format: str | Mapping[str, Any] | None = None
    json: bool = False


@dataclass(frozen=True, slots=True)
class Discovery:
    """Where the control plane answers xDS: `host` is an IP address or a DNS name.

    `ca` and `token` are files in the pod: the authorities that may have signed the control plane's certificate, and the
    service account token by which the proxy proves who it is, read again whenever it is replaced. `ca` is read again if
    it ends with .json and holds a Secret for SDS (`discovery.root_secret`), and once if it is PEM. Without it the
    stream is plain HTTP/2. `server_name` is the name that the certificate must have, where it is not `host`.
    """

    host: str
    port: int
    ca: str = ""
    token: str = ""
    server_name: str = ""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A sidecar, or with `router` a gateway, as its pod and the settings want it; ports are TCP ports of the pod.

    `probers` are the app's own probes and hooks by the path on `status_port` that kubelet now asks instead:
    {"/app-health/web/livez": {"httpGet": {"port": 8080, "path": "/live"}, "timeoutSeconds": 1}}, each with one of
    httpGet, tcpSocket and grpc as in the Kubernetes API, and port a number.
    `app_metrics` says where the app's own metrics are that Prometheus is to find with the proxy's, as annotations
    prometheus.io/… do: {"port": "9090", "path": "/metrics"}.
    `registry_only` closes the way out: HTTP is answered 502, other TCP is closed (outboundTrafficPolicy REGISTRY_ONLY).
    `transparent` takes inbound connections by TPROXY, whose sockets keep the address the client asked for.
    `discovery` is the control plane that tells it the rest; without one the bootstrap says all there is. A gateway has
    nothing to do without one.
    """

    ip: str = "$(INSTANCE_IP)"
    pod: str = "$(POD_NAME)"
    namespace: str = "$(POD_NAMESPACE)"
    domain: str = "cluster.local"
    node_cluster: str = "$(POD_NAMESPACE)"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    locality: Mapping[str, str] = field(default_factory=dict)
    probers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    access_log: AccessLog | None = field(default_factory=AccessLog)
    app_metrics: Mapping[str, str] = field(default_factory=dict)
    registry_only: bool = False
    transparent: bool = False
    router: bool = False
    discovery: Discovery | None = None
    detection_timeout: str = DETECTION_TIMEOUT
    outbound_port: int = 15001
    inbound_port: int = 15006
    status_port: int = 15020
    ready_port: int = 15021
    metrics_port: int = 15090
    admin_port: int = 15000

    @property
    def node_id(self) -> str:
        """Who it is among all proxies, as Istio spells it: KIND~IP~POD.NAMESPACE~DOMAIN."""
        kind = "router" if self.router else "sidecar"
        return f"{kind}~{self.ip}~{self.pod}.{self.namespace}~{self.namespace}.svc.{self.domain}"
