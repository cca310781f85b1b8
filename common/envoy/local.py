"""The listeners at which the sidecar itself is asked; the pod's rules never capture these ports.

    15021  /healthz/ready       200 once Envoy serves (its admin's /ready), for kubelet's readiness probe of the sidecar
    15020  /app-health/…        the app's own probes (`probes`); also /healthz/ready
           /stats/prometheus    Envoy's metrics and the app's (`scrape`)
    15090  /stats/prometheus    Envoy's alone

Of the admin API only these two GET requests are reachable from outside the pod.

With a control plane 15021 is its to open (`ready`): a pod that was never told its listeners would be sent requests
that nobody takes.
"""

from __future__ import annotations

from collections.abc import Iterable

from common.envoy import probes, scrape
from common.envoy.parts import Message, address, cluster, endpoint, http_manager, wildcard
from common.envoy.sidecar import Sidecar

ADMIN, READY = "admin", "ready"
READY_PATH = "/healthz/ready"


def listeners(sidecar: Sidecar) -> list[Message]:
    """A listener for each of the sidecar's own ports; the status port may be 0, for none."""
    app = scrape.app_of(sidecar.app_metrics)
    probe_routes, probe_filters = probes.routes(sidecar.probers), probes.filters(sidecar.probers)
    is_ready = _to_admin(READY_PATH, "/ready")
    if sidecar.discovery:
        is_ready = {"match": is_ready["match"], "route": {"cluster": READY}}
    routes, filters = [is_ready, scrape.route(app), *probe_routes], [*probe_filters, scrape.http_filter()]
    status = [_listener("status", sidecar.status_port, routes, filters)]
    return [
        *(status if sidecar.status_port else ()),
        *(() if sidecar.discovery else (ready(sidecar.ready_port),)),
        _listener("metrics", sidecar.metrics_port, [scrape.route()], [scrape.http_filter()]),
    ]


def ready(port: int = 15021) -> Message:
    """The listener that says whether Envoy serves, by its admin's /ready; with a control plane it comes by LDS."""
    return _listener(READY, port, [_to_admin(READY_PATH, "/ready")])


def clusters(sidecar: Sidecar) -> list[Message]:
    """The admin API, and the app as its probes ask for it."""
    page = scrape.clusters(sidecar.admin_port, sidecar.ip, scrape.app_of(sidecar.app_metrics))
    admin = cluster(ADMIN, "STATIC", load_assignment=endpoint(ADMIN, "127.0.0.1", sidecar.admin_port))
    ready = cluster(READY, "STATIC", load_assignment=endpoint(READY, "127.0.0.1", sidecar.ready_port))
    return [admin, *([ready] if sidecar.discovery else ()), *page, *probes.clusters(sidecar.probers)]


def admin(sidecar: Sidecar) -> Message:
    """The admin API (bootstrap.v3.Admin), for the pod's own processes alone."""
    return {"address": address("127.0.0.1", sidecar.admin_port)}


def _listener(name: str, port: int, routes: list[Message], filters: Iterable[Message] = ()) -> Message:
    return {
        "name": name,
        "address": wildcard(port),
        # kubelet is answered also when clients have used up what connections there may be
        "ignore_global_conn_limit": True,
        "per_connection_buffer_limit_bytes": scrape.MAX_BYTES,
        "filter_chains": [{"filters": [http_manager(name, routes, filters=filters, generate_request_id=False)]}],
    }


def _to_admin(path: str, admin_path: str) -> Message:
    get = {"name": ":method", "string_match": {"exact": "GET"}}
    return {"match": {"path": path, "headers": [get]}, "route": {"cluster": ADMIN, "prefix_rewrite": admin_path}}
