"""Bodies as the builders make them, one of each kind."""

from typing import Any

CLUSTER = "envoy.config.cluster.v3.Cluster"
ASSIGNMENT = "envoy.config.endpoint.v3.ClusterLoadAssignment"
TABLE = "envoy.config.route.v3.RouteConfiguration"
HOST = "envoy.config.route.v3.VirtualHost"
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def cluster(number: int = 0) -> dict[str, Any]:
    return {
        "name": f"outbound|{number}||reviews.default.svc.cluster.local",
        "type": "EDS",
        "eds_cluster_config": {
            "eds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
            "service_name": f"outbound|{number}||reviews.default.svc.cluster.local",
        },
        "connect_timeout": "1.5s",
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": {"thresholds": [{"max_connections": 4294967295, "track_remaining": True}]},
        "metadata": {"filter_metadata": {"istio": {"services": [{"host": "reviews", "weight": 1.0, "none": None}]}}},
        "typed_extension_protocol_options": {
            HTTP_OPTIONS: {
                "@type": "type.googleapis.com/" + HTTP_OPTIONS,
                "use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}},
            }
        },
    }


def assignment(number: int = 0) -> dict[str, Any]:
    endpoints = [
        {
            "endpoint": {"address": {"socket_address": {"address": f"10.0.{number % 250}.{last}", "port_value": 9080}}},
            "health_status": "HEALTHY",
            "load_balancing_weight": 1,
        }
        for last in range(10)
    ]
    return {
        "cluster_name": f"outbound|{number}||reviews.default.svc.cluster.local",
        "endpoints": [{"locality": {"region": "r", "zone": "z"}, "lb_endpoints": endpoints}],
    }


def host(number: int = 0) -> dict[str, Any]:
    return {
        "name": f"svc{number}.default.svc.cluster.local:80",
        "domains": [f"svc{number}", f"svc{number}.default", f"10.1.1.{number}"],
        "routes": [
            {
                "match": {"prefix": "/"},
                "route": {"cluster": f"outbound|80||svc{number}", "timeout": "0s", "retry_policy": {"num_retries": 2}},
            }
        ],
    }
