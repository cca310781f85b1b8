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
class Sidecar:
    """A sidecar as its pod and the settings want it; ports are TCP ports of the pod.

    `probers` are the app's own probes and hooks by the path on `status_port` that kubelet now asks instead:
    {"/app-health/web/livez": {"httpGet": {"port": 8080, "path": "/live"}, "timeoutSeconds": 1}}, each with one of
    httpGet, tcpSocket and grpc as in the Kubernetes API, and port a number.
    `registry_only` closes the way out: HTTP is answered 502, other TCP is closed (outboundTrafficPolicy REGISTRY_ONLY).
    `transparent` takes inbound connections by TPROXY, whose sockets keep the address the client asked for.
    """

    node_id: str = "sidecar~$(INSTANCE_IP)~$(POD_NAME).$(POD_NAMESPACE)~$(POD_NAMESPACE).svc.cluster.local"
    node_cluster: str = "$(POD_NAMESPACE)"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    probers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    access_log: AccessLog | None = field(default_factory=AccessLog)
    registry_only: bool = False
    transparent: bool = False
    detection_timeout: str = DETECTION_TIMEOUT
    outbound_port: int = 15001
    inbound_port: int = 15006
    status_port: int = 15020
    ready_port: int = 15021
    metrics_port: int = 15090
    admin_port: int = 15000
