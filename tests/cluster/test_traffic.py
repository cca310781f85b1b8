"""From pod to pod: what passes the sidecars, and what kubelet's probes and readiness make of them."""

from __future__ import annotations

import json
import re

import pytest

from tests.cluster.harness import Cluster, eventually
from tests.cluster.objects import code, deployment, pod_spec, service

REQUESTS = 'envoy_cluster_upstream_rq_total{envoy_cluster_name="%s"}'


@pytest.fixture(scope="module")
def pods(cluster: Cluster, injected: str) -> tuple[str, str]:
    """Names of two injected pods: the client, and the server, which a Service of that name leads to."""
    probe = {"httpGet": {"path": "/alive", "port": 8080, "httpHeaders": [{"name": "x-probe", "value": "kubelet"}]}}
    fast = {
        "readiness.status.sidecar.istio.io/periodSeconds": "1",
        "readiness.status.sidecar.istio.io/failureThreshold": "1",
    }
    cluster.apply(
        code(),
        deployment("client", pod_spec(cluster)),
        deployment(
            "server",
            pod_spec(
                cluster,
                readinessProbe=probe | {"periodSeconds": 1},
                livenessProbe=probe | {"periodSeconds": 1, "failureThreshold": 2},
            ),
            annotations=fast,
        ),
        service("server"),
        namespace=injected,
    )
    names = [cluster.ready_pod(name, injected)["metadata"]["name"] for name in ("client", "server")]
    return names[0], names[1]


def requests_through(cluster: Cluster, pod: str, namespace: str, envoy_cluster: str) -> int:
    """How many requests a pod's Envoy has passed on to one of its clusters."""
    stats = cluster.fetch(pod, namespace, "http://127.0.0.1:15090/stats/prometheus?filter=upstream_rq_total")["body"]
    found = re.search(re.escape(REQUESTS % envoy_cluster) + r" (\d+)", stats)
    return int(found[1]) if found else 0


def test_a_request_by_service_name_passes_both_sidecars(cluster: Cluster, injected: str, pods: tuple[str, str]) -> None:
    client, server = pods
    out_before = requests_through(cluster, client, injected, "PassthroughCluster")
    in_before = requests_through(cluster, server, injected, "InboundPassthroughCluster")

    def request() -> dict[str, object]:
        answer = cluster.fetch(client, injected, "http://server/who?asks=client")
        assert answer["status"] == 200
        return answer

    answer = eventually(request)
    told = json.loads(str(answer["body"]))
    assert told["peer"] == "127.0.0.6"
    assert told["pod"] == server
    assert answer["headers"]["x-sidecar"] == ["inbound", "outbound"]  # type: ignore[index]

    assert requests_through(cluster, client, injected, "PassthroughCluster") > out_before
    assert requests_through(cluster, server, injected, "InboundPassthroughCluster") > in_before

    def logged(pod: str, direction: str) -> str:
        lines = cluster.logs(pod, injected, "istio-proxy").splitlines()
        found = [line for line in lines if f'{direction} "GET /who?asks=client HTTP/1.1" 200' in line]
        assert found
        return found[0]

    # shown with -rP
    print(eventually(lambda: logged(client, "outbound")))
    print(eventually(lambda: logged(server, "inbound")))


def test_kubelet_s_probes_reach_the_app_through_the_sidecar(
    cluster: Cluster, injected: str, pods: tuple[str, str]
) -> None:
    def asked() -> None:
        lines = cluster.logs(pods[1], injected, "app").splitlines()
        assert any('127.0.0.6 "GET /alive HTTP/1.1" 200 - kube-probe/' in line for line in lines)

    eventually(asked)
    statuses = cluster.get("pod", pods[1], namespace=injected)["status"]["containerStatuses"]
    assert all(status["ready"] and status["restartCount"] == 0 for status in statuses)


def test_a_pod_is_ready_only_while_its_envoy_is(cluster: Cluster, injected: str, pods: tuple[str, str]) -> None:
    server = pods[1]

    def tell_envoy(verdict: str) -> None:
        url = f"http://127.0.0.1:15000/healthcheck/{verdict}"
        cluster.python(server, injected, f"import urllib.request as r; r.urlopen(r.Request({url!r}, method='POST'))")

    tell_envoy("fail")
    cluster.wait("condition=Ready=false", f"pod/{server}", injected)
    tell_envoy("ok")
    cluster.wait("condition=Ready", f"pod/{server}", injected)


def test_the_init_container_s_log_shows_what_was_set_up(cluster: Cluster, injected: str, pods: tuple[str, str]) -> None:
    log = cluster.logs(pods[0], injected, "istio-init")
    assert "traffic of uid 1337 and gid 1337 is the proxy's own" in log
    assert re.search(r"done backend=\S+ rules=\d+", log)


@pytest.mark.usefixtures("pods")
def test_who_is_not_in_the_mesh_reaches_the_app_by_its_sidecar(cluster: Cluster, injected: str, plain: str) -> None:
    cluster.apply(code(), deployment("stranger", pod_spec(cluster)), namespace=plain)
    stranger = cluster.ready_pod("stranger", plain)["metadata"]["name"]
    answer = cluster.fetch(stranger, plain, f"http://server.{injected}/who")
    assert answer["headers"]["x-sidecar"] == ["inbound"]
    assert json.loads(answer["body"])["peer"] == "127.0.0.6"
