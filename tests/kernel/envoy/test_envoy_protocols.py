"""What an app speaks arrives as it was sent, in both directions."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable

import h2.config
import h2.connection
import h2.events
import pytest

from demo.network import address, address6

from .conftest import Pod, PodFactory

WAYS = {"inbound": ("client", "pod"), "outbound": ("pod", "server")}


@pytest.fixture(scope="module")
def pod(start_pod: PodFactory) -> Pod:
    return start_pod()


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return request.param


class Talk:
    """A server that handles one connection in a thread, and the client's connection to it."""

    def __init__(
        self, pod: Pod, way: str, port: int, serve: Callable[[socket.socket], None], *, ipv6: bool = False
    ) -> None:
        source, target = WAYS[way]
        self._listener = pod.listen(target, port)
        self.peer = ""
        self._thread = threading.Thread(target=self._serve, args=(serve,))
        self._thread.start()
        self.client = pod.connect(source, address6(target) if ipv6 else address(target), port)

    def _serve(self, serve: Callable[[socket.socket], None]) -> None:
        self._listener.settimeout(5)
        connection, (self.peer, *_) = self._listener.accept()
        connection.settimeout(5)
        with connection:
            serve(connection)

    def __enter__(self) -> socket.socket:
        return self.client

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._thread.join()
        self._listener.close()


def until(connection: socket.socket, end: bytes) -> bytes:
    """What arrives up to and with `end`, or until the other side closes."""
    data = b""
    while end not in data and (more := connection.recv(65536)):
        data += more
    return data


def everything(connection: socket.socket) -> bytes:
    """What arrives until the other side closes."""
    return until(connection, b"\0never")


def answering(response: bytes, seen: list[bytes], end: bytes = b"\r\n\r\n") -> Callable[[socket.socket], None]:
    """A server that keeps the request and sends this response."""

    def serve(connection: socket.socket) -> None:
        seen.append(until(connection, end))
        connection.sendall(response)

    return serve


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize("ipv6", [False, True])
def test_http_passes_with_header_and_log(pod: Pod, way: str, ipv6: bool) -> None:
    seen: list[bytes] = []
    with Talk(pod, way, 8001, answering(OK, seen), ipv6=ipv6) as client:
        client.sendall(f"GET /{way}{ipv6} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        response = until(client, b"ok")
    assert f"x-sidecar: {way}".encode() in response
    assert f'{way} "GET /{way}{ipv6} HTTP/1.1" 200' in pod.access_log(f"GET /{way}{ipv6} ")


@pytest.mark.parametrize(("ipv6", "source"), [(False, "::ffff:127.0.0.6"), (True, "::6")])
def test_app_sees_the_sidecar_as_its_client(pod: Pod, ipv6: bool, source: str) -> None:
    talk = Talk(pod, "inbound", 8002, answering(OK, []), ipv6=ipv6)
    with talk as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        until(client, b"ok")
    assert talk.peer == source


def test_server_that_speaks_first(pod: Pod, way: str) -> None:
    def greet(connection: socket.socket) -> None:
        connection.sendall(b"220 mail ready\r\n")
        assert until(connection, b"\n") == b"QUIT\r\n"
        connection.sendall(b"221 bye\r\n")

    with Talk(pod, way, 2525, greet) as client:
        assert until(client, b"\n") == b"220 mail ready\r\n"
        client.sendall(b"QUIT\r\n")
        assert everything(client) == b"221 bye\r\n"
    assert pod.access_log(f"{way} TCP")


def test_bytes_that_are_no_http(pod: Pod, way: str) -> None:
    data = bytes(range(256)) * 20000
    digest = hashlib.sha256(data).digest()

    def hash_all(connection: socket.socket) -> None:
        connection.sendall(hashlib.sha256(everything(connection)).digest())

    with Talk(pod, way, 8003, hash_all) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)  # half-closed: the answer still comes
        assert everything(client) == digest


