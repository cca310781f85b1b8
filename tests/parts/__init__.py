"""Programs of others as tests run them: Prometheus, Zipkin, the OpenTelemetry Collector; `get` gets them.

    with Prometheus(folder, config, netns="…") as prometheus:
        prometheus.query('sum(istio_requests_total)')     [({}, 3.0)]

Each runs in the network namespace `netns` (by name; empty: this process's own), keeps its files in `folder`, and ends
with the `with`.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

import yaml

from tests.kernel.netns import inside

HERE = Path(__file__).parent
ENTER = HERE.parents[1] / "demo" / "enter.py"
STARTED_SECONDS = 120


def path(name: str) -> str:
    """Where a program is; it is got first, if need be. See `get`."""
    done = subprocess.run([HERE / "get", name], stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, f"{name} cannot be had"
    return done.stdout.strip()


class Part:
    """A program that runs, with an HTTP port that answers `up` at `ready` once it serves."""

    ready, up = "/", 200

    def __init__(self, folder: Path, netns: str, host: str, port: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.netns, self.host, self.port = folder, netns, host, port
        self.log = folder / f"{type(self).__name__.lower()}.log"

    def command(self) -> list[str]:
        """The program and its arguments."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        enter = [sys.executable, str(ENTER), self.netns, "0"] if self.netns else []
        command = self.command()
        with self.log.open("w") as log:
            self.process = subprocess.Popen([*enter, *command], stdout=log, stderr=log, cwd=self.folder)
        deadline = time.monotonic() + STARTED_SECONDS
        while True:
            if self.is_ready():
                return self
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise AssertionError(f"{command[0]} did not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.2)

    def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            self.get(self.ready)
        except urllib.error.HTTPError as error:
            return error.code == self.up
        except (OSError, json.JSONDecodeError):
            return False
        return True

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _inside(self) -> AbstractContextManager[None]:
        return inside(self.netns) if self.netns else contextlib.nullcontext()

    def get(self, path: str, **asked: str) -> Any:
        """GET with a query; its JSON, or text. Raises OSError."""
        query = f"?{urllib.parse.urlencode(asked)}" if asked else ""
        with (
            self._inside(),
            urllib.request.urlopen(f"http://{self.host}:{self.port}{path}{query}", timeout=10) as answer,
        ):
            body = answer.read().decode()
            return json.loads(body) if "json" in answer.headers.get("content-type", "") else body


class Prometheus(Part):
    """Prometheus with this configuration (prometheus.yml, as a mapping)."""

    ready = "/-/ready"

    def __init__(
        self, folder: Path, config: Mapping[str, Any], netns: str = "", host: str = "127.0.0.1", port: int = 9090
    ) -> None:
        super().__init__(folder, netns, host, port)
        self._config = config

    def command(self) -> list[str]:
        file = self.folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(dict(self._config)))
        return [
            path("prometheus"),
            f"--config.file={file}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=0.0.0.0:{self.port}",
            "--log.level=warn",
        ]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """What an expression (a vector) gives now: labels and value of each series. Fails where it cannot be read."""
        try:
            data = self.get("/api/v1/query", query=expression)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expression}: {error.read().decode()}") from None
        assert data["resultType"] == "vector", f"{expression}: {data['resultType']}"
        return [(one["metric"], float(one["value"][1])) for one in data["result"]]

    def targets(self) -> list[dict[str, Any]]:
        """What is scraped: `labels`, `health` (up, down), `lastError`, …"""
        found: list[dict[str, Any]] = self.get("/api/v1/targets", state="active")["data"]["activeTargets"]
        return found


class Zipkin(Part):
    """Zipkin's server, its spans in memory: it takes them at /api/v2/spans and shows them."""

    ready = "/health"

    def __init__(self, folder: Path, netns: str = "", host: str = "127.0.0.1", port: int = 9411) -> None:
        super().__init__(folder, netns, host, port)

    def command(self) -> list[str]:
        options = [
            "-Xmx256m",
            "-XX:TieredStopAtLevel=1",
            f"-Djava.io.tmpdir={self.folder}",
            f"-Dserver.port={self.port}",
        ]
        return ["/usr/bin/env", "java", *options, "-jar", path("zipkin")]

    def traces(self, service: str, **asked: str) -> list[list[dict[str, Any]]]:
        """The traces in which a service took part, each as its spans (Zipkin's v2 JSON)."""
        found: list[list[dict[str, Any]]] = self.get("/api/v2/traces", serviceName=service, limit="100", **asked)
        return found


class Collector(Part):
    """The OpenTelemetry Collector: OTLP by gRPC at 4317 and by HTTP at 4318; spans go on to a Zipkin's URL, and
    records of logs are printed into `log`."""

    up = 404  # it has nothing to show

    def __init__(self, folder: Path, zipkin: str, netns: str = "", host: str = "127.0.0.1") -> None:
        super().__init__(folder, netns, host, 4318)
        self._zipkin = zipkin

    def command(self) -> list[str]:
        protocols = {"grpc": {"endpoint": "0.0.0.0:4317"}, "http": {"endpoint": "0.0.0.0:4318"}}
        config = {
            "receivers": {"otlp": {"protocols": protocols}},
            "exporters": {"zipkin": {"endpoint": self._zipkin}, "debug": {"verbosity": "detailed"}},
            "service": {
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {
                    "traces": {"receivers": ["otlp"], "exporters": ["zipkin", "debug"]},
                    "logs": {"receivers": ["otlp"], "exporters": ["debug"]},
                },
            },
        }
        file = self.folder / "collector.yaml"
        file.write_text(yaml.safe_dump(config))
        return [path("collector"), f"--config={file}"]
