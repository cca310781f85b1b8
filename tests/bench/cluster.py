"""Pod creations on a real Kubernetes, in turns with and without the webhook: what a user waits for it.

The API server calls the webhook, which runs here beside it, by a Service. No scheduler takes the pods, so that
nothing but their creation is going on.
"""

from __future__ import annotations

import base64
import os
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import orjson
from kubernetes import client, config

from tests.bench import pods, server
from tests.bench.errors import BenchError
from tests.bench.report import Section, Table
from tests.bench.server import Certificate

NAME = "pyinject-bench"
_WITH, _WITHOUT = f"{NAME}-with", f"{NAME}-without"
CLUSTER = Path(__file__).parents[1] / "cluster" / "cluster"
_CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
_NETNS = Path("/run/netns/test-cluster")


class Api:
    """The API server of a kubeconfig's current context, over one connection, with plain objects."""

    def __init__(self, kubeconfig: str) -> None:
        config.load_kube_config(kubeconfig)
        configuration: Any = client.Configuration.get_default_copy()
        self.host: str = configuration.host
        self._rest: Any = client.ApiClient(configuration).rest_client
        credentials = configuration.auth_settings().values()
        self._headers = {setting["key"]: setting["value"] for setting in credentials if setting["in"] == "header"}

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """The object that answers; a PATCH is a JSON merge patch. BenchError where it is no success."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {**self._headers, "Content-Type": kind}
        try:
            answer = self._rest.request(method, f"{self.host}{path}", headers=headers, body=body)
        except client.ApiException as error:
            raise BenchError(f"{method} {path}: {error.status} {error.body}") from error
        found: dict[str, Any] = orjson.loads(answer.read())
        return found


def run(folder: Path, creations: int) -> Section:
    """So many creations each way; the difference is taken pair by pair."""
    with cluster_at_hand() as kubeconfig:
        api = Api(kubeconfig)
        certificate = Certificate.make(folder, f"{NAME}.{_WITH}.svc")
        with (
            server.webhook(folder, certificate, _address_towards(api.host)) as webhook,
            _installed(api, certificate, urlsplit(webhook.url)),
        ):
            pairs = [_pair(api, number) for number in range(-1, creations)][1:]  # the first opens connections
            _check(api)
    return _section(pairs)


def _pair(api: Api, number: int) -> tuple[float, float]:
    """A pod with the webhook and one without; which is first alternates."""
    order = (_WITH, _WITHOUT) if number % 2 else (_WITHOUT, _WITH)
    times = {namespace: _create(api, namespace, f"pod-{number + 1}") for namespace in order}
    return times[_WITH], times[_WITHOUT]


def _section(pairs: list[tuple[float, float]]) -> Section:
    rows = []
    figures: dict[str, float] = {}
    differences = [with_webhook - without for with_webhook, without in pairs]
    for key, title, values in (
        ("with", "with the webhook", [pair[0] for pair in pairs]),
        ("without", "without", [pair[1] for pair in pairs]),
        ("difference", "difference, pair by pair", differences),
    ):
        median, p99 = statistics.median(values), statistics.quantiles(values, n=100)[98]
        figures |= {f"cluster.{key}.p50_ms": median, f"cluster.{key}.p99_ms": p99}
        rows.append((title, f"{median:.2f}", f"{p99:.2f}"))
    title = f"Creating a pod on a real Kubernetes, {len(pairs)} each way, in turns"
    return Section(figures, [Table(title, ("", "median ms", "p99 ms"), rows)])


def _create(api: Api, namespace: str, name: str) -> float:
    """The milliseconds that the API server takes."""
    pod = pods.plain()
    containers = pod["spec"]["containers"]
    containers[0].pop("volumeMounts")
    pod["metadata"] = {"name": name, "labels": {"app": "checkout"}}
    pod["spec"] = {"containers": containers, "schedulerName": NAME, "automountServiceAccountToken": False}
    start = time.perf_counter()
    api.call("POST", f"/api/v1/namespaces/{namespace}/pods", pod)
    return (time.perf_counter() - start) * 1000


def _check(api: Api) -> None:
    """The pods of one namespace have a sidecar, those of the other do not."""
    for namespace, expected in ((_WITH, True), (_WITHOUT, False)):
        for pod in api.call("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]:
            containers = [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]
            if any(container["name"] == "istio-proxy" for container in containers) != expected:
                raise BenchError(f"pod {namespace}/{pod['metadata']['name']}: injected is to be {expected}")


@contextmanager
def cluster_at_hand() -> Iterator[str]:
    """The cluster of $KUBECONFIG, or the tests' own: the one that is up, or one that is up for this run alone."""
    if "KUBECONFIG" in os.environ:
        yield os.environ["KUBECONFIG"]
        return
    found = _NETNS.exists()
    if not found:
        subprocess.run([CLUSTER, "up"], check=True)
    try:
        # export KUBECONFIG=PATH
        environment = subprocess.run([CLUSTER, "env"], capture_output=True, text=True, check=True).stdout
        yield environment.partition("KUBECONFIG=")[2].splitlines()[0].strip("\"'")
    finally:
        if not found:
            subprocess.run([CLUSTER, "down"], check=True)


