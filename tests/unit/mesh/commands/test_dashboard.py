"""`pymesh dashboard`: several control planes as one, Prometheus at its best and worst, and how the command ends."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi import HTTPException

from common.errors import KubernetesError, NotReadyError, UsageError
from mesh.cli import run
from mesh.commands import control_plane, several, traffic
from mesh.commands.admin import RefusedError
from mesh.commands.several import Several
from mesh.commands.traffic import LABELS, Prometheus, edges, queries

ROOT = Path(__file__).parents[4]


def labels(reporter: str, source: str, workload: str, service: str, **more: str) -> dict[str, str]:
    return dict(zip(LABELS, (reporter, source, "shop", workload, "shop", service, "shop"), strict=True)) | more


# --- what Prometheus says becomes edges


def test_the_client_s_side_counts_and_where_it_says_nothing_the_server_s() -> None:
    found = {
        "rate": [
            (labels("source", "web", "reviews-v1", "reviews", request_protocol="http"), 9.0),
            (labels("destination", "web", "reviews-v1", "reviews", request_protocol="http"), 8.0),
            (labels("destination", "unknown", "reviews-v1", "reviews", request_protocol="grpc"), 2.0),
        ],
        "failed": [(labels("source", "web", "reviews-v1", "reviews", request_protocol="http"), 3.0)],
        "faults": [(labels("destination", "unknown", "reviews-v1", "reviews", request_protocol="grpc"), 1.0)],
        "p95": [(labels("source", "web", "reviews-v1", "reviews"), 12.34567), (labels("source", "x", "y", "z"), 1.0)],
        "p50": [(labels("source", "web", "reviews-v1", "reviews"), float("nan"))],
        "p99": [], "refused": [], "received": [], "opened": [],
        "sent": [(labels("source", "web", "db-0", "db"), 1024.0)],
    }  # fmt: skip
    web, unknown, db = edges(found)
    assert (web["source"]["workload"], web["rate"], web["errors"], web["p95"], web["p50"]) == ("web", 9, 3, 12.35, None)
    assert (unknown["source"]["workload"], unknown["protocol"], unknown["errors"]) == ("unknown", "grpc", 1)
    assert (db["protocol"], db["sent"], db["rate"]) == ("tcp", 1024, 0)


def test_queries_are_a_fixed_list_in_which_a_number_alone_varies() -> None:
    assert {re.sub(r"\[\d+s\]", "", one) for one in queries(60).values()} == {
        re.sub(r"\[\d+s\]", "", one) for one in queries(3600).values()
    }


# --- Prometheus


@contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            return

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def says(body: bytes, status: int = 200) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def vector(*result: Any) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": list(result)}}).encode()


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"<html>sign in</html>", 200, "answers what is none of its answers"),
        (b"[]", 200, "answers what is none of its answers"),
        (b'{"data": {"resultType": "matrix", "result": []}}', 200, "a matrix, not a vector"),
        (b'{"data": {"resultType": "vector", "result": [{"metric": 1, "value": [0, "x"]}]}}', 200, "none of its"),
        (b'{"data": {"resultType": "vector", "result": [{"metric": {}, "value": [0]}]}}', 200, "none of its answers"),
        (b"[" * 200_000, 200, "none of its answers"),
        (b"\xff\xfe\x00", 200, "none of its answers"),
        (b"no such query", 400, "answers with 400: no such query"),
        (b"", 302, "answers with 302"),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_told_as_that(body: bytes, status: int, words: str) -> None:
    with answering(says(body, status)) as url, pytest.raises(NotReadyError, match=re.escape(words)):
        Prometheus.at(url).query("up")


def test_an_answer_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "MOST_BYTES", 1 << 20)
    with answering(says(b" " * (10 << 20))) as url, pytest.raises(NotReadyError, match="more than 1 MiB"):
        Prometheus.at(url).query("up")


def test_one_that_hangs_is_left_and_so_is_one_that_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "SECONDS", 0.5)
    done = threading.Event()

    def hang(_: BaseHTTPRequestHandler) -> None:
        done.wait(30)

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not done.wait(0.05):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    for answer in (hang, drip):
        with answering(answer) as url, pytest.raises(NotReadyError, match="does not answer"):
            Prometheus.at(url).query("up")
    done.set()


def test_nobody_there_is_told() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(NotReadyError, match="does not answer"):
            Prometheus.at(f"http://127.0.0.1:{bound.getsockname()[1]}").query("up")


def test_where_nothing_was_counted_it_says_what_may_be_missing() -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked = parse_qs(urlsplit(handler.path).query)["query"][0]
        says(vector({"metric": {}, "value": [0, "3"]}) if asked == "count(envoy_istio_requests_total)" else vector())(
            handler
        )

    with answering(answer) as url:
        assert "has to take envoy_ away" in Prometheus.at(url).traffic(60)["why"]
    with answering(says(vector())) as url:
        assert "it has no istio_requests_total" in Prometheus.at(f"{url}/prefix/").traffic(60)["why"]


@pytest.mark.parametrize(
    "url",
    ["prometheus:9090", "ftp://a", "http://", "http://a:99999", "http://a:x", "http://u:p@a", "http://a/?x=1", "["],
)
def test_a_url_that_is_none_names_the_flag(url: str) -> None:
    with pytest.raises(UsageError, match="--prometheus"):
        Prometheus.at(url)


# --- several control planes


def plane(name: str, *proxies: str) -> dict[str, Any]:
    return {
        "control_planes": [{"name": name, "version": "1", "ready": True, "waits_for": [], "error": ""}],
        "proxies": [
            {"name": one, "pod": one, "namespace": "a", "connected": "", "control_plane": name} for one in proxies
        ],
    }


def over(
    monkeypatch: pytest.MonkeyPatch, replicas: dict[str, Callable[[str], Any]], prometheus: str = "none"
) -> Several:
    monkeypatch.setattr(control_plane, "finder", lambda _: lambda: list(replicas.items()))
    args = argparse.Namespace(prometheus=prometheus, debug_address="127.0.0.1:1", kubeconfig=None, context=None)
    return Several(args)


def gone(_: str) -> Any:
    raise NotReadyError("pod b does not answer")


def test_the_proxies_of_all_are_told_and_who_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    source = over(monkeypatch, {"a": lambda _: plane("a", "x", "z"), "b": gone, "c": lambda _: plane("c", "y")})
    told = asyncio.run(source.proxies())
    assert [one["name"] for one in told["proxies"]] == ["x", "y", "z"]
    assert [(one["name"], one["error"]) for one in told["control_planes"]] == [
        ("a", ""),
        ("b", "pod b does not answer"),
        ("c", ""),
    ]


def test_objects_are_asked_of_one_and_of_the_next_where_it_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    source = over(monkeypatch, {"b": gone, "c": lambda path: path})
    assert asyncio.run(source.services()) == "/dashboard/api/services"
    assert asyncio.run(source.service("a b&c")) == "/dashboard/api/service?host=a%20b%26c"


def test_no_answer_at_all_is_said_with_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    source = over(monkeypatch, {"b": gone})
    for ask in (source.proxies, source.services, source.problems):
        with pytest.raises(HTTPException) as caught:
            asyncio.run(ask())
        assert (caught.value.status_code, caught.value.detail) == (502, "pod b does not answer")


def test_a_host_that_nobody_has_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: str) -> Any:
        raise RefusedError("404", 404)

    assert asyncio.run(over(monkeypatch, {"a": unknown}).service("x")) is None


def test_problems_of_all_are_told_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = {"code": "missing", "path": "a"}, {"code": "refused-by-envoy", "path": ""}
    source = over(monkeypatch, {"a": lambda _: [one], "b": lambda _: [one, other]})
    assert asyncio.run(source.problems()) == [one, other]


def test_tabs_that_ask_at_once_cost_one_question(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def slow(path: str) -> Any:
        asked.append(path)
        time.sleep(0.2)
        return []

    source = over(monkeypatch, {"a": slow})

    async def tabs() -> None:
        await asyncio.gather(*(source.services() for _ in range(20)))
        await source.services()

    asyncio.run(tabs())
    assert len(asked) == 1


def test_questions_at_once_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()
    source = over(monkeypatch, {"a": lambda _: free.wait(10)})

    async def flood() -> list[Any]:
        asks = [asyncio.create_task(source.service(str(number))) for number in range(several.MOST_AT_ONCE + 5)]
        await asyncio.sleep(0.1)
        free.set()
        return await asyncio.gather(*asks, return_exceptions=True)

    refused = [one for one in asyncio.run(flood()) if isinstance(one, HTTPException)]
    assert [one.status_code for one in refused] == [503] * 5


def test_an_old_control_plane_is_said_to_be_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def old(_: str) -> Any:
        raise RefusedError("Not Found", 404)

    with pytest.raises(NotReadyError, match="a is older than this command and has no dashboard: upgrade it"):
        over(monkeypatch, {"a": old}).probe()


def test_a_prometheus_at_fault_costs_the_calls_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(says(b"garbage")) as url:
        told = asyncio.run(over(monkeypatch, {"a": lambda _: []}, url).traffic(60))
    assert told["edges"] == []
    assert "none of its answers" in told["why"]
    assert told["prometheus"] == url


def test_where_none_can_be_looked_for_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def __init__(self, *_: object) -> None:
            return

        def reading(self, *_: object) -> Any:
            raise KubernetesError("GET /api/v1/pods: 403 Forbidden", 403)

    monkeypatch.setattr("common.kube.Kubernetes", Refusing)
    monkeypatch.setattr(control_plane, "finder", lambda _: list)
    args = argparse.Namespace(prometheus="", debug_address=None, kubeconfig=None, context=None)
    assert "cannot be looked for: GET /api/v1/pods: 403 Forbidden; name it with --prometheus" in Several(args).calls


# --- the command


@contextmanager
def served(tmp_path: Path) -> Iterator[str]:
    """A real control plane over a folder; its debug address."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
    (tmp_path / "a.yaml").write_text(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop}\n"
        "spec: {clusterIP: 10.0.0.1, ports: [{port: 80}]}\n"
    )
    command = [sys.executable, "-m", "mesh", "serve", "--files", str(tmp_path), "--xds-address", f"unix:{tmp_path}/xds"]
    process = subprocess.Popen([*command, "--debug-address", address], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        host, port = address.split(":")
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection((host, int(port)), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield address
    finally:
        process.kill()
        process.wait()


def dashboard(address: str, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mesh", "dashboard", "--debug-address", address, "--no-browser", *more]
    environ = os.environ | {"PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_it_serves_the_page_until_it_is_interrupted(tmp_path: Path) -> None:
    import httpx

    with served(tmp_path) as address:
        process = dashboard(address, "--port", "0")
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        try:
            assert "<title>pymesh</title>" in httpx.get(url).text
            [service] = httpx.get(f"{url}api/services").json()["services"]
            assert service["host"] == "a.shop.svc.cluster.local"
            assert "--prometheus URL" in httpx.get(f"{url}api/traffic").json()["why"]
            assert httpx.get(url, headers={"Host": "evil.example"}).status_code == 403
            # the port is taken now
            second = dashboard(address, "--port", url.rpartition(":")[2].strip("/"))
            _, said = second.communicate(timeout=60)
            assert second.returncode == 2
            assert "Address already in use" in said
            assert "name another port, or 0 for any that is free" in said
        finally:
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        assert (process.returncode, "Traceback" in err) == (0, False)


def test_it_ends_though_somebody_hangs() -> None:
    import httpx

    hanging = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if "proxies" in handler.path:
            says(json.dumps(plane("a")).encode())(handler)
        else:
            hanging.wait(600)

    with answering(answer) as url:
        process = dashboard(url.removeprefix("http://"), "--port", "0")
        assert process.stdout is not None
        page = process.stdout.readline().strip()
        asked = threading.Thread(target=lambda: httpx.get(f"{page}api/services", timeout=60), daemon=True)
        asked.start()
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 0
        hanging.set()


def test_what_cannot_be_is_said_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dashboard", "--debug-address", "127.0.0.1:1", "--no-browser"]) == 7
    assert "127.0.0.1:1 does not answer GET /dashboard/api/proxies: [Errno 111]" in capsys.readouterr().err
    assert run(["dashboard", "--debug-address", "127.0.0.1", "--no-browser"]) == 2
    assert "--debug-address 127.0.0.1: no HOST:PORT" in capsys.readouterr().err
    assert run(["dashboard", "--port", "65536", "--debug-address", "127.0.0.1:1"]) == 2
    assert "--port 65536: 0 to 65535 are allowed" in capsys.readouterr().err
    assert run(["dashboard", "--prometheus", "x:9090", "--debug-address", "127.0.0.1:1"]) == 2
    assert "--prometheus x:9090: no URL such as http://127.0.0.1:9090" in capsys.readouterr().err
    assert run(["dashboard", "--kubeconfig", "/nowhere"]) == 8
    assert "no cluster to talk to" in capsys.readouterr().err
