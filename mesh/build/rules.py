"""Which DestinationRule holds: for whom, for which host, and what of it for one port and subset.

the client's namespace ──▶ the Service's namespace ──▶ the root namespace          the first that has one for the host
    of one namespace's the most specific host; those for it that the same see (exportTo) are joined, the oldest first
        of these the one whose workloadSelector picks the client, else the one without; of several the last
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from mesh.build.secrets import AUTHORITY, secret_name
from mesh.model.destinationrule import DestinationRule, Subset
from mesh.model.meta import ObjectRef
from mesh.model.policy import (
    ConnectionPoolSettings,
    LoadBalancerSettings,
    OutlierDetection,
    PortTrafficPolicy,
    ProxyProtocol,
    RetryBudget,
    TrafficPolicy,
    Tunnel,
)
from mesh.model.reading import DOMAIN
from mesh.model.tls import ClientTLSSettings
from mesh.routing.backends import whole_name
from mesh.world.index import service_of
from mesh.world.memo import query
from mesh.world.proxy import Scope
from mesh.world.scopes import policies_of
from mesh.world.sidecars import exported, mesh_config
from mesh.world.world import World


class Entry(NamedTuple):
    """What has to be known of a DestinationRule to choose it."""

    age: tuple[str, str, str]
    ref: ObjectRef
    export_to: tuple[str, ...]
    selector: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """The rules for a host that hold together; `refs` are the objects, the oldest first."""

    refs: tuple[ObjectRef, ...]
    traffic_policy: TrafficPolicy | None
    subsets: tuple[Subset, ...]
    is_picked: bool = False

    def subset(self, name: str) -> Subset | None:
        """The subset of this name."""
        return next((one for one in self.subsets if one.name == name), None)


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for a cluster: one host, port and subset. What is None is the mesh's default.

    `is_picked`: by a rule whose workloadSelector picks the client.
    """

    refs: tuple[ObjectRef, ...] = ()
    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None
    tunnel: Tunnel | None = None
    proxy_protocol: ProxyProtocol | None = None
    retry_budget: RetryBudget | None = None
    is_picked: bool = False


NO_POLICY = Policy()


@query
def _by_namespace(world: World) -> Mapping[str, Mapping[str, tuple[Entry, ...]]]:
    default = tuple(mesh_config(world).default_destination_rule_export_to)
    found: dict[str, dict[str, list[Entry]]] = {}
    for rule in world.all("DestinationRule").values():
        namespace = rule.meta.namespace
        host = whole_name(rule.host, namespace, DOMAIN).lower()
        selector = tuple(sorted(rule.workload_selector.match_labels.items())) if rule.workload_selector else ()
        entry = Entry(rule.meta.age, rule.meta.ref, rule.export_to or default, selector)
        found.setdefault(namespace, {}).setdefault(host, []).append(entry)
    return {
        namespace: {host: tuple(sorted(entries)) for host, entries in hosts.items()}
        for namespace, hosts in found.items()
    }


@query
def _in_namespace(world: World, owner: str) -> Mapping[str, tuple[Entry, ...]]:
    return _by_namespace(world).get(owner, {})


def _most_specific(hosts: Mapping[str, tuple[Entry, ...]], host: str) -> tuple[Entry, ...]:
    """The rules for the most specific host that takes this one."""
    host = host.lower()
    wildcards = [one for one in hosts if one.startswith("*") and host.lstrip("*").endswith(one[1:])]
    return hosts.get(host) or hosts.get(max(wildcards, key=len, default=""), ())


def _only(hosts: Mapping[str, tuple[Entry, ...]], wanted: Callable[[Entry], bool]) -> dict[str, tuple[Entry, ...]]:
    found = {host: tuple(one for one in entries if wanted(one)) for host, entries in hosts.items()}
    return {host: entries for host, entries in found.items() if entries}


@query
def _own(world: World, owner: str) -> Mapping[str, tuple[Entry, ...]]:
    """The rules of a namespace that its own proxies see."""
    return _only(
        _in_namespace(world, owner), lambda one: bool(one.selector) or exported(one.export_to, (), owner, owner)
    )


