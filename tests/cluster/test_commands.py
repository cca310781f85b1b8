"""The commands over files with a cluster at hand: its settings, its nodes, its pods."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.harness import Cluster, eventually
from webhook.commands.cli import run

APP = """\
# by hand
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 0
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels:
        app: web
    spec:
      containers:
      - name: web
        image: example.com/web:1
        readinessProbe:
          httpGet: {port: 8080, path: /ready}
"""


@pytest.fixture(scope="module")
def settings(bare_cluster: Cluster) -> Iterator[str]:
    """A namespace with an injector's ConfigMaps, under Istio's names."""
    values = {"profile": "standalone", "global": {"hub": "example.com/of-the-cluster"}}
    with bare_cluster.namespace() as name:
        maps = {
            "istio-sidecar-injector": {"values": json.dumps(values), "config": "policy: disabled"},
            "istio": {"mesh": ""},
        }
        objects = [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": key}, "data": data}
            for key, data in maps.items()
        ]
        bare_cluster.apply(*objects, namespace=name)
        yield name


@pytest.fixture
def flags(bare_cluster: Cluster, settings: str) -> list[str]:
    return ["--kubeconfig", bare_cluster.kubeconfig, "-i", settings]


@pytest.fixture
def injected(tmp_path: Path, flags: list[str]) -> Path:
    (tmp_path / "app.yaml").write_text(APP)
    path = tmp_path / "injected.yaml"
    assert run(["kube-inject", "-f", str(tmp_path / "app.yaml"), "-o", str(path), *flags]) == 0
    return path


def test_settings_and_native_sidecars_are_the_clusters(injected: Path) -> None:
    spec = yaml.safe_load(injected.read_text())["spec"]["template"]["spec"]
    assert [container["name"] for container in spec["initContainers"]] == ["istio-init", "istio-proxy"]
    assert all(container["image"].startswith("example.com/of-the-cluster/") for container in spec["initContainers"])


def test_the_api_server_takes_it_and_uninject_takes_it_back(
    bare_cluster: Cluster, injected: Path, tmp_path: Path
) -> None:
    with bare_cluster.namespace() as name:
        bare_cluster.kubectl("-n", name, "apply", "-f", str(injected))

        def take_back() -> None:
            live = bare_cluster.kubectl("-n", name, "get", "deployment", "web", "-o", "yaml")
            (tmp_path / "live.yaml").write_text(live)
            assert run(["uninject", "-f", str(tmp_path / "live.yaml"), "-o", str(tmp_path / "back.yaml")]) == 0
            bare_cluster.kubectl("-n", name, "replace", "-f", str(tmp_path / "back.yaml"))

        eventually(take_back)  # a controller may write the status in between
        spec = bare_cluster.get("deployment", "web", namespace=name)["spec"]["template"]["spec"]
        assert "initContainers" not in spec
        (container,) = spec["containers"]
        assert container["readinessProbe"]["httpGet"] == {"port": 8080, "path": "/ready", "scheme": "HTTP"}
    assert run(["uninject", "-f", str(injected), "-o", str(tmp_path / "back.yaml")]) == 0
    assert (tmp_path / "back.yaml").read_text() == APP


@pytest.mark.parametrize(
    ("labels", "inject", "reason"), [({}, False, "policy"), ({"sidecar.istio.io/inject": "true"}, True, "label")]
)
def test_a_pod_of_the_cluster_is_explained(
    bare_cluster: Cluster,
    flags: list[str],
    labels: dict[str, str],
    inject: bool,
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "labels": labels},
        "spec": {"schedulerName": "nobody", "containers": [{"name": "web", "image": "web"}]},
    }
    with bare_cluster.namespace({"example.com/mine": "yes"}) as name:
        bare_cluster.apply(pod, namespace=name)
        assert run(["explain", "web", "-n", name, "-o", "json", *flags]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["decision"]["inject"], told["decision"]["reason"]) == (inject, reason)
    assert "neither istio-injection nor istio.io/rev" in told["decision"]["steps"][0]


def test_what_is_not_there_is_named(bare_cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "app.yaml").write_text(APP)
    wrong = ["--kubeconfig", bare_cluster.kubeconfig, "-i", "nowhere", "-r", "canary"]
    assert run(["kube-inject", "-f", str(tmp_path / "app.yaml"), *wrong]) == 8
    assert "/namespaces/nowhere/configmaps/istio-sidecar-injector-canary" in capsys.readouterr().err
    assert run(["explain", "nobody", "--kubeconfig", bare_cluster.kubeconfig]) == 8
