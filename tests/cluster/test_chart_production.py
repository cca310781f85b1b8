"""The chart with all its options, on a real cluster: everything is taken, and the webhook is still reached."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.cluster.charts import CHART, helm
from tests.cluster.harness import Cluster, eventually
from tests.cluster.objects import containers, pod, pod_spec

NAMESPACE = "pysidecar-full"
REVISION = "full"
NAME = f"pyinject-{REVISION}"
VALUES: dict[str, Any] = {
    "revision": REVISION,
    "webhook": {
        "namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "In", "values": ["shop"]}]},
        "objectSelector": {"matchExpressions": [{"key": "batch", "operator": "DoesNotExist"}]},
        "matchConditions": [{"name": "not-by-name", "expression": "object.metadata.name != 'spared'"}],
    },
    "autoscaling": {"enabled": True, "maxReplicas": 3},
    "networkPolicy": {"enabled": True},
    "serviceMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "dashboards": {"enabled": True},
    "events": {"enabled": True},
    "topologySpreadConstraints": [
        {"maxSkew": 2, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
    ],
    "tolerations": [{"key": "infra", "operator": "Exists"}],
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "podLabels": {"team": "mesh"},
    "podAnnotations": {"example.com/owner": "platform"},
    "serviceAccount": {"annotations": {"example.com/role": "none"}},
    "extraArgs": ["--log-level=debug"],
    "extraEnv": [{"name": "PYTHONFAULTHANDLER", "value": "1"}],
}


def operator_kind(kind: str, plural: str) -> dict[str, Any]:
    """A resource definition of the Prometheus operator's by name, which takes any fields."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.monitoring.coreos.com"},
        "spec": {
            "group": "monitoring.coreos.com",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "scope": "Namespaced",
            "versions": [version],
        },
    }


@pytest.fixture(scope="module")
def full(cluster: Cluster) -> Iterator[str]:
    """A revision of its own with every option, and a namespace that asks for it."""
    there = cluster.kubectl("get", "customresourcedefinitions", "-o", "name")
    kinds = [operator_kind("ServiceMonitor", "servicemonitors"), operator_kind("PrometheusRule", "prometheusrules")]
    made = [kind for kind in kinds if kind["metadata"]["name"] not in there]
    if made:
        cluster.apply(*made)
    for kind in made:
        cluster.kubectl("wait", "--for=condition=Established", f"crd/{kind['metadata']['name']}", "--timeout=30s")
    hub = cluster.image("webhook").rpartition("/")[0]
    values = VALUES | {"image": {"hub": hub}}
    try:
        helm(
            *(
                "install",
                "full",
                str(CHART),
                "--namespace",
                NAMESPACE,
                "--create-namespace",
                "--wait",
                "--timeout=120s",
            ),
            *(f"--set-json={name}={json.dumps(value)}" for name, value in values.items()),
        )
        with cluster.namespace({"istio.io/rev": REVISION, "team": "shop"}) as namespace:
            yield namespace
    finally:
        helm("uninstall", "full", "--namespace", NAMESPACE, "--wait", check=False)
        cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
        for kind in made:
            cluster.kubectl("delete", "crd", kind["metadata"]["name"])


def test_it_is_installed_and_reached(cluster: Cluster, full: str) -> None:
    cluster.apply(pod("one", pod_spec(cluster)), namespace=full)
    assert "istio-proxy" in containers(cluster.get("pod", "one", namespace=full))
    for kind in ("networkpolicy", "hpa", "servicemonitor", "prometheusrule", "poddisruptionbudget"):
        assert (
            cluster.get(kind, NAME, namespace=NAMESPACE)["metadata"]["labels"]["app.kubernetes.io/name"] == "pyinject"
        )


@pytest.mark.usefixtures("full")
def test_the_autoscaler_brings_its_minimum_without_any_metrics(cluster: Cluster) -> None:
    def two() -> None:
        assert cluster.get("deployment", NAME, namespace=NAMESPACE)["status"].get("readyReplicas") == 2

    eventually(two, 90)


def test_selectors_leave_pods_out(cluster: Cluster, full: str) -> None:
    def injected(name: str, namespace: str, **labels: str) -> bool:
        made = pod(name, pod_spec(cluster))
        made["metadata"].setdefault("labels", {}).update(labels)
        cluster.apply(made, namespace=namespace)
        return "istio-proxy" in containers(cluster.get("pod", name, namespace=namespace))

    assert injected("asked", full)
    assert not injected("labelled", full, batch="nightly")
    assert not injected("spared", full)
    with cluster.namespace({"istio.io/rev": REVISION, "team": "warehouse"}) as other:
        assert not injected("elsewhere", other)


