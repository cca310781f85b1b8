"""What an object needs and nobody has: pods for a Gateway, its certificates, its ports; who a delegate is for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mesh.model.destinationrule import DestinationRule
from mesh.model.gateway import Gateway
from mesh.model.meta import ObjectRef
from mesh.model.problem import Problem
from mesh.model.telemetry import Telemetry
from mesh.model.virtualservice import VirtualService
from mesh.routing.delegate import rules_of
from mesh.routing.rivals import warn
from mesh.world.index import labels_by_item
from mesh.world.memo import query
from mesh.world.scopes import policies_of
from mesh.world.sidecars import exported, mesh_config
from mesh.world.telemetry import provider_named
from mesh.world.world import World


@query
def knows_pods(world: World) -> bool:
    """Files may have Services without pods; then nobody can tell."""
    return any(pod.ip for pod in world.all("Pod").values())


def providers(world: World, one: Telemetry) -> Iterator[Problem]:
    """Providers that a Telemetry names; of files without the mesh configuration nobody can tell."""
    if not world.all("MeshConfig"):
        return
    fields: tuple[tuple[str, tuple[Any, ...]], ...] = (
        ("tracing", one.tracing), ("metrics", one.metrics), ("accessLogging", one.access_logging),
    )  # fmt: skip
    for field, entries in fields:
        for index, entry in enumerate(entries):
            for number, named in enumerate(entry.providers):
                if provider_named(world, named.name) is None:
                    there = ", ".join(sorted(known.name for known in mesh_config(world).extension_providers)) or "none"
                    words = f"the mesh configuration has no extension provider {named.name}; it has {there}"
                    yield warn(one.meta, "no-provider", words, field, index, "providers", number, "name")


@query
def _knows_secrets(world: World) -> bool:
    return bool(world.all("Secret"))


@query
def _pods_for(world: World, selector: tuple[tuple[str, str], ...]) -> Mapping[str, int]:
    """How many pods with these labels each namespace has."""
    found: dict[str, int] = {}
    for namespace in {pod.meta.namespace for pod in world.all("Pod").values()}:
        fewest = min((labels_by_item(world, namespace).get(item, ()) for item in selector), key=len, default=())
        if count := sum(set(selector) <= set(labels.items()) for labels in fewest):
            found[namespace] = count
    return found


def gateways(world: World, one: Gateway) -> Iterator[Problem]:
    """Pods that a Gateway selects; the Secrets that it names, in their namespace."""
    if not one.selector or not knows_pods(world):
        return
    selector = tuple(sorted(one.selector.items()))
    homes = _pods_for(world, selector)
    if not homes:
        said = ",".join(f"{key}={value}" for key, value in selector)
        yield warn(one.meta, "no-workload", f"no pod that runs has the labels {said}: nobody listens", "selector")
        return
    if not _knows_secrets(world):
        return
    for index, server in enumerate(one.servers):
        if server.tls is None or not server.tls.terminates:
            continue
        for name, field in ((server.tls.credential_name, "credentialName"),
                            (server.tls.ca_cert_credential_name, "caCertCredentialName")):  # fmt: skip
            if not name or "://" in name:
                continue
            namespace, _, short = name.rpartition("/")
            where = [namespace] if namespace else sorted(homes)
            if not any(world.get("Secret", each, short) for each in where):
                message = f"there is no Secret {short} with a certificate in {', '.join(where)}, where its pods run"
                yield warn(one.meta, "no-secret", message, "servers", index, "tls", field)


def delegates(world: World, one: VirtualService) -> Iterator[Problem]:
    """A delegate that no root may use, or that nobody names; a rule of it that no request of its root's meets."""
    if one.is_delegate:
        if one.meta.ref not in _delegated(world):
            yield warn(one.meta, "no-effect", "without hosts it is a delegate, and no VirtualService delegates to it")
        return
    default = mesh_config(world).default_virtual_service_export_to
    for index, http in enumerate(one.http):
        if http.delegate is None:
            continue
        namespace = http.delegate.namespace or one.meta.namespace
        leaf: VirtualService | None = world.get("VirtualService", namespace, http.delegate.name)
        if leaf is None:
            continue
        why = ""
        if not leaf.is_delegate:
            why = "it has hosts of its own, so it is no delegate"
        elif not exported(leaf.export_to, default, namespace, one.meta.namespace):
            why = f"it is not exported to {one.meta.namespace}"
        if why:
            message = f"VirtualService {namespace}/{http.delegate.name}: {why}; the rule falls through"
            yield warn(one.meta, "no-delegate", message, "http", index, "delegate")
            continue
        met = {rule.origins[-1].path for rule in rules_of(one, lambda *_, leaf=leaf: leaf) if len(rule.origins) > 1
               and rule.origins[0].path == f"spec.http[{index}]"}  # fmt: skip
        for number in range(len(leaf.http)):
            if f"spec.http[{number}]" not in met:
                message = f"rule {number} of {leaf.meta.ref} asks for what is not within this match; it is left out"
                yield warn(one.meta, "never-matches", message, "http", index, "delegate")


@query
def _delegated(world: World) -> frozenset[ObjectRef]:
    return frozenset(
        ObjectRef("VirtualService", http.delegate.namespace or one.meta.namespace, http.delegate.name)
        for one in world.all("VirtualService").values()
        for http in one.http
        if http.delegate
    )


def shown(_world: World, rule: DestinationRule) -> Iterator[Problem]:
    """A Secret that sidecars do not get."""
    if rule.workload_selector is None and any(one.tls and one.tls.credential_name for one in policies_of(rule)):
        message = "credentialName holds at gateways; sidecars speak plain text, but those that a workloadSelector picks"
        yield warn(rule.meta, "no-effect", message, "trafficPolicy", "tls", "credentialName")
