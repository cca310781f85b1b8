"""Every annotation and label of pods that means something here: what its name is, and what its value may be.

The one table of them. Code takes names from here, templates read what stands here, docs/annotations.md describes it,
and a name that looks like a slip of one here gets a warning. Tests hold all four to it.

A value that does not fit is refused with the annotation's name, the value and what is allowed: a pod with a port list
that nobody can read would start, and then not do what its author meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final

from common import jsonio
from common.errors import SettingsError
from webhook.errors import AnnotationError, InjectionError
from webhook.limits import ANNOTATIONS_BYTES, PROXY_CONFIG_BYTES
from webhook.settings.proxyconfig import parse as parse_proxy_config

STATUS = "sidecar.istio.io/status"
OVERRIDES = "proxy.istio.io/overrides"
PROXY_CONFIG = "proxy.istio.io/config"
TEMPLATES = "inject.istio.io/templates"
NATIVE_SIDECAR = "sidecar.istio.io/nativeSidecar"
REWRITE_PROBES = "sidecar.istio.io/rewriteAppHTTPProbers"
STATUS_PORT = "status.sidecar.istio.io/port"
INTERCEPTION_MODE = "sidecar.istio.io/interceptionMode"
INBOUND_PORTS = "traffic.sidecar.istio.io/includeInboundPorts"
NOT_INBOUND_PORTS = "traffic.sidecar.istio.io/excludeInboundPorts"
OUTBOUND_RANGES = "traffic.sidecar.istio.io/includeOutboundIPRanges"
IMAGE_TYPE = "sidecar.istio.io/proxyImageType"
PROMETHEUS_MERGE = "prometheus.istio.io/merge-metrics"
BEFORE_PROXY = "sidecar.istio.io/init-containers-before-proxy"
NETWORKS = "k8s.v1.cni.cncf.io/networks"
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
DEFAULT_LOGS_CONTAINER = "kubectl.kubernetes.io/default-logs-container"

# An annotation and a label of the same name.
INJECT = "sidecar.istio.io/inject"
REVISION = "istio.io/rev"

NETWORK_LABEL = "topology.istio.io/network"
TLS_MODE_LABEL = "security.istio.io/tlsMode"
CANONICAL_NAME_LABEL = "service.istio.io/canonical-name"
CANONICAL_REVISION_LABEL = "service.istio.io/canonical-revision"

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
        raise AnnotationError(STATUS_PORT, asked, _PORT.allowed)
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


def _is_proxy_config(text: str) -> bool:
    if len(text) > PROXY_CONFIG_BYTES:
        raise SettingsError(f"{len(text)} characters are more than {PROXY_CONFIG_BYTES}")
    return parse_proxy_config(text) is not None


_IS_QUANTITY = re.compile(r"\+?([0-9]+\.?[0-9]*|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,3})?").fullmatch


@dataclass(frozen=True, slots=True)
class Value:
    """What an annotation's value may be, in words that follow "is not"; without `fits` they only describe it.

    `fits` tells whether a value is taken, or raises SettingsError to say why it is not.
    """

    allowed: str
    fits: Callable[[str], bool] | None = None


_ANY = Value("any")
_NAMES = Value("names with commas")
_IMAGE = Value("image")
_BOOLEAN = Value("true or false", lambda text: flag(text) is not None)
_PORT = Value("a port, 0 to 65535", lambda text: _number(text.strip(), 0xFFFF) is not None)
_PORTS = Value("a list of ports with commas, 0 to 65535 each", lambda text: ports(text) is not None)
_PORTS_OR_ALL = Value(f"* or {_PORTS.allowed}", lambda text: text == "*" or ports(text) is not None)
_RANGES = Value("a list of CIDRs with commas (10.0.0.0/8,192.168.0.0/16)", _is_cidr_list)
_RANGES_OR_ALL = Value(f"* or {_RANGES.allowed}", lambda text: text == "*" or _is_cidr_list(text))
_UINT32 = Value("a number of seconds or times, 0 to 4294967295", lambda text: _number(text, 0xFFFFFFFF) is not None)
_QUANTITY = Value(
    "a quantity of the Kubernetes API (100m, 0.5, 128Mi, 1Gi)", lambda text: _IS_QUANTITY(text.strip()) is not None
)
_MODE = Value("REDIRECT, TPROXY or NONE", lambda text: text in ("REDIRECT", "TPROXY", "NONE"))

ANNOTATIONS: Final[Mapping[str, Value]] = {
    INJECT: Value("true or false; else: selectors and policy decide, with a warning"),
    TEMPLATES: _NAMES,
    NATIVE_SIDECAR: Value("false: no; anything else: yes"),
    PROXY_CONFIG: Value("a proxy configuration in YAML", _is_proxy_config),
    INTERCEPTION_MODE: _MODE,
    INBOUND_PORTS: _PORTS_OR_ALL,
    NOT_INBOUND_PORTS: _PORTS,
    "traffic.sidecar.istio.io/includeOutboundPorts": _PORTS_OR_ALL,
    "traffic.sidecar.istio.io/excludeOutboundPorts": _PORTS,
    OUTBOUND_RANGES: _RANGES_OR_ALL,
    "traffic.sidecar.istio.io/excludeOutboundIPRanges": _RANGES,
    "traffic.sidecar.istio.io/excludeInterfaces": _NAMES,
    "istio.io/reroute-virtual-interfaces": _NAMES,
    "traffic.sidecar.istio.io/kubevirtInterfaces": _NAMES,
    STATUS_PORT: _PORT,
    "readiness.status.sidecar.istio.io/initialDelaySeconds": _UINT32,
    "readiness.status.sidecar.istio.io/periodSeconds": _UINT32,
    "readiness.status.sidecar.istio.io/failureThreshold": _UINT32,
    "readiness.status.sidecar.istio.io/applicationPorts": _ANY,
    REWRITE_PROBES: Value("true or false; else: as the values say"),
    PROMETHEUS_MERGE: _BOOLEAN,
    "sidecar.istio.io/proxyImage": _IMAGE,
    IMAGE_TYPE: Value("default, debug, distroless"),
    "sidecar.istio.io/proxyCPU": _QUANTITY,
    "sidecar.istio.io/proxyCPULimit": _QUANTITY,
    "sidecar.istio.io/proxyMemory": _QUANTITY,
    "sidecar.istio.io/proxyMemoryLimit": _QUANTITY,
    "sidecar.istio.io/logLevel": Value("Envoy's level"),
    "sidecar.istio.io/componentLogLevel": Value("component:level,…"),
    "sidecar.istio.io/agentLogLevel": Value("scope:level"),
    "sidecar.istio.io/userVolume": Value("JSON of volumes: an object by name, or a list", _is_objects),
    "sidecar.istio.io/userVolumeMount": Value(
        "JSON of volume mounts: an object by volume name, or a list", _is_objects
    ),
    "sidecar.istio.io/capNetBindService": Value("true"),
    "sidecar.istio.io/bootstrapOverride": Value("a ConfigMap's name"),
    BEFORE_PROXY: _NAMES,
    "apm.datadoghq.com/env": Value("a JSON object of variables", _is_object),
    NETWORKS: Value("Multus'"),
    DEFAULT_CONTAINER: Value("a container's name"),
    DEFAULT_LOGS_CONTAINER: Value("a container's name"),
    STATUS: Value("JSON as an injector writes it", _is_object),
    OVERRIDES: Value("JSON with containers and initContainers, as an injector writes it", _is_object),
    REVISION: _ANY,
    # the injector passes these by
    "sidecar.istio.io/extraStatTags": _ANY,
    "sidecar.istio.io/statsCompression": _ANY,
    "sidecar.istio.io/statsEvictionInterval": _ANY,
    "sidecar.istio.io/statsFlushInterval": _ANY,
    "sidecar.istio.io/statsHistogramBins": _ANY,
    "sidecar.istio.io/statsHistogramBuckets": _ANY,
    "sidecar.istio.io/statsInclusionPrefixes": _ANY,
    "sidecar.istio.io/statsInclusionRegexps": _ANY,
    "sidecar.istio.io/statsInclusionSuffixes": _ANY,
    "sidecar.istio.io/discoveryAddress": _ANY,
    "sidecar.istio.io/enableCoreDump": _ANY,
    "ambient.istio.io/bypass-inbound-capture": _ANY,
    "ambient.istio.io/dns-capture": _ANY,
    "ambient.istio.io/redirection": _ANY,
    "ambient.istio.io/waypoint-inbound-binding": _ANY,
    "galley.istio.io/analyze-suppress": _ANY,
}
LABELS: Final = frozenset(
    [
        INJECT,
        REVISION,
        NETWORK_LABEL,
        TLS_MODE_LABEL,
        CANONICAL_NAME_LABEL,
        CANONICAL_REVISION_LABEL,
        "service.istio.io/workload-name",
        "networking.istio.io/tunnel",
        # the injector passes these by
        "istio.io/dataplane-mode",
        "istio.io/gateway-name",
        "istio.io/use-waypoint",
        "istio.io/use-waypoint-namespace",
        "topology.istio.io/cluster",
        "topology.istio.io/subzone",
    ]
)


def check(annotations: Mapping[str, str]) -> None:
    """Raise InjectionError for annotations that are too many, and for the first whose value is not allowed."""
    size = sum(map(len, annotations)) + sum(map(len, annotations.values()))
    if size > ANNOTATIONS_BYTES:
        raise InjectionError(f"annotations: {size} characters are more than the API server takes, {ANNOTATIONS_BYTES}")
    for name, value in annotations.items():
        rule = ANNOTATIONS.get(name)
        if rule is None or rule.fits is None:
            continue
        try:
            fits = rule.fits(value)
        except SettingsError as error:
            raise AnnotationError(name, value, f"{rule.allowed}: {error}") from error
        if not fits:
            raise AnnotationError(name, value, rule.allowed)
