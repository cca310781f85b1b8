"""Causes: found by taking settings, annotations and labels away."""

from typing import Any

import pytest

from webhook.documents.causes import Causes, Sources, differing, leaves
from webhook.pod.inject import Request


def pod(**metadata: Any) -> dict[str, Any]:
    return {"kind": "Pod", "metadata": metadata, "spec": {"containers": [{"name": "app"}]}}


@pytest.mark.parametrize(
    ("other", "value", "paths"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": True}, [("a",)]),
        ({}, {"a": {"b": 1}}, [("a",)]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}}, [("a", "b")]),
        (["-i", "*", "-b", "*"], ["-i", "*", "-b", "80"], [(3,)]),
        (["a", "c"], ["a", "b", "c"], [(1,)]),
        ([{"name": "a", "x": 1}], [{"name": "b"}, {"name": "a", "x": 2}], [(0,), (1, "x")]),
    ],
)
def test_differing_paths(other: Any, value: Any, paths: list[Any]) -> None:
    assert list(differing(other, value)) == paths


def test_leaves_are_settings_that_say_something() -> None:
    data = {"a": {"b": 1, "c": "", "d": False}, "e": [1], "f": {}, "g": None}
    assert list(leaves(data)) == [("a", "b"), ("e",)]


def test_values_mesh_config_annotations_and_labels() -> None:
    sources = Sources(
        values={"profile": "standalone", "global": {"hub": "example.com"}},
        mesh={"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}},
        config={"injectedAnnotations": {"team": "shop"}},
    )
    request = Request(pod(labels={"app": "web"}, annotations={"sidecar.istio.io/proxyCPU": "2"}))
    found = Causes(sources).of(request)
    by_cause: dict[str, set[Any]] = {}
    for path, causes in found.items():
        for cause in causes:
            by_cause.setdefault(cause, set()).add(path)
    assert by_cause["values global.hub=example.com"] == {
        ("spec", "containers", 1, "image"),
        ("spec", "initContainers", 0, "image"),
    }
    assert by_cause["config injectedAnnotations.team=shop"] == {("metadata", "annotations", "team")}
    assert ("spec", "containers", 1, "args", 1) in by_cause["mesh outboundTrafficPolicy.mode=REGISTRY_ONLY"]
    assert ("spec", "containers", 1, "args", 1) in by_cause["label app=web"]
    assert any("resources" in path for path in by_cause["annotation sidecar.istio.io/proxyCPU=2"])


def test_what_an_annotation_says_of_itself_is_no_effect() -> None:
    found = Causes(Sources()).of(Request(pod(annotations={"mine": "x"})))
    assert found == {}
