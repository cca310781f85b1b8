"""A proxy of a control plane: what passes before it is told anything, what takes over, and as whom it asks."""

from __future__ import annotations

import json
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from common import tls
from common.envoy import Discovery, local
from common.envoy.discovery import root_secret
from common.envoy.parts import http_manager
from demo.network import Network, address, address6
from tests.kernel.netns import inside

from .conftest import Pod, PodFactory

LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
NOBODY = Discovery("127.0.0.1", 15010)


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that Envoy's user can read, which pytest's are not."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def wait_for(seen: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline, "never happened"
        time.sleep(0.05)


def answering(name: str, host: str, text: str) -> dict[str, Any]:
    """A listener in the place of virtualOutbound that answers all requests itself."""
    answer = {"status": 200, "body": {"inline_string": text}}
    manager = http_manager(name, [{"match": {"prefix": "/"}, "direct_response": answer}])
    at = {"socket_address": {"address": host, "port_value": 15001}}
    more = [{"address": {"socket_address": {"address": "::1", "port_value": 15001}}}]
    return {
        "@type": LISTENER,
        "name": name,
        "address": at,
        "additional_addresses": more,
        "filter_chains": [{"filters": [manager]}],
    }


class Files:
    """LDS from a file: what of it Envoy takes does not depend on the way it came."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "lds.json"

    def __call__(self, _network: Network, message: dict[str, Any]) -> None:
        self.tell([])
        message["dynamic_resources"] = {"lds_config": {"path_config_source": {"path": str(self.file)}}}

    def tell(self, listeners: list[dict[str, Any]]) -> None:
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps({"resources": listeners}))
        new.rename(self.file)


def ask(pod: Pod, host: str, to: str, port: int, path: str = "/") -> bytes:
    with pod.connect(host, to, port) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while more := connection.recv(65536):
            answer += more
        return answer


def serve(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nserver")


@pytest.mark.parametrize("to", [address, address6], ids=["ipv4", "ipv6"])
def test_traffic_out_passes_without_a_control_plane(start_pod: PodFactory, to: Callable[[str], str]) -> None:
    pod = start_pod(discovery=NOBODY)
    with (
        pod.listen("server", 8100) as listener,
        futures.ThreadPoolExecutor(1) as threads,
    ):
        served = threads.submit(serve, listener)
        assert ask(pod, "pod", to("server"), 8100).endswith(b"server")
        served.result()
    # inbound is not open, and who asks kubelet's question is told so
    for port in (15006, 15021):
        with pytest.raises(ConnectionRefusedError):
            pod.connect("client", to("pod"), port)
    assert b" 503 " in ask(pod, "client", to("pod"), 15020, "/healthz/ready")


def test_the_fallback_does_not_connect_to_itself(start_pod: PodFactory) -> None:
    pod = start_pod(discovery=NOBODY)
    with pod.connect("pod", "127.0.0.1", 15001) as connection, suppress(ConnectionResetError):
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(1) == b""


def test_nothing_passes_where_only_known_places_are_allowed(start_pod: PodFactory) -> None:
    pod = start_pod(discovery=NOBODY, registry_only=True)
    with pod.listen("server", 8100), pytest.raises(ConnectionRefusedError):
        pod.connect("pod", address("server"), 8100)


def test_what_lds_brings_takes_over_and_can_be_changed(start_pod: PodFactory, folder: Path) -> None:
    files = Files(folder)
    pod = start_pod(discovery=NOBODY, before=files)

    def answers() -> set[bytes]:
        with pod.listen("server", 8100) as listener, futures.ThreadPoolExecutor(1) as threads:
            found = set()
            for to in (address("server"), address6("server")):
                listener.settimeout(0.3)

                def passed_on(one: socket.socket = listener) -> None:
                    with suppress(TimeoutError):
                        serve(one)

                served = threads.submit(passed_on)
                found.add(ask(pod, "pod", to, 8100).rpartition(b"\r\n\r\n")[2])
                served.result()
            return found

    assert answers() == {b"server"}
    files.tell([answering("virtualOutbound", "0.0.0.0", "first"), {"@type": LISTENER, **local.ready()}])
    wait_for(lambda: answers() == {b"first"})
    assert b" 200 " in ask(pod, "client", address("pod"), 15021, "/healthz/ready")
    assert b" 200 " in ask(pod, "client", address("pod"), 15020, "/healthz/ready")
    files.tell([answering("virtualOutbound", "0.0.0.0", "second")])
    wait_for(lambda: answers() == {b"second"})
    files.tell([])
    wait_for(lambda: answers() == {b"server"})


class Streams(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Takes delta streams, notes who opened them, and ends each when it is told to."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.ends = 0

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        assert details.method == "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
        self.tokens.append(dict(details.invocation_metadata).get("authorization", ""))
        return grpc.stream_stream_rpc_method_handler(self._stream)

    def _stream(self, _requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        mine = len(self.tokens)
        while self.ends < mine and context.is_active():
            time.sleep(0.02)
        return
        yield b""


def write(folder: Path, version: str, **files: str) -> None:
    """As kubelet does: a new folder, and a link that is moved to it."""
    (folder / f"..{version}").mkdir()
    for name, content in files.items():
        (folder / f"..{version}" / name).write_text(content)
    (folder / "..new").symlink_to(f"..{version}")
    (folder / "..new").rename(folder / "..data")


def test_it_trusts_the_authority_and_shows_the_newest_token(start_pod: PodFactory, folder: Path) -> None:
    authority = tls.new_authority("test", tls.now())
    pair = tls.issue(authority, ["pymesh.pysidecar.svc"], tls.now())
    (folder / "ca.pem").write_bytes(authority.certificate)
    streams = Streams()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((streams,))

    def before(network: Network, _message: dict[str, Any]) -> None:
        write(folder, "first", token="first")
        (folder / "token").symlink_to("..data/token")
        with inside(network.netns("pod")):
            server.add_secure_port("127.0.0.1:15012", grpc.ssl_server_credentials([(pair.key, pair.certificate)]))
        server.start()

    discovery = Discovery("127.0.0.1", 15012, str(folder / "ca.pem"), str(folder / "token"), "pymesh.pysidecar.svc")
    try:
        start_pod(discovery=discovery, before=before)
        wait_for(lambda: streams.tokens == ["Bearer first"])
        write(folder, "second", token="second")
        time.sleep(0.5)  # inotify tells Envoy; nothing else shows that it knows
        streams.ends = 1
        wait_for(lambda: len(streams.tokens) > 1)
        assert streams.tokens[1] == "Bearer second"
    finally:
        streams.ends = 10**9
        server.stop(0).wait()


def test_it_takes_another_authority_while_it_runs(start_pod: PodFactory, folder: Path) -> None:
    old, new = (tls.new_authority("test", tls.now()) for _ in range(2))
    started: list[grpc.Server] = []
    inside_pod: list[Path] = []

    def serve(authority: tls.KeyPair) -> Streams:
        pair, streams = tls.issue(authority, ["pymesh.pysidecar.svc"], tls.now()), Streams()
        server = grpc.server(futures.ThreadPoolExecutor(4))
        server.add_generic_rpc_handlers((streams,))
        with inside(inside_pod[0]):
            server.add_secure_port("127.0.0.1:15012", grpc.ssl_server_credentials([(pair.key, pair.certificate)]))
        server.start()
        started.append(server)
        return streams

    def trust(version: str, *authorities: tls.KeyPair) -> None:
        bundle = "".join(one.certificate.decode() for one in authorities)
        write(folder, version, **{"root.json": json.dumps(root_secret(bundle))})

    first: list[Streams] = []

    def before(network: Network, _message: dict[str, Any]) -> None:
        inside_pod.append(network.netns("pod"))
        trust("one", old)
        (folder / "root.json").symlink_to("..data/root.json")
        first.append(serve(old))

    discovery = Discovery("127.0.0.1", 15012, str(folder / "root.json"), server_name="pymesh.pysidecar.svc")
    try:
        start_pod(discovery=discovery, before=before)
        wait_for(lambda: len(first[0].tokens) == 1)
        started.pop().stop(0).wait()
        second = serve(new)
        time.sleep(2)  # long enough for it to have tried
        assert second.tokens == []
        trust("two", old, new)
        wait_for(lambda: len(second.tokens) == 1)
    finally:
        for server in started:
            server.stop(0).wait()
