"""`pyinject serve` as a process, with files for everything."""

from __future__ import annotations

import os
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import httpx
import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

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


def with_rsa_key(pair: tls.KeyPair, authority: tls.KeyPair) -> tls.KeyPair:
    """The same certificate for another key."""
    key = rsa.generate_private_key(65537, 2048)
    signing = serialization.load_pem_private_key(authority.key, None)
    assert isinstance(signing, ec.EllipticCurvePrivateKey)
    leaf = pair.leaf
    builder = x509.CertificateBuilder(
        leaf.issuer,
        leaf.subject,
        key.public_key(),
        x509.random_serial_number(),
        leaf.not_valid_before_utc,
        leaf.not_valid_after_utc - timedelta(days=7),
    )
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    made = builder.add_extension(names, critical=False).sign(signing, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return tls.KeyPair(made.public_bytes(serialization.Encoding.PEM), private)


class Webhook:
    """A running `pyinject serve` with files for everything."""

    def __init__(
        self, directory: Path, *flags: str, host: str = "localhost", environ: Mapping[str, str] | None = None
    ) -> None:
        self.host = host
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
            self.process = subprocess.Popen(command, stderr=log, env=os.environ | dict(environ or {}))

    def renew_certificate(self, *, rsa_key: bool = False) -> tls.KeyPair:
        """Another certificate of the same authority, for a key of P-256 or RSA."""
        pair = tls.issue(self.authority, NAMES, tls.now())
        if rsa_key:
            pair = with_rsa_key(pair, self.authority)
        (self.directory / "key").write_bytes(pair.key)
        (self.directory / "crt").write_bytes(pair.certificate)
        return pair

    def client(self) -> httpx.Client:
        context = ssl.create_default_context(cadata=self.authority.certificate.decode())
        context.check_hostname = self.host == "localhost"
        return httpx.Client(base_url=f"https://{self.host}:{self.port}", verify=context, timeout=10)

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

    def resident(self) -> int:
        """MiB of all processes."""
        found = 0
        for pid in [self.process.pid, *self.workers()]:
            line = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
            assert line
            found += int(line[1])
        return found // 1024

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(child) for child in children.split()]

    def metric(self, name: str) -> float:
        text = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics").text
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def logged(self, text: str) -> bool:
        return text in self.log()

    def log(self) -> str:
        return self._log.read_text()

    def serial(self) -> int:
        pem = ssl.get_server_certificate(("127.0.0.1", self.port))
        return tls.KeyPair(pem.encode(), b"").leaf.serial_number

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(20)
