"""Events on owners of refused pods: of whom, how many, and that no review waits for them."""

from __future__ import annotations

import os
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.unit.webhook.serving.running import POD, Webhook, eventually
from tests.unit.webhook.serving.test_review import reviewed
from webhook.serving import events, recorder
from webhook.serving.server import Cluster, Reviewer
from webhook.settings import Settings

OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u", "controller": True}
BAD = {"annotations": {"traffic.sidecar.istio.io/excludeInboundPorts": "http"}}


class FakeCluster:
    """Stands for an API server, and remembers what it was told."""

    def __init__(self) -> None:
        self.made: list[tuple[str, dict[str, Any], str]] = []

    def create(self, kind: str, fields: dict[str, Any], namespace: str) -> None:
        self.made.append((kind, fields, namespace))


def lines(**request: Any) -> list[bytes]:
    told: list[bytes] = []
    reviewer = Reviewer(Settings.load(), Cluster())
    reviewer.tell = told.append
    reviewer.answer(reviewed(**request), {})
    return told


def test_a_refused_pod_is_told_where_its_owner_is() -> None:
    (line,) = lines(object={**POD, "metadata": {**BAD, "ownerReferences": [OWNER]}})
    cluster = FakeCluster()
    recorder.Recorder(cluster).follow([line, line])  # type: ignore[arg-type]
    ((kind, event, namespace),) = cluster.made
    assert (kind, namespace, event["regarding"]["kind"], event["type"]) == ("Event", "shop", "ReplicaSet", "Warning")
    assert "excludeInboundPorts" in event["note"]


@pytest.mark.parametrize(
    "request_",
    [
        {"object": {**POD, "metadata": {**BAD, "ownerReferences": [OWNER]}}, "dryRun": True},
        {"object": {**POD, "metadata": BAD}},
        {"object": {**POD, "metadata": {**BAD, "ownerReferences": [{**OWNER, "name": 1}]}}},
        {"object": {**POD, "metadata": {**BAD, "ownerReferences": "x"}}},
        {"object": {**POD, "metadata": {"ownerReferences": [OWNER]}}},
    ],
    ids=["dry run", "no owner", "no name", "no list", "not refused"],
)
def test_nothing_is_told_of_others(request_: dict[str, Any]) -> None:
    assert lines(**request_) == []


def test_events_are_few_whatever_comes() -> None:
    cluster = FakeCluster()
    made = recorder.Recorder(cluster)  # type: ignore[arg-type]
    for number in range(500):
        made.record({"regarding": {**OWNER, "uid": str(number)}, "namespace": "shop", "note": "n"}, 0.0)
    assert len(cluster.made) == recorder.MOST
    made.record({"regarding": OWNER, "namespace": "shop", "note": "n"}, recorder.AGAIN_SECONDS)
    assert len(cluster.made) == recorder.MOST + 1


def test_a_pipe_that_nobody_reads_holds_up_no_review(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    real = os.write
    monkeypatch.setattr(events.os, "write", lambda _, data: real(writing, data))
    line = orjson.dumps({"note": "n" * 4000})
    for _ in range(100):
        events.write(line)
    assert len(os.read(reading, 1 << 20)) % len(line) == 0
    os.close(reading)
    os.close(writing)


def test_a_refusal_becomes_an_event_from_a_worker_to_the_api_server(tmp_path: Path) -> None:
    posted: queue.SimpleQueue[tuple[str, dict[str, Any]]] = queue.SimpleQueue()

    class Server(BaseHTTPRequestHandler):
        """Takes Events as an API server does."""

        def do_POST(self) -> None:
            posted.put((self.path, orjson.loads(self.rfile.read(int(self.headers["content-length"])))))
            self.send_response(201)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        config = tmp_path / "kubeconfig"
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        users = [{"name": "u", "user": {}}]
        config.write_bytes(
            orjson.dumps({"current-context": "c", "clusters": [cluster], "contexts": [context], "users": users})
        )
        running = Webhook(tmp_path, "--events", "--workers=1", environ={"KUBECONFIG": str(config)})
        try:
            eventually(running.ready, 30)
            body = reviewed(object={**POD, "metadata": {**BAD, "ownerReferences": [OWNER]}})
            with running.client() as client:
                client.post("/inject", content=body, headers={"content-type": "application/json"})
            path, event = posted.get(timeout=20)
        finally:
            running.stop()
            server.shutdown()
    assert path.startswith("/apis/events.k8s.io/v1/namespaces/shop/events")
    assert event["regarding"]["name"] == "web"
