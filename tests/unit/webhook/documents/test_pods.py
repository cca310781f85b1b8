"""Pods are found by shape, in whatever kind they are."""

from typing import Any

import pytest

from webhook.documents import pods

POD = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app"}]}}


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        ({"kind": "Pod", **POD}, [()]),
        ({"kind": "Deployment", "spec": {"template": POD}}, [("spec", "template")]),
        (
            {"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": POD}}}},
            [("spec", "jobTemplate", "spec", "template")],
        ),
        ({"kind": "PodTemplate", "template": POD}, [("template",)]),
        (
            {"kind": "PyTorchJob", "spec": {"replicas": {"Master": {"template": POD}, "Worker": {"template": POD}}}},
            [("spec", "replicas", "Master", "template"), ("spec", "replicas", "Worker", "template")],
        ),
        ({"kind": "RayCluster", "spec": {"groups": [{"podTemplate": POD}]}}, [("spec", "groups", 0, "podTemplate")]),
        (
            {"kind": "List", "items": [{"kind": "Service"}, {"kind": "PodList", "items": [{"kind": "Pod", **POD}]}]},
            [("items", 1, "items", 0)],
        ),
        ({"kind": "Service", "spec": {"selector": {"app": "web"}}}, []),
        ({"kind": "ClusterPolicy", "spec": {"rules": [{"pattern": {"spec": {"template": POD}}}]}}, []),
        ({"kind": "Pod", "spec": None}, []),
        (["kind"], []),
        ([{"kind": "Service"}, {"kind": "Pod", **POD}], [(1,)]),
        (None, []),
    ],
)
def test_found(value: Any, paths: list[pods.Path]) -> None:
    assert [place.path for place in pods.find(value)] == paths


def test_replacing_shares_all_beside_the_path() -> None:
    value = {"a": [{"b": 1}, {"c": {}}], "d": {}}
    new = pods.replaced(value, ("a", 0, "b"), 2)
    assert new == {"a": [{"b": 2}, {"c": {}}], "d": {}}
    assert new["d"] is value["d"]
    assert new["a"][1] is value["a"][1]
    assert pods.at(new, ("a", 0, "b")) == 2
    assert value["a"][0] == {"b": 1}


def test_a_place_is_named_as_kubectl_names_it() -> None:
    (place,) = pods.find({"kind": "Pod", "metadata": {"name": "web", "namespace": "shop"}, **{"spec": POD["spec"]}})
    assert str(place) == "Pod/web -n shop"


DEPLOYMENT = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": POD}}
BARE = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare"}, "spec": {"containers": [{"name": "app"}]}}


@pytest.mark.parametrize(
    "value",
    [
        {"kind": "Template", "metadata": {"name": "outer"}, "objects": [DEPLOYMENT, BARE]},
        {
            "kind": "ManifestWork",
            "metadata": {"name": "outer"},
            "spec": {"workload": {"manifests": [DEPLOYMENT, {"kind": "List", "apiVersion": "v1", "items": [BARE]}]}},
        },
    ],
    ids=lambda value: value["kind"],
)
def test_a_pod_belongs_to_the_nearest_object_around_it(value: Any) -> None:
    places = list(pods.find(value))
    assert [str(place) for place in places] == ["Deployment/web", "Pod/bare"]
    assert [pods.at(value, place.owner_path)["metadata"]["name"] for place in places] == ["web", "bare"]


def test_a_reference_to_an_object_is_none() -> None:
    reference = {"apiVersion": "v1", "kind": "Thing", "name": "x", "spec": {"template": POD}}
    (place,) = pods.find({"kind": "Binding", "metadata": {"name": "outer"}, "target": reference})
    assert str(place) == "Binding/outer"
