"""Endpoints written by hand are what the plans, and protobuf itself, make of the same in dicts."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.build.clusters import Assignment
from mesh.build.locality import Group
from mesh.build.metrics import endpoint_metadata
from mesh.encode.assignments import written
from mesh.encode.check import check, holds
from mesh.encode.plans import NotEncodableError, encode
from mesh.model.workload import Locality
from mesh.world.index import Endpoint

KIND = "envoy.config.endpoint.v3.ClusterLoadAssignment"
CLUSTER = "envoy.config.cluster.v3.Cluster"

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40)
NAMES = st.text(min_size=1, max_size=300)
ENDPOINTS = st.builds(
    Endpoint,
    address=st.one_of(st.ip_addresses().map(str), st.just("unix:///run/app.sock"), st.just("db.example.com")),
    port=st.integers(0, 65535),
    labels=st.dictionaries(st.sampled_from(["app", "version", "service.istio.io/canonical-name"]), WORDS),
    weight=st.integers(0, 2**32 - 1),
    workload=WORDS,
)
GROUPS = st.builds(
    Group,
    locality=st.builds(Locality, WORDS, WORDS, WORDS),
    priority=st.integers(0, 128),
    weight=st.integers(1, 2**32 - 1),
    endpoints=st.lists(ENDPOINTS, max_size=4).map(tuple),
)


def as_dict(one: Assignment) -> dict[str, Any]:
    def endpoint(each: Endpoint) -> dict[str, Any]:
        pipe = each.address.startswith("unix://")
        socket = {"socket_address": {"address": each.address, "port_value": each.port}}
        made = {
            "endpoint": {"address": {"pipe": {"path": each.address.removeprefix("unix://")}} if pipe else socket},
            "load_balancing_weight": each.weight or 1,
        }
        return made | ({"metadata": endpoint_metadata(each)} if one.is_counted else {})

    groups = [
        {
            "locality": {"region": each.locality[0], "zone": each.locality[1], "sub_zone": each.locality[2]},
            "lb_endpoints": [endpoint(endpoint_) for endpoint_ in each.endpoints],
            "load_balancing_weight": each.weight,
            "priority": each.priority,
        }
        for each in one.groups
    ]
    return {"cluster_name": one.cluster, "endpoints": groups}


@given(st.builds(Assignment, NAMES, st.lists(GROUPS, max_size=3).map(tuple), st.booleans()))
@settings(deadline=None)
def test_the_bytes_are_those_of_the_dict(one: Assignment) -> None:
    body = as_dict(one)
    assert written(one) == encode(KIND, body)
    assert holds(KIND, body)


def test_it_stands_in_a_cluster_for_the_message() -> None:
    one = Assignment("a", (Group(Locality("r", "", ""), 0, 3, (Endpoint("10.0.0.1", 80, {}),)),))
    cluster = {"name": "a", "type": "STRICT_DNS", "load_assignment": one}
    assert holds(CLUSTER, cluster)
    assert check(CLUSTER, cluster) == ()
    assert encode(CLUSTER, cluster) == encode(CLUSTER, cluster | {"load_assignment": as_dict(one)})


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        (Endpoint("10.0.0.1", 65536, {}), "an endpoint at 10.0.0.1, port 65536; 0 to 65535 are allowed"),
        (Endpoint("", 80, {}), "an endpoint at no address, port 80"),
        (Endpoint("10.0.0.1", 80, {}, weight=2**32), "a weight of 4294967296; 1 to 4294967295 are allowed"),
        (Endpoint("10.0.0.1", 80, {}, weight=-1), "a weight of -1; 1 to 4294967295 are allowed"),
        (Endpoint("unix://", 0, {}), "an endpoint at unix://, port 0"),
    ],
)
def test_what_envoy_would_refuse_is_told(endpoint: Endpoint, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        written(Assignment("a", (Group(Locality("", "", ""), 0, 1, (endpoint,)),)))


def test_a_level_that_envoy_has_not_and_a_cluster_without_a_name_are_told() -> None:
    group = Group(Locality("", "", ""), 129, 1, ())
    with pytest.raises(ValueError, match="a priority of 129; 0 to 128 are allowed"):
        written(Assignment("a", (group,)))
    with pytest.raises(ValueError, match="without a name"):
        written(Assignment("", ()))


def test_what_is_wrong_in_it_is_told_with_the_place_where_it_stands() -> None:
    group = Group(Locality("", "", ""), 0, 1, (Endpoint("", 80, {}),))
    cluster = {"name": "a", "type": "STRICT_DNS", "load_assignment": Assignment("a", (group,))}
    with pytest.raises(NotEncodableError, match=r"load_assignment: an endpoint at no address, port 80"):
        encode(CLUSTER, cluster)
