"""Lists and watches of a kind whose CustomResourceDefinition may be missing, as a server on loopback answers them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from common import kube
from common.kube import Kubernetes, Listed

ITEM = {"metadata": {"name": "a", "namespace": "shop", "resourceVersion": "1"}, "spec": {"concurrency": 2}}


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The status of each answer to come; a list of one object, where it is 200."""
    left: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path.startswith("/apis/networking.istio.io/v1beta1/proxyconfigs")
            status = left.pop(0)
            body: dict[str, Any] = {"metadata": {"resourceVersion": "1"}, "items": [ITEM]} if status == 200 else {}
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    named = [{"name": "x", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}]
    contexts = [{"name": "x", "context": {"cluster": "x", "user": "x"}}]
    config = {"clusters": named, "contexts": contexts, "current-context": "x", "users": [{"name": "x", "user": {}}]}
    (tmp_path / "config").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(kube.time, "sleep", lambda _: None)
    yield left
    server.shutdown()
    server.server_close()


def listed(path: Path, count: int) -> list[int]:
    changes = Kubernetes(str(path / "config")).changes("ProxyConfig", optional=True)
    return [len(it.objects) for it in islice(changes, count) if isinstance(it, Listed)]


def test_a_kind_that_the_cluster_lacks_is_no_error_and_looked_for_again(
    answers: list[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answers += [404, 404, 200]
    assert listed(tmp_path, 3) == [0, 0, 1]
    assert not caplog.records


def test_a_kind_that_may_not_be_read_is_told_and_keeps_nobody_waiting(
    answers: list[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answers += [403, 200]
    assert listed(tmp_path, 2) == [0, 1]
    assert "the service account's role lacks it" in caplog.text


def test_what_was_read_stays_while_the_server_refuses_and_goes_with_its_kind(
    answers: list[int], tmp_path: Path
) -> None:
    answers += [
        200,
        410,
        403,
        404,
        200,
    ]  # the watch has ended with 410: https://www.rfc-editor.org/rfc/rfc9110#name-410-gone
    assert listed(tmp_path, 3) == [1, 0, 1]
