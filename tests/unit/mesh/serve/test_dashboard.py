"""The dashboard's API and files: what they say, and whom they answer."""

from __future__ import annotations

import asyncio
from importlib import resources
from typing import Any

import httpx
import pytest

from mesh.model.kinds import BY_KEY
from mesh.serve.dashboard.live import Live
from mesh.serve.debug import application
from mesh.serve.metrics import Metrics
from mesh.serve.plane import Plane
from mesh.serve.status import Status
from mesh.world.events import Listed
from tests.unit.mesh.objects import Object, endpoints, event, istio, pod, service

HERE = ("127.0.0.1", 4000)
HOST = "reviews.default.svc.cluster.local"
HOSTILE = '"><img src=x onerror=alert(1)>'
VERSIONS = [{"name": one, "labels": {"version": one}} for one in ("v1", "v2")]
SPLIT = [
    {"match": [{"headers": {"end-user": {"exact": HOSTILE}}}], "route": [{"destination": {"host": "reviews"}}]},
    {
        "name": "canary",
        "route": [
            {"destination": {"host": "reviews", "subset": "v1"}, "weight": 90},
            {"destination": {"host": "reviews", "subset": "v9"}, "weight": 10},
        ],
        "timeout": "2s",
        "fault": {"abort": {"httpStatus": 500, "percentage": {"value": 5}}},
    },
]
OBJECTS: list[Object] = [
    service("reviews", "10.96.0.1", ("http", 80), ("tcp-x", 9000)),
    endpoints("reviews", "10.1.0.1", "10.1.0.2", ports=[("http", 8080), ("tcp-x", 9000)]),
    pod("reviews-10.1.0.1", "10.1.0.1", app="reviews", version="v1"),
    pod("reviews-10.1.0.2", "10.1.0.2", app="reviews", version=HOSTILE),
    istio("DestinationRule", "reviews", host="reviews", subsets=VERSIONS),
    istio("VirtualService", "reviews", hosts=["reviews"], http=SPLIT),
    istio(
        "VirtualService", "edge", hosts=["*"], gateways=["front"],
        http=[{"route": [{"destination": {"host": "reviews"}}]}],
    ),
    istio("ServiceEntry", "out", hosts=["api.example.com"], location="MESH_EXTERNAL", resolution="DNS",
          ports=[{"number": 443, "name": "tls", "protocol": "TLS"}]),
]  # fmt: skip


class NoSource:
    waiting: dict[str, str] = {"Service": "not listed"}  # noqa: RUF012

    async def run(self, deliver: Any) -> None:
        del deliver


class Client:
    """One who asks, from `who`."""

    def __init__(self, app: Any, who: tuple[str, int]) -> None:
        self._transport = httpx.ASGITransport(app, client=who)

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url="http://127.0.0.1:15014") as client:
                return await client.request(method, path, **more)

        return asyncio.run(ask())

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.request("GET", path, **more)


def client_of(*objects: Object, listed: bool = True, who: tuple[str, int] = HERE) -> Client:
    plane, metrics = Plane(BY_KEY), Metrics()
    source = NoSource()
    status = Status("pymesh-0", plane, source, metrics)
    if listed:
        source.waiting = {}
        plane.deliver([*map(event, objects), *map(Listed, BY_KEY)])
        asyncio.run(plane._build())
    app = application(status, metrics, Live(plane, status, "cluster.local"))
    return Client(app, who)


@pytest.fixture(scope="module")
def client() -> Client:
    return client_of(*OBJECTS)


API = ["proxies", "services", f"service?host={HOST}", "problems", "traffic"]