@query
def _private(world: World, owner: str) -> Mapping[str, tuple[Entry, ...]]:
    """Those that nobody else sees."""
    return _only(_in_namespace(world, owner), lambda one: _is_private(one, owner))


@query
def _exported(world: World, owner: str) -> Mapping[str, tuple[Entry, ...]]:
    """Those that are for others too."""
    return _only(_in_namespace(world, owner), lambda one: not _is_private(one, owner))


def _is_private(one: Entry, owner: str) -> bool:
    return bool(one.selector) or one.export_to in ((".",), (owner,))


@query
def _entries(world: World, namespace: str, service_namespace: str, host: str) -> tuple[Entry, ...]:
    """The rules for a host that count: of the first namespace whose most specific ones the client sees."""
    root = mesh_config(world).root_namespace
    if namespace and (found := _most_specific((_private if namespace == root else _own)(world, namespace), host)):
        return found
    for owner in dict.fromkeys((service_namespace, root)):
        closest = _most_specific(_exported(world, owner), host) if owner else ()
        if found := tuple(one for one in closest if _is_for(one, namespace)):
            return found
    return ()


def _is_for(one: Entry, namespace: str) -> bool:
    """Whether what a namespace exports is for the other; `.` does not count here, as with Istio."""
    return "*" in one.export_to or namespace in one.export_to


class Group(NamedTuple):
    """Rules for a host that are joined: those that the same namespaces see and the same pods are picked by."""

    export_to: frozenset[str]
    selector: tuple[tuple[str, str], ...]
    refs: tuple[ObjectRef, ...]


def _groups(entries: Iterable[Entry]) -> list[Group]:
    """Istio's mergeDestinationRule: a rule that all see who see an older one is joined to it."""
    found: list[Group] = []
    for one in sorted(entries, key=lambda each: (not each.selector, each)):
        sees, alone = frozenset(one.export_to), True
        for index, group in enumerate(found):
            if group.selector == one.selector and sees >= group.export_to:
                found[index] = group._replace(refs=(*group.refs, one.ref))
                alone = False
        if alone:
            found.append(Group(sees, one.selector, (one.ref,)))
    return found


@query
def rule_of(world: World, scope: Scope, host: str) -> Rule | None:
    """The rule that holds for proxies of the scope when they call the host; None where there is none."""
    groups = _groups_for(world, scope, host)
    if not groups:
        return None
    picked = next((one.refs for one in groups if one.selector and scope.matches(dict(one.selector))), ())
    return _joined(world, picked) if picked else inbound_rule_of(world, scope, host)


@query
def inbound_rule_of(world: World, scope: Scope, host: str) -> Rule | None:
    """The rule that holds for what comes to the host at proxies of the scope: one that picks its clients does not."""
    refs = next((one.refs for one in reversed(_groups_for(world, scope, host)) if not one.selector), ())
    return _joined(world, refs)


def _groups_for(world: World, scope: Scope, host: str) -> list[Group]:
    service = service_of(world, scope, host)
    return _groups(_entries(world, scope.namespace, service.namespace if service else "", host))


@query
def _joined(world: World, refs: tuple[ObjectRef, ...]) -> Rule | None:
    """Rules for one host: all their subsets, each name once; and the first trafficPolicy that there is."""
    rules: list[DestinationRule] = [
        one for ref in refs if (one := world.get("DestinationRule", ref.namespace, ref.name)) is not None
    ]
    if not rules:
        return None
    subsets: dict[str, Subset] = {}
    for rule in rules:
        for subset in rule.subsets:
            subsets.setdefault(subset.name, subset)
    policy = next((one.traffic_policy for one in rules if one.traffic_policy), None)
    picked = rules[0].workload_selector is not None
    return Rule(tuple(one.meta.ref for one in rules), policy, tuple(subsets.values()), picked)


def subsets_of(world: World, scope: Scope, host: str) -> tuple[str, ...]:
    """The names of a host's subsets; each is a cluster for each of its ports."""
    rule = rule_of(world, scope, host)
    return tuple(one.name for one in rule.subsets) if rule else ()


