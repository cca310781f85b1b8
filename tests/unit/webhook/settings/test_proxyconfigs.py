"""ProxyConfig resources: which of them count for a pod, over what, and what becomes of bad ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from webhook.limits import PROXY_CONFIG_BYTES
from webhook.pod.inject import Request, inject
from webhook.settings import Settings
from webhook.settings.proxyconfigs import ProxyConfigs

VALUES = Path(__file__).parent.parent / "golden_values.yaml"


def resource(
    name: str, namespace: str, spec: Any, labels: dict[str, str] | None = None, created: str = ""
) -> dict[str, Any]:
    selector = {} if labels is None else {"selector": {"matchLabels": labels}}
    return {
        "apiVersion": "networking.istio.io/v1beta1",
        "kind": "ProxyConfig",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": created},
        "spec": {**selector, **spec} if isinstance(spec, dict) else spec,
    }


def merged(
    *objects: dict[str, Any],
    namespace: str = "shop",
    labels: dict[str, str] | None = None,
    own: dict[str, Any] | None = None,
    mesh: dict[str, Any] | None = None,
) -> dict[str, Any]:
    configs, problems = ProxyConfigs.read(objects)
    assert not problems
    return configs.over({"concurrency": 1} if mesh is None else mesh, "istio-system", namespace, labels or {}, own)


ROOT = resource("root", "istio-system", {"concurrency": 2})
ALL = resource("all", "shop", {"concurrency": 3})
WEB = resource("web", "shop", {"concurrency": 5}, {"app": "web", "tier": "front"})
WEB_LABELS = {"app": "web", "tier": "front", "x": "y"}


def test_the_nearer_resource_counts_more_and_a_selecting_one_more_than_the_annotation() -> None:
    everything = [WEB, ALL, ROOT]
    assert merged() == {"concurrency": 1}
    assert merged(*everything, namespace="other") == {"concurrency": 2}
    assert merged(*everything, labels={"app": "web"}) == {"concurrency": 3}
    assert merged(*everything, labels={"app": "web"}, own={"concurrency": 4}) == {"concurrency": 4}
    assert merged(*everything, labels=WEB_LABELS) == {"concurrency": 5}
    assert merged(*everything, labels=WEB_LABELS, own={"concurrency": 4}) == {"concurrency": 5}
    assert merged(*everything, namespace="other", labels=WEB_LABELS) == {"concurrency": 2}
    assert merged(ROOT, namespace="istio-system") == {"concurrency": 2}


def test_a_selector_in_the_root_namespace_is_for_its_own_pods_alone() -> None:
    selecting = resource("web", "istio-system", {"concurrency": 6}, {"app": "web"})
    assert merged(selecting, labels={"app": "web"}) == {"concurrency": 1}
    assert merged(selecting, ROOT, namespace="istio-system", labels={"app": "web"}) == {"concurrency": 6}


@pytest.mark.parametrize("labels", [None, {"app": "web"}])
def test_of_several_in_one_place_the_oldest_counts_alone(labels: dict[str, str] | None) -> None:
    young = resource(
        "a", "shop", {"concurrency": 7, "environmentVariables": {"YOUNG": "1"}}, labels, "2026-02-01T00:00:00Z"
    )
    old = resource("b", "shop", {"concurrency": 8}, labels, "2026-01-01T00:00:00Z")
    assert merged(young, old, labels=labels) == {"concurrency": 8}


def test_several_selectors_by_different_labels_the_oldest_counts() -> None:
    by_tier = resource("z", "shop", {"concurrency": 9}, {"tier": "front"}, "2026-01-01T00:00:00Z")
    by_app = resource("a", "shop", {"concurrency": 7}, {"app": "web"}, "2026-02-01T00:00:00Z")
    assert merged(by_app, by_tier, labels=WEB_LABELS) == {"concurrency": 9}


def test_variables_and_image_merge_as_a_message_and_zero_counts() -> None:
    root = resource(
        "r", "istio-system", {"environmentVariables": {"A": "root", "B": "root"}, "image": {"imageType": "debug"}}
    )
    own = resource("s", "shop", {"environmentVariables": {"B": "shop"}, "concurrency": 0})
    assert merged(root, own) == {
        "concurrency": 0,
        "proxyMetadata": {"A": "root", "B": "shop"},
        "image": {"imageType": "debug"},
    }


def test_where_nothing_comes_over_it_the_mesh_s_own_object_is_given() -> None:
    mesh = {"concurrency": 1}
    assert merged(ALL, WEB, namespace="other", mesh=mesh) is mesh


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ([1], "ProxyConfig shop/bad: spec: [1] is not a mapping"),
        ({"concurrency": -1}, "ProxyConfig shop/bad: spec.concurrency: -1 is not a whole number"),
        ({"concurrency": "many"}, "spec.concurrency: 'many' is not a whole number"),
        ({"environmentVariables": {"A": 1}}, "spec.environmentVariables: {'A': 1} is not a mapping of strings"),
        ({"environmentVariables": {"A=B": "1"}}, "'A=B' is not the name of an environment variable"),
        ({"image": {"imageType": "a b"}}, "is not an imageType"),
        ({"image": "debug"}, "spec.image: 'debug' is not an imageType"),
        ({"selector": {}}, "spec.selector: {} selects no pod"),
        ({"selector": {"matchLabels": {"a": 1}}}, "spec.selector.matchLabels: {'a': 1} is not a mapping of strings"),
        ({"environmentVariables": {"A": "x" * PROXY_CONFIG_BYTES}}, f"spec is larger than {PROXY_CONFIG_BYTES} bytes"),
    ],
)
def test_a_bad_resource_is_told_and_left_out_alone(spec: Any, said: str) -> None:
    configs, problems = ProxyConfigs.read([resource("bad", "shop", spec), ALL])
    (problem,) = problems
    assert said in problem
    assert problem.endswith(": left out")
    assert [it.name for it in configs.resources] == ["all"]


@pytest.mark.parametrize("about", [None, 1, {"name": 1}, {"name": "a", "namespace": [1]}])
def test_a_resource_without_a_name_is_told(about: Any) -> None:
    configs, problems = ProxyConfigs.read([{"metadata": about}])
    assert not configs.resources
    assert len(problems) == 1


def test_an_unknown_field_is_told_and_the_others_are_taken() -> None:
    configs, problems = ProxyConfigs.read([resource("a", "shop", {"concurrency": 2, "imag": {}})])
    assert problems == (
        "ProxyConfig shop/a: spec.imag: no such field; allowed: concurrency, environmentVariables, image, selector",
    )
    assert configs.over({}, "istio-system", "shop", {}, None) == {"concurrency": 2}


def test_an_injected_pod_runs_as_its_resources_say_and_stays_so() -> None:
    settings = Settings.load(VALUES.read_bytes(), {"rootNamespace": "root"})
    root = resource("all", "root", {"image": {"imageType": "debug"}})
    web = resource("web", "shop", {"concurrency": 3, "environmentVariables": {"MINE": "1"}}, {"app": "web"})
    configs, _ = ProxyConfigs.read([root, web])
    pod = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app", "image": "web:1"}]}}
    result = inject(settings, Request(pod, "shop", proxy_configs=configs))
    (proxy,) = (it for it in result.pod["spec"]["containers"] if it["name"] == "istio-proxy")
    assert proxy["image"] == "example.com/mesh/proxyv2:1.2-debug"
    variables = {it["name"]: it.get("value") for it in proxy["env"]}
    assert variables["MINE"] == "1"
    assert '"concurrency":3' in variables["PROXY_CONFIG"].replace(" ", "")
    assert inject(settings, Request(result.pod, "shop", proxy_configs=configs)).patch == []
