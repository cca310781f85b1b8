"""`pymesh proxy-status`: the table, why something is no further, and what is other in Envoy than it is to be."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.cli import run
from mesh.commands.compare import difference
from mesh.commands.proxy_status import age

DUMP = yaml.safe_load((Path(__file__).parent / "dump.yaml").read_text())
REVIEWS = "outbound|9080|v1|reviews.shop.svc.cluster.local"


def of(state: str, **more: Any) -> dict[str, Any]:
    return {"state": state, "since": "", "resources": 1, "why": "", "object": "", "refused": [], **more}


def proxy(name: str, **types: Any) -> dict[str, Any]:
    pod, _, namespace = name.partition(".")
    found = dict.fromkeys(("CDS", "LDS", "EDS", "RDS"), of("SYNCED")) | types
    return {
        "name": name, "pod": pod, "namespace": namespace, "kind": "sidecar", "cluster_id": "Kubernetes",
        "envoy": "1.40.0", "types": found,
    }  # fmt: skip


REFUSED = of(
    "ERROR",
    since="2026-11-21T18:00:00Z",
    why="no such cluster",
    object="VirtualService shop/reviews",
    refused=["9080"],
)
ANSWERS: dict[str, Any] = {
    "/debug/proxies": {
        "control_plane": "pymesh-1",
        "ready": False,
        "waits_for": ["Service: forbidden"],
        "proxies": [proxy("web-1.shop", RDS=REFUSED), proxy("a.b", EDS=of("STALE", why="no answer")), proxy("z.a")],
    },
    "/debug/config?proxy=web-1.shop": {
        "types": {
            "CDS": {
                "inbound|9080||": {"name": "inbound|9080||", "type": "ORIGINAL_DST", "connect_timeout": "10s"},
                "new": {"name": "new"},
            },
            "RDS": {},
            "EDS": {
                REVIEWS: {
                    "endpoints": [
                        {
                            "lb_endpoints": [
                                {
                                    "endpoint": {
                                        "address": {"socket_address": {"address": "10.0.0.9", "port_value": 9080}}
                                    },
                                    "health_status": "DRAINING",
                                }
                            ]
                        }
                    ]
                }
            },
        }
    },
}


class Debug(BaseHTTPRequestHandler):
    """Answers as port 15014 does."""

    def do_GET(self) -> None:
        found = ANSWERS.get(self.path)
        body = json.dumps(found).encode() if found else b"not connected here\n"
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Nothing."""


@pytest.fixture
def debug() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Debug) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_all_proxies_and_why_some_are_no_further(debug: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["proxy-status", "--debug-address", debug]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "CLUSTER", "CDS", "LDS", "EDS", "RDS", "CONTROL", "PLANE", "VERSION"]
    assert [line.split()[0] for line in lines[1:4]] == ["z.a", "a.b", "web-1.shop"]
    assert lines[4:] == [
        "",
        "a.b: EDS STALE: no answer",
        "",
        "web-1.shop: RDS ERROR since 2026-11-21T18:00:00Z: no such cluster",
        "    because of: VirtualService shop/reviews",
        "    refused: 9080",
        "",
        "pymesh-1 is not ready, it waits for Service: forbidden",
    ]


def test_one_proxy_with_the_difference(debug: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "dump.json").write_text(json.dumps(DUMP))
    saved = ["--file", str(tmp_path / "dump.json")]
    assert run(["ps", "web-1.shop", "--debug-address", debug, *saved]) == 0
    out = capsys.readouterr().out
    assert "a.b" not in out
    assert "  + new: sent, and not there" in out
    assert "  - PassthroughCluster: there, and not sent" in out
    assert "  -connect_timeout: 10s" in out
    assert "  - 9080: there, and not sent" in out
    assert "   - 10.0.0.9:9080 DRAINING weight 1" in out  # the same on both sides
    assert "  +- unix:///run/a.sock HEALTHY weight 1" in out


def test_json_is_what_the_replicas_say(debug: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["proxy-status", "--debug-address", debug, "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found[2] == {**proxy("web-1.shop", RDS=REFUSED), "control_plane": "pymesh-1"}


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["--debug-address", "15014"], 2, "--debug-address 15014: no HOST:PORT"),
        (["--debug-address", "127.0.0.1:1"], 7, "127.0.0.1:1 does not answer GET /debug/proxies"),
        (["none.shop", "--debug-address", "DEBUG"], 4, "no proxy none.shop is connected"),
    ],
)
def test_bad_input_is_named(
    argv: list[str], code: int, said: str, debug: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["proxy-status", *(debug if one == "DEBUG" else one for one in argv)]) == code
    assert said in capsys.readouterr().err


def test_the_same_written_otherwise_is_no_difference() -> None:
    cluster = {
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": "a", "connect_timeout": "1.500s", "max": "7", "eds_config": {"ads": {}},
    }  # fmt: skip
    section = {
        "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
        "static_clusters": [{"cluster": {"name": "static"}}],
        "dynamic_active_clusters": [{"cluster": cluster}],
    }
    sent = {"name": "a", "connect_timeout": "1.5s", "max": 7, "eds_config": {"ads": {}}, "off": False}
    assert difference({"CDS": {"a": sent}}, {"configs": [section]}) == "Clusters match (1)"
    # which of a oneof is set does count
    assert "ads: {}" in difference({"CDS": {"a": sent | {"eds_config": {"self": {}}}}}, {"configs": [section]})


def test_ages_are_as_kubectl_writes_them() -> None:
    now = datetime(2026, 1, 10, tzinfo=UTC)
    for seconds, shown in ((0, "0s"), (119, "119s"), (121, "2m"), (7200, "2h"), (3 * 86_400, "3d")):
        assert age((now - timedelta(seconds=seconds)).isoformat(), now) == shown
    assert age("", now) == ""
