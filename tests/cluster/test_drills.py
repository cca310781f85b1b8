"""What happens to a control plane in production, on a real cluster, under requests from several clients.

None of them may fail. Each drill prints its figures (pytest -s); those that could go on do so for `--drill-seconds`.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import socket
import ssl
import subprocess
import threading
import time
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from common import tls
from common.envoy.discovery import CA
from tests.cluster import planes
from tests.cluster.harness import NAMESPACE, Cluster, eventually, run_cluster
from tests.cluster.objects import deployment, pod_spec, service
from tests.cluster.planes import Proxies
from tests.cluster.test_bill import LOAD, PATIENT, ask, bill, client, rules
from tests.cluster.test_mesh import mesh
from tests.conftest import Tell

__all__ = ["bill", "mesh"]  # the fixtures

pytestmark = pytest.mark.skipif(
    bool(os.environ.get("KUBECONFIG")), reason="they kill parts of a cluster, and so of their own alone"
)

CLIENTS = 3
CROWD, PODS = "bill-v1-crowd", 20
CHANGES_PER_SECOND, KINDS_OF_CHANGES = 20, 4
SERVICES = 10
GARBAGE_BYTES = 10 << 20


@contextmanager
def steady(pod: str) -> Iterator[dict[str, Any]]:
    """Requests from a pod meanwhile; what is yielded is filled at the end."""
    found: dict[str, Any] = {}
    command = planes.entered(planes.pids("app")[pod], "python", "-c", LOAD, "0")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield found
        finally:
            out, _ = process.communicate("")
    found.update(json.loads(out))


@contextmanager
def load(cluster: Cluster, namespace: str) -> Iterator[list[dict[str, Any]]]:
    """Requests from several clients meanwhile; none of them may fail. What is yielded is filled at the end."""
    pod = client(cluster, namespace)
    with ExitStack() as stack:
        loads = [stack.enter_context(steady(pod)) for _ in range(CLIENTS)]
        time.sleep(1)
        yield loads
    failed = Counter(one.partition(" ")[2] for each in loads for one in each["failed"])
    assert not failed, failed.most_common(20)
    assert total(loads) > 0


def total(loads: list[dict[str, Any]]) -> int:
    return sum(sum(each["answers"].values()) for each in loads)


def switched(cluster: Cluster, namespace: str, to: str) -> float:
    """A change made now arrives: all requests go to one version. Returns the seconds."""
    began = time.monotonic()
    cluster.apply(*rules(100 if to == "v1" else 0), namespace=namespace)

    def only() -> None:
        assert set(ask(cluster, namespace, 20)["answers"]) == {to}

    eventually(only, seconds=60)
    return time.monotonic() - began


def available() -> None:
    """Both replicas are ready, the new ones too."""

    def both() -> None:
        for pid in (found := planes.pids("pymesh")).values():
            try:
                planes.get(pid, "/ready")
            except OSError as error:
                raise AssertionError(str(error)) from None
        assert len(found) == 2

    eventually(both, seconds=120)


class Api:
    """The API server by one kept connection: kubectl is too slow for twenty changes a second."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        config = yaml.safe_load(Path(cluster.kubeconfig).read_text())
        self._host = config["clusters"][0]["cluster"]["server"].removeprefix("https://")
        self._token, self._namespace = config["users"][0]["user"]["token"], namespace
        self._context = ssl._create_unverified_context()
        self._connection = http.client.HTTPSConnection(self._host, timeout=30, context=self._context)

    def close(self) -> None:
        """No more changes."""
        self._connection.close()

    def call(self, verb: str, path: str, body: dict[str, Any] | None = None) -> int:
        """A status."""
        heads = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        if verb == "PATCH":
            heads["Content-Type"] = "application/merge-patch+json"
        self._connection.request(verb, path, json.dumps(body) if body else None, heads)
        answer = self._connection.getresponse()
        answer.read()
        return answer.status

    def change(self, number: int) -> None:
        """One of the changes of a busy day; whatever it is, somebody answers."""
        istio = f"/apis/networking.istio.io/v1/namespaces/{self._namespace}"
        core = f"/api/v1/namespaces/{self._namespace}/services"
        rule, route = rules(number % 101)
        match number % KINDS_OF_CHANGES:
            case 0:
                status = self.call("PATCH", f"{istio}/virtualservices/bill", {"spec": route["spec"]})
            case 1:
                rule["spec"]["subsets"].append({"name": f"s{number % 7}", "labels": {"version": "v1"}})
                status = self.call("PATCH", f"{istio}/destinationrules/bill", {"spec": rule["spec"]})
            case 2:
                made = {"apiVersion": "v1", "kind": "Service", **service(f"other-{number % SERVICES}")}
                status = self.call("POST", core, made)
            case _:
                status = self.call("DELETE", f"{core}/other-{(number + 4) % SERVICES}")
        assert status in (200, 201, 404, 409), status


