"""Bookinfo seen from outside: a real Prometheus reads it as deploy/prometheus.yaml says, a real Zipkin gets its spans.

Both run at the node's address, beside the cluster; so does the OpenTelemetry Collector, which hands spans on to Zipkin.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.cluster.charts import CHART
from tests.cluster.harness import NAMESPACE, ROOT, Cluster, eventually
from tests.cluster.test_bill import istio
from tests.cluster.test_bookinfo import SUBSETS, Bookinfo, application, mesh, rule, to
from tests.kernel.netns import inside
from tests.parts import Collector, Prometheus, Zipkin

__all__ = ["application", "mesh"]  # the fixtures
pytestmark = pytest.mark.skipif(
    "KUBECONFIG" in os.environ, reason="what runs beside the cluster is not reached from it"
)

NETNS = os.environ.get("CLUSTER_NETNS", "test-cluster")
NODE = f"10.245.{os.environ.get('CLUSTER_NUMBER', '0')}.2"
OBSERVABILITY = "observability"
GONE, HANGS = 9498, 9499
PROVIDERS = [
    {
        "name": "zipkin",
        "zipkin": {
            "service": f"zipkin.{OBSERVABILITY}.svc.cluster.local",
            "port": 9411,
            "traceContextOption": "USE_B3_WITH_W3C_PROPAGATION",
        },
    },
    {"name": "gone", "zipkin": {"service": f"nobody.{OBSERVABILITY}.svc.cluster.local", "port": GONE}},
    {"name": "hangs", "zipkin": {"service": f"nobody.{OBSERVABILITY}.svc.cluster.local", "port": HANGS}},
    {"name": "otel", "opentelemetry": {"service": f"collector.{OBSERVABILITY}.svc.cluster.local", "port": 4317}},
    {
        "name": "otel-logs",
        "envoyOtelAls": {
            "service": f"collector.{OBSERVABILITY}.svc.cluster.local",
            "port": 4317,
            "logFormat": {"labels": {"path": "%REQ(:PATH)%", "code": "%RESPONSE_CODE%"}},
        },
    },
]
SETTINGS = {"defaultProviders": {"metrics": ["prometheus"]}, "extensionProviders": PROVIDERS}
# As on Istio's own boards (manifests/addons/dashboards), with their variables filled in.
OF_ISTIO = {
    "mesh: requests": 'round(sum(irate(istio_requests_total{reporter=~"source|waypoint"}[1m])), 0.001)',
    "mesh: success": (
        'sum(rate(istio_requests_total{reporter=~"source|waypoint", response_code!~"5.*"}[1m]))'
        ' / sum(rate(istio_requests_total{reporter=~"source|waypoint"}[1m]))'
    ),
    "service: requests": (
        'sum(irate(istio_requests_total{reporter="source",destination_service=~"reviews.*"}[1m]))'
        " by (source_workload, destination_workload, response_code)"
    ),
    "service: p50": (
        "histogram_quantile(0.50, sum(irate(istio_request_duration_milliseconds_bucket"
        '{reporter="source",destination_service=~"ratings.*"}[1m])) by (le, destination_workload))'
    ),
    "workload: incoming by source": (
        'round(sum(irate(istio_requests_total{destination_workload=~"ratings-v1",reporter="destination"}[1m]))'
        " by (source_workload, source_workload_namespace, response_code), 0.001)"
    ),
}


def telemetry(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry", "metadata": {"name": name}, "spec": spec}


def outside(name: str, *ports: tuple[str, int]) -> list[dict[str, Any]]:
    """A Service whose one endpoint is beside the cluster."""
    named = [{"name": called, "port": port} for called, port in ports]
    head = {"name": name, "namespace": OBSERVABILITY}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": head, "spec": {"ports": named}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": head | {"labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [NODE], "conditions": {"ready": True}}],
            "ports": named,
        },
    ]


@pytest.fixture(scope="module")
def observed(application: Bookinfo) -> Iterator[Bookinfo]:
    """Bookinfo with telemetry asked for, and a Service of TCP; what it had before is put back."""
    cluster = application.cluster
    head = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OBSERVABILITY}}
    cluster.apply(head, *outside("zipkin", ("http", 9411)), *outside("collector", ("grpc", 4317)))
    cluster.apply(*outside("nobody", ("http-gone", GONE), ("http-hangs", HANGS)))
    before = cluster.get("configmap", "istio", namespace=NAMESPACE)["data"]["mesh"]
    told = yaml.safe_dump({**(yaml.safe_load(before) or {}), **SETTINGS})
    ports = [{"name": "tcp", "port": 9090, "targetPort": 9080}]
    application.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "tcp"},
            "spec": {"selector": {"app": "httpbin"}, "ports": ports},
        }
    )
    _configure(cluster, told)
    try:
        yield application
    finally:
        _configure(cluster, before)
        cluster.kubectl("delete", "namespace", OBSERVABILITY, "--wait=false")


def _configure(cluster: Cluster, text: str) -> None:
    cluster.kubectl("-n", NAMESPACE, "patch", "configmap", "istio", "-p", json.dumps({"data": {"mesh": text}}))


@pytest.fixture(scope="module")
def zipkin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zipkin]:
    with Zipkin(tmp_path_factory.mktemp("zipkin"), NETNS) as started:
        yield started


@pytest.fixture(scope="module")
def collector(zipkin: Zipkin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    with Collector(
        tmp_path_factory.mktemp("collector"), f"http://127.0.0.1:{zipkin.port}/api/v2/spans", NETNS
    ) as started:
        yield started


@pytest.fixture(scope="module")
def prometheus(observed: Bookinfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Debian's is built without Kubernetes: what it would find comes from a file, with the labels it would have."""
    folder = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((ROOT / "deploy" / "prometheus.yaml").read_text())
    for job in config["scrape_configs"]:
        [asked] = job.pop("kubernetes_sd_configs")
        (folder / f"{asked['role']}.json").write_text(json.dumps(list(DISCOVERED[asked["role"]](observed.cluster))))
        job["file_sd_configs"] = [{"files": [f"{asked['role']}.json"]}]
    config["global"] = {"scrape_interval": "5s"}
    with Prometheus(folder, config, NETNS) as started:
        yield started


