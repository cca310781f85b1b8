"""The bootstrap as a whole (config.bootstrap.v3.Bootstrap)."""

from __future__ import annotations

from common.envoy import discovery, local, traffic
from common.envoy.parts import EXTENSIONS, Message
from common.envoy.sidecar import Sidecar

# Far above what an app handles: a flood ends in refused connections and not in an Envoy killed for its memory.
MAX_CONNECTIONS = 100_000


def bootstrap(sidecar: Sidecar) -> Message:
    """The bootstrap of this sidecar, ready to be written as JSON into `--config-yaml`."""
    if sidecar.discovery is None:
        dynamic: Message = {}
        listeners, clusters = traffic.listeners(sidecar), traffic.clusters()
    else:
        dynamic = {"dynamic_resources": discovery.dynamic_resources(), "layered_runtime": discovery.runtime()}
        listeners, clusters = discovery.listeners(sidecar), discovery.clusters(sidecar)
    return {
        "node": node(sidecar),
        **dynamic,
        "admin": local.admin(sidecar),
        "static_resources": {
            "listeners": [*listeners, *local.listeners(sidecar)],
            "clusters": [*clusters, *local.clusters(sidecar)],
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": EXTENSIONS + "resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": MAX_CONNECTIONS,
                    },
                }
            ]
        },
    }


def node(sidecar: Sidecar) -> Message:
    """Who the sidecar is (config.core.v3.Node): all of the bootstrap that has the app's own names."""
    who: Message = {"id": sidecar.node_id, "cluster": sidecar.node_cluster, "metadata": dict(sidecar.metadata)}
    return who | ({"locality": dict(sidecar.locality)} if sidecar.locality else {})
