"""The application without its socket: what each request is answered with, counted and logged."""

from __future__ import annotations

import asyncio
import json
import logging
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import orjson
import pytest
from prometheus_client import CollectorRegistry

from common.errors import NotReadyError
from tests.unit.webhook.serving.test_review import reviewed
from webhook.limits import Limits
from webhook.pod.inject import Request, Result, inject
from webhook.serving import server
from webhook.serving.metrics import ReviewMetrics
from webhook.serving.server import Cluster, InjectEndpoint, Reviewer, create_app
from webhook.settings import Settings
from webhook.settings.proxyconfigs import ProxyConfigs

LIMITS = Limits()
JSON = {"content-type": "application/json"}
POD = {"kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": [{"name": "app", "image": "app"}]}}


class Server:
    """The application and what it has counted."""

    def __init__(self, cluster: Cluster | None = None, limits: Limits = LIMITS) -> None:
        self.registry = CollectorRegistry()
        self.not_ready = ""
        reviewer = Reviewer(Settings.load(), cluster or Cluster())
        self.app = create_app(InjectEndpoint(reviewer, ReviewMetrics(self.registry), limits), self._ready)

    async def _ready(self) -> None:
        if self.not_ready:
            raise NotReadyError(self.not_ready)

    def counted(self) -> dict[tuple[str, str], float]:
        found = {}
        for metric in self.registry.collect():
            for sample in metric.samples:
                if sample.name == "pyinject_reviews_total":
                    found[sample.labels["result"], sample.labels["reason"]] = sample.value
        return found

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def go() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="https://webhook") as client:
                return await client.request(method, path, **options)

        return asyncio.run(go())

    def post(self, body: bytes, path: str = "/inject", headers: dict[str, str] = JSON) -> httpx.Response:
        return self.request("POST", path, content=body, headers=headers)


@pytest.fixture
def served() -> Server:
    return Server()