@contextmanager
def _installed(api: Api, certificate: Certificate, url: SplitResult) -> Iterator[None]:
    """Two namespaces, a Service that leads to the webhook, and the API server told to call it for one of the two."""
    with ExitStack() as undo:
        for namespace in (_WITH, _WITHOUT):
            metadata = {"name": namespace, "labels": {"bench": namespace}}
            api.call("POST", "/api/v1/namespaces", {"metadata": metadata})
            undo.callback(api.call, "DELETE", f"/api/v1/namespaces/{namespace}")
            _wait_for_service_account(api, namespace)
        _create_service(api, url)
        api.call("POST", _CONFIGURATIONS, _configuration(certificate))
        undo.callback(api.call, "DELETE", f"{_CONFIGURATIONS}/{NAME}")
        time.sleep(3)  # until the API server and kube-proxy have heard of it
        yield


def _create_service(api: Api, url: SplitResult) -> None:
    """A Service without a selector; where it leads, its EndpointSlice says."""
    metadata = {"name": NAME, "labels": {"kubernetes.io/service-name": NAME}}
    port = {"name": "https", "port": url.port, "protocol": "TCP"}
    service = {"metadata": metadata, "spec": {"ports": [{**port, "port": 443, "targetPort": url.port}]}}
    api.call("POST", f"/api/v1/namespaces/{_WITH}/services", service)
    endpoints = {"addressType": "IPv4", "endpoints": [{"addresses": [url.hostname]}], "ports": [port]}
    path = f"/apis/discovery.k8s.io/v1/namespaces/{_WITH}/endpointslices"
    api.call("POST", path, {"metadata": metadata, **endpoints})


def _configuration(certificate: Certificate) -> dict[str, Any]:
    return {
        "metadata": {"name": NAME},
        "webhooks": [
            {
                "name": f"{NAME}.pysidecar.io",
                "clientConfig": {
                    "service": {"name": NAME, "namespace": _WITH, "path": "/inject", "port": 443},
                    "caBundle": base64.b64encode(certificate.authority).decode(),
                },
                "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
                "namespaceSelector": {"matchLabels": {"bench": _WITH}},
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "failurePolicy": "Fail",
            }
        ],
    }


def _wait_for_service_account(api: Api, namespace: str) -> None:
    """The controller manager gives a new namespace its service account a moment later; until then it takes no pods."""
    for _ in range(100):
        if api.call("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts")["items"]:
            return
        time.sleep(0.1)
    raise BenchError(f"namespace {namespace} got no service account")


def _address_towards(api_server: str) -> str:
    """This machine's address as the API server sees it."""
    url = urlsplit(api_server)
    with socket.create_connection((url.hostname or "", url.port or 443)) as connection:
        address: str = connection.getsockname()[0]
        return address