@query
def subset_labels(world: World, scope: Scope, host: str, subset: str) -> tuple[tuple[str, str], ...] | None:
    """The labels of a subset's endpoints, sorted; None where there is no such subset, none for the whole host."""
    if not subset:
        return ()
    rule = rule_of(world, scope, host)
    found = rule.subset(subset) if rule else None
    return tuple(sorted(found.labels.items())) if found else None


@query
def policy_of(world: World, scope: Scope, host: str, port: int, subset: str = "") -> Policy:
    """What holds for a cluster.

    What is said of a port takes the place of all that is said of the host, as Istio has it; what is said of a subset
    takes the place of it field by field.
    """
    rule = rule_of(world, scope, host)
    if rule is None:
        return NO_POLICY
    found, _ = _at_port(rule.traffic_policy, port, rule.refs)
    found = replace(found, is_picked=rule.is_picked)
    inner = rule.subset(subset) if subset else None
    if inner is None or inner.traffic_policy is None:
        return found
    over, of_port = _at_port(inner.traffic_policy, port, rule.refs)
    return Policy(
        refs=rule.refs,
        load_balancer=over.load_balancer if of_port else over.load_balancer or found.load_balancer,
        connection_pool=over.connection_pool if of_port else over.connection_pool or found.connection_pool,
        outlier_detection=over.outlier_detection if of_port else over.outlier_detection or found.outlier_detection,
        tls=over.tls if of_port else over.tls or found.tls,
        tunnel=over.tunnel or found.tunnel,
        proxy_protocol=over.proxy_protocol or found.proxy_protocol,
        retry_budget=over.retry_budget or found.retry_budget,
        is_picked=rule.is_picked,
    )


@query
def shown_secrets(world: World, scope: Scope) -> tuple[str, ...]:
    """The Secrets that proxies of the scope show to destinations, or know them by (ClientTLSSettings)."""
    found: dict[str, None] = {}
    for rule in world.all("DestinationRule").values():
        selector = rule.workload_selector.match_labels if rule.workload_selector else None
        if selector is not None and (rule.meta.namespace != scope.namespace or not scope.matches(selector)):
            continue
        for policy in policies_of(rule):
            if policy.tls and policy.tls.credential_name and may_show(scope, is_picked=selector is not None):
                name = secret_name(policy.tls.credential_name)
                found |= {name: None, name + AUTHORITY: None}
    return tuple(found)


def for_client(scope: Scope, policy: Policy) -> Policy:
    """The policy without TLS by a Secret that the proxy does not get: Istio speaks plain text then."""
    named = policy.tls is not None and policy.tls.credential_name
    return replace(policy, tls=None) if named and not may_show(scope, is_picked=policy.is_picked) else policy


def may_show(scope: Scope, *, is_picked: bool) -> bool:
    """Whether proxies get the Secret that a rule names: a gateway, and a sidecar that the rule picks (Istio's)."""
    return scope.kind == "router" or is_picked


@query
def inbound_pool(world: World, scope: Scope, host: str, port: int) -> ConnectionPoolSettings | None:
    """How much may come to a port of the host at once, as its own DestinationRule says."""
    rule = inbound_rule_of(world, scope, host)
    return _at_port(rule.traffic_policy, port, rule.refs)[0].connection_pool if rule else None


def _at_port(policy: TrafficPolicy | None, port: int, refs: tuple[ObjectRef, ...]) -> tuple[Policy, bool]:
    """The policy for a port, and whether it is said of that port itself."""
    if policy is None:
        return Policy(refs), False
    own = next((one for one in policy.port_level_settings if one.port and one.port.number == port), None)
    said: TrafficPolicy | PortTrafficPolicy = own or policy
    made = Policy(
        refs=refs,
        load_balancer=said.load_balancer,
        connection_pool=said.connection_pool,
        outlier_detection=said.outlier_detection,
        tls=said.tls,
        tunnel=policy.tunnel,
        proxy_protocol=policy.proxy_protocol,
        retry_budget=policy.retry_budget,
    )
    return made, own is not None
