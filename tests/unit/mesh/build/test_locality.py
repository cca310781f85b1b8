"""Who is near is asked first, or each place gets its share."""

from __future__ import annotations

import pytest

from mesh.build.locality import SAME_NODE, SAME_ZONE, arranged, grouped
from mesh.model.policy import Distribute, Failover, LocalityLbSetting
from mesh.model.workload import NOWHERE, Locality
from mesh.world.index import Endpoint

PLACES = ("r1/z1/s1", "r1/z1/s2", "r1/z2/s1", "r2/z1", "r3/z1")
ENDPOINTS = tuple(
    Endpoint(f"10.0.0.{number}", 80, {"version": f"v{number % 2}"}, Locality.parse(place))
    for number, place in enumerate(PLACES)
)
HERE = Locality("r1", "z1", "s1")
DEFAULT = LocalityLbSetting(enabled=True)


def levels(
    setting: LocalityLbSetting | None,
    where: Locality = HERE,
    labels: dict[str, str] | None = None,
    *,
    outliers: bool = True,
) -> dict[str, int]:
    found = arranged(ENDPOINTS, setting, where, labels or {}, outliers=outliers)
    assert sorted(one for group in found for one in group.endpoints) == sorted(ENDPOINTS)
    return {str(group.locality): group.priority for group in found}


def test_near_before_far_where_outliers_are_left_out() -> None:
    assert levels(DEFAULT) == {"r1/z1/s1": 0, "r1/z1/s2": 1, "r1/z2/s1": 2, "r2/z1": 3, "r3/z1": 3}


@pytest.mark.parametrize("setting", [None, DEFAULT, SAME_ZONE])
def test_all_alike_where_nothing_would_fall_to_the_next(setting: LocalityLbSetting | None) -> None:
    assert set(levels(setting, outliers=False).values()) == {0}


def test_no_level_is_left_out() -> None:
    assert levels(DEFAULT, Locality("r2", "z9")) == {"r2/z1": 0, **dict.fromkeys((*PLACES[:3], PLACES[4]), 1)}
    assert set(levels(DEFAULT, NOWHERE).values()) == {0}


def test_a_region_fails_over_to_the_one_that_is_named() -> None:
    setting = LocalityLbSetting(failover=(Failover("r1", "r3"),))
    assert levels(setting) == {"r1/z1/s1": 0, "r1/z1/s2": 1, "r1/z2/s1": 2, "r3/z1": 3, "r2/z1": 4}


def test_labels_alike_from_the_first_on() -> None:
    setting = LocalityLbSetting(failover_priority=("topology.kubernetes.io/region", "version=v1"))
    found = arranged(ENDPOINTS, setting, HERE, {}, outliers=True)
    # r1's v1 first, then the rest of r1, then all others
    assert [(str(one.locality), one.priority) for one in found] == [
        ("r1/z1/s1", 1),
        ("r1/z1/s2", 0),
        ("r1/z2/s1", 1),
        ("r2/z1", 2),
        ("r3/z1", 2),
    ]
    assert levels(SAME_ZONE) == {"r1/z1/s1": 0, "r1/z1/s2": 0, "r1/z2/s1": 1, "r2/z1": 2, "r3/z1": 2}
    nodes = [ENDPOINTS[0]._replace(address=name, node=name) for name in ("a", "b")]
    found = arranged(nodes, SAME_NODE, HERE, {}, outliers=True, node="b")
    assert [(one.priority, one.endpoints[0].address) for one in found] == [(0, "b"), (1, "a")]
    assert levels(LocalityLbSetting(failover_priority=("version",)), labels={"version": "v0"})["r1/z1/s1"] == 0


def test_shares_by_place_and_none_for_who_has_none() -> None:
    setting = LocalityLbSetting(distribute=(Distribute("r1/z1/*", {"r1/z1/*": 20, "r1/z2/*": 80}),))
    found = arranged(ENDPOINTS, setting, HERE, {}, outliers=False)
    assert [(str(one.locality), one.weight) for one in found] == [("r1/z1/s1", 10), ("r1/z1/s2", 10), ("r1/z2/s1", 80)]
    other = Locality("r2", "z1")
    assert arranged(ENDPOINTS, setting, other, {}, outliers=False) == grouped(ENDPOINTS)


def test_weights_of_endpoints_add_up() -> None:
    two = (ENDPOINTS[0]._replace(weight=3), ENDPOINTS[0]._replace(address="10.0.1.1"))
    assert [one.weight for one in grouped(two)] == [4]
