"""Istio's tutorial, Bookinfo, row by row on the cluster: services of our own, objects as users of Istio type them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.cluster.harness import HERE, NAMESPACE, ROOT, Cluster, eventually
from tests.cluster.objects import Object, pod_spec
from tests.cluster.test_bill import istio
from tests.cluster.test_mesh import mesh
from tests.conftest import Tell

__all__ = ["mesh"]  # the fixture

SERVICES = {
    "productpage": (["v1"], "details,reviews"),
    "details": (["v1"], ""),
    "reviews": (["v1", "v2", "v3"], "ratings"),
    "ratings": (["v1"], ""),
    "httpbin": (["v1"], ""),
    "client": (["v1"], ""),
}
# asks a URL so often, so many at once; prints a list of [status, body]
ASK = """
import json, sys, urllib.request, urllib.error
from concurrent.futures import ThreadPoolExecutor
url, headers, times, at_once = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
def ask(_):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=15) as answer:
            return [answer.status, json.loads(answer.read())]
    except urllib.error.HTTPError as error:
        return [error.code, None]
    except OSError as error:
        return [0, str(error)]
with ThreadPoolExecutor(at_once) as pool:
    print(json.dumps(list(pool.map(ask, range(times)))))
"""


class Bookinfo:
    """The application in a namespace; what is applied between `rules` and its end is taken away again."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace
        pods = cluster.get("pods", namespace=namespace, selector="app=client")
        self.client = pods[0]["metadata"]["name"]
        self.gateway = cluster.get("service", "istio-ingressgateway", namespace=NAMESPACE)["spec"]["clusterIP"]

    def apply(self, *objects: Object) -> None:
        said = self.cluster.apply(*objects, namespace=self.namespace)
        assert "rror" not in said, said

    def clear(self) -> None:
        kinds = "virtualservices,destinationrules,serviceentries,sidecars,gateways.networking.istio.io"
        self.cluster.kubectl("-n", self.namespace, "delete", kinds, "--all")

    def ask(self, url: str, times: int = 1, at_once: int = 1, **headers: str) -> list[tuple[int, Any]]:
        """Requests from the client pod, by its sidecar; (status, what was answered) for each."""
        command = ["exec", self.client, "-c", "app", "--", "python", "-c", ASK, url]
        out = self.cluster.kubectl(
            "-n", self.namespace, *command, json.dumps(headers), str(times), str(at_once), timeout=180
        )
        return [(status, body) for status, body in json.loads(out)]

    def reviews(self, times: int = 1, **headers: str) -> Counter[str]:
        """Which version of reviews answers."""
        return Counter(body["version"] for _, body in self.ask("http://reviews:9080/reviews/0", times, **headers))

    def enter(self, path: str, host: str = "bookinfo.com") -> tuple[int, Any]:
        """A request at the gateway, from outside."""
        request = urllib.request.Request(f"http://{self.gateway}{path}", headers={"Host": host})
        try:
            with urllib.request.urlopen(request, timeout=15) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, None
        except OSError as error:
            return 0, str(error)


@pytest.fixture(scope="module")
def application(mesh: Cluster) -> Iterator[Bookinfo]:
    mesh.kubectl("apply", "--server-side", "-f", str(ROOT / "deploy" / "crds"))
    mesh.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(ROOT / "deploy" / "crds"))
    source = {"app.py": (HERE / "bookinfo.py").read_text()}
    objects: list[Object] = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app"}, "data": source}]
    for name, (versions, calls) in SERVICES.items():
        ports = [{"name": "http", "port": 9080}]
        spec: Object = {"selector": {"app": name}, "ports": ports}
        objects.append({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
        for version in versions:
            called = calls if (name, version) != ("reviews", "v1") else ""
            objects.append(_deployment(mesh, name, version, called))
    with mesh.namespace({"istio-injection": "enabled"}) as namespace:
        mesh.apply(*objects, namespace=namespace)
        for name, (versions, _) in SERVICES.items():
            for version in versions:
                mesh.wait("condition=Available", f"deployment/{name}-{version}", namespace, timeout=180)
        yield Bookinfo(mesh, namespace)


def _deployment(cluster: Cluster, name: str, version: str, calls: str) -> Object:
    labels = {"app": name, "version": version}
    env = [{"name": k, "value": v} for k, v in (("NAME", name), ("VERSION", version), ("CALLS", calls))]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"{name}-{version}"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod_spec(cluster, env=env)},
        },
    }


@pytest.fixture
def bookinfo(application: Bookinfo) -> Iterator[Bookinfo]:
    yield application
    application.clear()


