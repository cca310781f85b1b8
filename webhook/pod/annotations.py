"""The annotations and labels that injection reads, and what their values may be.

A value that does not fit is refused with the annotation's name, the value and what is allowed: a pod with a port list
that nobody can read would start, and then not do what its author meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_network

from common import jsonio
from common.errors import SettingsError
from webhook.errors import AnnotationError
from webhook.pod.decide import INJECT
from webhook.settings.proxyconfig import parse as parse_proxy_config

STATUS = "sidecar.istio.io/status"
OVERRIDES = "proxy.istio.io/overrides"
PROXY_CONFIG = "proxy.istio.io/config"
TEMPLATES = "inject.istio.io/templates"
NATIVE_SIDECAR = "sidecar.istio.io/nativeSidecar"
REWRITE_PROBES = "sidecar.istio.io/rewriteAppHTTPProbers"
STATUS_PORT = "status.sidecar.istio.io/port"
INTERCEPTION_MODE = "sidecar.istio.io/interceptionMode"
IMAGE_TYPE = "sidecar.istio.io/proxyImageType"
PROMETHEUS_MERGE = "prometheus.istio.io/merge-metrics"
BEFORE_PROXY = "sidecar.istio.io/init-containers-before-proxy"
NETWORK_LABEL = "topology.istio.io/network"

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


def flag(text: str) -> bool | None:
    """A truth value as Go's strconv.ParseBool reads it; None for what is none."""
    if text in _TRUE:
        return True
    return False if text in _FALSE else None


def ports(text: str) -> tuple[int, ...] | None:
    """A list of ports with commas; empty for an empty text, None for what is no such list."""
    if not text.strip():
        return ()
    parsed = tuple(_number(entry.strip(), 0xFFFF) for entry in text.split(","))
    return None if None in parsed else tuple(port for port in parsed if port is not None)


def status_port(annotations: Mapping[str, str]) -> int | None:
    """The status port that annotations ask for; None where they ask for none. Raises AnnotationError."""
    if (asked := annotations.get(STATUS_PORT)) is None:
        return None
    if (port := _number(asked.strip(), 0xFFFF)) is None:
        raise AnnotationError(STATUS_PORT, asked, _PORT)
    return port


def _number(text: str, most: int) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= most else None


def _is_cidr_list(text: str) -> bool:
    try:
        for entry in text.split(",") if text else ():
            if "/" not in entry or "%" in entry or not entry.partition("/")[2].isdecimal():
                return False
            ip_network(entry, strict=False)
    except ValueError:
        return False
    return True


def _is_object(text: str) -> bool:
    return isinstance(_parsed(text), dict)


def _is_objects(text: str) -> bool:
    """Objects by name or in a list; nothing for none of them."""
    value = _parsed(text or "{}")
    if isinstance(value, dict):
        value = list(value.values())
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


def _parsed(text: str) -> object:
    try:
        return jsonio.loads(text)
    except ValueError:
        return None


_PORT = "a port, 0 to 65535"
_IS_QUANTITY = re.compile(r"\+?([0-9]+\.?[0-9]*|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,3})?").fullmatch
_QUANTITY = (
    lambda text: _IS_QUANTITY(text.strip()) is not None,
    "a quantity of the Kubernetes API (100m, 0.5, 128Mi, 1Gi)",
)
_UINT32 = (lambda text: _number(text, 0xFFFFFFFF) is not None, "a number of seconds or times, 0 to 4294967295")
_BOOLEAN = (lambda text: flag(text) is not None, "true or false")
_PORTS = (lambda text: ports(text) is not None, "a list of ports with commas, 0 to 65535 each")
_RULES: dict[str, tuple[Callable[[str], bool], str]] = {
    INTERCEPTION_MODE: (lambda text: text in ("REDIRECT", "TPROXY", "NONE"), "REDIRECT, TPROXY or NONE"),
    STATUS_PORT: (lambda text: _number(text.strip(), 0xFFFF) is not None, _PORT),
    "readiness.status.sidecar.istio.io/initialDelaySeconds": _UINT32,
    "readiness.status.sidecar.istio.io/periodSeconds": _UINT32,
    "readiness.status.sidecar.istio.io/failureThreshold": _UINT32,
    "traffic.sidecar.istio.io/includeOutboundIPRanges": (
        lambda text: text == "*" or _is_cidr_list(text),
        "* or a list of CIDRs with commas (10.0.0.0/8,192.168.0.0/16)",
    ),
    "traffic.sidecar.istio.io/excludeOutboundIPRanges": (
        _is_cidr_list,
        "a list of CIDRs with commas (10.0.0.0/8,192.168.0.0/16)",
    ),
    "traffic.sidecar.istio.io/includeInboundPorts": (
        lambda text: text == "*" or ports(text) is not None,
        "* or a list of ports with commas, 0 to 65535 each",
    ),
    "traffic.sidecar.istio.io/excludeInboundPorts": _PORTS,
    "traffic.sidecar.istio.io/includeOutboundPorts": (
        lambda text: text == "*" or ports(text) is not None,
        "* or a list of ports with commas, 0 to 65535 each",
    ),
    "traffic.sidecar.istio.io/excludeOutboundPorts": _PORTS,
    "sidecar.istio.io/proxyCPU": _QUANTITY,
    "sidecar.istio.io/proxyCPULimit": _QUANTITY,
    "sidecar.istio.io/proxyMemory": _QUANTITY,
    "sidecar.istio.io/proxyMemoryLimit": _QUANTITY,
    PROMETHEUS_MERGE: _BOOLEAN,
    STATUS: (_is_object, "JSON as an injector writes it"),
    OVERRIDES: (_is_object, "JSON with containers and initContainers, as an injector writes it"),
    "sidecar.istio.io/userVolume": (_is_objects, "JSON of volumes: an object by name, or a list"),
    "sidecar.istio.io/userVolumeMount": (_is_objects, "JSON of volume mounts: an object by volume name, or a list"),
    "apm.datadoghq.com/env": (_is_object, "a JSON object of variables"),
}
KNOWN = frozenset({*_RULES, PROXY_CONFIG, TEMPLATES, NATIVE_SIDECAR, REWRITE_PROBES, IMAGE_TYPE, BEFORE_PROXY, INJECT})


def check(annotations: Mapping[str, str]) -> None:
    """Raise AnnotationError for the first annotation whose value is not allowed."""
    for name, value in annotations.items():
        rule = _RULES.get(name)
        if rule is not None and not rule[0](value):
            raise AnnotationError(name, value, rule[1])
        if name == PROXY_CONFIG:
            try:
                parse_proxy_config(value)
            except SettingsError as error:
                raise AnnotationError(name, value, f"a proxy configuration in YAML: {error}") from error
