"""pyinject served over HTTPS on this machine's loopback, and asked as an API server asks it."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from common import tls
from demo.errors import DemoError

HOST = "localhost"
START_SECONDS = 15.0


class Webhook:
    """`pyinject serve` as a process of its own, there between `with` and its end; it took `seconds` to start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = _free_port()
        self.url = f"https://{HOST}:{self.port}/inject"
        self.seconds = 0.0

    def __enter__(self) -> Webhook:
        now = datetime.now(UTC).replace(microsecond=0)
        authority = tls.new_authority("demo CA", now)
        pair = tls.issue(authority, [HOST], now)
        certificate, key = self._folder / "tls.crt", self._folder / "tls.key"
        certificate.write_bytes(pair.certificate)
        key.write_bytes(pair.key)
        self._trust = ssl.create_default_context(cadata=authority.certificate.decode())
        self._log = (self._folder / "webhook.log").open("w+")
        listen = ["--address", "127.0.0.1", "--port", str(self.port), "--metrics-port", "0", "--workers", "1"]
        pem = ["--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "webhook", "serve", *listen, *pem],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            self._wait_until_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._log.close()

    def _wait_until_ready(self) -> None:
        start = time.monotonic()
        while time.monotonic() - start < START_SECONDS and self._process.poll() is None:
            try:
                status, _ = self._ask("GET", "/readyz")
            except OSError:
                status = 0
            if status == 200:
                self.seconds = time.monotonic() - start
                return
            time.sleep(0.05)
        self._log.seek(0)
        raise DemoError(f"pyinject serve is not ready after {START_SECONDS:g} s; it says:\n{self._log.read()}")

    def review(self, review: dict[str, Any]) -> dict[str, Any]:
        """The AdmissionReview's `response`."""
        status, body = self._ask("POST", "/inject", json.dumps(review))
        if status != 200:
            raise DemoError(f"POST {self.url} answered {status}: {body}")
        response: dict[str, Any] = json.loads(body)["response"]
        return response

    def _ask(self, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        connection = http.client.HTTPSConnection(HOST, self.port, timeout=10, context=self._trust)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port
