"""The tutorial of the bill service, as a user types it: shares, a switch under load, a gateway, a rollout."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.cluster.harness import NAMESPACE, ROOT, Cluster, eventually
from tests.cluster.objects import code, deployment, pod_spec, service
from tests.cluster.test_mesh import mesh, pymesh

__all__ = ["mesh"]  # the fixture

VERSIONS = ("v1", "v2")
# a machine that is busy does not make an app unready
PATIENT = {"timeoutSeconds": 10, "failureThreshold": 10}
# asks without a pause until its input ends, or so often; prints who answered how often, and what else came
LOAD = """
import collections, http.client, json, sys, threading, time
times, ended, answers, failed = int(sys.argv[1]), threading.Event(), collections.Counter(), []
if not times:
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
connection = http.client.HTTPConnection("bill", 80, timeout=60)
while not ended.is_set() and (not times or answers.total() + len(failed) < times):
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        body = response.read()
        if response.status == 200:
            answers[json.loads(body)["pod"].split("-")[1]] += 1
        else:
            failed.append(f"{time.strftime('%X')} {response.status} {body[:100]}")
    except Exception as error:
        failed.append(f"{time.strftime('%X')} {error!r}")
        connection.close()
print(json.dumps({"answers": answers, "failed": failed}))
"""


@pytest.fixture(scope="module")
def bill(mesh: Cluster) -> Iterator[str]:
    """A labelled namespace with a client and the bill service in two versions; the kinds of Istio's are there."""
    mesh.kubectl("apply", "--server-side", "-f", str(ROOT / "deploy" / "crds"))
    mesh.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(ROOT / "deploy" / "crds"))
    with mesh.namespace({"istio-injection": "enabled"}) as name:
        versions = []
        for version in VERSIONS:
            # as an app that is rolled out has to: ready when it listens, gone when nobody sends to it any more
            waits = {"preStop": {"exec": {"command": ["python", "-c", "import time; time.sleep(4)"]}}}
            listens = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1, **PATIENT}
            spec = pod_spec(mesh, lifecycle=waits, readinessProbe=listens) | {"terminationGracePeriodSeconds": 10}
            one = deployment("bill", spec, {"version": version})
            one["metadata"]["name"] = f"bill-{version}"
            one["spec"]["selector"]["matchLabels"]["version"] = version
            versions.append(one)
        mesh.apply(code(), deployment("client", pod_spec(mesh)), service("bill"), *versions, namespace=name)
        for one in ("client", "bill-v1", "bill-v2"):
            mesh.wait("condition=Available", f"deployment/{one}", name, timeout=120)
        eventually(lambda: _whole(ask(mesh, name, 20)))
        yield name


