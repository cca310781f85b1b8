"""The bootstrap from the settings that Istio's users know: the mesh configuration and the pod's annotations."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from common.envoy.bootstrap import bootstrap, node
from common.envoy.discovery import CA, TOKEN
from common.envoy.parts import literal
from common.envoy.sidecar import DETECTION_TIMEOUT, AccessLog, Discovery, Sidecar

MESH_FIELDS = (
    "accessLogFile",
    "accessLogEncoding",
    "accessLogFormat",
    "outboundTrafficPolicy",
    "protocolDetectionTimeout",
)
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}

_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def envoy_bootstrap(
    *,
    mesh: Mapping[str, Any] | None = None,
    probers: Mapping[str, Mapping[str, Any]] | None = None,
    app_metrics: Mapping[str, str] | None = None,
    mode: str = "REDIRECT",
    status_port: int = 15020,
    service_cluster: str = "$(POD_NAMESPACE)",
    workload: str = "",
    containers: Sequence[str] = (),
    router: bool = False,
    discovery: str = "",
    labels: Mapping[str, str] | None = None,
    service_account: str | None = "",
    cluster: str | None = "",
) -> str:
    """The bootstrap as compact JSON, for the template's `--config-yaml`.

    `mesh` is the mesh configuration (MeshConfig), of which MESH_FIELDS count, `mode` the interception mode; `workload`
    and `containers`, the app's, go into the node's metadata. `discovery` is the control plane's HOST:PORT, empty for
    none; it is told the pod's `labels`, `service_account` and `cluster` too, by a proxy that has the files of
    discovery.FOLDER. Raises ValueError, naming the setting, for a bad one.
    """
    asked = {name: mesh[name] for name in MESH_FIELDS if name in mesh} if mesh else {}
    metadata: dict[str, Any] = {
        "NAME": "$(POD_NAME)",
        "NAMESPACE": "$(POD_NAMESPACE)",
        "WORKLOAD_NAME": workload,
        "APP_CONTAINERS": ",".join(containers),
        "INTERCEPTION_MODE": mode,
    }
    if discovery:
        metadata |= {
            "SERVICE_ACCOUNT": service_account or "default",
            "LABELS": {literal(name): literal(value) for name, value in (labels or {}).items()},
            "CLUSTER_ID": cluster or "Kubernetes",
            "INSTANCE_IPS": "$(INSTANCE_IPS)",
            "NODE_NAME": "$(NODE_NAME)",
        }
    who = _json(node(Sidecar(node_cluster=service_cluster, metadata=metadata, router=router)))
    arguments = {
        "mesh": asked,
        "probers": probers or {},
        "app_metrics": app_metrics or {},
        "mode": mode,
        "status_port": status_port,
        "router": router,
        "discovery": discovery,
    }
    return f'{{"node":{who},{_behind_node(_json(arguments))}'


@lru_cache(maxsize=128)
def _behind_node(arguments: str) -> str:
    """The bootstrap from its second field on, for these arguments, which are JSON: the same for very many pods."""
    pod = json.loads(arguments)
    sidecar = Sidecar(
        probers=pod["probers"],
        app_metrics=pod["app_metrics"],
        transparent=pod["mode"] == "TPROXY",
        status_port=pod["status_port"],
        router=pod["router"],
        discovery=discovery_at(pod["discovery"], CA, TOKEN) if pod["discovery"] else None,
        **of_mesh(pod["mesh"]),
    )
    message = bootstrap(sidecar)
    del message["node"]
    return _json(message).removeprefix("{")


def of_mesh(mesh: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of Sidecar that the mesh configuration decides. Raises ValueError, naming the setting."""
    return {
        "access_log": _access_log(mesh),
        "registry_only": (mesh.get("outboundTrafficPolicy") or {}).get("mode") == "REGISTRY_ONLY",
        "detection_timeout": _detection_timeout(mesh.get("protocolDetectionTimeout")),
    }


def discovery_at(address: str, ca: str = "", token: str = "") -> Discovery:
    """The control plane at HOST:PORT; an IPv6 address stands in brackets. Raises ValueError."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.%]+)\]|([^:\[\]]+)):([0-9]{1,5})", address)
    if not match or not 0 < int(match[3]) < 65536:
        raise ValueError(f"{address!r} is no HOST:PORT such as pymesh.pysidecar-system.svc:15012 or [::1]:15010")
    return Discovery(match[1] or match[2], int(match[3]), ca, token)


@lru_cache(maxsize=128)
def seconds(duration: str) -> int:
    """A duration as Go writes it ("5s", "1m30s", "500ms") in whole seconds, rounded up. Raises ValueError."""
    return math.ceil(_seconds(duration))


def _seconds(duration: str) -> float:
    parts = re.findall(r"([\d.]+)(ms|s|m|h)", duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise ValueError(f"{duration!r} is no duration such as 5s or 1m30s")
    return sum(float(number) * UNITS[unit] for number, unit in parts)


def _access_log(mesh: Mapping[str, Any]) -> AccessLog | None:
    """To stdout unless the mesh says otherwise; an empty accessLogFile turns it off."""
    path = mesh.get("accessLogFile", "/dev/stdout")
    if not path:
        return None
    as_json = mesh.get("accessLogEncoding", "TEXT") == "JSON"
    text = mesh.get("accessLogFormat") or None
    if not (as_json and text):
        return AccessLog(path, text, as_json)
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise ValueError(f"accessLogFormat {text!r}: a JSON object is needed for accessLogEncoding JSON") from error
    return AccessLog(path, fields, as_json)


def _detection_timeout(duration: str | None) -> str:
    """How long a connection's first bytes are waited for; 0, Istio's default of waiting for ever, is taken as unset."""
    return f"{asked:g}s" if (asked := _seconds(duration or "0s")) else DETECTION_TIMEOUT
