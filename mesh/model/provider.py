"""Extension providers: services outside the mesh's own doing that objects can name (MeshConfig.ExtensionProvider)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mesh.model import fields as f
from mesh.model import formats
from mesh.model.shape import EMPTY, duration, flag, one_of, port, read, sub, text, text_map, whole


def _path(text: str) -> str:
    return "" if text.startswith("/") and not set(text) & set(" \r\n#") else "a path: /…"


@dataclass(frozen=True, slots=True)
class LogFormat:
    """What a line of a log is: a text, or the fields of an object, of commands of Envoy's access log."""

    ONE_OF = (("text", "labels"),)

    text: str = text(formats.log_format)
    labels: Mapping[str, str] = text_map(check=formats.log_format)


@dataclass(frozen=True, slots=True)
class FileLog:
    """A file that Envoy writes (EnvoyFileAccessLogProvider); without a path its own output."""

    ALSO = ("customTags",)

    path: str = text(empty=False, default="/dev/stdout")
    log_format: LogFormat | None = sub(LogFormat)
    omit_empty_values: bool = flag()


@dataclass(frozen=True, slots=True)
class OtelLog:
    """A collector of OpenTelemetry's logs by gRPC (EnvoyOpenTelemetryLogProvider)."""

    service: str = text(needed=True, empty=False)
    port: int = port(0, needed=True)
    log_name: str = text(empty=False, default="otel_envoy_accesslog")
    log_format: LogFormat | None = sub(LogFormat)


@dataclass(frozen=True, slots=True)
class Zipkin:
    """A collector of Zipkin's spans (ZipkinTracingProvider). `service` is [NAMESPACE/]HOST of the registry."""

    ALSO = ("headers", "timeout")

    service: str = text(needed=True, empty=False)
    port: int = port(0, needed=True)
    max_tag_length: int = whole(default=0)
    enable64bit_trace_id: bool = flag()
    path: str = text(_path, default="/api/v2/spans", empty=False)
    trace_context_option: str = one_of("USE_B3", "USE_B3_WITH_W3C_PROPAGATION")


@dataclass(frozen=True, slots=True)
class HttpExport:
    """How spans are sent by HTTP (OpenTelemetryTracingProvider, HttpService)."""

    ALSO = ("headers",)

    path: str = text(_path, default="/v1/traces", empty=False)
    timeout: float | None = duration()


@dataclass(frozen=True, slots=True)
class Otel:
    """A collector of OpenTelemetry's spans, by gRPC or HTTP (OpenTelemetryTracingProvider)."""

    ALSO = ("resourceDetectors", "dynatraceSampler", "grpc", "serviceAttributeEnrichment")

    service: str = text(needed=True, empty=False)
    port: int = port(0, needed=True)
    max_tag_length: int = whole(default=0)
    http: HttpExport | None = sub(HttpExport)


@dataclass(frozen=True, slots=True)
class ExtensionProvider:
    """A service that others can name (MeshConfig.ExtensionProvider): one of these."""

    ALSO = (
        "envoyExtAuthzHttp", "envoyExtAuthzGrpc", "lightstep", "datadog", "stackdriver", "opencensus", "skywalking",
        "sds", "envoyHttpAls", "envoyTcpAls",
    )  # fmt: skip

    name: str = text(needed=True)
    envoy_file_access_log: FileLog | None = sub(FileLog)
    envoy_otel_als: OtelLog | None = sub(OtelLog)
    opentelemetry: Otel | None = sub(Otel)
    zipkin: Zipkin | None = sub(Zipkin)
    prometheus: Mapping[str, str] | None = read(f.MapOf(f.Text()))


# What Istio's mesh configuration has without being asked
BUILT_IN = (ExtensionProvider("prometheus", prometheus=EMPTY), ExtensionProvider("envoy", FileLog()))
