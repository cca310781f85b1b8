"""The control plane in a cluster, as the chart installs it: pods are told, and the tools say so."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.harness import MANIFEST, NAMESPACE, ROOT, Cluster, eventually
from tests.cluster.objects import code, deployment, pod_spec, service

WITH_MESH = MANIFEST.with_name("pysidecar-mesh.yaml")
CRDS = MANIFEST.with_name("crds")
GATEWAY = "istio-ingressgateway"


@pytest.fixture(scope="module")
def mesh(bare_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with pyinject, pymesh and a gateway."""
    manifest = WITH_MESH.read_text()
    bare_cluster.kubectl("create", "-f", str(CRDS), check=False)
    bare_cluster.install(manifest)
    try:
        for name in ("pyinject", "pymesh", GATEWAY):
            bare_cluster.wait("condition=Available", f"deployment/{name}", NAMESPACE, timeout=120)
        yield bare_cluster
    finally:
        bare_cluster.uninstall(manifest)


@pytest.fixture(scope="module")
def shop(mesh: Cluster) -> Iterator[str]:
    """A namespace with an injected client and server."""
    with mesh.namespace({"istio-injection": "enabled"}) as name:
        objects = (deployment(app, pod_spec(mesh)) for app in ("client", "server"))
        mesh.apply(code(), *objects, service("server"), namespace=name)
        yield name


def pymesh(cluster: Cluster, *arguments: str) -> str:
    """Runs the command as a user does, from outside."""
    command = [sys.executable, "-m", "mesh", *arguments, "--kubeconfig", cluster.kubeconfig]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_request_goes_where_the_control_plane_says(mesh: Cluster, shop: str) -> None:
    client = mesh.ready_pod("client", shop)["metadata"]["name"]
    mesh.ready_pod("server", shop)

    def request() -> None:
        assert mesh.fetch(client, shop, "http://server/who")["status"] == 200

    eventually(request)
    stats = mesh.fetch(client, shop, "http://127.0.0.1:15090/stats/prometheus?filter=upstream_rq_total")["body"]
    # Envoy takes a cluster's name up to its first dot for the label
    assert re.search(r"upstream_rq_total\{[^}]*outbound\|80\|\|server[^}]*\} [1-9]", stats)


def test_proxy_status_knows_all_proxies(mesh: Cluster, shop: str) -> None:
    client = mesh.ready_pod("client", shop)["metadata"]["name"]
    found = {one["name"]: one for one in json.loads(pymesh(mesh, "proxy-status", "-o", "json"))}
    assert f"{client}.{shop}" in found
    kinds = {one["kind"] for one in found.values()}
    assert kinds == {"sidecar", "router"}

    def synced() -> None:
        out = pymesh(mesh, "proxy-status", f"{client}.{shop}")
        assert "Clusters match" in out
        assert "Listeners match" in out
        assert "Routes match" in out

    eventually(synced)


def test_proxy_config_reads_a_pod_and_filters(mesh: Cluster, shop: str) -> None:
    client = mesh.ready_pod("client", shop)["metadata"]["name"]
    host = f"server.{shop}.svc.cluster.local"
    clusters: list[Any] = json.loads(
        pymesh(mesh, "proxy-config", "cluster", f"{client}.{shop}", "--fqdn", host, "-o", "json")
    )
    assert [one["name"] for one in clusters] == [f"outbound|80||{host}"]
    server = mesh.ready_pod("server", shop)
    endpoints = pymesh(mesh, "pc", "endpoint", client, "-n", shop, "--cluster", f"outbound|80||{host}")
    assert f"{server['status']['podIP']}:8080     HEALTHY     OK" in endpoints


def test_the_gateway_is_told_too(mesh: Cluster) -> None:
    pods = mesh.get("pods", namespace=NAMESPACE, selector="istio=ingressgateway")
    name = pods[0]["metadata"]["name"]
    listeners = pymesh(mesh, "proxy-config", "listener", f"{name}.{NAMESPACE}", "--port", "15021")
    assert "Inline Route: /healthz/ready" in listeners


def virtual_service(**rule: Any) -> dict[str, Any]:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "server"},
        "spec": {"hosts": ["server"], "http": [{"route": [{"destination": {"host": "server"}}], **rule}]},
    }


def test_who_writes_an_object_is_told_what_is_wrong_in_it(mesh: Cluster, shop: str) -> None:
    def refused() -> None:  # API servers ask as soon as the caBundle is there, and do without before
        said = mesh.apply(virtual_service(match=[{"uri": {"regex": "("}}]), namespace=shop)
        assert said.startswith('The VirtualService "server" is invalid: spec.http[0].match[0].uri.regex: "("'), said

    eventually(refused, 60)
    said = mesh.apply(virtual_service(route=[{"destination": {"host": "server", "subset": "v9"}}]), namespace=shop)
    assert "Warning: spec.http[0].route[0].destination.subset: no DestinationRule has subset v9" in said
    said = mesh.apply(virtual_service(), namespace=shop)
    assert "Warning" not in said
    assert "virtualservice.networking.istio.io/server configured" in said


def test_an_object_is_told_in_its_status(mesh: Cluster, shop: str) -> None:
    for name in ("first", "second"):
        made = virtual_service()
        made["metadata"]["name"] = name
        made["spec"]["hosts"] = ["books.example.com"]
        mesh.apply(made, namespace=shop)
    said = mesh.kubectl(
        "wait", "virtualservice/second", "-n", shop, "--for=condition=Reconciled=False", "--timeout=60s"
    )
    assert "condition met" in said
    [second] = [one for one in mesh.get("virtualservices", namespace=shop) if one["metadata"]["name"] == "second"]
    conditions = {one["type"]: one for one in second["status"]["conditions"]}
    assert conditions["Reconciled"]["reason"] == "Superseded"
    assert "first is older" in conditions["Reconciled"]["message"]
    mesh.kubectl("delete", "virtualservice", "first", "-n", shop)
    mesh.kubectl("wait", "virtualservice/second", "-n", shop, "--for=condition=Reconciled", "--timeout=60s")
