"""The Helm chart: it renders to the manifests that are committed, refuses wrong values, and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.cluster.charts import CHART, helm, refusal, rendered
from tests.cluster.harness import ROOT, Cluster, eventually
from tests.cluster.objects import containers, pod, pod_spec

REVISION = "canary"


def test_the_committed_manifests_are_the_chart_s() -> None:
    subprocess.run([ROOT / "deploy" / "render", "--check"], check=True)


def test_lint() -> None:
    helm("lint", "--strict", str(CHART))


@pytest.mark.parametrize(
    "setting",
    [
        'replicas="two"',
        'webhook.failurePolicy="Sometimes"',
        "webhook.timeoutSeconds=31",
        'image={"repo":"x"}',
        "logs=1",
        'image.digests={"webhook":"1234"}',
        'image.digests={"envoy":"sha256:%s"}' % ("1" * 64),
        'webhook.matchConditions=[{"name":"own-network","expression":"true"}]',
        'webhook.namespaceSelector={"key":"team"}',
        'extraEnv=[{"key":"A","value":"b"}]',
        'extraEnv=[{"name":"A","value":1}]',
        'extraArgs="--log-level=debug"',
        'podLabels={"app.kubernetes.io/name":"mine"}',
        "networkPolicy.apiServerPorts=[]",
        'networkPolicy.apiServers=["10.0.0.0/8"]',
        'networkPolicy.scrapers=[{"ipBlock":{"cidr":"10.0.0.1"}}]',
        'autoscaling={"enabled":"yes"}',
        'serviceMonitor.interval="30"',
        "prometheusRule.refusedShare=10",
        "prometheusRule.certificateDays=0",
        'topologySpreadConstraints=[{"topologyKey":"zone"}]',
    ],
)
def test_values_that_mean_nothing_are_refused(setting: str) -> None:
    assert "values don't meet the specifications of the schema" in refusal(setting)


def test_a_certificate_of_one_s_own_needs_no_rights_on_secrets_or_webhooks() -> None:
    found = rendered('tls={"secretName":"mine","caBundle":"Q0E="}')
    assert not [kind for kind, _ in found if kind == "Secret"]
    rules = [rule for (kind, _), it in found.items() if kind in ("Role", "ClusterRole") for rule in it["rules"]]
    asked = {one for rule in rules for one in rule["resources"]}
    assert not asked & {"secrets", "mutatingwebhookconfigurations"}
    webhooks = found["MutatingWebhookConfiguration", "pyinject"]["webhooks"]
    assert {webhook["clientConfig"]["caBundle"] for webhook in webhooks} == {"Q0E="}  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def canary(cluster: Cluster) -> Iterator[str]:
    """A second revision, beside the one of the session, in a namespace of its own."""
    namespace = "pysidecar-canary"
    image = cluster.image("webhook").rpartition("/")[0]
    helm(
        *("install", "canary", str(CHART), "--namespace", namespace, "--create-namespace", "--wait", "--timeout=90s"),
        *("--set", f"revision={REVISION},replicas=1,image.hub={image},settings.meshConfig.accessLogEncoding=JSON"),
    )
    try:
        yield namespace
    finally:
        helm("uninstall", "canary", "--namespace", namespace, "--wait", check=False)
        cluster.kubectl("delete", "namespace", namespace, "--wait=true")


def test_two_revisions_side_by_side_each_inject_their_own(cluster: Cluster, canary: str) -> None:
    with cluster.namespace({"istio.io/rev": REVISION}) as namespace:
        cluster.apply(pod("one", pod_spec(cluster)), namespace=namespace)
        created = cluster.get("pod", "one", namespace=namespace)
        assert "istio-proxy" in containers(created)
        proxy = next(
            container
            for container in [*created["spec"].get("initContainers", []), *created["spec"]["containers"]]
            if container["name"] == "istio-proxy"
        )
        # the canary's mesh configuration, not the other's
        assert "json_format" in json.dumps(proxy["args"])

    def answered_by_the_canary() -> None:
        log = cluster.kubectl("-n", canary, "logs", "deployment/pyinject-canary")
        assert f'"pod":"{namespace}/one"' in log

    eventually(answered_by_the_canary)


def test_an_upgrade_keeps_the_authority(cluster: Cluster, canary: str) -> None:
    def authority() -> str:
        return str(cluster.get("secret", "pyinject-canary-ca", namespace=canary)["data"]["ca.crt"])

    before = authority()
    helm(
        "upgrade", "canary", str(CHART), "--namespace", canary, "--reuse-values", "--set", "logs.level=debug", "--wait"
    )
    assert authority() == before
    webhooks = cluster.get("mutatingwebhookconfiguration", "pyinject-canary")["webhooks"]
    assert all(webhook["clientConfig"]["caBundle"] for webhook in webhooks)


def test_uninstalling_leaves_nothing_behind(cluster: Cluster, canary: str) -> None:
    helm("uninstall", "canary", "--namespace", canary, "--wait")

    def nothing_is_left() -> None:
        assert cluster.labelled("app.kubernetes.io/instance=pyinject-canary") == ""

    # a Service's EndpointSlices and a Deployment's pods go a moment after their owners
    eventually(nothing_is_left, 60)