def pods(cluster: Cluster) -> Iterator[dict[str, Any]]:
    """Prometheus' role `pod`: a target for each port of each container (its documentation, kubernetes_sd_config)."""
    for pod in cluster.get("pods"):
        meta, at = pod["metadata"], pod["status"].get("podIP", "")
        labels = {"namespace": meta["namespace"], "pod_name": meta["name"], "pod_ip": at}
        labels["pod_phase"] = pod["status"]["phase"]
        for name, value in meta.get("annotations", {}).items():
            labels[f"pod_annotation_{re.sub('[^a-zA-Z0-9_]', '_', name)}"] = value
        for field in ("initContainers", "containers"):
            for container in pod["spec"].get(field, ()):
                for port in container.get("ports", ()):
                    of_port = {"pod_container_name": container["name"], "pod_container_port_name": port.get("name", "")}
                    told = {f"__meta_kubernetes_{name}": value for name, value in (labels | of_port).items()}
                    yield {"targets": [f"{at}:{port['containerPort']}"], "labels": told}


def endpoints(cluster: Cluster) -> Iterator[dict[str, Any]]:
    """Prometheus' role `endpoints`."""
    for one in cluster.get("endpoints"):
        meta = one["metadata"]
        labels = {"namespace": meta["namespace"], "service_name": meta["name"]}
        for name, value in meta.get("labels", {}).items():
            labels[f"service_label_{re.sub('[^a-zA-Z0-9_]', '_', name)}"] = value
        for subset in one.get("subsets", ()):
            for port in subset.get("ports", ()):
                for address in subset.get("addresses", ()):
                    of = {
                        "endpoint_port_name": port.get("name", ""),
                        "pod_name": address.get("targetRef", {}).get("name", ""),
                    }
                    told = {f"__meta_kubernetes_{name}": value for name, value in (labels | of).items()}
                    yield {"targets": [f"{address['ip']}:{port['port']}"], "labels": told}


