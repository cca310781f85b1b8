"""What users ask of the sidecar, on a real cluster: native, in Jobs, with templates of their own, probes, warnings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.harness import HERE, NAMESPACE, Cluster, eventually
from tests.cluster.objects import code, containers, deployment, pod, pod_spec, service

NATIVE = "sidecar.istio.io/nativeSidecar"


def proxy_of(pod: dict[str, Any]) -> dict[str, Any]:
    spec = pod["spec"]
    return next(c for c in [*spec.get("initContainers", []), *spec["containers"]] if c["name"] == "istio-proxy")


@pytest.mark.parametrize(
    ("name", "annotations", "native"),
    [
        ("asked-for", {NATIVE: "true"}, True),
        ("asked-not-to", {NATIVE: "false"}, False),
        # every node of a cluster of Kubernetes 1.33 or newer can
        ("as-the-nodes-can", {}, True),
    ],
)
def test_a_native_sidecar_is_an_init_container_that_goes_on(
    cluster: Cluster, injected: str, name: str, annotations: dict[str, str], native: bool
) -> None:
    cluster.apply(code(), deployment(name, pod_spec(cluster), annotations=annotations), namespace=injected)
    created = cluster.ready_pod(name, injected)
    assert proxy_of(created).get("restartPolicy") == ("Always" if native else None)
    assert ("istio-proxy" in [container["name"] for container in created["spec"]["containers"]]) is not native


def test_a_job_finishes_and_its_traffic_has_passed_the_sidecar(cluster: Cluster, injected: str) -> None:
    cluster.apply(code(), deployment("asked", pod_spec(cluster)), namespace=injected)
    address = cluster.ready_pod("asked", injected)["status"]["podIP"]
    ask = f"import urllib.request as r; print(r.urlopen('http://{address}:8080/job').headers.get_all('x-sidecar'))"
    spec = pod_spec(cluster, ["python", "-c", ask]) | {"restartPolicy": "Never"}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "once"},
        "spec": {"backoffLimit": 0, "template": {"metadata": {}, "spec": spec}},
    }
    cluster.apply(job, namespace=injected)
    cluster.wait("condition=Complete", "job/once", injected)
    assert "['inbound', 'outbound']" in cluster.kubectl("-n", injected, "logs", "job/once", "-c", "app")


# An annotation of one's own sets a variable of the proxy, which the sidecar's template has among the init containers.
MINE = {
    "$let": {"level": "annotation('example.com/level', 'info')"},
    "metadata": {"annotations": {"example.com/templated": "yes"}},
    "spec": {"containers": [{"name": "istio-proxy", "env": [{"name": "LEVEL", "value": "${level}"}]}]},
}
# The proxy as the pod's own container: its author writes image `auto` and what it is to do.
GATEWAY = {"spec": {"containers": [{"name": "istio-proxy", "image": "${image}"}]}}


@pytest.fixture(scope="module")
def own_templates(cluster: Cluster) -> Iterator[None]:
    """Templates of a user's own, in the ConfigMap of the running webhook."""
    before = cluster.get("configmap", "istio-sidecar-injector", namespace=NAMESPACE)["data"]["config"]

    def configure(config: str) -> None:
        patch = json.dumps({"data": {"config": config}})
        cluster.kubectl("-n", NAMESPACE, "patch", "configmap", "istio-sidecar-injector", "-p", patch)

    configure(json.dumps({"templates": {"mine": json.dumps(MINE), "gateway": json.dumps(GATEWAY)}}))
    yield
    configure(before)


@pytest.mark.usefixtures("own_templates")
def test_a_template_of_one_s_own_is_taken_while_the_webhook_runs(cluster: Cluster, injected: str) -> None:
    annotations = {"inject.istio.io/templates": "sidecar,mine", "example.com/level": "debug"}

    def accepted() -> None:
        said = cluster.apply(pod("own", pod_spec(cluster), annotations=annotations), namespace=injected)
        assert "created" in said, said

    # kubelet brings a changed ConfigMap to its volume when it next looks at the pod
    eventually(accepted, 120)
    created = cluster.get("pod", "own", namespace=injected)
    assert {"name": "LEVEL", "value": "debug"} in proxy_of(created)["env"]
    assert created["metadata"]["annotations"]["example.com/templated"] == "yes"


