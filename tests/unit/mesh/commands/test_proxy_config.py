"""`pymesh proxy-config` of a saved dump: istioctl's columns, filters, and what is no dump."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from common import tls
from mesh.cli import run
from mesh.commands.proxy_config import tables
from mesh.commands.proxy_config.dump import endpoints

DUMP = yaml.safe_load((Path(__file__).parent / "dump.yaml").read_text())


@pytest.fixture
def saved(tmp_path: Path) -> str:
    file = tmp_path / "dump.json"
    file.write_text(json.dumps(DUMP))
    return str(file)


def shown(capsys: pytest.CaptureFixture[str], *argv: str) -> list[list[str]]:
    """The cells of what is printed."""
    assert run(["proxy-config", *argv]) == 0
    lines = capsys.readouterr().out.splitlines()
    starts = [0, *(n + 5 for n in range(len(lines[0])) if lines[0][n : n + 5] == " " * 5 and lines[0][n + 5] != " ")]
    ends = [*starts[1:], max(map(len, lines)) + 1]
    return [[line[start:end].strip() for start, end in zip(starts, ends, strict=True)] for line in lines]


REVIEWS = "reviews.shop.svc.cluster.local"


def test_clusters(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "cluster", "--file", saved) == [
        ["SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE"],
        ["PassthroughCluster", "-", "-", "-", "ORIGINAL_DST", ""],
        ["", "9080", "-", "inbound", "ORIGINAL_DST", ""],
        ["ratings.shop.svc.cluster.local", "80", "-", "outbound", "EDS", ""],
        [REVIEWS, "9080", "v1", "outbound", "EDS", "reviews.shop"],
        ["xds-grpc", "-", "-", "-", "STATIC", ""],
    ]


def test_listeners(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "listener", "--file", saved) == [
        ["ADDRESSES", "PORT", "MATCH", "DESTINATION"],
        ["0.0.0.0", "9080", "SNI: a.test,b.test; Addr: 10.0.0.0/8",
         "Cluster: outbound|443||a (90), outbound|443||b (10)"],
        ["0.0.0.0", "9080", "Trans: raw_buffer; App: HTTP", "Route: 9080"],
        ["0.0.0.0,::1", "15001", "ALL", "PassthroughCluster"],
        ["0.0.0.0,::1", "15001", "Addr: *:15001", "Non-HTTP/Non-TCP"],
        ["::", "15006", "Addr: *:9080", "Cluster: inbound|9080||"],
        ["::", "15090", "ALL", "Inline Route: /stats/prometheus"],
    ]  # fmt: skip


def test_routes(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    host = ["9080", f"{REVIEWS}:9080", "reviews, reviews.shop + 2 more..."]
    assert shown(capsys, "route", "--file", saved) == [
        ["NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE", "RULE"],
        ["80", "allow_any", "*", "/*", "", ""],
        [*host, "/v2*", "reviews.shop", "spec.http[0]"],
        [*host, "regex /a.*", "http-route reviews.shop", ""],
        [*host, "/*", "", ""],
        ["9080", "none", "none.test", "/*", "404", ""],
    ]


def test_endpoints(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    cluster = f"outbound|9080|v1|{REVIEWS}"
    assert shown(capsys, "endpoint", "--file", saved) == [
        ["ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER"],
        ["10.0.0.9:9080", "DRAINING", "OK", cluster],
        ["127.0.0.1:15010", "HEALTHY", "OK", "xds-grpc"],
        ["[fd00::9]:9080", "HEALTHY", "OK", cluster],
        ["unix:///run/a.sock", "HEALTHY", "OK", cluster],
    ]


def test_clusters_by_the_admin_api_know_how_endpoints_fare() -> None:
    at = {"socket_address": {"address": "10.0.0.9", "port_value": 9080}}
    ill = {"eds_health_status": "HEALTHY", "failed_outlier_check": True, "failed_active_health_check": True}
    [found] = endpoints({"cluster_statuses": [{"name": "a", "host_statuses": [{"address": at, "health_status": ill}]}]})
    assert tables.endpoint_row(found) == ("10.0.0.9:9080", "UNHEALTHY", "FAILED", "a")


@pytest.mark.parametrize(
    ("argv", "count"),
    [
        (["cluster", "--fqdn", REVIEWS], 1),
        (["cluster", "--fqdn", "xds-grpc"], 1),
        (["cluster", "--port", "9080"], 2),
        (["cluster", "--subset", "v1"], 1),
        (["cluster", "--direction", "inbound"], 1),
        (["cluster", "--fqdn", REVIEWS, "--port", "80"], 0),
        (["listener", "--port", "9080"], 1),
        (["listener", "--address", "::"], 2),
        (["listener", "--type", "http"], 3),
        (["listener", "--type", "TCP"], 2),
        (["route", "--name", "80"], 1),
        (["endpoint", "--address", "10.0.0.9"], 1),
        (["endpoint", "--port", "9080"], 2),
        (["endpoint", "--cluster", "xds-grpc"], 1),
        (["endpoint", "--status", "draining"], 1),
        (["l", "--port", "1"], 0),
    ],
)
def test_filters_and_json(argv: list[str], count: int, saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["pc", *argv, "--file", saved, "-o", "json"]) == 0
    found: list[Any] = json.loads(capsys.readouterr().out)
    assert len(found) == count


def test_json_and_yaml_are_as_envoy_wrote_them(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["proxy-config", "route", "--name", "9080", "--file", saved, "-o", "yaml"]) == 0
    routes = DUMP["configs"][3]["dynamic_route_configs"]
    assert yaml.safe_load(capsys.readouterr().out) == [routes[1]["route_config"]]
    assert run(["proxy-config", "bootstrap", "--file", saved]) == 0
    assert json.loads(capsys.readouterr().out) == {"bootstrap": DUMP["configs"][0]["bootstrap"]}
    assert run(["proxy-config", "all", "--file", saved, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == DUMP


def test_all_of_it_from_stdin(saved: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(Path(saved).read_bytes())))
    assert run(["proxy-config", "all", "--file", "-"]) == 0
    out = capsys.readouterr().out
    assert all(header[0] in out for header in (tables.CLUSTERS, tables.LISTENERS, tables.ROUTES, tables.SECRETS))


def test_a_certificate_is_shown_and_no_key() -> None:
    made = tls.new_authority("test", tls.now())
    chain = {"certificate_chain": {"inline_string": made.certificate.decode()}, "private_key": {"inline_string": "KEY"}}
    row = tables.secret_row({"name": "a", "state": "ACTIVE", "secret": {"tls_certificate": chain}}, datetime.now(UTC))
    assert row[:5] == ("a", "Cert Chain", "ACTIVE", "true", f"{made.leaf.serial_number:x}")
    assert row[5].startswith(str(made.leaf.not_valid_after_utc.year))
    assert "KEY" not in str(row)


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        ([], 2, "one of POD, --file and --admin is needed"),
        (["web", "--admin", "127.0.0.1:1"], 2, "is needed, not pod and admin"),
        (["--admin", "15000"], 2, "--admin 15000: no HOST:PORT"),
        (["--admin", "127.0.0.1:1"], 7, "127.0.0.1:1 does not answer GET /config_dump"),
        (["--file", "/none/dump.json"], 2, "--file /none/dump.json: No such file"),
        (["--file", __file__], 4, "test_proxy_config.py: no JSON: "),
        (["--file", "EMPTY"], 4, "no config_dump of Envoy: it has no list"),
        (["--file", "ODD"], 4, "no config_dump of Envoy: "),
    ],
)
def test_bad_input_is_named(
    argv: list[str], code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "EMPTY").write_text("[]")
    odd = {"@type": "a.ClustersConfigDump", "static_clusters": ["no cluster"]}
    (tmp_path / "ODD").write_text(json.dumps({"configs": [odd]}))
    given = [str(tmp_path / one) if one.isupper() else one for one in argv]
    assert run(["proxy-config", "cluster", *given]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("pymesh proxy-config: ")
    assert said in err
