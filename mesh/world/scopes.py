"""Which scope a proxy is of: what is known of its pod, and of that only what something in the world asks."""

from __future__ import annotations

from collections.abc import Mapping

from mesh.model.workload import NOWHERE, Locality, Pod
from mesh.world.index import locality_of_node
from mesh.world.memo import query
from mesh.world.proxy import Proxy, Scope
from mesh.world.world import World


@query
def selected_labels(world: World) -> frozenset[str]:
    """The label keys by which anything in the world picks proxies."""
    keys: set[str] = set()
    for sidecar in world.all("Sidecar").values():
        if sidecar.workload_selector:
            keys.update(sidecar.workload_selector.labels)
    for rule in world.all("DestinationRule").values():
        if rule.workload_selector:
            keys.update(rule.workload_selector.match_labels)
    for gateway in world.all("Gateway").values():
        keys.update(gateway.selector)
    for service in world.all("VirtualService").values():
        for http in (*service.http, *service.tls, *service.tcp):
            for match in http.match:
                keys.update(match.source_labels)
    return frozenset(keys)


@query
def locality_counts(world: World) -> bool:
    """Whether anything is decided by where a proxy runs."""
    del world
    return False


@query
def node_counts(world: World) -> bool:
    """Whether anything is decided by the node that a proxy runs on."""
    return any(one.internal_traffic_policy == "Local" for one in world.all("Service").values())


@query
def scope_of_pod(
    world: World, kind: str, namespace: str, pod: str, labels: tuple[tuple[str, str], ...], where: Locality, domain: str
) -> Scope:
    """The scope of a proxy; its Pod object is believed more than what it says of itself."""
    known: Pod | None = world.get("Pod", namespace, pod)
    all_: Mapping[str, str] = known.meta.labels if known else dict(labels)
    asked = selected_labels(world)
    if known and known.node_name and not any(where):
        where = locality_of_node(world, known.node_name)
    return Scope(
        "router" if kind == "router" else "sidecar",
        namespace,
        tuple(sorted((key, value) for key, value in all_.items() if key in asked)),
        where if locality_counts(world) else NOWHERE,
        domain,
        known.node_name if known and node_counts(world) else "",
    )


def scope_of(world: World, proxy: Proxy) -> Scope:
    """The scope of a proxy."""
    labels = tuple(sorted(proxy.labels.items()))
    return scope_of_pod(world, proxy.kind, proxy.namespace, proxy.pod, labels, proxy.locality, proxy.domain)
