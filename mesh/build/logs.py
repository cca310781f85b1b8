"""The access loggers of a filter: lines in files, OpenTelemetry's logs, and the counters that are made like them."""

from __future__ import annotations

from common.envoy.parts import HTTP_LOG, TCP_LOG, Message, extension, typed
from common.envoy.sidecar import AccessLog
from mesh.build.filters import access_logs
from mesh.build.metrics import AT_END, counts_connections, stats_logs
from mesh.model.meta import ObjectRef
from mesh.model.names import ClusterName
from mesh.model.provider import FileLog, LogFormat, OtelLog
from mesh.world.index import access_log
from mesh.world.proxy import Scope
from mesh.world.telemetry import MESH_LOG, Side, collector, logged, provider_named
from mesh.world.world import World

SIDES: dict[str, Side] = {"inbound": "SERVER", "outbound": "CLIENT", "gateway": "CLIENT"}


def logs(
    world: World, scope: Scope, direction: str, *, http: bool, host: str = "", ref: ObjectRef | None = None
) -> list[Message]:
    """The `access_log` of a filter that handles traffic of `direction` (inbound, outbound, gateway).

    `host` and `ref` are the app's own Service at an inbound port.
    """
    side = SIDES[direction]
    at_end = not http and counts_connections(world, scope, side)
    made: list[Message] = []
    for one in logged(world, scope, side):
        for log in _lines(world, scope, one.provider, direction, http=http):
            conditions = ([AT_END] if at_end else []) + ([_filter(one.filter)] if one.filter else [])
            if conditions:
                log["filter"] = conditions[0] if len(conditions) == 1 else {"and_filter": {"filters": conditions}}
            made.append(log)
    return made + stats_logs(world, scope, side, http=http, host=host, ref=ref)


def _filter(expression: str) -> Message:
    made = typed("access_loggers.filters.cel.v3.ExpressionFilter", expression=expression)
    return {"extension_filter": {"name": "envoy.access_loggers.extension_filters.cel", "typed_config": made}}


def _lines(world: World, scope: Scope, name: str, direction: str, *, http: bool) -> list[Message]:
    if name == MESH_LOG:
        return access_logs(access_log(world), direction, http=http)
    provider = provider_named(world, name)
    if provider is None:
        return []
    if provider.envoy_file_access_log is not None:
        log = provider.envoy_file_access_log
        made = access_logs(_as_access_log(log), direction, http=http)
        if log.omit_empty_values:
            for one in made:
                one["typed_config"]["log_format"]["omit_empty_values"] = True
        return made
    if provider.envoy_otel_als is not None:
        return _otel(world, scope, provider.envoy_otel_als, direction, http=http)
    return []


def _as_access_log(log: FileLog) -> AccessLog:
    form = log.log_format or LogFormat()
    if form.text:
        return AccessLog(log.path, form.text if form.text.endswith("\n") else form.text + "\n")
    return AccessLog(log.path, dict(form.labels) or None, bool(form.labels))


def _otel(world: World, scope: Scope, log: OtelLog, direction: str, *, http: bool) -> list[Message]:
    host = collector(world, scope, log)
    if not host:
        return []
    form = log.log_format or LogFormat()
    text = form.text or (HTTP_LOG if http else TCP_LOG).format(direction=direction)
    fields: Message = {
        "common_config": {
            "log_name": log.log_name,
            "grpc_service": {"envoy_grpc": {"cluster_name": str(ClusterName("outbound", log.port, "", host))}},
            "transport_api_version": "V3",
        },
        "body": {"string_value": text.rstrip("\n")},
    }
    if form.labels:
        fields["attributes"] = {
            "values": [{"key": key, "value": {"string_value": one}} for key, one in form.labels.items()]
        }
    kind = "access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig"
    return [extension("envoy.access_loggers.open_telemetry", kind, **fields)]