DISCOVERED = {"pod": pods, "endpoints": endpoints}


# Requests as of people, some of them in vain, and connections; until it is ended.
PEOPLE = """
import time, urllib.request
page = ["http://productpage:9080/productpage"] * 6
while True:
    for url in [*page, "http://details:9080/x?status=503", "http://details:9080/x?status=404", "http://tcp:9090/"]:
        try:
            urllib.request.urlopen(url, timeout=20).read()
        except OSError:
            pass
    time.sleep(0.2)
"""


@pytest.fixture(scope="module")
def busy(observed: Bookinfo) -> Iterator[Bookinfo]:
    """Bookinfo with people at it."""
    client = ["exec", observed.client, "-c", "app", "--", "python", "-c", PEOPLE]
    people = subprocess.Popen([*observed.cluster.command, "-n", observed.namespace, *client])
    try:
        yield observed
    finally:
        people.terminate()
        people.wait()


@pytest.mark.usefixtures("busy")
def test_istio_s_own_queries_find_what_they_look_for(prometheus: Prometheus) -> None:
    def found() -> None:
        for name, query in OF_ISTIO.items():
            series = prometheus.query(query)
            assert series, f"{name}: {query}"
            assert any(value > 0 for _, value in series), (name, series)
            print(f"\n{name}\n  {query}\n    " + "\n    ".join(f"{labels} {value:g}" for labels, value in series))
        versions = {labels["destination_workload"] for labels, _ in prometheus.query(OF_ISTIO["service: requests"])}
        assert versions >= {"reviews-v1", "reviews-v2", "reviews-v3"}
        sources = {
            labels["source_workload"] for labels, _ in prometheus.query(OF_ISTIO["workload: incoming by source"])
        }
        assert sources >= {"reviews-v2", "reviews-v3"}

    eventually(found, 180)


@pytest.mark.parametrize("board", ["mesh", "mesh-service", "mesh-workload", "pymesh"])
def test_every_panel_shows_something(board: str, busy: Bookinfo, prometheus: Prometheus) -> None:
    """With variables as Grafana fills them in, from what their own queries find."""
    told = json.loads((CHART / "dashboards" / f"{board}.json").read_text())
    wanted = {"service": "reviews.*" if board == "mesh-service" else "pymesh", "workload": "reviews-v2"}
    wanted["namespace"] = NAMESPACE if board == "pymesh" else busy.namespace

    def filled(text: str) -> str:
        return re.sub(r"\$(\w+)", lambda name: {"__rate_interval": "1m", **wanted}[name[1]], text)

    def found() -> None:
        if board == "pymesh":
            # something for proxies to be told
            pool = {"tcp": {"maxConnections": 100 + int(time.time()) % 1000}}
            busy.apply(istio("DestinationRule", "httpbin", host="httpbin", trafficPolicy={"connectionPool": pool}))
        for one in told["templating"]["list"]:
            if one["type"] == "query":
                metric, label = re.fullmatch(r"label_values\((.*), (\w+)\)", filled(one["query"]["query"])).groups()  # type: ignore[union-attr]
                values = {labels.get(label, "") for labels, _ in prometheus.query(metric)}
                assert any(re.fullmatch(wanted[one["name"]], value) for value in values), (one["name"], values)
        for panel in told["panels"]:
            for target in panel["targets"]:
                query = filled(target["expr"])
                series = prometheus.query(query)
                assert any(value == value for _, value in series), f"{panel['title']}: {query}: {series}"
                # what the legend names is there
                names = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
                assert all(name in labels for name in names for labels, _ in series if labels), (panel["title"], series)

    eventually(found, 180)