def test_services_tell_ports_workloads_objects_and_ways_in(client: Client) -> None:
    told = client.get("/dashboard/api/services").json()
    [reviews, out] = sorted(told["services"], key=lambda one: one["host"], reverse=True)
    assert [(one["number"], one["protocol"], one["endpoints"]) for one in reviews["ports"]] == [
        (80, "HTTP", 2),
        (9000, "TCP", 2),
    ]
    assert [one["name"] for one in reviews["workloads"]] == ["reviews-10.1.0.1", "reviews-10.1.0.2"]
    assert [one["name"] for one in reviews["rules"] + reviews["routes"]] == ["reviews", "reviews"]
    assert reviews["targets"] == [HOST]
    assert (out["host"], out["external"], out["object"]["kind"]) == ("api.example.com", True, "ServiceEntry")
    [way] = told["entrances"]
    assert (way["gateway"]["name"], way["route"]["name"], way["targets"]) == ("front", "edge", [HOST])


def test_a_service_is_told_as_its_proxies_are(client: Client) -> None:
    told = client.get("/dashboard/api/service", params={"host": HOST}).json()
    http, tcp = told["ports"]
    [first, second] = http["rules"]
    assert first["conditions"] == ["/*", f"end-user: {HOSTILE}"]
    assert first["backends"][0]["share"] == 100
    assert [(one["subset"], one["share"]) for one in second["backends"]] == [("v1", 90), ("v9", 10)]
    assert second["besides"] == ["aborts 5% with 500", "timeout 2s"]
    assert second["origins"][0] == {
        "object": {"kind": "VirtualService", "namespace": "default", "name": "reviews"},
        "path": "spec.http[1]",
        "rule": "canary",
    }
    assert [(one["address"], one["subsets"]) for one in http["endpoints"]] == [
        ("10.1.0.1:8080", ["v1"]),
        ("10.1.0.2:8080", []),
    ]
    assert http["counts"] == {"v1": 1, "v2": 0}
    assert tcp["rules"] == []
    assert {(one["code"], one["object"]["name"]) for one in told["problems"]} >= {
        ("no-subset", "reviews"),
        ("no-endpoints", "reviews"),
    }


def test_problems_are_those_of_objects_and_of_the_whole(client: Client) -> None:
    told = client.get("/dashboard/api/problems").json()
    missing = next(one for one in told if one["code"] == "no-gateway")
    assert missing["object"] == {"kind": "VirtualService", "namespace": "default", "name": "edge"}
    assert (missing["severity"], missing["path"]) == ("warning", "spec.gateways[0]")
    assert missing["means"] == "there is no such Gateway"


def test_what_is_not_there_is_said(client: Client) -> None:
    answer = client.get("/dashboard/api/service", params={"host": "nobody"})
    assert (answer.status_code, answer.text) == (404, "no Service and no ServiceEntry has the host nobody\n")
    assert client.get("/dashboard/nothing.js").status_code == 404
    assert client.get("/dashboard/../debug.py").status_code == 404
    assert client.get("/dashboard/api/traffic?seconds=1").status_code == 400
    assert "pymesh dashboard" in client.get("/dashboard/api/traffic").json()["why"]


def test_before_all_is_listed_it_says_what_it_waits_for() -> None:
    answer = client_of(listed=False).get("/dashboard/api/services")
    assert (answer.status_code, answer.text) == (
        503,
        "the control plane is not ready, it waits for Service: not listed\n",
    )


def test_what_did_not_change_is_not_sent_again(client: Client) -> None:
    for path in ("/dashboard/", *(f"/dashboard/api/{one}" for one in API)):
        first = client.get(path)
        again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (first.status_code, again.status_code, again.content) == (200, 304, b"")


def test_nothing_is_let_in_from_elsewhere_by_any_answer(client: Client) -> None:
    for path in ("", "style.css", "app.js", "nothing", *(f"api/{one}" for one in API)):
        headers = client.get(f"/dashboard/{path}").headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/dashboard/", "/dashboard/api/proxies", "/debug/proxies", "/debug/problems"])
