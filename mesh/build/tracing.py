"""What HTTP's manager is told of tracing: how many requests, with which tags, and where their spans go."""

from __future__ import annotations

from common.envoy.parts import Message
from mesh.build.routes import seconds
from mesh.model.names import ClusterName
from mesh.model.provider import Otel, Zipkin
from mesh.model.telemetry import CustomTag
from mesh.world.proxy import Scope
from mesh.world.scopes import APP_NAMES
from mesh.world.telemetry import Side, collector, traced
from mesh.world.world import World

TRACE = "type.googleapis.com/envoy.config.trace.v3."
TIMEOUT = 10.0


def tracing(world: World, scope: Scope, side: Side) -> Message:
    """The field `tracing` of the manager; empty where nothing is traced."""
    found = traced(world, scope, side)
    if found is None:
        return {}
    provider = found.provider
    cluster = str(ClusterName("outbound", provider.port, "", collector(world, scope, provider)))
    made: Message = {
        "client_sampling": {"value": 100.0},
        "random_sampling": {"value": found.sampling},
        "overall_sampling": {"value": 100.0},
        "provider": _zipkin(provider, cluster) if isinstance(provider, Zipkin) else _otel(provider, cluster, scope),
    }
    if provider.max_tag_length:
        made["max_path_tag_length"] = provider.max_tag_length
    if tags := [one for name, tag in found.tags for one in _tag(name, tag)]:
        made["custom_tags"] = tags
    return {"tracing": made}


def _zipkin(provider: Zipkin, cluster: str) -> Message:
    return {
        "name": "envoy.tracers.zipkin",
        "typed_config": {
            "@type": TRACE + "ZipkinConfig",
            "collector_cluster": cluster,
            "collector_endpoint": provider.path,
            "collector_endpoint_version": "HTTP_JSON",
            "collector_hostname": cluster.rpartition("|")[2],
            "trace_id_128bit": not provider.enable64bit_trace_id,
            # the server's proxy makes a span of its own, below the client's
            "shared_span_context": False,
            "trace_context_option": provider.trace_context_option,
        },
    }


def _otel(provider: Otel, cluster: str, scope: Scope) -> Message:
    made: Message = {"@type": TRACE + "OpenTelemetryConfig", "service_name": service_name(scope)}
    host = cluster.rpartition("|")[2]
    if provider.http is not None:
        uri = {"uri": f"http://{host}{provider.http.path}", "cluster": cluster}
        made["http_service"] = {"http_uri": uri | {"timeout": seconds(provider.http.timeout or TIMEOUT)}}
    else:
        made["grpc_service"] = {"envoy_grpc": {"cluster_name": cluster, "authority": host}, "timeout": seconds(TIMEOUT)}
    return {"name": "envoy.tracers.opentelemetry", "typed_config": made}


def service_name(scope: Scope) -> str:
    """Whose spans they are: APP.NAMESPACE."""
    labels = dict(scope.labels)
    app = next((labels[name] for name in APP_NAMES if name in labels), scope.kind)
    return f"{app}.{scope.namespace}"


def _tag(name: str, tag: CustomTag) -> list[Message]:
    if tag.literal is not None:
        return [{"tag": name, "literal": {"value": tag.literal.value}}]
    if tag.environment is not None:
        one = tag.environment
        return [{"tag": name, "environment": {"name": one.name, "default_value": one.default_value}}]
    if tag.header is not None:
        one = tag.header
        return [{"tag": name, "request_header": {"name": one.name, "default_value": one.default_value}}]
    if tag.formatter is not None:
        return [{"tag": name, "value": tag.formatter.value}]
    return []