SUBSETS = istio(
    "DestinationRule",
    "reviews",
    host="reviews",
    subsets=[{"name": v, "labels": {"version": v}} for v in ("v1", "v2", "v3")],
)


def to(host: str, subset: str = "", weight: int | None = None, port: int | None = None) -> Object:
    found: Object = {"destination": {"host": host}}
    if subset:
        found["destination"]["subset"] = subset
    if port:
        found["destination"]["port"] = {"number": port}
    return found | ({"weight": weight} if weight is not None else {})


def rule(name: str, *http: Object, host: str = "", **spec: Any) -> Object:
    return istio("VirtualService", name, hosts=[host or name], http=list(http), **spec)


def test_the_gateway_routes_by_host_and_path(bookinfo: Bookinfo) -> None:
    server = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["bookinfo.com"]}
    page = [{"uri": {"exact": "/productpage"}}, {"uri": {"prefix": "/static"}}]
    bookinfo.apply(
        istio("Gateway", "bookinfo", selector={"istio": "ingressgateway"}, servers=[server]),
        rule(
            "bookinfo",
            {"match": page, "route": [to("productpage", port=9080)]},
            {"match": [{"uri": {"prefix": "/reviews"}}], "route": [to("reviews", port=9080)]},
            {
                "match": [{"uri": {"prefix": "/rate"}}],
                "rewrite": {"uri": "/ratings"},
                "route": [to("ratings", port=9080)],
            },
            {"match": [{"uri": {"prefix": "/ratings"}}], "route": [to("ratings", port=9080)]},
            host="bookinfo.com",
            gateways=["bookinfo"],
        ),
    )

    def routed() -> None:
        found = {
            path: bookinfo.enter(path) for path in ("/productpage", "/static/x", "/reviews/0", "/ratings/0", "/rate/0")
        }
        names = {path: body["name"] if body else status for path, (status, body) in found.items()}
        assert names == {
            "/productpage": "productpage",
            "/static/x": "productpage",
            "/reviews/0": "reviews",
            "/ratings/0": "ratings",
            "/rate/0": "ratings",
        }
        assert found["/rate/0"][1]["path"] == "/ratings/0"

    eventually(routed, seconds=30)
    status, page_ = bookinfo.enter("/productpage")
    assert status == 200
    assert set(page_["calls"]) == {"details", "reviews"}
    assert bookinfo.enter("/else")[0] == 404
    assert bookinfo.enter("/productpage", host="other.com")[0] == 404


def test_without_a_rule_all_versions_answer(bookinfo: Bookinfo, tell: Tell) -> None:
    counts = bookinfo.reviews(90)
    assert set(counts) == {"v1", "v2", "v3"}, counts
    tell(f"of 90: {counted(counts)}")


def test_weights_and_one_version_alone(bookinfo: Bookinfo, tell: Tell) -> None:
    shares = [to("reviews", "v1", 90), to("reviews", "v2", 10), to("reviews", "v3", 0)]
    bookinfo.apply(SUBSETS, rule("reviews", {"route": shares}))
    eventually(lambda: _is(bookinfo.reviews(40)["v3"], 0))
    counts = bookinfo.reviews(300)
    assert counts["v3"] == 0
    assert 240 < counts["v1"] < 300, counts
    bookinfo.apply(rule("reviews", {"route": [to("reviews", "v3")]}))
    eventually(lambda: _is(bookinfo.reviews(20), Counter(v3=20)))
    alone = bookinfo.reviews(50)
    assert alone == Counter(v3=50)
    tell(f"90/10/0, of 300: {counted(counts)}; v3 alone, of 50: {counted(alone)}")


def counted(counts: Counter[Any]) -> str:
    """As `200: 7, 503: 3`."""
    return ", ".join(f"{what}: {count}" for what, count in sorted(counts.items()))


def _is(found: object, wanted: object) -> None:
    assert found == wanted, found


def test_a_user_gets_another_version(bookinfo: Bookinfo) -> None:
    luffy = [{"headers": {"end-user": {"exact": "luffy"}}}]
    bookinfo.apply(
        SUBSETS, rule("reviews", {"match": luffy, "route": [to("reviews", "v2")]}, {"route": [to("reviews", "v1")]})
    )
    eventually(lambda: _is(bookinfo.reviews(10), Counter(v1=10)))
    assert bookinfo.reviews(20, **{"end-user": "luffy"}) == Counter(v2=20)
    assert bookinfo.reviews(20, **{"end-user": "zoro"}) == Counter(v1=20)
    # through productpage, which passes the header on
    [(_, page)] = bookinfo.ask("http://productpage:9080/productpage", **{"end-user": "luffy"})
    assert page["calls"]["reviews"]["version"] == "v2"


