"""Warnings: each for the pod that deserves it, and none for the usual one."""

from typing import Any

import pytest

from webhook.pod.warn import POD_SECURITY, warnings

INIT = {"name": "istio-init", "securityContext": {"capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}}}
PROXY = {"name": "istio-proxy", "securityContext": {"runAsUser": 1337}}
NATIVE = {**PROXY, "restartPolicy": "Always"}
USUAL = {"name": "app", "ports": [{"containerPort": 8080}], "securityContext": {"runAsUser": 1000}}


def pod(*containers: dict[str, Any], inits: tuple[dict[str, Any], ...] = (), **spec: Any) -> dict[str, Any]:
    fields = {"containers": list(containers), **spec}
    return {"metadata": {}, "spec": fields | ({"initContainers": list(inits)} if inits else {})}


def injected(before: dict[str, Any], *, native: bool = True) -> dict[str, Any]:
    spec = before["spec"]
    inits = spec.get("initContainers", [])
    if native:
        return {**before, "spec": {**spec, "initContainers": [INIT, NATIVE, *inits]}}
    return {**before, "spec": {**spec, "initContainers": [*inits, INIT], "containers": [*spec["containers"], PROXY]}}


def told(before: dict[str, Any], *, native: bool = True, labels: dict[str, str] | None = None) -> tuple[str, ...]:
    return warnings(before, injected(before, native=native), "shop", {"labels": labels or {}})


@pytest.mark.parametrize("native", [True, False])
def test_the_usual_pod_gets_none(native: bool) -> None:
    assert told(pod(USUAL), native=native) == ()
    assert warnings(pod(USUAL), injected(pod(USUAL)), "shop", None) == ()


def test_a_container_of_the_proxys_user() -> None:
    (warning,) = told(pod({"name": "app", "securityContext": {"runAsUser": 1337}}))
    assert warning.startswith("container app runs as the proxy's user 1337")
    assert "runAsUser" in warning


def test_the_pods_own_user_counts_where_the_container_has_none() -> None:
    before = pod({"name": "app"}, USUAL, securityContext={"runAsUser": 1337})
    assert [warning.split()[1] for warning in told(before)] == ["app"]


def test_a_port_that_the_sidecar_needs() -> None:
    ports = [{"containerPort": 15021}, {"containerPort": 15006, "protocol": "UDP"}]
    (warning,) = told(pod({"name": "app", "ports": ports}))
    assert "container app has port 15021" in warning


@pytest.mark.parametrize(("asked", "port"), [("0", 0), ("15020", 15020), (None, 15020)])
def test_probes_that_would_go_to_port_0(asked: str | None, port: int) -> None:
    after = injected(
        pod({"name": "app", "livenessProbe": {"httpGet": {"path": "/app-health/app/livez", "port": port}}})
    )
    after["metadata"] = {"annotations": {"status.sidecar.istio.io/port": asked} if asked else {}}
    found = warnings(pod(USUAL), after, "shop", None)
    assert [warning.startswith("container app: livenessProbe goes to status port 0") for warning in found] == [True] * (
        port == 0
    )


def test_init_containers_before_a_proxy_that_is_not_native() -> None:
    before = pod(USUAL, inits=({"name": "migrate"},))
    assert told(before) == ()
    (warning,) = told(before, native=False)
    assert "init container migrate runs before the proxy" in warning
    assert "nativeSidecar" in warning


def test_init_containers_behind_the_rules_have_no_network() -> None:
    before = pod(USUAL)
    after = pod(USUAL, PROXY, inits=({"name": "istio-validation"}, *({"name": f"init-{n}"} for n in range(5))))
    (warning,) = warnings(before, after, "shop", None)
    assert "init containers init-0, init-1, init-2 and 2 more run without network" in warning


@pytest.mark.parametrize("restart", ["Never", "OnFailure"])
def test_a_job_that_is_never_done(restart: str) -> None:
    before = pod(USUAL, restartPolicy=restart)
    assert told(before) == ()
    (warning,) = told(before, native=False)
    assert "never done" in warning


@pytest.mark.parametrize(
    ("kind", "name", "nearest"),
    [
        ("annotation", "sidecar.istio.io/intercepionMode", "sidecar.istio.io/interceptionMode"),
        (
            "annotation",
            "traffic.sidecar.istio.io/excludeoutboundports",
            "traffic.sidecar.istio.io/excludeOutboundPorts",
        ),
        ("annotation", "sidecars.istio.io/proxyCPU", "sidecar.istio.io/proxyCPU"),
        ("annotation", "sidecar.istio.io/nativeSidecars", "sidecar.istio.io/nativeSidecar"),
        ("label", "sidecar.istio.io/injected", "sidecar.istio.io/inject"),
    ],
)
def test_a_slip_in_a_name(kind: str, name: str, nearest: str) -> None:
    before = pod(USUAL)
    before["metadata"] = {f"{kind}s": {name: "x"}}
    assert told(before) == (f"{kind} {name} has no effect; did you mean {nearest}?",)


@pytest.mark.parametrize(
    "name", ["sidecar.istio.io/inject", "istio.io/rev", "example.com/istio", "proxy.istio.io/mine"]
)
def test_names_that_are_meant(name: str) -> None:
    before = pod(USUAL)
    before["metadata"] = {"annotations": {name: "x"}}
    assert told(before) == ()


# Of Istio's API (istio.io/api, annotation/annotations.yaml): those of pods, and of other objects that end up on pods.
ISTIO = """
    alpha.istio.io/canonical-serviceaccounts alpha.istio.io/kubernetes-serviceaccounts
    ambient.istio.io/bypass-inbound-capture ambient.istio.io/redirection ambient.istio.io/waypoint-inbound-binding
    galley.istio.io/analyze-suppress gateway.istio.io/controller-version gateway.istio.io/name-override
    gateway.istio.io/service-account inject.istio.io/templates istio.io/autoRegistrationGroup istio.io/connectedAt
    istio.io/disconnectedAt istio.io/dry-run istio.io/rev istio.io/workloadController networking.istio.io/exportTo
    networking.istio.io/service-type networking.istio.io/traffic-distribution prometheus.istio.io/merge-metrics
    readiness.status.sidecar.istio.io/applicationPorts sidecar.istio.io/discoveryAddress
    sidecar.istio.io/enableCoreDump sidecar.istio.io/extraStatTags sidecar.istio.io/nativeSidecar
    sidecar.istio.io/statsCompression sidecar.istio.io/statsEvictionInterval sidecar.istio.io/statsFlushInterval
    sidecar.istio.io/statsHistogramBins sidecar.istio.io/statsHistogramBuckets
    sidecar.istio.io/statsInclusionPrefixes sidecar.istio.io/statsInclusionRegexps
    sidecar.istio.io/statsInclusionSuffixes topology.istio.io/controlPlaneClusters traffic.istio.io/nodeSelector
"""


@pytest.mark.parametrize("name", ISTIO.split())
def test_a_real_annotation_is_no_slip_of_another(name: str) -> None:
    before = pod(USUAL)
    before["metadata"] = {"annotations": {name: "x"}}
    assert told(before) == ()


@pytest.mark.parametrize("level", ["baseline", "restricted"])
def test_pod_security_refuses_the_init_container(level: str) -> None:
    (warning,) = told(pod(USUAL), labels={POD_SECURITY: level})
    assert f"namespace shop enforces Pod Security level {level}" in warning
    assert told(pod(USUAL), labels={POD_SECURITY: "privileged"}) == ()


def test_each_is_short_enough_for_the_api_server() -> None:
    bad = {"name": "a" * 63, "ports": [{"containerPort": 15000}], "securityContext": {"runAsUser": 1337}}
    before = pod(bad, inits=tuple({"name": f"{n}" + "i" * 20} for n in range(9)), restartPolicy="OnFailure")
    before["metadata"] = {"annotations": {"traffic.sidecar.istio.io/includeOutboundIPRange": "*"}}
    found = told(before, native=False, labels={POD_SECURITY: "restricted"})
    assert len(found) == 6
    assert all(len(warning) <= 256 for warning in found)
