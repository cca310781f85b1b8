"""Istio's ProxyConfig (istio.io, mesh v1alpha1): the mesh's default, a pod's own over it, and its JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
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
_PART = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(ns|us|µs|ms|s|m|h)")
_DURATION = re.compile(rf"-?({_PART.pattern})+")
_NANOSECONDS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
# Fields of which a message holds one at most: setting one takes the others away.
_EITHER = (
    frozenset({"serviceCluster", "tracingServiceName"}),
    frozenset({"zipkin", "lightstep", "datadog", "stackdriver", "openCensusAgent"}),
)
# Maps of the user's own names, which stay as they are written.
_MAPS = frozenset({"proxyMetadata", "runtimeValues", "customTags"})


def _integer(most: int) -> Callable[[object], int]:
    """A whole number, also as text or with a zero after its point, as protobuf's JSON has it."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError
        number = float(value) if isinstance(value, str) and "." in value else value
        if isinstance(number, float) and not number.is_integer():
            raise ValueError
        found = int(number)
        if not 0 <= found <= most:
            raise ValueError
        return found

    return read


def _duration(value: object) -> str:
    """A duration as Go writes it (45s, 1m30s, 500ms), in seconds as protobuf's JSON has it: 0.500s."""
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        raise ValueError
    nanoseconds = sum(
        (Decimal(number) * _NANOSECONDS[unit] for number, unit in _PART.findall(value)), Decimal(0)
    ).to_integral_value()
    seconds, rest = divmod(int(nanoseconds), 10**9)
    digits = f"{rest:09}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f"{'-' if value.startswith('-') else ''}{seconds}{'.' if digits else ''}{digits}s"


def _whole_seconds(value: object) -> str:
    found = _duration(value)
    if found.startswith("-") or found == "0s" or "." in found:
        raise ValueError
    return found


def _mode(value: object) -> object:
    if value not in _MODES:
        raise ValueError
    return value


def _of(kind: type) -> Callable[[object], object]:
    def read(value: object) -> object:
        if not isinstance(value, kind):
            raise ValueError
        return value

    return read


def _texts(value: object) -> dict[str, str]:
    """A mapping of strings; nothing is the empty one."""
    if not isinstance(value, dict) or not all(isinstance(entry, str | None) for entry in value.values()):
        raise ValueError
    return {name: entry or "" for name, entry in value.items()}


def _address(value: object) -> object:
    """HOST:PORT; empty for none."""
    if not isinstance(value, str):
        raise ValueError
    host, colon, port = value.rpartition(":")
    if value and not (host and colon and port.isascii() and port.isdecimal() and 0 < int(port) <= 65535):
        raise ValueError
    return value


def _topology(value: object) -> object:
    if not isinstance(value, dict):
        raise ValueError
    trusted = value.get("numTrustedProxies")
    return value if trusted is None else {**value, "numTrustedProxies": _integer(2**32 - 1)(trusted)}


def _as_is(value: object) -> object:
    return value


_PORT = (_integer(65535), "a port, 0 to 65535")
_NUMBER = (_integer(2**32 - 1), "a whole number")
_TEXT = (_of(str), "a string")
_MAPPING = (_of(dict), "a mapping")
_HOST_PORT = (_address, "HOST:PORT")
# How each field is read (ValueError: it cannot be), and what it may be.
_KINDS: dict[str, tuple[Callable[[Any], object], str]] = {
    "statusPort": _PORT,
    "proxyAdminPort": _PORT,
    "concurrency": _NUMBER,
    "statNameLength": _NUMBER,
    "drainDuration": (_whole_seconds, "whole seconds, at least one (45s)"),
    "terminationDrainDuration": (_duration, "a duration (45s, 1m30s, 500ms)"),
    "interceptionMode": (_mode, "REDIRECT, TPROXY or NONE"),
    "holdApplicationUntilProxyStarts": (_of(bool), "true or false"),
    "proxyMetadata": (_texts, "a mapping of strings"),
    "gatewayTopology": (_topology, "a mapping, its numTrustedProxies a whole number"),
    "tracing": _MAPPING,
    "image": _MAPPING,
    "discoveryAddress": _HOST_PORT,
    "statsdUdpAddress": _HOST_PORT,
    "configPath": _TEXT,
    "binaryPath": _TEXT,
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
    found: ProxyConfig = {}
    for name, content in config.items():
        if content is None:
            continue
        read, allowed = _KINDS.get(name, (_as_is, ""))
        try:
            found[name] = read(content)
        except (ValueError, OverflowError) as error:
            raise SettingsError(f"{where}.{name}: {shortened(content)} is not {allowed}") from error
    return found


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
