"""The listeners at which the sidecar itself is asked; the pod's rules never capture these ports.

    15021  /healthz/ready       200 once Envoy serves (its admin's /ready), for kubelet's readiness probe of the sidecar
    15020  /app-health/…        the app's own probes (`probes`); also /healthz/ready and /stats/prometheus
    15090  /stats/prometheus    Envoy's counters, for Prometheus

Of the admin API only these two GET requests are reachable from outside the pod.
"""

from __future__ import annotations

from collections.abc import Iterable

from common.envoy import probes
from common.envoy.parts import Message, address, cluster, endpoint, http_manager, wildcard
from common.envoy.sidecar import Sidecar

ADMIN = "admin"


def listeners(sidecar: Sidecar) -> list[Message]:
    """A listener for each of the sidecar's own ports; the status port may be 0, for none."""
    ready, metrics = _to_admin("/healthz/ready", "/ready"), _to_admin("/stats/prometheus", "/stats/prometheus")
    probe_routes, probe_filters = probes.routes(sidecar.probers), probes.filters(sidecar.probers)
    status = [_listener("status", sidecar.status_port, [ready, metrics, *probe_routes], probe_filters)]
    return [
        *(status if sidecar.status_port else ()),
        _listener("ready", sidecar.ready_port, [ready]),
        _listener("metrics", sidecar.metrics_port, [metrics]),
    ]


def clusters(sidecar: Sidecar) -> list[Message]:
    """The admin API, and the app as its probes ask for it."""
    admin = cluster(ADMIN, "STATIC", load_assignment=endpoint(ADMIN, "127.0.0.1", sidecar.admin_port))
    return [admin, *probes.clusters(sidecar.probers)]


def admin(sidecar: Sidecar) -> Message:
    """The admin API (bootstrap.v3.Admin), for the pod's own processes alone."""
    return {"address": address("127.0.0.1", sidecar.admin_port)}


def _listener(name: str, port: int, routes: list[Message], filters: Iterable[Message] = ()) -> Message:
    return {
        "name": name,
        "address": wildcard(port),
        # kubelet is answered also when clients have used up what connections there may be
        "ignore_global_conn_limit": True,
        "filter_chains": [{"filters": [http_manager(name, routes, filters=filters, generate_request_id=False)]}],
    }


def _to_admin(path: str, admin_path: str) -> Message:
    get = {"name": ":method", "string_match": {"exact": "GET"}}
    return {"match": {"path": path, "headers": [get]}, "route": {"cluster": ADMIN, "prefix_rewrite": admin_path}}
