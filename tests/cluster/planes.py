"""The control plane's replicas as the node sees them: by process id, with or without an API server."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

from tests.cluster.harness import eventually, run_cluster
from tests.kernel.netns import inside

LOOK_SECONDS = 0.5
DEBUG_PORT = 15014


def pids(container: str) -> dict[str, int]:
    """Process ids here by pod, of the containers of that name that run."""
    found = {}
    for line in run_cluster("ctr", "tasks", "list").splitlines()[1:]:
        id_, pid, status = line.split()
        if status == "RUNNING":
            name, pod = names(id_)
            if name == container:
                found[pod] = int(pid)
    return found


@cache
def names(id_: str) -> tuple[str, str]:
    """A container's name, and its pod's."""
    try:
        labels = json.loads(run_cluster("ctr", "containers", "info", id_))["Labels"]
    except AssertionError:
        return "", ""  # it has just gone
    return labels.get("io.kubernetes.container.name", ""), labels.get("io.kubernetes.pod.name", "")


def kill(container: str, *pods: str) -> None:
    """SIGKILL, as the kernel does when memory is short; of all pods if none is named."""
    for pod, pid in pids(container).items():
        if not pods or pod in pods:
            os.kill(pid, signal.SIGKILL)


def entered(pid: int, *command: str) -> list[str]:
    """A command as it is run in that process' container, by uid 1000 and without an API server."""
    environ = dict(one.split("=", 1) for one in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in one)
    enter = ["nsenter", "-t", str(pid), "-m", "-u", "-n", "-p", "--setuid", "1000", "--setgid", "1000", "--"]
    return [*enter, "env", f"PATH={environ['PATH']}", *command]


def rss(pid: int) -> float:
    """What a process holds, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def get(pid: int, path: str, port: int = DEBUG_PORT) -> str:
    """What a process answers on loopback of its pod. Raises OSError, also where that is not a 200."""
    with inside(f"/proc/{pid}/ns/net"):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.connect()
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read().decode()
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()
    if response.status != 200:
        raise OSError(f"{response.status} {body}")
    return body


class Proxies:
    """Follows how far all proxies are, as all replicas tell together: what `proxy-status` shows, again and again.

    `behind` is for how long each was stale, refused something or was not connected, the longest time in seconds.
    """

    def __init__(self) -> None:
        self.behind: dict[str, float] = {}
        self._since: dict[str, float] = {}
        self._known: set[str] = set()
        self._now: dict[str, bool] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Proxies:
        self._look()
        self._known = set(self._now)
        assert self._known, "no proxy is connected"
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            self._look()

    def _look(self) -> None:
        found: dict[str, bool] = {}
        for pid in pids("pymesh").values():
            try:
                told: list[dict[str, Any]] = json.loads(get(pid, "/debug/proxies"))["proxies"]
            except OSError:
                continue  # it starts, or was killed
            for one in told:
                states = {of["state"] for of in one["types"].values()}
                found[one["name"]] = {"CDS", "LDS"} <= one["types"].keys() and not states & {"STALE", "ERROR"}
        self._now, now = found, time.monotonic()
        for name in self._known:
            if found.get(name):
                self._since.pop(name, None)
            else:
                began = self._since.setdefault(name, now)
                self.behind[name] = max(self.behind.get(name, 0.0), now - began)

    def settled(self, seconds: float = 60) -> float:
        """Waits until every proxy that was there at the beginning is connected and has all; returns the seconds."""
        began = time.monotonic()

        def all_synced() -> None:
            self_now = dict(self._now)
            late = sorted(name for name in self._known if not self_now.get(name))
            assert not late, f"behind: {late}"

        eventually(all_synced, seconds)
        return time.monotonic() - began

    @property
    def longest(self) -> float:
        """The longest that one was behind."""
        return max(self.behind.values(), default=0.0)
