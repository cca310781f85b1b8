"""The mesh configuration (istio.mesh.v1alpha1 MeshConfig): ConfigMap `istio`, key `mesh`, in the root namespace.

All of Istio's fields are known; those that pymesh does not act on are taken in silence, for one file serves both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common.errors import SettingsError
from common.yamlio import load_yaml
from mesh.model import fields as f
from mesh.model.common import TcpKeepalive, export_to
from mesh.model.httprule import HTTPRetry
from mesh.model.meta import Meta, ObjectRef
from mesh.model.policy import LocalityLbSetting
from mesh.model.problem import Problem
from mesh.model.provider import ExtensionProvider
from mesh.model.reading import ABSENT, Reading
from mesh.model.shape import (
    Sub,
    camel,
    duration,
    flag,
    map_of,
    number,
    one_of,
    port,
    read,
    shape_of,
    sub,
    subs,
    text,
    text_map,
    texts,
    whole,
)


@dataclass(frozen=True, slots=True)
class TrafficPolicyMode:
    """Where traffic to nobody known goes (MeshConfig.OutboundTrafficPolicy)."""

    mode: str = one_of("REGISTRY_ONLY", "ALLOW_ANY")


@dataclass(frozen=True, slots=True)
class InboundTrafficPolicy:
    """Where inbound traffic goes on to (MeshConfig.InboundTrafficPolicy)."""

    mode: str = one_of("PASSTHROUGH", "LOCALHOST")


@dataclass(frozen=True, slots=True)
class PathNormalization:
    """What is made of paths before they are compared (MeshConfig.ProxyPathNormalization)."""

    normalization: str = one_of("DEFAULT", "NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES")


@dataclass(frozen=True, slots=True)
class DefaultProviders:
    """Which extension providers are used where nobody says (MeshConfig.DefaultProviders)."""

    tracing: tuple[str, ...] = texts()
    metrics: tuple[str, ...] = texts()
    access_logging: tuple[str, ...] = texts()


@dataclass(frozen=True, slots=True)
class Topology:
    """What stands in front of a gateway (Topology)."""

    num_trusted_proxies: int = whole(default=0)
    forward_client_cert_details: str = one_of(
        "UNDEFINED", "SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY"
    )
    proxy_protocol: Any = read(f.Raw())


@dataclass(frozen=True, slots=True)
class HeaderSwitch:
    """Whether a header is written."""

    disabled: bool | None = flag(None)
    enabled: bool | None = flag(None)
    value: str = text()


@dataclass(frozen=True, slots=True)
class ProxyHeaders:
    """Headers that the proxy writes (ProxyConfig.ProxyHeaders)."""

    ALSO = ("setCurrentClientCertDetails", "metadataExchangeHeaders")

    forwarded_client_cert: str = one_of(
        "UNDEFINED", "SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY"
    )
    request_id: HeaderSwitch | None = sub(HeaderSwitch)
    server: HeaderSwitch | None = sub(HeaderSwitch)
    attempt_count: HeaderSwitch | None = sub(HeaderSwitch)
    envoy_debug_headers: HeaderSwitch | None = sub(HeaderSwitch)
    x_forwarded_host: HeaderSwitch | None = sub(HeaderSwitch)
    x_forwarded_port: HeaderSwitch | None = sub(HeaderSwitch)
    preserve_http1_header_case: bool | None = flag(None)


@dataclass(frozen=True, slots=True)
class Tracing:
    """How requests are traced (Tracing)."""

    ALSO = ("*",)

    sampling: float | None = number(0, 100)
    max_path_tag_length: int = whole(default=0)
    enable_istio_tags: bool | None = flag(None)
    custom_tags: Mapping[str, Any] = map_of(f.Raw())
    zipkin: Any = read(f.Raw())


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """What each proxy starts with (ProxyConfig); pods may say otherwise by annotation."""

    ALSO = (
        "customConfigFile", "proxyBootstrapTemplatePath", "sds", "envoyAccessLogService", "envoyMetricsService",
        "image", "envoyMetricsServiceAddress", "availabilityZone", "controlPlaneAuthPolicy", "readinessProbe",
        "proxyStatsMatcher", "caCertificatesPem", "privateKeyProvider", "zipkinAddress", "discoveryRefreshDelay",
        "fileFlushInterval", "fileFlushMinSizeKb", "statsCompression", "statsdUdpAddress", "meshId", "extraStatTags",
        "runtimeValues", "terminationDrainDuration", "holdApplicationUntilProxyStarts", "statNameLength",
    )  # fmt: skip

    config_path: str = text()
    binary_path: str = text()
    service_cluster: str = text()
    tracing_service_name: str = one_of("APP_LABEL_AND_NAMESPACE", "CANONICAL_NAME_ONLY", "CANONICAL_NAME_AND_NAMESPACE")
    drain_duration: float | None = duration()
    discovery_address: str = text()
    proxy_admin_port: int = port(15000)
    concurrency: int | None = whole()
    interception_mode: str = one_of("REDIRECT", "TPROXY", "NONE")
    tracing: Tracing | None = sub(Tracing)
    proxy_metadata: Mapping[str, str] = text_map()
    status_port: int = port(15020)
    gateway_topology: Topology | None = sub(Topology)
    proxy_headers: ProxyHeaders | None = sub(ProxyHeaders)


_ALL_NAMESPACES = ("*",)


NOWHERE = Meta(ObjectRef("MeshConfig", "", "defaults"))


@dataclass(frozen=True, slots=True)
class MeshConfig:
    """The whole mesh's settings, with Istio's defaults; `MeshConfig()` is a mesh that nobody configured."""

    ALSO = (
        "configSources", "caCertificates", "certificates", "serviceSettings", "serviceScopeConfigs", "ca",
        "verifyCertificateAtClient", "discoverySelectors", "meshMTLS", "tlsDefaults", "hboneIdleTimeout",
        "enableEnvoyAccessLogService", "disableEnvoyListenerLog", "proxyHttpPort", "enablePrometheusMerge",
        "inboundClusterStatName", "outboundClusterStatName",
    )  # fmt: skip

    meta: Meta = field(default=NOWHERE, compare=False)
    proxy_listen_port: int = port(15001)
    proxy_inbound_listen_port: int = port(15006)
    connect_timeout: float = duration(default=10.0)
    protocol_detection_timeout: float = duration(0.0, default=0.0)
    tcp_keepalive: TcpKeepalive | None = sub(TcpKeepalive)
    ingress_class: str = text(default="istio")
    ingress_service: str = text(default="istio-ingressgateway")
    ingress_controller_mode: str = one_of("UNSPECIFIED", "OFF", "DEFAULT", "STRICT", default="STRICT")
    ingress_selector: str = text(default="ingressgateway")
    enable_tracing: bool = flag()
    access_log_file: str = text()
    access_log_format: str = text()
    access_log_encoding: str = one_of("TEXT", "JSON")
    default_config: ProxyConfig = read(Sub(ProxyConfig), ProxyConfig())
    outbound_traffic_policy: TrafficPolicyMode = read(Sub(TrafficPolicyMode), TrafficPolicyMode("ALLOW_ANY"))
    inbound_traffic_policy: InboundTrafficPolicy = read(Sub(InboundTrafficPolicy), InboundTrafficPolicy())
    enable_auto_mtls: bool = flag(True)
    trust_domain: str = text(default="cluster.local")
    trust_domain_aliases: tuple[str, ...] = texts()
    default_service_export_to: tuple[str, ...] = read(f.Many(f.Text()), _ALL_NAMESPACES)
    default_virtual_service_export_to: tuple[str, ...] = read(f.Many(f.Text()), _ALL_NAMESPACES)
    default_destination_rule_export_to: tuple[str, ...] = read(f.Many(f.Text()), _ALL_NAMESPACES)
    root_namespace: str = text(default="istio-system")
    locality_lb_setting: LocalityLbSetting = read(Sub(LocalityLbSetting), LocalityLbSetting(enabled=True))
    dns_refresh_rate: float = duration(default=60.0)
    h2_upgrade_policy: str = one_of("DO_NOT_UPGRADE", "UPGRADE")
    path_normalization: PathNormalization = read(Sub(PathNormalization), PathNormalization())
    default_http_retry_policy: HTTPRetry | None = sub(HTTPRetry)
    extension_providers: tuple[ExtensionProvider, ...] = subs(ExtensionProvider)
    default_providers: DefaultProviders = read(Sub(DefaultProviders), DefaultProviders())

    def check(self, r: Reading) -> None:
        """The visibility defaults are one word each."""
        for name in (
            "default_service_export_to",
            "default_virtual_service_export_to",
            "default_destination_rule_export_to",
        ):
            export_to(getattr(self, name), r, camel(name))


def mesh_config(
    data: Any, meta: Meta = NOWHERE, r: Reading | None = None
) -> tuple[MeshConfig | None, tuple[Problem, ...]]:
    """The mesh configuration from its document as data; an empty one is the defaults. Never raises.

    Names are as in protobuf's JSON: camelCase or snake_case.
    """
    r = Reading(meta.ref) if r is None else r
    made = shape_of(MeshConfig).read(_camel(data) if data is not None else {}, r, meta=meta)
    return (None if made is ABSENT or r.errors else made), tuple(r.problems)


def from_config_map(thing: Mapping[str, Any], meta: Meta, r: Reading) -> MeshConfig | None:
    """The mesh configuration from the ConfigMap `istio`, key `mesh`; paths lead on from `data.mesh`."""
    data = thing.get("data")
    document = data.get("mesh") if isinstance(data, Mapping) else None
    r.path.extend(("data", "mesh"))
    if document is None:
        r.error("missing", "the ConfigMap has no mesh configuration")
        return None
    if not isinstance(document, str):
        r.wrong_type("a YAML document as text", document)
        return None
    try:
        read_data = load_yaml(document, "it", aliases=False)
    except SettingsError as error:
        r.error("not-yaml", str(error))
        return None
    return mesh_config(read_data, meta, r)[0]


def _camel(value: Any) -> Any:
    """Keys of messages in camelCase, as deep as they go; maps (labels, metadata) have keys of their own."""
    if isinstance(value, Mapping):
        return {
            (camel(key) if isinstance(key, str) and key.islower() else key): (one if key in _MAPS else _camel(one))
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [_camel(one) for one in value]
    return value


_MAPS = frozenset({"proxyMetadata", "proxy_metadata", "runtimeValues", "runtime_values", "labels", "customTags", "to"})
