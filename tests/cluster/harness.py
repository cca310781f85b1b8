"""A Kubernetes to test on: the one that `cluster` brings up, or the one that KUBECONFIG names.

With KUBECONFIG (kind, minikube), its nodes pull the images webhook, init, proxy and mesh from $PYSIDECAR_TEST_HUB, or
have them already, by their names in the manifests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from init import __version__

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CLUSTER = HERE / "cluster"
HUB = "docker.io/pysidecar"
TAG = __version__
IMAGES = ("webhook", "init", "proxy", "mesh")
NAMESPACE = "pysidecar-system"
T = TypeVar("T")

MANIFEST = ROOT / "deploy" / "pysidecar.yaml"


class Cluster:
    """The cluster, by kubectl; what it prints goes into the failure's message."""

    def __init__(self, kubectl: list[str], kubeconfig: str, hub: str) -> None:
        self.kubeconfig = kubeconfig
        self._kubectl = kubectl
        self._hub = hub

    @property
    def command(self) -> list[str]:
        """kubectl as it is called for this cluster."""
        return self._kubectl

    def image(self, name: str) -> str:
        """One of the project's images as this cluster gets it."""
        return f"{self._hub}/{name}:{TAG}"

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True, timeout: float = 120) -> str:
        """Run kubectl; returns stdout (and stderr, without `check`)."""
        done = subprocess.run(
            [*self._kubectl, *arguments], input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
        if not check:
            return done.stdout + done.stderr
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr or done.stdout}"
        return done.stdout

    def apply(self, *objects: dict[str, Any], namespace: str | None = None) -> str:
        """Apply objects; returns what kubectl says, its warnings included."""
        where = ["-n", namespace] if namespace else []
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        return self.kubectl(*where, "apply", "-f", "-", stdin=text, check=False)

    def install(self, manifest: str) -> None:
        """Apply the project's manifests, with this cluster's images."""
        self.kubectl("apply", "-f", "-", stdin=manifest.replace(HUB, self._hub))

    def uninstall(self, manifest: str) -> None:
        """Delete what the manifests made and wait until it is gone."""
        self.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=manifest)

    def get(self, kind: str, name: str = "", *, namespace: str = "", selector: str = "") -> Any:
        """An object, or the items of a list."""
        where = ["-n", namespace] if namespace else ["-A"]
        chosen = ["-l", selector] if selector else []
        found = json.loads(self.kubectl("get", kind, *([name] if name else []), *where, *chosen, "-o", "json"))
        return found if name else found["items"]

    def labelled(self, selector: str) -> str:
        """Names of all objects of every kind that have the labels; empty where there are none."""
        kinds = self.kubectl("api-resources", "--verbs=list", "-o", "name").split()
        return self.kubectl("get", ",".join(kinds), "-A", "-o", "name", "-l", selector)

    def wait(self, condition: str, what: str, namespace: str, timeout: int = 60) -> None:
        """Wait for a condition; a failure shows the namespace's events."""
        try:
            self.kubectl("-n", namespace, "wait", f"--for={condition}", what, f"--timeout={timeout}s")
        except AssertionError as error:
            events = self.kubectl("-n", namespace, "get", "events", "--sort-by=.lastTimestamp", check=False)
            pods = self.kubectl("-n", namespace, "get", "pods", "-o", "wide", check=False)
            raise AssertionError(f"{error}\n{pods}\n{events}") from None

    def ready_pod(self, deployment: str, namespace: str) -> dict[str, Any]:
        """Wait for a Deployment; its pod."""
        self.wait("condition=Available", f"deployment/{deployment}", namespace)
        pods = [
            pod
            for pod in self.get("pods", namespace=namespace, selector=f"app={deployment}")
            if "deletionTimestamp" not in pod["metadata"]
        ]
        assert len(pods) == 1
        found: dict[str, Any] = pods[0]
        return found

    def python(self, pod: str, namespace: str, code: str, container: str = "app") -> str:
        """Run Python in a container."""
        return self.kubectl("-n", namespace, "exec", pod, "-c", container, "--", "python", "-c", code)

    def fetch(self, pod: str, namespace: str, url: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """GET `url` from a pod's app container: {status, headers (lower case), body}."""
        code = (
            "import json, urllib.request, urllib.error\n"
            f"request = urllib.request.Request({url!r}, headers={headers or {}!r})\n"
            "try: answer = urllib.request.urlopen(request, timeout=5)\n"
            "except urllib.error.HTTPError as error: answer = error\n"
            "pairs = {}\n"
            "for key, value in answer.headers.items(): pairs[key.lower()] = pairs.get(key.lower(), []) + [value]\n"
            "print(json.dumps({'status': answer.status, 'headers': pairs, 'body': answer.read().decode()}))"
        )
        found: dict[str, Any] = json.loads(self.python(pod, namespace, code))
        return found

    def logs(self, pod: str, namespace: str, container: str) -> str:
        """A container's log."""
        return self.kubectl("-n", namespace, "logs", pod, "-c", container)

    @contextmanager
    def namespace(self, labels: dict[str, str] | None = None) -> Iterator[str]:
        """A namespace of its own with these labels."""
        name = f"test-{uuid4().hex[:8]}"
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}}
        self.kubectl("create", "-f", "-", stdin=json.dumps(made))
        try:
            yield name
        finally:
            self.kubectl("delete", "namespace", name, "--wait=false")


def eventually(attempt: Callable[[], T], seconds: float = 15) -> T:
    """What `attempt` returns, as soon as it raises no AssertionError any more."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def run_cluster(*arguments: str) -> str:
    """What a command of `cluster` prints."""
    # a fresh machine's Go is installed with this Python
    environ = os.environ | {"PYTHON": sys.executable}
    done = subprocess.run([CLUSTER, *arguments], capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, f"cluster {' '.join(arguments)}: {done.stderr[-4000:]}"
    return done.stdout


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """The cluster of KUBECONFIG as it is, or one that is brought up with the project's images and taken down again.

    PYSIDECAR_KEEP_CLUSTER=1 leaves it, and takes one that is there: for one test run after the other.
    """
    if os.environ.get("KUBECONFIG"):
        yield Cluster(["kubectl"], os.environ["KUBECONFIG"], os.environ.get("PYSIDECAR_TEST_HUB", HUB))
        return
    keep = bool(os.environ.get("PYSIDECAR_KEEP_CLUSTER"))
    there = subprocess.run([CLUSTER, "kubectl", "get", "--raw", "/readyz"], capture_output=True, check=False)
    if not (keep and there.returncode == 0):
        run_cluster("up")
    try:
        run_cluster("base")
        for name in IMAGES:
            run_cluster("image", f"{HUB}/{name}:{TAG}", str(ROOT), str(ROOT / f"Dockerfile.{name}"))
        kubeconfig = run_cluster("env").strip().partition("=")[2]
        yield Cluster([str(CLUSTER), "kubectl"], kubeconfig, HUB)
    finally:
        if not keep:
            run_cluster("down")
