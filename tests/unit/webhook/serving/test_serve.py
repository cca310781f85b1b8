"""`pyinject serve` as it runs: supervisor and workers, over TLS on the loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.webhook.serving.running import Webhook, eventually


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
    webhook.review()
    assert webhook.resident() < 200


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


def test_a_certificate_of_another_kind_of_key_is_served_and_told_at_once(webhook: Webhook) -> None:
    for rsa_key in (True, False, True):
        pair = webhook.renew_certificate(rsa_key=rsa_key)
        eventually(lambda pair=pair: all(webhook.serial() == pair.leaf.serial_number for _ in range(8)))  # type: ignore[misc]
        assert all(webhook.ready() for _ in range(4))
        expiry = pair.leaf.not_valid_after_utc.timestamp()
        eventually(lambda expiry=expiry: webhook.metric("pyinject_certificate_expiry_timestamp_seconds") == expiry)  # type: ignore[misc]


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


def test_a_worker_that_ends_again_and_again_takes_no_connections_with_it(tmp_path: Path) -> None:
    running = Webhook(tmp_path)
    try:
        eventually(running.ready)
        for round_ in range(1, 4):  # by then it is started again only after a pause
            others = running.workers()
            os.kill(others[-1], signal.SIGKILL)
            eventually(lambda n=round_: running.log().count("a worker has ended") == n)  # type: ignore[misc]
            if round_ < 3:
                eventually(lambda: len(running.workers()) == 2, 30)
        assert len(running.workers()) == 1
        answered = [running.review()["allowed"] for _ in range(12)]
        assert len(running.workers()) == 1, "the pause was over before the test"
        assert answered == [True] * 12
    finally:
        running.process.kill()
        running.process.wait()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGQUIT], ids=lambda number: number.name)
def test_whatever_ends_it_the_private_key_goes_too(tmp_path: Path, number: signal.Signals) -> None:
    folders = tmp_path / "tmp"
    folders.mkdir()
    running = Webhook(tmp_path, environ={"TMPDIR": str(folders)})
    eventually(running.ready)
    assert list(folders.rglob("tls.pem"))
    workers = running.workers()
    running.process.send_signal(number)
    running.process.wait(20)
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    assert not list(folders.iterdir())
    assert running.logged('"stopped"') or number is signal.SIGKILL


def test_readiness_asks_the_address_that_is_served(tmp_path: Path) -> None:
    running = Webhook(tmp_path, "--address=127.0.0.2", host="127.0.0.2")
    try:
        eventually(running.ready)
    finally:
        assert running.stop() == 0


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