class Changes:
    """So many changes a second, until `end`. Those of one kind follow each other; those of the others do not wait."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.seconds = 0.0
        self._made: list[int] = []
        self._began, self._ended = time.monotonic(), threading.Event()
        self._faults: list[Exception] = []
        self._threads = [
            threading.Thread(target=self._run, args=(Api(cluster, namespace), kind)) for kind in range(KINDS_OF_CHANGES)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, api: Api, kind: int) -> None:
        with closing(api):
            for number in itertools.count(kind, KINDS_OF_CHANGES):
                if self._ended.wait(max(0.0, self._began + number / CHANGES_PER_SECOND - time.monotonic())):
                    return
                try:
                    api.change(number)
                except Exception as error:
                    self._faults.append(error)
                    return
                self._made.append(number)

    @property
    def told(self) -> str:
        """How many there were."""
        return f"{len(self._made)} changes ({len(self._made) / self.seconds:.1f} a second)"

    def end(self) -> None:
        """The last was made. Raises what one ended with."""
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self.seconds = time.monotonic() - self._began
        if self._faults:
            raise self._faults[0]


def rolled(cluster: Cluster, namespace: str, ended: threading.Event, done: list[float]) -> None:
    """Rolls the crowd out again and again; how long each took."""
    while not ended.is_set():
        began = time.monotonic()
        cluster.kubectl("-n", namespace, "rollout", "restart", f"deployment/{CROWD}")
        cluster.kubectl("-n", namespace, "rollout", "status", f"deployment/{CROWD}", "--timeout=300s", timeout=330)
        done.append(time.monotonic() - began)


@pytest.fixture(scope="module")
def crowd(mesh: Cluster, bill: str) -> Iterator[str]:
    """Twenty more pods of v1, without sidecars: what a rollout of theirs changes is what the client's is told."""
    waits = {"preStop": {"exec": {"command": ["python", "-c", "import time; time.sleep(4)"]}}}
    listens = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1, **PATIENT}
    spec = pod_spec(mesh, lifecycle=waits, readinessProbe=listens) | {"terminationGracePeriodSeconds": 10}
    made = deployment("bill", spec, {"version": "v1", "part": "crowd", "sidecar.istio.io/inject": "false"})
    made["metadata"]["name"] = CROWD  # a pod's name tells who answers
    made["spec"] |= {"replicas": PODS, "selector": {"matchLabels": {"app": "bill", "part": "crowd"}}}
    mesh.apply(made, namespace=bill)
    mesh.kubectl("-n", bill, "rollout", "status", f"deployment/{CROWD}", "--timeout=300s", timeout=330)
    yield bill
    mesh.kubectl("-n", bill, "delete", f"deployment/{CROWD}", "--wait=false")


@pytest.mark.long
def test_churn_and_rollouts_cost_no_request(mesh: Cluster, crowd: str, seconds: float, tell: Tell) -> None:
    mesh.apply(*rules(50), namespace=crowd)
    ended, rollouts = threading.Event(), list[float]()
    roller = threading.Thread(target=rolled, args=(mesh, crowd, ended, rollouts))
    with Proxies() as proxies, load(mesh, crowd) as loads:
        changes = Changes(mesh, crowd)
        roller.start()
        try:
            time.sleep(seconds)
            ended.set()  # the rollout that is under way is the last
            roller.join()
        finally:
            ended.set()
            changes.end()
        behind = proxies.settled()
    tell(
        f"{changes.told} and {len(rollouts)} rollouts of {PODS} pods in {changes.seconds:.0f} s, {total(loads)} "
        f"requests, none failed; all in sync {behind:.1f} s after the last"
    )