@pytest.mark.parametrize(
    ("verb", "what", "answer"),
    [
        ("create", "events.events.k8s.io", "yes"),
        ("patch", "events.events.k8s.io", "no"),
        ("list", "events.events.k8s.io", "no"),
        ("delete", "events.events.k8s.io", "no"),
        ("list", "namespaces", "yes"),
        ("list", "pods", "no"),
        ("list", "secrets", "no"),
    ],
)
def test_rights(cluster: Cluster, full: str, verb: str, what: str, answer: str) -> None:
    account = f"system:serviceaccount:{NAMESPACE}:{NAME}"
    said = cluster.kubectl("auth", "can-i", verb, what, "-n", full, f"--as={account}", check=False)
    assert answer in said.split(), said


def _process(cluster: Cluster, replica: str) -> int:
    """The first process of a replica, in this machine's numbers, once it is ready."""

    def container() -> str:
        (status,) = cluster.get("pod", replica, namespace=NAMESPACE)["status"]["containerStatuses"]
        assert status["ready"]
        return str(status["containerID"]).removeprefix("containerd://")

    socket = Path(cluster.kubeconfig).parent / "containerd" / "containerd.sock"
    command = ["ctr", "-a", str(socket), "-n", "k8s.io", "tasks", "list"]
    wanted = eventually(container, 60)
    tasks = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return next(int(line.split()[1]) for line in tasks.splitlines() if line.startswith(wanted))


@pytest.mark.skipif(bool(os.environ.get("KUBECONFIG")), reason="enters the network namespace of the cluster's pods")
def test_the_network_policy_leaves_the_webhook_what_it_needs(cluster: Cluster, full: str) -> None:
    """The cluster's network enforces no policy, so its ports become rules in the network namespace of a replica.

    The container then starts anew under them: the sandbox keeps its network.
    """
    policy = cluster.get("networkpolicy", NAME, namespace=NAMESPACE)["spec"]
    replica = cluster.get("pods", namespace=NAMESPACE, selector=f"app.kubernetes.io/instance={NAME}")[0]
    name = replica["metadata"]["name"]
    ports = {port["name"]: port["containerPort"] for port in replica["spec"]["containers"][0]["ports"]}
    incoming = ", ".join(str(ports[port["port"]]) for rule in policy["ingress"] for port in rule["ports"])
    outgoing = ", ".join(str(port["port"]) for rule in policy["egress"] for port in rule["ports"])
    always = "ct state established,related accept; meta l4proto { icmp, ipv6-icmp } accept"
    ruleset = f"""table inet chart {{
        chain incoming {{
            type filter hook input priority 0
            iif lo accept; {always}; tcp dport {{ {incoming} }} accept; drop
        }}
        chain outgoing {{
            type filter hook output priority 0
            oif lo accept; {always}; tcp dport {{ {outgoing} }} accept
            # answers on connections that are older than this table, and so were not tracked
            tcp sport {{ {incoming} }} accept; counter drop
        }}
    }}"""
    before = _process(cluster, name)
    inside = ["nsenter", "-t", str(before), "--net"]
    subprocess.run([*inside, "nft", "-f", "-"], input=ruleset, text=True, check=True)
    with open(f"/proc/{before}/ns/net") as network:  # noqa: PTH123 - kept open: the process ends
        os.kill(before, signal.SIGTERM)

        def started_again() -> None:
            (status,) = cluster.get("pod", name, namespace=NAMESPACE)["status"]["containerStatuses"]
            assert status["restartCount"] == 1
            assert status["ready"]

        eventually(started_again, 90)
        with_rules = ["nsenter", f"--net=/proc/self/fd/{network.fileno()}", "nft", "list", "table", "inet", "chart"]
        rules = subprocess.run(
            with_rules, capture_output=True, text=True, check=True, pass_fds=[network.fileno()]
        ).stdout
    # it tried nothing else: no name is looked up
    assert "counter packets 0 bytes 0 drop" in rules, rules

    def reviews_one() -> None:
        # an API server keeps its connection to another replica as long as that is there
        pods = cluster.get("pods", namespace=NAMESPACE, selector=f"app.kubernetes.io/instance={NAME}")
        others = {found["metadata"]["name"] for found in pods} - {name}
        if others:
            cluster.kubectl("-n", NAMESPACE, "delete", "pod", *others)
        one = f"behind-{uuid4().hex[:6]}"
        cluster.apply(pod(one, pod_spec(cluster)), namespace=full)
        assert "istio-proxy" in containers(cluster.get("pod", one, namespace=full))
        assert f'"pod":"{full}/{one}"' in cluster.logs(name, NAMESPACE, "pyinject")

    eventually(reviews_one, 90)