@pytest.mark.usefixtures("own_templates")
def test_a_gateway_is_the_proxy_alone_and_leads_into_the_mesh(cluster: Cluster, injected: str) -> None:
    route = {"match": {"prefix": "/"}, "route": {"cluster": "server"}}
    kinds = "type.googleapis.com/envoy.extensions.filters"
    router = {"name": "router", "typed_config": {"@type": f"{kinds}.http.router.v3.Router"}}
    manager = {
        "@type": f"{kinds}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [router],
    }

    def at(address: str, port: int) -> dict[str, Any]:
        return {"address": {"socket_address": {"address": address, "port_value": port}}}

    endpoints = {"cluster_name": "server", "endpoints": [{"lb_endpoints": [{"endpoint": at("behind", 80)}]}]}
    listener = at("0.0.0.0", 8080) | {"filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]}
    bootstrap = {
        "static_resources": {
            "listeners": [listener],
            "clusters": [{"name": "server", "type": "STRICT_DNS", "load_assignment": endpoints}],
        }
    }
    spec = {
        "containers": [
            {
                "name": "istio-proxy",
                "image": "auto",
                # the API server writes Always where an image has no tag, before the webhook sees the pod
                "imagePullPolicy": "IfNotPresent",
                "args": ["--config-yaml", json.dumps(bootstrap)],
                "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
            }
        ]
    }
    cluster.apply(
        code(),
        service("behind"),
        deployment("behind", pod_spec(cluster)),
        service("gateway"),
        deployment("gateway", spec, annotations={"inject.istio.io/templates": "gateway"}),
        deployment("visitor", pod_spec(cluster), {"sidecar.istio.io/inject": "false"}),
        namespace=injected,
    )

    def alone() -> None:
        created = cluster.ready_pod("gateway", injected)
        assert containers(created) == ["istio-proxy"]

    eventually(alone)
    cluster.ready_pod("behind", injected)
    visitor = cluster.ready_pod("visitor", injected)["metadata"]["name"]
    assert cluster.fetch(visitor, injected, "http://gateway/")["headers"]["x-sidecar"] == ["inbound"]


def test_wrong_settings_leave_the_good_ones_in_force(cluster: Cluster, injected: str) -> None:
    before = cluster.get("configmap", "istio", namespace=NAMESPACE)["data"]["mesh"]

    def configure(mesh: str) -> None:
        cluster.kubectl("-n", NAMESPACE, "patch", "configmap", "istio", "-p", json.dumps({"data": {"mesh": mesh}}))

    def refused() -> None:
        log = cluster.kubectl("-n", NAMESPACE, "logs", "-l", "app.kubernetes.io/name=pyinject", "--tail=-1")
        assert "settings not taken, what was in force stays: mesh" in log

    configure("defaultConfig: [1, 2]")
    try:
        eventually(refused, 120)
        cluster.apply(pod("still", pod_spec(cluster)), namespace=injected)
        assert "istio-proxy" in containers(cluster.get("pod", "still", namespace=injected))
    finally:
        configure(before)


PROBES: dict[str, dict[str, Any]] = {
    "http": {"httpGet": {"path": "/ready", "port": 8080, "httpHeaders": [{"name": "x-probe", "value": "yes"}]}},
    "https": {
        "httpGet": {
            "path": "/ready",
            "port": 8443,
            "scheme": "HTTPS",
            "httpHeaders": [{"name": "x-probe", "value": "yes"}],
        }
    },
    "tcp": {"tcpSocket": {"port": 9000}},
    "grpc": {"grpc": {"port": 9001}},
    "exec": {"exec": {"command": ["sh", "-c", "! test -e /tmp/down"]}},
}


@pytest.fixture(scope="module")
def probed(cluster: Cluster, injected: str) -> dict[str, str]:
    """A pod for each kind of probe, by kind."""
    source = code() | {"metadata": {"name": "probed"}, "data": {"app.py": (HERE / "probed.py").read_text()}}
    workloads = []
    for kind, probe in PROBES.items():
        timing = {"periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 2}
        spec = pod_spec(cluster, readinessProbe=probe | timing)
        spec["volumes"] = [{"name": "app", "configMap": {"name": "probed"}}]
        workloads.append(deployment(kind, spec))
    cluster.apply(source, *workloads, namespace=injected)
    return {kind: cluster.ready_pod(kind, injected)["metadata"]["name"] for kind in PROBES}


@pytest.mark.parametrize("kind", PROBES)
def test_kubelet_hears_from_the_app_by_every_kind_of_probe(
    cluster: Cluster, injected: str, probed: dict[str, str], kind: str
) -> None:
    name = probed[kind]

    def run(code: str) -> None:
        cluster.python(name, injected, f"from pathlib import Path; Path('/tmp/down').{code}")

    run("touch()")
    cluster.wait("condition=Ready=false", f"pod/{name}", injected, 30)
    run("unlink()")
    cluster.wait("condition=Ready", f"pod/{name}", injected, 30)


@pytest.mark.parametrize(
    ("spec", "metadata", "warning"),
    [
        pytest.param(
            {"securityContext": {"runAsUser": 1337}},
            {},
            "container app runs as the proxy's user 1337",
            id="proxy's uid",
        ),
        pytest.param({"ports": [{"containerPort": 15001}]}, {}, "has port 15001", id="proxy's port"),
        pytest.param(
            {},
            {"sidecar.istio.io/logLevl": "debug"},
            "annotation sidecar.istio.io/logLevl has no effect; did you mean sidecar.istio.io/logLevel?",
            id="misspelt annotation",
        ),
    ],
)
def test_kubectl_shows_warnings(
    cluster: Cluster, injected: str, spec: dict[str, Any], metadata: dict[str, str], warning: str
) -> None:
    said = cluster.apply(pod("warned", pod_spec(cluster, **spec), annotations=metadata), namespace=injected)
    cluster.kubectl("-n", injected, "delete", "pod", "warned", "--now")
    assert any(line.startswith("Warning: ") and warning in line for line in said.splitlines())


def test_net_admin_against_the_namespace_s_pod_security_is_told_before_it_is_refused(cluster: Cluster) -> None:
    labels = {"istio-injection": "enabled", "pod-security.kubernetes.io/enforce": "baseline"}
    with cluster.namespace(labels) as namespace:

        def told() -> None:
            said = cluster.apply(pod("secured", pod_spec(cluster)), namespace=namespace)
            assert "violates PodSecurity" in said
            assert "NET_ADMIN" in said.partition("Error")[0]

        # the webhook hears of a new namespace a moment after it was made
        eventually(told)
