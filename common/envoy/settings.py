"""The bootstrap from the settings that Istio's users know: the mesh configuration and the pod's annotations."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from common.envoy.bootstrap import bootstrap, node
from common.envoy.sidecar import DETECTION_TIMEOUT, AccessLog, Sidecar

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
    mode: str = "REDIRECT",
    status_port: int = 15020,
    service_cluster: str = "$(POD_NAMESPACE)",
    workload: str = "",
    containers: Sequence[str] = (),
) -> str:
    """The bootstrap as compact JSON, for the template's `--config-yaml`.

    `mesh` is the mesh configuration (MeshConfig), of which MESH_FIELDS count, `mode` the interception mode; `workload`
    and `containers`, the app's, go into the node's metadata. Raises ValueError, naming the setting, for a bad one.
    """
    asked = {name: mesh[name] for name in MESH_FIELDS if name in mesh} if mesh else {}
    metadata = {
        "NAME": "$(POD_NAME)",
        "NAMESPACE": "$(POD_NAMESPACE)",
        "WORKLOAD_NAME": workload,
        "APP_CONTAINERS": ",".join(containers),
        "INTERCEPTION_MODE": mode,
    }
    who = _json(node(Sidecar(node_cluster=service_cluster, metadata=metadata)))
    rest = _behind_node(_json({"mesh": asked, "probers": probers or {}, "mode": mode, "status_port": status_port}))
    return f'{{"node":{who},{rest}'


@lru_cache(maxsize=128)
def _behind_node(arguments: str) -> str:
    """The bootstrap from its second field on, for these arguments, which are JSON: the same for very many pods."""
    pod = json.loads(arguments)
    mesh = pod["mesh"]
    sidecar = Sidecar(
        probers=pod["probers"],
        access_log=_access_log(mesh),
        registry_only=(mesh.get("outboundTrafficPolicy") or {}).get("mode") == "REGISTRY_ONLY",
        transparent=pod["mode"] == "TPROXY",
        detection_timeout=_detection_timeout(mesh.get("protocolDetectionTimeout")),
        status_port=pod["status_port"],
    )
    message = bootstrap(sidecar)
    del message["node"]
    return _json(message).removeprefix("{")


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
