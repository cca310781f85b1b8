"""Istio's standard metrics by Envoy's own stats logger, which counts what access logs could say.

    envoy_istio_requests_total{reporter="source", source_workload="web", destination_service="reviews.shop…", …}

Listeners of what the app sends are shared by many pods, so who the pod itself is comes from Envoy's node, put into the
connection's state as it starts: once a connection, and not once a request. Who the peer is:

    at the client   the cluster's metadata (the Service), and the endpoint's (the workload)
    at the server   the header PEER, which the client's proxy writes and the server's takes away: a claim, no proof

What nobody knows is `unknown`, or a label that is not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from common.envoy.parts import Message, extension
from mesh.model.meta import ObjectRef
from mesh.world.index import Endpoint
from mesh.world.proxy import Scope
from mesh.world.scopes import APP_NAMES
from mesh.world.telemetry import Side, metered, peers_told
from mesh.world.world import World

PEER = "x-mesh-peer"
OWN, CALLER = "mesh.own", "mesh.peer"
UNKNOWN = "unknown"
# What is believed of a claim: as much as a label of Kubernetes has
LONGEST = 63
# Counters and histograms of one Envoy; series beyond are not made, so that no client and no configuration can fill its
# memory. At the server the caller's names are a claim, so that anybody can make series there. A histogram is 20 KB of
# the page that is scraped, which is put together in memory.
LIMITS: Mapping[Side, tuple[int, int]] = {"CLIENT": (6_000, 3_000), "SERVER": (2_000, 1_200)}

# What is told of a workload, by the label of its metrics, each as CEL on the node; the labels are Istio's.
_LABELS = "xds.node.metadata.LABELS"


def _label(last: str, *names: str) -> str:
    for name in reversed(names):
        last = f"'{name}' in {_LABELS} ? {_LABELS}['{name}'] : {last}"
    return last


def _metadata(name: str) -> str:
    return f"'{name}' in xds.node.metadata ? xds.node.metadata.{name} : '{UNKNOWN}'"


REVISIONS = ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")
_NODE: Mapping[str, str] = {
    "workload": _metadata("WORKLOAD_NAME"),
    "workload_namespace": _metadata("NAMESPACE"),
    "app": _label(f"'{UNKNOWN}'", "app"),
    "version": _label(f"'{UNKNOWN}'", "version"),
    "canonical_service": _label(_metadata("WORKLOAD_NAME"), *APP_NAMES),
    "canonical_revision": _label("'latest'", *REVISIONS),
    "cluster": _metadata("CLUSTER_ID"),
}


def _state(field: str) -> str:
    return f"%FILTER_STATE({OWN}.{field}:PLAIN)%"


def own_state() -> Message:
    """The network filter that tells a connection who the proxy is."""
    values = [
        {
            "object_key": f"{OWN}.{field}",
            "factory_key": "envoy.string",
            "format_string": {
                "text_format_source": {"inline_string": f"%CEL(has({_LABELS}) ? ({cel}) : '{UNKNOWN}')%"}
            },
        }
        for field, cel in _NODE.items()
    ]
    return extension(
        "envoy.filters.network.set_filter_state",
        "filters.network.set_filter_state.v3.Config",
        on_new_connection=values,
    )


def peer_header() -> Message:
    """What a request to another proxy says of who sends it (core.v3.HeaderValueOption)."""
    value = ";".join(_state(field) for field in _NODE)
    return {"header": {"key": PEER, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def peer_filter() -> Message:
    """The HTTP filter that takes the header away and remembers what it said."""
    rules = [
        {
            "header": PEER,
            "on_header_present": {
                "metadata_namespace": CALLER,
                "key": field,
                "regex_value_rewrite": {
                    "pattern": {"regex": rf"^(?:[^;]*;){{{place}}}([^;]*).*$"},
                    "substitution": r"\1",
                },
            },
            "on_header_missing": {"metadata_namespace": CALLER, "key": field, "value": UNKNOWN},
            "remove": place == len(_NODE) - 1,
        }
        for place, field in enumerate(_NODE)
    ]
    return extension(
        "envoy.filters.http.header_to_metadata", "filters.http.header_to_metadata.v3.Config", request_rules=rules
    )


def endpoint_metadata(one: Endpoint) -> Message:
    """Who an endpoint is (core.v3.Metadata), for the metrics of those who send to it."""
    labels = one.labels
    told = {
        "workload": one.workload,
        "app": labels.get("app", ""),
        "version": labels.get("version", ""),
        "canonical_service": next((labels[name] for name in APP_NAMES if name in labels), one.workload),
        "canonical_revision": next((labels[name] for name in REVISIONS if name in labels), "latest"),
    }
    return {"filter_metadata": {"istio": {key: value or UNKNOWN for key, value in told.items()}}}


def service_metadata(host: str, name: str, namespace: str) -> Message:
    """What a cluster tells of its Service beside Istio's list, which no format of a log can look into."""
    return {"destination_service": host, "destination_service_name": name, "destination_service_namespace": namespace}


def within(routes: Any, domain: str) -> bool:
    """Whether all clusters that routes lead to are Services of the cluster: nobody else is told who calls."""
    if isinstance(routes, Mapping):
        for key, value in routes.items():
            if key in ("cluster", "cluster_header") or (key == "name" and "weight" in routes):
                if not (key != "cluster_header" and isinstance(value, str) and value.endswith(f".svc.{domain}")):
                    return False
            elif not within(value, domain):
                return False
    elif isinstance(routes, (list, tuple)):
        return all(within(one, domain) for one in routes)
    return True


