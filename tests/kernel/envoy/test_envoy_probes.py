"""The status port answers for the app's probes: what the app says, and failure when it does not listen."""

from __future__ import annotations

import datetime
import ipaddress
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from demo.network import address
from demo.request import Answer, request
from tests.kernel.netns import inside

from .conftest import Pod, PodFactory

PROBERS: dict[str, dict[str, Any]] = {
    "/app-health/app/livez": {
        "httpGet": {
            "path": "live?a=1 2",
            "port": 9001,
            "httpHeaders": [{"name": "Host", "value": "app.example"}, {"name": "X-Load", "value": "50% of $(HOME)"}],
        },
        "timeoutSeconds": 3,
    },
    "/app-health/app/readyz": {"httpGet": {"path": "/503", "port": 9001}},
    "/app-health/app/startupz": {"httpGet": {"path": "/302", "port": 9001}},
    "/app-health/tls/livez": {"httpGet": {"path": "/", "port": 9002, "scheme": "HTTPS"}},
    "/app-health/tcp/livez": {"tcpSocket": {"port": 9003}},
    "/app-health/grpc/livez": {"grpc": {"port": 9004, "service": "shop"}},
    "/app-health/slow/livez": {"httpGet": {"path": "/slow", "port": 9001}, "timeoutSeconds": 1},
    "/app-lifecycle/app/prestopz": {"httpGet": {"path": "/bye", "port": 9001}},
}


class App(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/slow":
            time.sleep(1.5)
        body = json.dumps({"path": self.path, "headers": dict(self.headers), "client": self.client_address[0]}).encode()
        self.send_response(int(self.path[1:]) if self.path[1:].isdigit() else 200)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def pod(start_pod: PodFactory) -> Pod:
    return start_pod(probers=PROBERS)


@pytest.fixture(scope="module")
def app(pod: Pod, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The app on the pod's address alone: HTTP at 9001, HTTPS at 9002."""
    with inside(pod.network.netns("pod")):
        servers = [TCPServer((address("pod"), port), App) for port in (9001, 9002)]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificate(tmp_path_factory.mktemp("tls")))
    servers[1].socket = context.wrap_socket(servers[1].socket, server_side=True)
    threads = [threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}) for server in servers]
    for thread in threads:
        thread.start()
    yield
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        thread.join()
        server.server_close()


def _certificate(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "app")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("192.0.2.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "app.pem").write_bytes(secret + certificate.public_bytes(pem))
    return folder / "app.pem"


def probe(pod: Pod, path: str, port: int = 15020) -> Answer:
    """Asks as kubelet does, from outside the pod."""
    return request(pod.network.netns("client"), 0, f"http://{address('pod')}:{port}{path}")


def probe_until(pod: Pod, path: str, status: int, seconds: float) -> float:
    """How long it takes until the probe answers this status."""
    start = time.monotonic()
    while probe(pod, path).status != status:
        assert time.monotonic() - start < seconds, f"{path} is not {status} within {seconds} s"
    return time.monotonic() - start


def test_ready(pod: Pod) -> None:
    assert [probe(pod, "/healthz/ready", port).status for port in (15021, 15020)] == [200, 200]


def test_metrics(pod: Pod) -> None:
    assert "envoy_server_live" in probe(pod, "/stats/prometheus", 15090).body


@pytest.mark.parametrize("path", ["/quitquitquit", "/drain_listeners", "/stats", "/config_dump"])
def test_admin_api_is_not_reachable_from_outside(pod: Pod, path: str) -> None:
    assert [probe(pod, path, port).status for port in (15020, 15021, 15090)] == [404, 404, 404]
    assert probe(pod, path, 15000).status == 503  # captured, and nobody listens at the pod's own address


@pytest.mark.usefixtures("app")
class TestHttp:
    def test_request_arrives_as_kubelet_would_send_it(self, pod: Pod) -> None:
        seen = probe(pod, "/app-health/app/livez").seen
        assert seen["path"] == "/live?a=1%202"
        assert (seen["headers"]["host"], seen["headers"]["x-load"]) == ("app.example", "50% of $(HOME)")
        assert seen["client"] == "127.0.0.6"

    def test_failure_is_the_app_s(self, pod: Pod) -> None:
        assert probe(pod, "/app-health/app/readyz").status == 503

    def test_redirect_leads_nowhere(self, pod: Pod) -> None:
        answer = probe(pod, "/app-health/app/startupz")
        assert (answer.status, "location" in answer.headers) == (302, False)

    def test_https_with_any_certificate(self, pod: Pod) -> None:
        assert probe(pod, "/app-health/tls/livez").status == 200

    def test_timeout(self, pod: Pod) -> None:
        assert probe(pod, "/app-health/slow/livez").status == 504

    def test_hook(self, pod: Pod) -> None:
        assert probe(pod, "/app-lifecycle/app/prestopz").seen["path"] == "/bye"

    def test_unknown_path(self, pod: Pod) -> None:
        assert probe(pod, "/app-health/other/livez").status == 404


def test_tcp_follows_the_app(pod: Pod) -> None:
    path = "/app-health/tcp/livez"
    assert probe(pod, path).status == 503
    with pod.listen("pod", 9003, at=address("pod")):
        assert probe_until(pod, path, 200, 2) < 2
    assert probe_until(pod, path, 503, 3) < 3


def test_grpc_follows_the_app(pod: Pod) -> None:
    path = "/app-health/grpc/livez"
    assert probe(pod, path).status == 503
    with GrpcHealth(pod, 9004) as health:
        probe_until(pod, path, 200, 2)
        assert health.asked_for == {b"shop"}
        health.status = NOT_SERVING
        probe_until(pod, path, 503, 4)
        health.status = SERVING
        probe_until(pod, path, 200, 4)
    probe_until(pod, path, 503, 4)


SERVING, NOT_SERVING = 1, 2  # grpc.health.v1.HealthCheckResponse.ServingStatus


class GrpcHealth:
    """grpc.health.v1.Health/Check on a real HTTP/2 server."""

    def __init__(self, pod: Pod, port: int) -> None:
        self.status, self.asked_for = SERVING, set[bytes]()
        self._listener = pod.listen("pod", port, at=address("pod"))
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._run(self._accept)

    def _run(self, function: Callable[..., None], *args: object) -> None:
        self._threads.append(threading.Thread(target=function, args=args))
        self._threads[-1].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # shut down
                return
            self._connections.append(connection)
            self._run(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        http.initiate_connection()
        connection.sendall(http.data_to_send())
        while data := connection.recv(65536):
            for event in http.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    # five bytes of gRPC, then field 1 of HealthCheckRequest: its tag, its length, the service
                    self.asked_for.add(event.data[7:])
                    http.send_headers(event.stream_id, [(":status", "200"), ("content-type", "application/grpc")])
                    http.send_data(event.stream_id, b"\0\0\0\0\2\x08" + bytes([self.status]))
                    http.send_headers(event.stream_id, [("grpc-status", "0")], end_stream=True)
            connection.sendall(http.data_to_send())

    def __enter__(self) -> GrpcHealth:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._listener, *self._connections):
            sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for sock in (self._listener, *self._connections):
            sock.close()