def test_headers_keep_case_count_and_size(pod: Pod, way: str) -> None:
    seen: list[bytes] = []
    many = b"".join(b"X-Many-%d: v\r\n" % i for i in range(500))
    large = b"X-Large: " + b"a" * 300_000 + b"\r\n"
    response = b"HTTP/1.1 200 OK\r\nX-CamelCase: 1\r\nServer: mine\r\n" + large + b"Content-Length: 2\r\n\r\nok"
    with Talk(pod, way, 8004, answering(response, seen)) as client:
        client.sendall(
            b"GET / HTTP/1.1\r\nHost: a\r\nX-CamelCase: 1\r\nX-Forwarded-For: 9.9.9.9\r\n" + many + large + b"\r\n"
        )
        answer = until(client, b"\r\n\r\nok")
    (request,) = seen
    for line in (b"X-CamelCase: 1\r\n", b"X-Forwarded-For: 9.9.9.9\r\n", b"X-Many-499: v\r\n", large):
        assert line in request
    for line in (b"X-CamelCase: 1\r\n", b"Server: mine\r\n", large):
        assert line in answer


def test_http_1_0_without_host(pod: Pod, way: str) -> None:
    seen: list[bytes] = []
    with Talk(pod, way, 8005, answering(b"HTTP/1.0 200 OK\r\n\r\nold", seen, b"\r\n\r\n")) as client:
        client.sendall(b"GET /old HTTP/1.0\r\n\r\n")
        assert b" 200 OK" in until(client, b"old")
    assert seen[0].startswith(b"GET /old HTTP/1.1")


def test_trailers(pod: Pod, way: str) -> None:
    seen: list[bytes] = []
    chunked = b"2\r\nok\r\n0\r\nX-Sum: 42\r\n\r\n"
    response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n" + chunked
    with Talk(pod, way, 8006, answering(response, seen)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n")
        assert b"x-sum: 42\r\n" in until(client, b"42\r\n\r\n").lower()


def test_expect_100_continue_is_the_app_s_to_answer(pod: Pod, way: str) -> None:
    def serve(connection: socket.socket) -> None:
        assert b"expect: 100-continue" in until(connection, b"\r\n\r\n").lower()
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert until(connection, b"body") == b"body"
        connection.sendall(OK)

    with Talk(pod, way, 8007, serve) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert b" 100 Continue" in until(client, b"\r\n\r\n")
        client.sendall(b"body")
        assert b" 200 OK" in until(client, b"ok")


@pytest.mark.parametrize(
    ("request_head", "response_head"),
    [
        (
            b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        ),
        (b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"),
    ],
    ids=["websocket", "connect"],
)
def test_tunnels_through_http(pod: Pod, way: str, request_head: bytes, response_head: bytes) -> None:
    def echo(connection: socket.socket) -> None:
        assert until(connection, b"\r\n\r\n").startswith(request_head.split(b" HTTP")[0])
        connection.sendall(response_head)
        connection.sendall(until(connection, b"ping").replace(b"ping", b"pong"))

    with Talk(pod, way, 8008, echo) as client:
        client.sendall(request_head)
        assert until(client, b"\r\n\r\n").split(b"\r\n")[0] in response_head
        client.sendall(b"ping")
        assert until(client, b"pong") == b"pong"


def _serve_h2(connection: socket.socket) -> None:
    """Answers one request as gRPC does: headers, a message, trailers."""
    http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    http.initiate_connection()
    connection.sendall(http.data_to_send())
    while data := connection.recv(65536):
        for event in http.receive_data(data):
            if isinstance(event, h2.events.StreamEnded):
                http.send_headers(event.stream_id, [(":status", "200"), ("content-type", "application/grpc")])
                http.send_data(event.stream_id, b"message")
                http.send_headers(event.stream_id, [("grpc-status", "0")], end_stream=True)
        connection.sendall(http.data_to_send())


def test_http_2_without_tls_with_trailers(pod: Pod, way: str) -> None:
    http = h2.connection.H2Connection()
    http.initiate_connection()
    request = {":method": "POST", ":path": "/grpc", ":scheme": "http", ":authority": "a", "te": "trailers"}
    http.send_headers(1, list(request.items()), end_stream=True)
    seen: dict[str, str] = {}
    with Talk(pod, way, 8009, _serve_h2) as client:
        client.sendall(http.data_to_send())
        while "grpc-status" not in seen and (data := client.recv(65536)):
            for event in http.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                    seen |= {_text(name): _text(value) for name, value in event.headers}
            client.sendall(http.data_to_send())
    assert (seen[":status"], seen["grpc-status"], seen["x-sidecar"]) == ("200", "0", way)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