def istio(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def rules(first: int, *gateways: str) -> list[dict[str, Any]]:
    """Subsets, and a share of so many per cent for v1."""
    weights = zip(VERSIONS, (first, 100 - first), strict=True)
    route = [{"destination": {"host": "bill", "subset": one}, "weight": weight} for one, weight in weights]
    return [
        istio(
            "DestinationRule", "bill", host="bill", subsets=[{"name": v, "labels": {"version": v}} for v in VERSIONS]
        ),
        istio(
            "VirtualService",
            "bill",
            hosts=["bill", "bill.example.com"],
            gateways=["mesh", *gateways],
            http=[{"route": route}],
        ),
    ]


def client(cluster: Cluster, namespace: str) -> str:
    name: str = cluster.ready_pod("client", namespace)["metadata"]["name"]
    return name


def ask(cluster: Cluster, namespace: str, times: int) -> dict[str, Any]:
    """So many requests from the client."""
    command = ["exec", "-i", client(cluster, namespace), "-c", "app", "--", "python", "-c", LOAD, str(times)]
    found: dict[str, Any] = json.loads(cluster.kubectl("-n", namespace, *command))
    return found


@contextmanager
def steady(cluster: Cluster, namespace: str) -> Iterator[dict[str, Any]]:
    """Requests meanwhile, without a pause; what is yielded is filled at the end."""
    found: dict[str, Any] = {}
    command = ["-n", namespace, "exec", "-i", client(cluster, namespace), "-c", "app", "--"]
    with subprocess.Popen(
        [*cluster.command, *command, "python", "-c", LOAD, "0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        time.sleep(1)
        yield found
        out, _ = process.communicate("")
    found.update(json.loads(out))


def _whole(load: dict[str, Any]) -> None:
    assert not load["failed"], load["failed"][:3]


def share(load: dict[str, Any], version: str) -> float:
    return 100 * load["answers"].get(version, 0) / sum(load["answers"].values())


def test_a_thousand_requests_are_shared_as_the_rule_says(mesh: Cluster, bill: str) -> None:
    before = ask(mesh, bill, 200)
    _whole(before)
    assert 35 < share(before, "v1") < 65
    mesh.apply(*rules(90), namespace=bill)

    def shared() -> None:
        # five deviations of a share of a hundred
        assert share(ask(mesh, bill, 100), "v1") > 75

    eventually(shared)
    load = ask(mesh, bill, 1000)
    _whole(load)
    assert 85 < share(load, "v1") < 95, load["answers"]


def test_a_switch_under_load_costs_no_request(mesh: Cluster, bill: str) -> None:
    mesh.apply(*rules(100), namespace=bill)
    with steady(mesh, bill) as load:
        mesh.apply(*rules(0), namespace=bill)
        time.sleep(2)
    _whole(load)
    assert load["answers"].get("v2", 0) > 0
    after = ask(mesh, bill, 100)
    _whole(after)
    assert set(after["answers"]) == {"v2"}


def test_the_tools_name_the_rule(mesh: Cluster, bill: str) -> None:
    mesh.apply(*rules(90), namespace=bill)
    pod = f"{client(mesh, bill)}.{bill}"
    eventually(lambda: _contains(pymesh(mesh, "proxy-config", "route", pod, "--name", "80"), f"bill.{bill}"))
    clusters = pymesh(mesh, "proxy-config", "cluster", pod, "--fqdn", f"bill.{bill}.svc.cluster.local")
    assert {line.split()[2] for line in clusters.splitlines()[1:]} == {"-", "v1", "v2"}
    described = pymesh(mesh, "describe", "service", f"bill.{bill}")
    assert "VirtualService" in described
    assert "DestinationRule" in described


def _contains(text: str, wanted: str) -> None:
    assert wanted in text, text


def test_the_gateway_lets_them_in(mesh: Cluster, bill: str) -> None:
    server = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["bill.example.com"]}
    gateway = istio("Gateway", "bill", selector={"istio": "ingressgateway"}, servers=[server])
    mesh.apply(gateway, *rules(90, "bill"), namespace=bill)
    address = mesh.get("service", "istio-ingressgateway", namespace=NAMESPACE)["spec"]["clusterIP"]

    def let_in() -> None:
        answers = Counter(fetched(address, "bill.example.com") for _ in range(100))
        assert set(answers) == {"v1", "v2"}, answers
        assert 75 < answers["v1"] < 100, answers

    eventually(let_in, seconds=30)
    assert fetched(address, "other.example.com") == "404"


def fetched(address: str, host: str) -> str:
    """Who answers a request at a gateway, or which status comes."""
    request = urllib.request.Request(f"http://{address}/", headers={"Host": host})
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            who: str = json.load(response)["pod"].split("-")[1]
            return who
    except urllib.error.HTTPError as error:
        return str(error.code)
    except OSError as error:
        return str(error)


def test_a_control_plane_that_is_killed_costs_no_request(mesh: Cluster, bill: str) -> None:
    mesh.apply(*rules(0), namespace=bill)
    with steady(mesh, bill) as load:
        killed = ["delete", "pod", "-l", "app.kubernetes.io/name=pymesh", "--grace-period=0", "--force"]
        mesh.kubectl("-n", NAMESPACE, *killed)
        mesh.wait("condition=Available", "deployment/pymesh", NAMESPACE, timeout=120)
        # told by the new one
        mesh.apply(*rules(100), namespace=bill)
        eventually(lambda: _only(ask(mesh, bill, 20), "v1"), seconds=60)
    _whole(load)


def _only(load: dict[str, Any], version: str) -> None:
    assert set(load["answers"]) == {version}


def test_a_rollout_costs_no_request(mesh: Cluster, bill: str) -> None:
    mesh.apply(*rules(100), namespace=bill)
    with steady(mesh, bill) as load:
        mesh.kubectl("-n", bill, "rollout", "restart", "deployment/bill-v1")
        mesh.kubectl("-n", bill, "rollout", "status", "deployment/bill-v1", "--timeout=120s", timeout=150)
    _whole(load)