@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"Host": "evil.example:15014"}, "Host 'evil.example:15014' is not this machine's"),
        ({"Host": "127.0.0.1.evil.example"}, "is not this machine's"),
        ({"Host": "evil.example@127.0.0.1@x"}, "is not this machine's"),
        ({"Host": "[::1"}, "is not this machine's"),
        ({"Host": ""}, "is not this machine's"),
        ({"Host": "10.0.0.7:15014"}, "is not this machine's"),
        ({"Origin": "http://evil.example"}, "Origin 'http://evil.example'"),
        ({"Origin": "http://127.0.0.1:8080"}, "Origin"),
        ({"Origin": "null"}, "Origin"),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, "another site"),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, "another site"),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, "another site"),
    ],
)
def test_other_sites_are_told_nothing(client: Client, path: str, headers: dict[str, str], words: str) -> None:
    answer = client.get(path, headers=headers)
    assert answer.status_code == 403
    assert words in answer.text
    assert "pymesh-0" not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "localhost:15014"},
        {"Host": "LOCALHOST"},
        {"Host": "mesh.localhost:80"},
        {"Host": "[::1]:15014"},
        {"Host": "127.0.0.2"},
        {"Host": "127.0.0.1:15014", "Origin": "http://127.0.0.1:15014"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    ],
)
def test_this_machine_is_answered(client: Client, headers: dict[str, str]) -> None:
    assert client.get("/dashboard/", headers=headers).status_code == 200


def test_half_of_a_surrogate_pair_is_told_like_any_text() -> None:
    half = istio("VirtualService", "odd", hosts=["reviews"], http=[{
        "match": [{"headers": {"a": {"exact": "\ud800"}}}], "route": [{"destination": {"host": "reviews"}}],
    }])  # fmt: skip
    client = client_of(OBJECTS[0], half, pod("x", "10.1.0.9", app="\udfff"))
    for path in ("/dashboard/api/services", f"/dashboard/api/service?host={HOST}", "/dashboard/api/problems"):
        assert client.get(path).status_code == 200
    [rule] = client.get(f"/dashboard/api/service?host={HOST}").json()["ports"][0]["rules"]
    assert rule["conditions"] == ["/*", "a: \ud800"]


def test_what_is_large_is_packed(client: Client) -> None:
    packed = client.get("/dashboard/api/problems", headers={"Accept-Encoding": "gzip"})
    plain = client.get("/dashboard/api/problems", headers={"Accept-Encoding": "identity"})
    assert packed.json() == plain.json()
    many = client_of(*(service(f"s-{number}", f"10.96.1.{number}", ("http", 80)) for number in range(1, 40)))
    assert many.get("/dashboard/api/services").headers["content-encoding"] == "gzip"


def test_other_machines_are_told_nothing_but_metrics_and_readiness() -> None:
    client = client_of(who=("10.0.0.7", 4000))
    assert client.get("/dashboard/").status_code == client.get("/dashboard/api/services").status_code == 403
    assert client.get("/metrics", headers={"Host": "10.0.0.3:15014"}).status_code == 200
    assert client.get("/ready", headers={"Host": "10.0.0.3:15014"}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_but_reading(client: Client, method: str) -> None:
    for path in ("/dashboard/", "/dashboard/api/proxies", "/debug/proxies"):
        assert client.request(method, path).status_code == 405


def test_the_page_is_all_in_its_folder_and_inline_is_nothing() -> None:
    files = {one.name: one.read_text() for one in resources.files("mesh.serve.dashboard").joinpath("static").iterdir()}
    assert {"index.html", "app.js", "style.css", "icon.svg"} <= set(files)
    for name, text in files.items():
        for reference in (
            "http://",
            "https://",
            "//cdn",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "eval(",
            "url(",
        ):
            # what names a namespace of XML is no address
            found = text.replace("http://www.w3.org/2000/svg", "")
            assert reference not in found, f"{name}: {reference}"
    assert " style=" not in files["index.html"]
    assert " on" not in files["index.html"].replace(" on this browser", "").split("<body>")[0]
