"""Endpoints by where they are: who is near is asked first, or each place gets its share (LocalityLoadBalancerSetting).

    distribute          shares by place, set by the user; a place that gets none is left out
    failoverPriority    one level for each label that client and endpoint have alike, from the first on
    failover            the same subzone, zone, region, then the region that is named, then the others

The latter two only where outliers are detected: else nothing would ever fall to the next level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from mesh.model.policy import Failover, LocalityLbSetting
from mesh.model.workload import Locality
from mesh.world.index import Endpoint

# Labels that say where a pod runs; where it has none, its node's do (well-known labels of Kubernetes and Istio).
REGION, ZONE, SUBZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"
HOSTNAME = "kubernetes.io/hostname"
# What Services ask for by trafficDistribution.
SAME_ZONE = LocalityLbSetting(failover_priority=(REGION, ZONE), enabled=True)
SAME_NODE = LocalityLbSetting(failover_priority=(REGION, ZONE, SUBZONE, HOSTNAME), enabled=True)
PREFERRED = {"preferclose": SAME_ZONE, "prefersamezone": SAME_ZONE, "prefersamenode": SAME_NODE}


class Group(NamedTuple):
    """Endpoints of one place and level; `weight` is the place's share of its level."""

    locality: Locality
    priority: int
    weight: int
    endpoints: tuple[Endpoint, ...]


def grouped(endpoints: Iterable[Endpoint]) -> tuple[Group, ...]:
    """By place alone."""
    places: dict[Locality, list[Endpoint]] = {}
    for one in endpoints:
        places.setdefault(one.locality, []).append(one)
    return tuple(Group(place, 0, _weight(mine), tuple(mine)) for place, mine in sorted(places.items()))


def arranged(
    endpoints: Iterable[Endpoint],
    setting: LocalityLbSetting | None,
    where: Locality,
    labels: Mapping[str, str],
    *,
    outliers: bool,
    node: str = "",
) -> tuple[Group, ...]:
    """By place and level, for a client that runs at `where`, on `node`, and has these labels.

    `outliers`: whether those that fail are left out, so that the next level is ever asked.
    """
    groups = grouped(endpoints)
    if setting is None:
        return groups
    if setting.distribute:
        for one in setting.distribute:
            if _matches(where, one.from_):
                return _distributed(groups, one.to)
        return groups
    if not outliers:
        return groups
    if setting.failover_priority:
        groups = _by_labels(groups, setting.failover_priority, where, {HOSTNAME: node, **labels})
        if not setting.failover:
            return groups
    return _leveled(groups, lambda group: group.priority * 5 + _distance(where, group.locality, setting.failover))


def _weight(endpoints: Iterable[Endpoint]) -> int:
    return sum([one.weight or 1 for one in endpoints])


def _matches(where: Locality, pattern: str) -> bool:
    """Whether a place is one of `region/zone/subzone`, any part of which may be `*` or left out behind."""
    wanted = (*pattern.split("/"), "", "")[:3]
    region = wanted[0] in ("*", where.region)
    return region and all(part in ("*", "") or part == mine for part, mine in zip(wanted[1:], where[1:], strict=True))


def _distributed(groups: tuple[Group, ...], shares: Mapping[str, int]) -> tuple[Group, ...]:
    """Each place's share, which places that one pattern takes divide by their own weights."""
    left = list(groups)
    found: list[Group] = []
    # the more a pattern says, the earlier it has its places
    for pattern, share in sorted(shares.items(), key=lambda one: (one[0].count("*"), -one[0].count("/"), one[0])):
        mine = [group for group in left if _matches(group.locality, pattern)]
        left = [group for group in left if group not in mine]
        total = sum(group.weight for group in mine)
        found += (group._replace(weight=math.ceil(group.weight * share / total)) for group in mine if share)
    return tuple(sorted(found, key=lambda group: group.locality))


def _distance(where: Locality, place: Locality, failover: tuple[Failover, ...]) -> int:
    if where.region != place.region:
        named = next((one for one in failover if one.from_ == where.region), None)
        return 3 if named is None or named.to == place.region else 4
    if where.zone != place.zone:
        return 2
    return 1 if where.subzone != place.subzone else 0


def _by_labels(
    groups: tuple[Group, ...], keys: tuple[str, ...], where: Locality, labels: Mapping[str, str]
) -> tuple[Group, ...]:
    """Places divided by how many of the labels, in their order, an endpoint has as the client has them."""
    wanted = [(key, value if equals else _label(labels, where, key)) for key, equals, value in
              (one.partition("=") for one in keys)]  # fmt: skip
    found: list[Group] = []
    for group in groups:
        levels: dict[int, list[Endpoint]] = {}
        for one in group.endpoints:
            alike = 0
            mine = {HOSTNAME: one.node, **one.labels}
            while alike < len(wanted) and _label(mine, one.locality, wanted[alike][0]) == wanted[alike][1]:
                alike += 1
            levels.setdefault(len(wanted) - alike, []).append(one)
        found += (Group(group.locality, level, _weight(all_), tuple(all_)) for level, all_ in sorted(levels.items()))
    return _leveled(tuple(found), lambda group: group.priority)


def _label(labels: Mapping[str, str], where: Locality, key: str) -> str:
    own = labels.get(key)
    if own is not None:
        return own
    return {REGION: where.region, ZONE: where.zone, SUBZONE: where.subzone}.get(key, "")


def _leveled(groups: tuple[Group, ...], level: Callable[[Group], int]) -> tuple[Group, ...]:
    """With priorities from 0 on and none left out, as Envoy wants them."""
    order = {found: number for number, found in enumerate(sorted({level(group) for group in groups}))}
    return tuple(sorted((group._replace(priority=order[level(group)]) for group in groups), key=lambda one: one[:2]))