def response(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    found: dict[str, Any] = orjson.loads(answer.content)["response"]
    return found


def test_a_pod_is_injected_as_the_pipeline_says(served: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pyinject")
    answer = response(served.post(reviewed(object=POD)))
    assert answer["allowed"]
    assert answer["patchType"] == "JSONPatch"
    assert served.counted() == {("injected", "policy"): 1}
    fields = caplog.records[-1].fields  # type: ignore[attr-defined]
    assert (caplog.records[-1].message, fields["pod"], fields["reason"]) == ("injected", "shop/web", "policy")


def test_a_pod_that_is_left_alone_has_the_reason_in_answer_log_and_metric(
    served: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pyinject")
    answer = response(served.post(reviewed(object=POD | {"spec": POD["spec"] | {"hostNetwork": True}})))  # type: ignore[operator]
    assert answer["allowed"]
    assert "patch" not in answer
    assert "hostNetwork" in answer["status"]["message"]
    assert answer["auditAnnotations"] == {"reason": "host-network"}
    assert served.counted() == {("skipped", "host-network"): 1}
    assert "hostNetwork" in caplog.records[-1].fields["cause"]  # type: ignore[attr-defined]


def test_a_pod_with_a_bad_annotation_is_refused_with_the_message(served: Server) -> None:
    metadata = {"name": "web", "annotations": {"traffic.sidecar.istio.io/excludeInboundPorts": "http"}}
    answer = response(served.post(reviewed(object=POD | {"metadata": metadata})))
    assert not answer["allowed"]
    assert "traffic.sidecar.istio.io/excludeInboundPorts" in answer["status"]["message"]
    assert served.counted() == {("refused", "bad-annotation"): 1}


def test_an_error_of_ours_is_a_refusal_with_the_traceback_in_the_log(
    served: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> Result:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(server, "inject", broken)
    answer = response(served.post(reviewed(object=POD)))
    assert not answer["allowed"]
    assert "u-1" in answer["status"]["message"]
    assert answer["status"]["code"] == 500
    assert "ZeroDivisionError: ours" in caplog.text
    assert served.counted() == {("failed", "internal-error"): 1}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/inject", {}),
        ("/inject/", {}),
        ("/inject/cluster/east/net/n1", {"ISTIO_META_CLUSTER_ID": "east", "ISTIO_META_NETWORK": "n1"}),
        (
            "/inject/:ENV:cluster=east:ENV:net=a/b:ENV:x=:ENV:=y:ENV:z",
            {"ISTIO_META_CLUSTER_ID": "east", "ISTIO_META_NETWORK": "a/b", "X": ""},
        ),
        ("/inject/net/a--slash--b/my_var/1/odd", {"ISTIO_META_NETWORK": "a/b", "MY_VAR": "1"}),
    ],
)
def test_the_path_names_the_proxy_s_cluster_and_network(
    monkeypatch: pytest.MonkeyPatch, path: str, expected: dict[str, str]
) -> None:
    seen: list[Request] = []

    def spy(settings: Settings, request: Request) -> Result:
        seen.append(request)
        return inject(settings, request)

    monkeypatch.setattr(server, "inject", spy)
    cluster = Cluster(native_sidecars=True, namespaces={"shop": {"labels": {"a": "b"}}})
    response(Server(cluster).post(reviewed(object=POD), path))
    assert seen[0].proxy_env == expected
    assert seen[0].namespace == "shop"
    assert seen[0].namespace_metadata == {"labels": {"a": "b"}}
    assert seen[0].native_sidecars


@pytest.mark.parametrize(
    ("body", "headers", "status", "reason"),
    [
        pytest.param(b"{", JSON, 400, "not-a-review", id="no JSON"),
        pytest.param(reviewed(), {"content-type": "application/yaml"}, 415, "content-type", id="YAML"),
        pytest.param(reviewed(), {}, 415, "content-type", id="no content type"),
        pytest.param(b" " * (LIMITS.body_bytes + 1), JSON, 413, "too-large", id="too large"),
    ],
)
def test_what_is_no_review_gets_an_http_error_that_says_why(
    served: Server, body: bytes, headers: dict[str, str], status: int, reason: str
) -> None:
    answer = served.post(body, headers=headers)
    assert answer.status_code == status
    assert answer.text
    assert served.counted() == {("malformed", reason): 1}


def test_a_path_that_sets_very_many_variables_is_refused(served: Server) -> None:
    answer = served.post(reviewed(object=POD), "/inject/" + "a/b/" * 33)
    assert (answer.status_code, answer.text) == (400, "the path sets 33 variables; 32 are allowed")


@pytest.mark.parametrize(("overall", "native"), [(False, ["new"]), (True, ["any", "new"])])
def test_a_pod_that_names_its_node_is_injected_as_that_one_can(overall: bool, native: list[str]) -> None:
    cluster = Cluster(overall, frozenset({"old" if overall else "new"}))
    pods = {"any": {"spec": {}}, "new": {"spec": {"nodeName": "new"}}, "old": {"spec": {"nodeName": "old"}}}
    assert [name for name, pod in pods.items() if cluster.native_for(pod)] == native


def test_a_pod_gets_what_the_proxy_configs_of_its_namespace_say() -> None:
    named = {"name": "all", "namespace": "shop"}
    configs, _ = ProxyConfigs.read([{"metadata": named, "spec": {"environmentVariables": {"MINE": "1"}}}])
    before, after = (
        response(Server(cluster).post(reviewed(object=POD))) for cluster in (Cluster(), Cluster(proxy_configs=configs))
    )
    assert [b"MINE" in b64decode(it["patch"]) for it in (before, after)] == [False, True]


def test_a_content_type_may_have_parameters(served: Server) -> None:
    assert response(served.post(reviewed(object=POD), headers={"content-type": "Application/JSON; charset=utf-8"}))


def test_a_review_without_a_pod_is_refused_as_a_review(served: Server) -> None:
    assert not response(served.post(reviewed(object=None)))["allowed"]
    assert served.counted() == {("malformed", "no-pod"): 1}


def test_a_body_of_unknown_length_is_read_up_to_the_limit(served: Server) -> None:
    async def chunks(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 1_000_000 + 1):
            yield b" " * 1_000_000

    send: Callable[[int], httpx.Response] = lambda size: served.request(  # noqa: E731
        "POST", "/inject", content=chunks(size), headers=JSON
    )
    assert send(1_000_000).status_code == 400
    assert send(LIMITS.body_bytes).status_code == 413


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    served = Server(limits=Limits(body_seconds=0.05))

    async def nothing() -> AsyncIterator[bytes]:
        await asyncio.sleep(10)
        yield b""

    assert served.request("POST", "/inject", content=nothing(), headers=JSON).status_code == 408


def test_health_and_readiness(served: Server) -> None:
    assert served.request("GET", "/healthz").text == "ok"
    assert served.request("GET", "/readyz").status_code == 200
    served.not_ready = "a TLS call failed"
    answer = served.request("GET", "/readyz")
    assert (answer.status_code, answer.text) == (503, "a TLS call failed")


def test_other_methods_and_paths_are_refused(served: Server) -> None:
    assert served.request("GET", "/inject").status_code == 405
    assert served.request("GET", "/other").status_code == 404


def test_a_pod_whose_patch_would_be_nested_too_deeply_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"a": deep}
    pod = {"kind": "Pod", "spec": {"containers": [{"name": "istio-proxy", "image": "auto", "x": deep}]}}
    body = json.dumps(json.loads(reviewed()) | {"request": json.loads(reviewed())["request"] | {"object": pod}})
    answer = response(Server(Cluster(native_sidecars=True)).post(body.encode()))  # the container moves as a whole
    assert not answer["allowed"]
    assert answer["status"]["code"] == 400
    assert "nest its fields less" in answer["status"]["message"]
