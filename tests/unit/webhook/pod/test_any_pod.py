"""Whatever the pod looks like, it is injected, left, or refused with a message: no other error, and no pod changed.

Pods are drawn whole and then broken: any value of a well-formed pod may become any other JSON.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonpatch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from webhook.errors import InjectionError
from webhook.pod.inject import Request, inject
from webhook.settings import Settings

VALUES = yaml.safe_load((Path(__file__).parents[1] / "golden_values.yaml").read_text())
SETTINGS = [Settings.load(VALUES), Settings.load(VALUES, "defaultConfig: {interceptionMode: TPROXY}"), Settings.load()]

PORTS = st.sampled_from([80, 8080, "http", "80"])
ACTIONS = st.one_of(
    st.fixed_dictionaries({"httpGet": st.fixed_dictionaries({"port": PORTS}, optional={"path": st.just("/x")})}),
    st.fixed_dictionaries({"tcpSocket": st.fixed_dictionaries({"port": PORTS})}),
    st.just({"exec": {"command": ["true"]}}),
)
PROBES = st.one_of(ACTIONS, st.just({"grpc": {"port": 9000}, "timeoutSeconds": 2}))


def containers(*names: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    fields = st.fixed_dictionaries(
        {"name": st.sampled_from(names)},
        optional={
            "image": st.sampled_from(["auto", "example.com/x"]),
            "ports": st.just([{"name": "http", "containerPort": 8080}]),
            "env": st.just([{"name": "A", "value": "1"}]),
            "livenessProbe": PROBES,
            "readinessProbe": PROBES,
            "lifecycle": st.fixed_dictionaries({"preStop": ACTIONS}),
            "securityContext": st.fixed_dictionaries({"runAsUser": st.sampled_from([0, 1000, 1337])}),
            "args": st.just([]),
        },
    )
    return st.lists(fields, max_size=3, unique_by=lambda container: container["name"])


ANNOTATIONS = st.dictionaries(
    st.sampled_from(
        [
            "inject.istio.io/templates",
            "prometheus.io/port",
            "proxy.istio.io/config",
            "proxy.istio.io/overrides",
            "sidecar.istio.io/interceptionMode",
            "sidecar.istio.io/nativeSidecar",
            "sidecar.istio.io/status",
            "sidecar.istio.io/userVolume",
            "status.sidecar.istio.io/port",
            "traffic.sidecar.istio.io/excludeInboundPorts",
        ]
    ),
    st.sampled_from(
        [
            "",
            "{}",
            "[]",
            "null",
            "80",
            "true",
            "TPROXY",
            "gateway",
            "grpc-agent",
            "proxyMetadata: {A: b}",
            '{"containers": ["istio-proxy", "web"], "initContainers": null}',
            '{"containers": [{"name": "istio-proxy", "env": [{"name": "A"}]}]}',
            '{"v": {"emptyDir": {}}}',
            "[" * 5000,
        ]
    ),
    max_size=3,
)
PODS = st.fixed_dictionaries(
    {
        "spec": st.fixed_dictionaries(
            {"containers": containers("web", "helper", "istio-proxy")},
            optional={"initContainers": containers("setup", "istio-init", "istio-validation")},
        )
    },
    optional={
        "metadata": st.fixed_dictionaries({}, optional={"labels": st.just({"app": "web"}), "annotations": ANNOTATIONS})
    },
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["name", "env", "x"]), inner, max_size=2)
    ),
    max_leaves=6,
)


def apart(value: Any) -> Any:
    """The same JSON, no object of it in two places: jsonpatch would change both."""
    return json.loads(json.dumps(value))


@st.composite
def broken_pods(draw: st.DrawFn) -> dict[str, Any]:
    pod: dict[str, Any] = apart(draw(PODS))
    for _ in range(draw(st.integers(0, 2))):
        place: Any = pod
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if not isinstance(place[key], (dict, list)) or draw(st.integers(0, 3)) == 0:
                place[key] = apart(draw(st.sampled_from(["istio-proxy", "istio-init", {"name": "istio-proxy"}]) | JSON))
                break
            place = place[key]
    return pod


def strict(value: object) -> str:
    return json.dumps(value, sort_keys=True)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pod=broken_pods(), which=st.sampled_from(SETTINGS), native=st.booleans())
def test_any_pod(pod: dict[str, Any], which: Settings, native: bool) -> None:
    before = copy.deepcopy(pod)
    try:
        result = inject(which, Request(pod, "default", native_sidecars=native))
    except InjectionError:
        return
    finally:
        assert strict(pod) == strict(before)
    assert strict(jsonpatch.apply_patch(before, result.patch)) == strict(result.pod)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pod=PODS, which=st.sampled_from(SETTINGS), native=st.booleans())
def test_injecting_again_changes_nothing(pod: dict[str, Any], which: Settings, native: bool) -> None:
    pod.get("metadata", {}).get("annotations", {}).pop("sidecar.istio.io/status", None)
    try:
        once = inject(which, Request(pod, "default", native_sidecars=native))
    except InjectionError:
        return
    again = json.loads(json.dumps(once.pod))
    assert inject(which, Request(again, "default", native_sidecars=native)).patch == []