def test_a_replica_and_then_both_are_killed(mesh: Cluster, bill: str, tell: Tell) -> None:
    with Proxies() as proxies, load(mesh, bill) as loads:
        first = next(iter(planes.pids("pymesh")))
        planes.kill("pymesh", first)
        one = switched(mesh, bill, "v1"), proxies.settled()
        available()
        planes.kill("pymesh")
        available()
        behind = proxies.settled()
        both = switched(mesh, bill, "v2"), behind
    tell(
        f"{total(loads)} requests, none failed; after one replica's end a change took {one[0]:.1f} s, all in sync "
        f"{one[1]:.1f} s after that; after both's, {both[0]:.1f} s, in sync {both[1]:.1f} s after they were ready; "
        f"the longest that a proxy was without any: {proxies.longest:.1f} s"
    )


def test_the_api_server_is_away(mesh: Cluster, bill: str, seconds: float, tell: Tell) -> None:
    """Proxies stay connected and synced, and what the watches missed is told afterwards."""
    away = min(60.0, seconds)
    available()
    mesh.apply(*rules(100), namespace=bill)
    asks = client(mesh, bill)
    with Proxies() as proxies, load(mesh, bill) as loads:
        run_cluster("stop", "apiserver")
        try:
            time.sleep(away)
            proxies.settled()
            alive = {pod: json.loads(planes.get(pid, "/debug/proxies")) for pod, pid in planes.pids("pymesh").items()}
        finally:
            run_cluster("resume", "apiserver")
        began = time.monotonic()
        eventually(lambda: mesh.kubectl("get", "--raw", "/readyz"), 60)
        # until then nothing can be changed
        changed = switched(mesh, bill, "v2")
        arrived = time.monotonic() - began
        behind = proxies.settled()
    assert all(one["ready"] for one in alive.values())
    assert any(one["name"] == f"{asks}.{bill}" for each in alive.values() for one in each["proxies"])
    logs = "".join(mesh.logs(pod, NAMESPACE, "pymesh") for pod in planes.pids("pymesh"))
    # an API server that was started knows no versions of before
    too_old = sum("410" in line and "listed again" in line for line in logs.splitlines())
    assert too_old > 0
    tell(
        f"{away:.0f} s without an API server: {total(loads)} requests, none failed; a change arrived "
        f"{changed:.1f} s after it was written, {arrived:.1f} s after the API server's start, all in sync "
        f"{behind:.1f} s later; {too_old} watches "
        "ended with 410 Gone"
    )


def test_the_control_plane_is_upgraded(mesh: Cluster, bill: str, tell: Tell) -> None:
    available()
    mesh.apply(*rules(0), namespace=bill)
    with Proxies() as proxies, load(mesh, bill) as loads:
        mesh.kubectl("-n", NAMESPACE, "rollout", "restart", "deployment/pymesh")
        mesh.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/pymesh", "--timeout=180s", timeout=200)
        behind = proxies.settled()
        changed = switched(mesh, bill, "v1")
    tell(
        f"a rolling upgrade: {total(loads)} requests, none failed; all in sync {behind:.1f} s after it, a change took "
        f"{changed:.1f} s; the longest that a proxy was behind: {proxies.longest:.1f} s"
    )


def authority(cluster: Cluster) -> dict[str, bytes]:
    """What is in the Secret that the replicas share."""
    data = cluster.get("secret", "pyinject-ca", namespace=NAMESPACE)["data"]
    return {name: b64decode(value) for name, value in data.items()}


def replicas(cluster: Cluster) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cluster.get("pods", namespace=NAMESPACE, selector="app.kubernetes.io/name=pymesh")
    return found


def served_by(ip: str) -> Any:
    """The certificate at a replica's xDS port."""
    return x509.load_pem_x509_certificate(ssl.get_server_certificate((ip, 15012)).encode())


@pytest.mark.long
def test_rights_that_are_taken_away_empty_nothing(mesh: Cluster, bill: str, tell: Tell) -> None:
    """What may no longer be listed is not gone; a replica that starts then serves nobody."""
    available()
    mesh.apply(*rules(100), namespace=bill)
    binding = mesh.get("clusterrolebinding", "pymesh")
    kept = {name: binding[name] for name in ("apiVersion", "kind", "roleRef", "subjects")}
    kept["metadata"] = {"name": "pymesh", "labels": binding["metadata"]["labels"]}
    with Proxies() as proxies, load(mesh, bill) as loads:
        mesh.kubectl("delete", "clusterrolebinding", "pymesh")
        try:
            # a watch is asked for its rights when it begins: so they are begun anew
            run_cluster("stop", "apiserver")
            run_cluster("resume", "apiserver")
            eventually(lambda: mesh.kubectl("get", "--raw", "/readyz"), 60)
            first = next(iter(planes.pids("pymesh")))
            eventually(lambda: denied(mesh, first), 60)
            # its proxies keep what they have: a token that the other one has not seen cannot be reviewed
            planes.kill("pymesh", first)
            started = planes.pids("pymesh").get(first)
            for _ in range(20):
                if started is not None:
                    assert not is_ready(started)
                time.sleep(0.25)
                started = planes.pids("pymesh").get(first)
            assert set(ask(mesh, bill, 40)["answers"]) == {"v1"}
        finally:
            mesh.apply(kept)
        available()
        changed = switched(mesh, bill, "v2")
        behind = proxies.settled()
    tell(
        f"without rights: {total(loads)} requests, none failed; given back, a change took {changed:.1f} s, all in sync "
        f"{behind:.1f} s after it"
    )