def test_a_mirror_gets_a_copy_of_each(bookinfo: Bookinfo) -> None:
    path = f"/reviews/{uuid4().hex}"
    bookinfo.apply(SUBSETS, rule("reviews", {"route": [to("reviews", "v1")], "mirror": {"host": "httpbin"}}))
    eventually(lambda: _is(bookinfo.reviews(10), Counter(v1=10)))
    answers = bookinfo.ask(f"http://reviews:9080{path}", 20)
    assert {status for status, _ in answers} == {200}

    def copied() -> None:
        [(_, seen)] = bookinfo.ask("http://httpbin:9080/seen")
        assert seen.get(path) == 20, seen

    eventually(copied)


def test_a_502_is_tried_again(bookinfo: Bookinfo) -> None:
    def url(key: str) -> str:
        return f"http://httpbin:9080/x?status=502&times=2&key={key}"

    assert [status for status, _ in bookinfo.ask(url(uuid4().hex))] == [502]
    bookinfo.apply(rule("httpbin", {"route": [to("httpbin")], "retries": {"attempts": 3, "retryOn": "gateway-error"}}))
    eventually(lambda: _is([status for status, _ in bookinfo.ask(url(uuid4().hex))], [200]))


def test_a_circuit_breaker_turns_away_what_is_too_much(bookinfo: Bookinfo, tell: Tell) -> None:
    url = "http://httpbin:9080/x?delay=0.5"
    assert {status for status, _ in bookinfo.ask(url, 10, 10)} == {200}
    pool = {"tcp": {"maxConnections": 1}, "http": {"http1MaxPendingRequests": 1, "maxRequestsPerConnection": 1}}
    bookinfo.apply(istio("DestinationRule", "httpbin", host="httpbin", trafficPolicy={"connectionPool": pool}))

    def broken() -> None:
        counts = Counter(status for status, _ in bookinfo.ask(url, 10, 10))
        assert set(counts) == {200, 503}, counts
        assert counts[503] >= 6, counts
        tell(f"maxConnections 1, of 10 at once: {counted(counts)}")

    eventually(broken)


def test_a_delay_longer_than_the_timeout(bookinfo: Bookinfo) -> None:
    delayed = {"fault": {"delay": {"fixedDelay": "2s", "percentage": {"value": 100}}}, "route": [to("ratings")]}
    bookinfo.apply(
        SUBSETS,
        rule("ratings", delayed),
        rule("reviews", {"route": [to("reviews", "v2")], "timeout": "1s"}),
    )
    eventually(lambda: _is([status for status, _ in bookinfo.ask("http://reviews:9080/reviews/0")], [504]))
    [(_, page)] = bookinfo.ask("http://productpage:9080/productpage")
    assert page["calls"]["reviews"] == {"status": 504}


def test_half_of_the_requests_are_aborted(bookinfo: Bookinfo, tell: Tell) -> None:
    aborted = {"fault": {"abort": {"httpStatus": 555, "percentage": {"value": 50}}}, "route": [to("details")]}
    bookinfo.apply(rule("details", aborted))

    def halved() -> None:
        counts = Counter(status for status, _ in bookinfo.ask("http://details:9080/details/0", 100))
        assert set(counts) == {200, 555}, counts
        assert 25 < counts[555] < 75, counts
        tell(f"50% aborted, of 100: {counted(counts)}")

    eventually(halved)


def test_nobody_goes_where_no_entry_says(bookinfo: Bookinfo) -> None:
    # a place outside of the registry, here the API server's machine: whoever answers, an answer comes
    pods = bookinfo.cluster.get("pods", namespace=bookinfo.namespace, selector="app=httpbin")
    address = pods[0]["status"]["podIP"]
    url, host = f"http://{address}:9080/outside", {"Host": "api.outside.example"}
    assert [status for status, _ in bookinfo.ask(url, **host)] == [200]
    closed = istio(
        "Sidecar",
        "default",
        workloadSelector={"labels": {"app": "client"}},
        egress=[{"hosts": ["./*"]}],
        outboundTrafficPolicy={"mode": "REGISTRY_ONLY"},
    )
    bookinfo.apply(closed)
    eventually(lambda: _is([status for status, _ in bookinfo.ask(url, **host)], [502]))
    entry = istio(
        "ServiceEntry",
        "outside",
        hosts=["api.outside.example"],
        ports=[{"number": 9080, "name": "http", "protocol": "HTTP"}],
        resolution="STATIC",
        location="MESH_EXTERNAL",
        endpoints=[{"address": address}],
    )
    bookinfo.apply(entry)
    eventually(lambda: _is([status for status, _ in bookinfo.ask(url, **host)], [200]))
