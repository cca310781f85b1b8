"""Which pods get the sidecar, asked of a real API server; and what it means for the others that the webhook exists."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cluster.harness import NAMESPACE, Cluster, eventually
from tests.cluster.objects import code, containers, deployment, pod, pod_spec

pytestmark = pytest.mark.usefixtures("cluster")


def test_a_deployment_in_a_labelled_namespace_gets_the_sidecar_and_becomes_ready(
    cluster: Cluster, injected: str
) -> None:
    said = cluster.apply(code(), deployment("app", pod_spec(cluster)), namespace=injected)
    assert "Warning" not in said
    created = cluster.ready_pod("app", injected)
    assert containers(created) == ["istio-init", "istio-proxy", "app"] or containers(created) == [
        "istio-init",
        "app",
        "istio-proxy",
    ]
    statuses = {status["name"]: status for status in created["status"]["containerStatuses"]}
    assert statuses["app"]["ready"]
    assert created["status"]["initContainerStatuses"][0]["restartCount"] == 0


@pytest.mark.parametrize(
    ("labels", "annotations", "host_network"),
    [
        pytest.param({"sidecar.istio.io/inject": "false"}, {}, False, id="label-says-no"),
        pytest.param({}, {"sidecar.istio.io/inject": "false"}, False, id="annotation-says-no"),
        pytest.param({}, {}, True, id="hostNetwork"),
    ],
)
def test_pods_in_a_labelled_namespace_that_stay_as_they_are(
    cluster: Cluster, injected: str, labels: dict[str, str], annotations: dict[str, str], host_network: bool
) -> None:
    spec = pod_spec(cluster) | {"hostNetwork": host_network}
    cluster.apply(pod("left-alone", spec, labels, annotations), namespace=injected)
    assert containers(cluster.get("pod", "left-alone", namespace=injected)) == ["app"]
    cluster.kubectl("-n", injected, "delete", "pod", "left-alone", "--now", "--wait=true")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param({}, False, id="says-nothing"),
        pytest.param({"sidecar.istio.io/inject": "true"}, True, id="label-says-yes"),
        pytest.param({"istio.io/rev": "default"}, True, id="asks-for-our-revision"),
        pytest.param({"istio.io/rev": "another"}, False, id="asks-for-another-revision"),
    ],
)
def test_pods_of_a_namespace_without_a_label(
    cluster: Cluster, plain: str, labels: dict[str, str], expected: bool
) -> None:
    cluster.apply(pod("one", pod_spec(cluster), labels), namespace=plain)
    try:
        assert ("istio-proxy" in containers(cluster.get("pod", "one", namespace=plain))) is expected
    finally:
        cluster.kubectl("-n", plain, "delete", "pod", "one", "--now", "--wait=true")


def test_a_value_that_is_not_allowed_is_told_to_who_creates_the_pod(cluster: Cluster, injected: str) -> None:
    annotation = "traffic.sidecar.istio.io/excludeInboundPorts"
    said = cluster.apply(pod("wrong", pod_spec(cluster), annotations={annotation: "http"}), namespace=injected)
    assert annotation in said
    assert "http" in said
    assert "denied the request" in said


@contextmanager
def webhook_away(cluster: Cluster) -> Iterator[None]:
    """No replica of the webhook runs meanwhile."""
    cluster.kubectl("-n", NAMESPACE, "scale", "deployment/pyinject", "--replicas=0")
    cluster.kubectl("-n", NAMESPACE, "wait", "--for=delete", "pod", "-l", "app.kubernetes.io/name=pyinject")
    try:
        yield
    finally:
        cluster.kubectl("-n", NAMESPACE, "scale", "deployment/pyinject", "--replicas=2")
        cluster.wait("condition=Available", "deployment/pyinject", NAMESPACE)


def test_without_the_webhook_no_pod_starts_bare_and_the_clusters_own_go_on(cluster: Cluster, injected: str) -> None:
    with webhook_away(cluster):

        def refused() -> None:
            said = cluster.apply(pod("waits", pod_spec(cluster)), namespace=injected)
            assert "failed calling webhook" in said

        refused()
        # neither labels on the pod nor on kube-system itself bring the webhook into the cluster's own business
        system = pod("does-not-wait", pod_spec(cluster), {"sidecar.istio.io/inject": "true"})
        cluster.kubectl("label", "namespace", "kube-system", "istio-injection=enabled", "--overwrite")
        try:
            assert "created" in cluster.apply(system, namespace="kube-system")
            assert containers(cluster.get("pod", "does-not-wait", namespace="kube-system")) == ["app"]
        finally:
            cluster.kubectl("label", "namespace", "kube-system", "istio-injection-")
            cluster.kubectl("-n", "kube-system", "delete", "pod", "does-not-wait", "--now", "--ignore-not-found")

    def accepted() -> None:
        assert "created" in cluster.apply(pod("waits", pod_spec(cluster)), namespace=injected)

    eventually(accepted)
    cluster.kubectl("-n", injected, "delete", "pod", "waits", "--now")