def denied(cluster: Cluster, pod: str) -> None:
    assert "403" in cluster.logs(pod, NAMESPACE, "pymesh")


def is_ready(pid: int) -> bool:
    try:
        planes.get(pid, "/ready")
    except OSError:
        return False
    return True


@pytest.mark.long
@pytest.mark.parametrize("port", [15012, 15014, 15017])
def test_garbage_harms_nobody(mesh: Cluster, bill: str, port: int, tell: Tell) -> None:
    """10 MiB of it, raw and by TLS, at each replica, while everybody is told of changes."""
    available()
    switched(mesh, bill, "v1")
    before = {pod: planes.rss(pid) for pod, pid in planes.pids("pymesh").items()}
    with Proxies() as proxies, load(mesh, bill) as loads:
        for wrapped in (False, True):
            for one in replicas(mesh):
                garbage(one["status"]["podIP"], port, wrapped=wrapped)
        changed = switched(mesh, bill, "v2")
        proxies.settled()
    after = {pod: planes.rss(pid) for pod, pid in planes.pids("pymesh").items()}
    assert after.keys() == before.keys()
    told = ", ".join(f"{before[pod]:.0f} and {after[pod]:.0f} MiB" for pod in sorted(before))
    tell(f"{port}: {total(loads)} requests, none failed; a change took {changed:.1f} s; before and after {told}")
    assert all(after[pod] - before[pod] < 40 for pod in before)


def garbage(ip: str, port: int, *, wrapped: bool) -> None:
    """Sends it until it is hung up on."""
    context = ssl._create_unverified_context()
    context.set_alpn_protocols(["h2"])
    noise = random.Random(port).randbytes(GARBAGE_BYTES)
    with suppress(OSError), socket.create_connection((ip, port), timeout=10) as connection:
        if wrapped:
            with context.wrap_socket(connection) as sealed:
                sealed.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + noise)
        else:
            connection.sendall(noise)


def test_the_authority_is_renewed(mesh: Cluster, bill: str, tell: Tell) -> None:
    """As a replica does when the old one grows old; then everybody is served with a certificate of the new one."""
    available()
    mesh.apply(*rules(100), namespace=bill)
    before, made = authority(mesh)["ca.crt"], tls.new_authority("pyinject CA", tls.now())
    entries = {"ca.crt": made.certificate, "ca.key": made.key, "previous.crt": before}
    with Proxies() as proxies, load(mesh, bill) as loads:
        data = {name: b64encode(value).decode() for name, value in entries.items()}
        mesh.kubectl("-n", NAMESPACE, "patch", "secret", "pyinject-ca", "-p", json.dumps({"data": data}))
        with mesh.namespace():  # a new namespace is a reason to look at once, and not within a minute

            def trusted() -> None:
                for pid in planes.pids("istio-proxy").values():
                    secret = json.loads(Path(f"/proc/{pid}/root{CA}").read_text())["resources"][0]
                    bundle = secret["validation_context"]["trusted_ca"]["inline_string"]
                    assert made.certificate.decode().strip() in bundle
                    assert before.decode().strip() in bundle

            eventually(trusted, 180)
        planes.kill("pymesh")  # they come again with certificates of the new one
        available()
        behind = proxies.settled()
        changed = switched(mesh, bill, "v2")
    issuers = {served_by(pod["status"]["podIP"]).issuer for pod in replicas(mesh)}
    assert issuers == {made.leaf.subject}
    tell(
        f"another authority: {total(loads)} requests, none failed; with certificates of the new one all in sync "
        f"{behind:.1f} s after the replicas were ready, a change took {changed:.1f} s"
    )
