"""`pyinject serve` as it runs: supervisor and workers, over TLS on the loopback."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import orjson
import pytest

from common import tls
from tests.unit.webhook.serving.test_review import reviewed

NAMES = (*tls.service_names("pyinject", "mesh"), "localhost")
POD = {"kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": [{"name": "app", "image": "app"}]}}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def eventually(attempt: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not attempt():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Webhook:
    """A running `pyinject serve` with files for everything."""

    def __init__(self, directory: Path, *flags: str) -> None:
        self.directory = directory
        self.authority = tls.new_authority("test CA", tls.now())
        self.port, self.metrics_port = free_port(), free_port()
        self.values = directory / "values"
        self.values.write_text("{profile: standalone}")
        self.renew_certificate()
        self._log = directory / "log"
        command = [
            *(sys.executable, "-m", "webhook", "serve", "--address=127.0.0.1", "--workers=2", "--log-format=json"),
            *(f"--port={self.port}", f"--metrics-port={self.metrics_port}", f"--valuesFile={self.values}"),
            *(f"--tls-cert-file={directory / 'crt'}", f"--tls-key-file={directory / 'key'}"),
            *("--service=pyinject", "--namespace=mesh", *flags),
        ]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stderr=log)

    def renew_certificate(self) -> None:
        pair = tls.issue(self.authority, NAMES, tls.now())
        (self.directory / "key").write_bytes(pair.key)
        (self.directory / "crt").write_bytes(pair.certificate)

    def client(self) -> httpx.Client:
        context = ssl.create_default_context(cadata=self.authority.certificate.decode())
        return httpx.Client(base_url=f"https://localhost:{self.port}", verify=context, timeout=10)

    def ready(self) -> bool:
        try:
            with self.client() as client:
                return client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def review(self) -> dict[str, object]:
        with self.client() as client:
            answer = client.post("/inject", content=reviewed(object=POD), headers={"content-type": "application/json"})
        assert answer.status_code == 200
        found: dict[str, object] = orjson.loads(answer.content)["response"]
        return found

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(child) for child in children.split()]

    def metric(self, name: str) -> float:
        text = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics").text
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def logged(self, text: str) -> bool:
        return text in self._log.read_text()

    def serial(self) -> int:
        pem = ssl.get_server_certificate(("127.0.0.1", self.port))
        return tls.KeyPair(pem.encode(), b"").leaf.serial_number

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(20)


@pytest.fixture(scope="module")
def webhook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webhook]:
    running = Webhook(tmp_path_factory.mktemp("webhook"))
    try:
        eventually(running.ready)
        yield running
    finally:
        running.process.kill()
        running.process.wait()


def test_a_review_is_answered_and_counted_once_for_all_workers(webhook: Webhook) -> None:
    before = webhook.metric('pyinject_reviews_total{reason="policy",result="injected"}')
    for _ in range(8):
        assert webhook.review()["patchType"] == "JSONPatch"
    assert webhook.metric('pyinject_reviews_total{reason="policy",result="injected"}') == before + 8
    assert webhook.metric("pyinject_review_seconds_count") >= before + 8


def test_all_processes_together_stay_within_200_mib(webhook: Webhook) -> None:
    def resident(pid: int) -> int:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        assert found
        return int(found[1])

    webhook.review()
    assert sum(map(resident, [webhook.process.pid, *webhook.workers()])) < 200 * 1024


def test_a_renewed_certificate_is_served_without_a_restart(webhook: Webhook) -> None:
    workers = webhook.workers()
    before = {webhook.serial() for _ in range(8)}
    assert len(before) == 1
    webhook.renew_certificate()
    # each of the workers takes it; new connections reach one or the other
    eventually(lambda: all(webhook.serial() not in before for _ in range(8)))
    assert webhook.ready()
    assert webhook.workers() == workers
    assert webhook.metric("pyinject_certificate_expiry_timestamp_seconds") > time.time() + 80 * 86400


def test_settings_that_are_wrong_are_refused_and_the_last_good_ones_stay(webhook: Webhook) -> None:
    good = webhook.review()["patch"]
    webhook.values.write_text("{profile: [}")
    eventually(lambda: webhook.metric('pyinject_reloads_total{result="refused",what="settings"}') >= 1)
    eventually(lambda: webhook.logged("settings not taken, what was in force stays: values"))
    assert webhook.review()["patch"] == good
    webhook.values.write_text("{profile: standalone, global: {hub: example.test/hub}}")
    eventually(lambda: all(webhook.review()["patch"] != good for _ in range(8)))


def test_a_worker_that_dies_is_replaced_and_the_other_goes_on(webhook: Webhook) -> None:
    victim = webhook.workers()[0]
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: len(webhook.workers()) == 2 and victim not in webhook.workers(), 30)
    eventually(lambda: all(webhook.ready() for _ in range(8)), 30)
    eventually(lambda: webhook.logged("a worker has ended"))
    assert webhook.metric("pyinject_worker_restarts_total") >= 1


def test_workers_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    running = Webhook(tmp_path)
    eventually(running.ready)
    workers = running.workers()
    running.process.kill()
    running.process.wait()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def test_sigterm_lets_requests_come_for_a_while_and_answers_all_of_them(tmp_path: Path) -> None:
    running = Webhook(tmp_path, "--shutdown-delay=0.5")
    eventually(running.ready)
    with running.client() as client:
        running.process.terminate()
        deadline = time.monotonic() + 0.3
        answered = 0
        while time.monotonic() < deadline:
            assert client.get("/healthz").status_code == 200
            answered += 1
    assert answered > 10
    assert running.process.wait(20) == 0
    assert running.logged('"stopped"')


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        ([], 2, "a certificate is needed: either --tls-cert-file and --tls-key-file"),
        (["--tls-cert-file=/none", "--tls-key-file=/none"], 2, "/none cannot be read: No such file or directory"),
        (["--workers=0"], 2, "--workers 0: at least 1 is needed"),
    ],
)
def test_what_cannot_begin_says_why_in_a_line(flags: list[str], code: int, message: str) -> None:
    command = [sys.executable, "-m", "webhook", "serve", "--port=0", "--metrics-port=0", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        running = Webhook(tmp_path, f"--port={port}")
        assert running.process.wait(20) == 2
    assert running.logged(f"--port {port}: cannot listen there")
