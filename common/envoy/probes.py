"""The app's own probes and hooks, which kubelet asks for on the sidecar's status port.

Kubelet's request cannot go to the app's port itself: it would be captured, and a TCP probe succeed although only the
sidecar listens. So the injector points it to `/app-health/CONTAINER/livez` and the like on the status port, which is
never captured, and Envoy asks the app, at the pod's own address as kubelet would:

    httpGet             a route: the request goes on to the app, over TLS (unverified, as kubelet does) for HTTPS
    tcpSocket, grpc     Envoy checks the app every second or two; the health_check filter answers 200 or 503

A redirect counts as success, as for kubelet when it leads to another host; it is not followed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from common.envoy.parts import Message, cluster, endpoint, extension, inbound_bind, literal, typed

# How often the app is asked while it answers, and while it does not (a pod becomes ready sooner).
HEALTHY_INTERVAL, UNHEALTHY_INTERVAL = "2s", "1s"
# What stays as it is in a request's path and query (RFC 3986, pchar), with what is encoded already.
PATH_SAFE = "/?%:@!$&'()*+,;=~-._"

Prober = Mapping[str, Any]


def routes(probers: Mapping[str, Prober]) -> list[Message]:
    """A route for each HTTP probe."""
    return [_route(path, prober) for path, prober in probers.items() if "httpGet" in prober]


def filters(probers: Mapping[str, Prober]) -> list[Message]:
    """A health_check filter for each probe that is not HTTP."""
    return [
        extension(
            "envoy.filters.http.health_check",
            "filters.http.health_check.v3.HealthCheck",
            pass_through_mode=False,
            headers=[{"name": ":path", "string_match": {"exact": literal(path)}}],
            cluster_min_healthy_percentages={_cluster_name(prober): {"value": 100}},
        )
        for path, prober in probers.items()
        if "httpGet" not in prober
    ]


def clusters(probers: Mapping[str, Prober]) -> list[Message]:
    """A cluster for each port and way to ask; probes that ask the same share one."""
    return list(
        {name: _cluster(name, prober) for prober in probers.values() if (name := _cluster_name(prober))}.values()
    )


def _route(path: str, prober: Prober) -> Message:
    get = prober["httpGet"]
    asked = [(header["name"], header.get("value") or "") for header in get.get("httpHeaders") or ()]
    # Kubernetes lets any text through; kubelet's client does not send what has control characters
    headers = [(name, value) for name, value in asked if value.isprintable()]
    host = next((value for name, value in headers if name.lower() == "host"), None)
    action = {
        "cluster": _cluster_name(prober),
        "prefix_rewrite": literal(_request_path(get.get("path") or "/")),
        "timeout": f"{prober.get('timeoutSeconds') or 0}s",
    }
    return {
        "match": {"path": literal(path)},
        "route": action | ({"host_rewrite_literal": literal(host)} if host else {}),
        "request_headers_to_add": [
            {
                "header": {"key": name, "value": literal(value.replace("%", "%%"))},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                "keep_empty_value": True,
            }
            for name, value in headers
            if name.lower() != "host"
        ],
        "response_headers_to_remove": ["location"],
    }


def _request_path(path: str) -> str:
    """The path as kubelet sends it: from the root, encoded, without a fragment."""
    return quote("/" + path.partition("#")[0].lstrip("/"), safe=PATH_SAFE)


def _cluster_name(prober: Prober) -> str:
    if get := prober.get("httpGet"):
        return f"probe|{(get.get('scheme') or 'HTTP').lower()}|{get['port']}"
    if grpc := prober.get("grpc"):
        return f"probe|grpc|{grpc['port']}|{literal(grpc.get('service') or '')}"
    return f"probe|tcp|{prober['tcpSocket']['port']}"


def _cluster(name: str, prober: Prober) -> Message:
    _, kind, port, *_ = name.split("|")
    fields: Message = {}
    if kind == "https":
        fields["transport_socket"] = extension(
            "envoy.transport_sockets.tls", "transport_sockets.tls.v3.UpstreamTlsContext", common_tls_context={}
        )
    if kind == "tcp":
        fields["health_checks"] = [_health_check(prober, tcp_health_check={})]
    if kind == "grpc":
        service = literal(prober["grpc"].get("service") or "")
        fields["health_checks"] = [_health_check(prober, grpc_health_check={"service_name": service})]
        fields["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
                "upstreams.http.v3.HttpProtocolOptions", explicit_http_config={"http2_protocol_options": {}}
            )
        }
    return cluster(
        name,
        "STATIC",
        load_assignment=endpoint(name, "$(INSTANCE_IP)", int(port)),
        upstream_bind_config=inbound_bind(),
        **fields,
    )


def _health_check(prober: Prober, **kind: Any) -> Message:
    """core.v3.HealthCheck: one answer decides, for kubelet counts the thresholds itself."""
    return {
        "timeout": f"{prober.get('timeoutSeconds') or 1}s",
        "interval": HEALTHY_INTERVAL,
        "unhealthy_interval": UNHEALTHY_INTERVAL,
        "no_traffic_interval": UNHEALTHY_INTERVAL,
        "no_traffic_healthy_interval": HEALTHY_INTERVAL,
        "healthy_threshold": 1,
        "unhealthy_threshold": 1,
        **kind,
    }