def spans_of(zipkin: Zipkin, holding: str, *services: str) -> list[dict[str, Any]]:
    """The spans of a trace in which all of these took part, and whose tags hold a text: not other people's."""
    for trace in zipkin.traces(services[0], lookback="600000"):
        names = {span.get("localEndpoint", {}).get("serviceName", "") for span in trace}
        if holding in json.dumps(trace) and all(
            any(name.startswith(service.partition(".")[0]) for name in names) for service in services
        ):
            return trace
    raise AssertionError(f"no trace of {services}")


def shown(trace: list[dict[str, Any]]) -> str:
    lines = [
        f"{one.get('timestamp', 0) % 10**9:>10} {one.get('duration', 0):>7} µs {one.get('kind', ''):7}"
        f" {one['localEndpoint']['serviceName']:32} {one.get('name', '')}"
        for one in sorted(trace, key=lambda one: one.get("timestamp", 0))
    ]
    return f"\ntrace {trace[0]['traceId']}\n" + "\n".join(lines)


def through_v2(bookinfo: Bookinfo) -> None:
    """All requests go where ratings are asked."""
    bookinfo.apply(SUBSETS, rule("reviews", {"route": [to("reviews", "v2")]}))


def test_one_trace_through_all_services(observed: Bookinfo, zipkin: Zipkin) -> None:
    through_v2(observed)
    sampled = {"providers": [{"name": "zipkin"}], "randomSamplingPercentage": 100}
    tags = {
        "tenant": {"header": {"name": "end-user", "defaultValue": "nobody"}},
        "of": {"literal": {"value": "bookinfo"}},
    }
    observed.apply(telemetry("traces", tracing=[sampled | {"customTags": tags}]))
    services = [f"{name}.{observed.namespace}" for name in ("productpage", "reviews", "ratings")]

    def traced() -> list[dict[str, Any]]:
        observed.ask("http://productpage:9080/productpage", 2, **{"end-user": "jason"})
        time.sleep(1)
        return spans_of(zipkin, "jason", *services)

    trace = eventually(traced, 90)
    print(shown(trace))
    assert len({span["traceId"] for span in trace}) == 1
    known = {span["id"] for span in trace}
    roots = [span for span in trace if span.get("parentId") not in known]
    assert len(roots) == 1, shown(trace)
    assert {span["tags"]["tenant"] for span in trace} == {"jason"}
    assert {span["tags"]["of"] for span in trace} == {"bookinfo"}


def test_opentelemetry_by_grpc_with_its_own_headers_and_logs(
    observed: Bookinfo, zipkin: Zipkin, collector: Collector
) -> None:
    through_v2(observed)
    sampled = {"providers": [{"name": "otel"}], "randomSamplingPercentage": 100}
    observed.apply(
        telemetry("traces", tracing=[sampled], accessLogging=[{"providers": [{"name": "otel-logs"}]}]),
    )
    services = [f"{name}.{observed.namespace}" for name in ("productpage", "reviews", "ratings")]

    def traced() -> list[dict[str, Any]]:
        observed.ask("http://productpage:9080/productpage?otel", 2)
        time.sleep(2)
        return spans_of(zipkin, "productpage?otel", *services)

    trace = eventually(traced, 90)
    print(shown(trace))
    known = {span["id"] for span in trace}
    assert len([span for span in trace if span.get("parentId") not in known]) == 1, shown(trace)

    def written() -> None:
        observed.ask("http://productpage:9080/productpage?otel")
        said = collector.log.read_text()
        assert "path: Str(/productpage?otel)" in said
        assert "code: Str(200)" in said

    eventually(written, 60)


def test_a_collector_that_is_gone_or_never_answers_costs_no_request(observed: Bookinfo) -> None:
    with inside(NETNS):
        never = socket.create_server(("0.0.0.0", HANGS), backlog=1)
    try:
        for provider in ("gone", "hangs"):
            sampled = {"providers": [{"name": provider}], "randomSamplingPercentage": 100}
            observed.apply(telemetry("traces", tracing=[sampled]))
            time.sleep(2)
            assert {status for status, _ in observed.ask("http://details:9080/details/0", 200, 4)} == {200}
    finally:
        never.close()
