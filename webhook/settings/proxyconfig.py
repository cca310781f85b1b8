"""Istio's ProxyConfig (istio.io, mesh v1alpha1): the mesh's default, a pod's own over it, and its JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from common import jsonio
from common.errors import SettingsError, shortened
from common.yamlio import load_yaml
from webhook.merging import as_message

ProxyConfig = dict[str, Any]

# What the proxy takes where nothing is said; such fields are left out of the JSON that it gets.
DEFAULTS: ProxyConfig = {
    "configPath": "./etc/istio/proxy",
    "binaryPath": "/usr/local/bin/envoy",
    "serviceCluster": "istio-proxy",
    "drainDuration": "45s",
    "terminationDrainDuration": "5s",
    "discoveryAddress": "istiod.istio-system.svc:15012",
    "proxyAdminPort": 15000,
    "controlPlaneAuthPolicy": "MUTUAL_TLS",
    "statNameLength": 189,
    "statusPort": 15020,
    "interceptionMode": "REDIRECT",
}
_MODES = ("REDIRECT", "TPROXY", "NONE")
_DURATION = re.compile(r"-?\d{1,12}(\.\d{1,9})?s")
# Fields of which a message holds one at most: setting one takes the others away.
_EITHER = (
    frozenset({"serviceCluster", "tracingServiceName"}),
    frozenset({"zipkin", "lightstep", "datadog", "stackdriver", "openCensusAgent"}),
)
# Maps of the user's own names, which stay as they are written.
_MAPS = frozenset({"proxyMetadata", "runtimeValues", "customTags"})


def _is_integer(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**32


def _is_port(value: object) -> bool:
    return type(value) is int and 0 <= value <= 65535


def _is_duration(value: object) -> bool:
    return isinstance(value, str) and _DURATION.fullmatch(value) is not None


def _is_mode(value: object) -> bool:
    return value in _MODES


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_mapping(value: object) -> bool:
    return isinstance(value, dict)


def _is_texts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(entry, str) for entry in value.values())


_KINDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "statusPort": (_is_port, "a port, 0 to 65535"),
    "proxyAdminPort": (_is_port, "a port, 0 to 65535"),
    "concurrency": (_is_integer, "a whole number"),
    "statNameLength": (_is_integer, "a whole number"),
    "drainDuration": (_is_duration, "seconds (45s)"),
    "terminationDrainDuration": (_is_duration, "seconds (45s)"),
    "interceptionMode": (_is_mode, "REDIRECT, TPROXY or NONE"),
    "holdApplicationUntilProxyStarts": (_is_flag, "true or false"),
    "proxyMetadata": (_is_texts, "a mapping of strings"),
    "tracing": (_is_mapping, "a mapping"),
    "image": (_is_mapping, "a mapping"),
    "discoveryAddress": (_is_text, "a string"),
    "configPath": (_is_text, "a string"),
    "binaryPath": (_is_text, "a string"),
}


@lru_cache(maxsize=64)
def parse(source: str) -> ProxyConfig:
    """The configuration in a YAML or JSON text, the same object for the same text. Raises SettingsError."""
    return checked(load_yaml(source, "proxy configuration", aliases=False), "proxy configuration")


def checked(value: object, where: str) -> ProxyConfig:
    """The configuration, its fields named as JSON names them. Raises SettingsError; its message begins with `where`."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise SettingsError(f"{where}: {shortened(value)} is not a mapping")
    try:
        config: ProxyConfig = _camel(value)
    except RecursionError as error:
        raise SettingsError(f"{where}: nested too deeply, or an alias (*) of what it is in") from error
    for name, content in config.items():
        kind = _KINDS.get(name)
        if kind is not None and content is not None and not kind[0](content):
            raise SettingsError(f"{where}.{name}: {shortened(content)} is not {kind[1]}")
    return {name: content for name, content in config.items() if content is not None}


def overlay(config: ProxyConfig, over: ProxyConfig) -> ProxyConfig:
    """`config` with what `over` sets."""
    return as_message(config, over, _EITHER)


def essential(config: ProxyConfig) -> ProxyConfig:
    """What differs from the proxy's own defaults; the zero of a number or text is as good as nothing."""
    optional = ("concurrency", "holdApplicationUntilProxyStarts")
    return {
        name: value
        for name, value in config.items()
        if value != DEFAULTS.get(name) and (name in optional or value not in (0, "", [], {}))
    }


def _camel(value: Any, *, keys: bool = True) -> Any:
    if isinstance(value, Mapping):
        return {_name(key) if keys else str(key): _camel(entry, keys=key not in _MAPS) for key, entry in value.items()}
    return [_camel(entry) for entry in value] if isinstance(value, list) else value


def _name(key: object) -> str:
    """discovery_address as discoveryAddress: protobuf's JSON takes both."""
    first, *others = str(key).split("_")
    return first + "".join(part.capitalize() for part in others)


def to_json(config: ProxyConfig) -> str:
    """PROXY_CONFIG, as the proxy's agent reads it."""
    return jsonio.dumps(essential(config))