def told_to(world: World, scope: Scope, routes: Any) -> Message:
    """The fields of a virtual host by which its servers learn who calls."""
    if peers_told(world) and within(routes, scope.domain):
        return {"request_headers_to_add": [peer_header()]}
    return {}


def _at_client() -> dict[str, str]:
    upstream = {field: f"%UPSTREAM_METADATA(istio:{field})%" for field in _NODE}
    # workloads behind a Service are of its own namespace
    upstream["workload_namespace"] = "%CLUSTER_METADATA(istio:destination_service_namespace)%"
    upstream["cluster"] = UNKNOWN
    return {
        "reporter": "source",
        **{f"source_{field}": _state(field) for field in _NODE},
        "source_principal": UNKNOWN,
        **{f"destination_{field}": value for field, value in upstream.items()},
        "destination_principal": UNKNOWN,
        **{name: f"%CLUSTER_METADATA(istio:{name})%" for name in service_metadata("", "", "")},
        "connection_security_policy": UNKNOWN,
    }


def _at_server(host: str, ref: ObjectRef | None, caller: Mapping[str, str]) -> dict[str, str]:
    host, name, namespace = (host, ref.name, ref.namespace) if ref else (UNKNOWN, UNKNOWN, "")
    return {
        "reporter": "destination",
        **{f"source_{field}": caller[field] for field in _NODE},
        "source_principal": UNKNOWN,
        **{f"destination_{field}": _state(field) for field in _NODE},
        "destination_principal": UNKNOWN,
        "destination_service": host.replace("%", "%%"),
        "destination_service_name": name,
        "destination_service_namespace": namespace or _state("workload_namespace"),
        "connection_security_policy": "none",
    }


def _values(http: bool) -> Mapping[str, Message]:
    if http:
        return {
            "requests_total": {"value_fixed": 1},
            "request_duration_milliseconds": {"unit": "Milliseconds", "value_format": "%DURATION%"},
            "request_bytes": {"unit": "Bytes", "value_format": "%CEL(request.total_size)%"},
            "response_bytes": {"unit": "Bytes", "value_format": "%CEL(response.total_size)%"},
        }
    return {
        "tcp_sent_bytes_total": {"value_format": "%BYTES_SENT%"},
        "tcp_received_bytes_total": {"value_format": "%BYTES_RECEIVED%"},
        "tcp_connections_closed_total": {"value_fixed": 1},
        "tcp_connections_opened_total": {"value_fixed": 1},
    }


OPENED = "tcp_connections_opened_total"
AT_END: Message = {"log_type_filter": {"types": ["TcpConnectionEnd"]}}
_AT_START: Message = {"log_type_filter": {"types": ["TcpUpstreamConnected"]}}


def _grpc(invert: bool) -> Message:
    named = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
    # a header that is not there would match neither way
    other = {"invert_match": True, "treat_missing_header_as_empty": True} if invert else {}
    return {"header_filter": {"header": named | other}}


def stats_logs(
    world: World, scope: Scope, side: Side, *, http: bool, host: str = "", ref: ObjectRef | None = None
) -> list[Message]:
    """The access loggers that count, for HTTP or TCP; empty where nothing is counted. `host` and `ref`, of the object
    that has it, are the app's own."""
    wanted = metered(world, scope, side)
    values = {name: value for name, value in _values(http).items() if name in wanted}
    if not values:
        return []
    heard = {field: f"%DYNAMIC_METADATA({CALLER}:{field}):{LONGEST}%" if http else UNKNOWN for field in _NODE}
    tags = _at_client() if side == "CLIENT" else _at_server(host, ref, heard)
    tags["response_flags"] = "%RESPONSE_FLAGS%"
    if http:
        tags["response_code"] = "%RESPONSE_CODE%"
        # two loggers: to look at the header once is cheaper than an expression in each label of each metric
        return [
            _logger(side, values, tags | {"request_protocol": "http", "grpc_response_status": ""}, wanted, _grpc(True)),
            _logger(
                side,
                values,
                tags | {"request_protocol": "grpc", "grpc_response_status": "%GRPC_STATUS_NUMBER%"},
                wanted,
                _grpc(False),
            ),
        ]
    tags["request_protocol"] = "tcp"
    ended = {name: value for name, value in values.items() if name != OPENED}
    started = {name: value for name, value in values.items() if name == OPENED}
    return [_logger(side, some, tags, wanted, when) for some, when in ((ended, AT_END), (started, _AT_START)) if some]


def counts_connections(world: World, scope: Scope, side: Side) -> bool:
    """Whether the start of connections is logged too, for that is what is counted."""
    return OPENED in metered(world, scope, side)


def _logger(
    side: Side,
    values: Mapping[str, Message],
    tags: Mapping[str, str],
    wanted: Mapping[str, Mapping[str, str]],
    when: Message,
) -> Message:
    counters: list[Message] = []
    histograms: list[Message] = []
    for name, value in values.items():
        changed = {tag: f"%CEL({cel})%" if cel else "" for tag, cel in wanted[name].items()}
        stat = {"name": name, "tags": list(_tags(dict(tags) | changed))}
        (histograms if "unit" in value else counters).append({"stat": stat, **value})
    max_counters, max_histograms = LIMITS[side]
    scope = {
        "prefix": "istio",
        "sharing_name": f"istio-{side.lower()}",
        "max_counters": max_counters,
        "max_histograms": max_histograms,
    }
    fields: Message = {"stats_scope": scope}
    if counters:
        fields["counters"] = counters
    if histograms:
        fields["histograms"] = histograms
    return extension("stats", "access_loggers.stats.v3.Config", **fields) | {"filter": when}


def _tags(tags: Mapping[str, str]) -> Iterable[Message]:
    return ({"name": name, "value_format": value} for name, value in tags.items() if value)
