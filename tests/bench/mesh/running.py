"""The processes: control plane, floor and fleet, and what they take of the machine."""

from __future__ import annotations

import json
import queue
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.bench.errors import BenchError

LONGEST_SECONDS = 300.0

Event = dict[str, Any]


class Process:
    """A Python module that runs; its lines of output one by one."""

    def __init__(self, command: Sequence[str], log: Path, prefix: Sequence[str] = ()) -> None:
        """`prefix` is what enters a namespace first."""
        self._log = log
        with log.open("a") as errors:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def line(self) -> str:
        """The next line. BenchError where none comes."""
        try:
            line = self._lines.get(timeout=LONGEST_SECONDS)
        except queue.Empty:
            line = ""
        if not line:
            raise BenchError(f"{self._log.name}: nothing came; {self._log.read_text()[-1000:]}")
        return line.strip()

    def say(self, line: str) -> None:
        """Gives it a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def cpu_seconds(self) -> float:
        """Processor time of the process so far, in user and kernel mode (clock_getcpuclockid(3))."""
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def rss(self) -> float:
        """What it holds, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


class Fleet(Process):
    """The proxies."""

    def synced(self) -> Event:
        """Waits until all have all."""
        return self.until(lambda event: "synced" in event)

    def until(self, found: Callable[[Event], bool]) -> Event:
        """The next such event; those before it are passed over."""
        while not found(event := json.loads(self.line())):
            pass
        return event

    def last(self, kind: str, proxies: int) -> tuple[float, int]:
        """When the last proxy got something of this type, and the bytes of all that came meanwhile."""
        seen: set[int] = set()
        size = 0
        while len(seen) < proxies:
            event = json.loads(self.line())
            size += event.get("bytes", 0)
            if event.get("type") == kind:
                seen.add(event["proxy"])
        return float(event["at"]), size


@contextmanager
def ended(process: Process) -> Iterator[Process]:
    """Ends it afterwards."""
    try:
        yield process
    finally:
        process.kill()


def control_plane(source: Sequence[str], port: int, folder: Path) -> tuple[Process, float]:
    """pymesh with these flags, once it is ready; and the seconds that took."""
    debug = free_port()
    began = time.monotonic()
    command = ["mesh", "serve", *source, "--log-level", "warning"]
    command += ["--xds-address", f"127.0.0.1:{port}", "--debug-address", f"127.0.0.1:{debug}"]
    process = Process(command, folder / "pymesh.log")
    while not _is_ready(debug):
        if process.process.poll() is not None or time.monotonic() > began + LONGEST_SECONDS:
            process.kill()
            raise BenchError(f"pymesh is not ready: {(folder / 'pymesh.log').read_text()[-1000:]}")
        time.sleep(0.05)
    return process, time.monotonic() - began


def _is_ready(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=10).close()
    except (OSError, urllib.error.URLError):
        return False
    return True


def fleet(port: int, proxies: int, services: int, folder: Path, record: Path | None = None) -> Fleet:
    """Proxies that connect now."""
    more = [str(record)] if record else []
    command = ["tests.bench.mesh.fleet", f"127.0.0.1:{port}", str(proxies), str(services), *more]
    return Fleet(command, folder / "fleet.log")


def floor(record: Path, folder: Path) -> tuple[Process, int]:
    """The bare server, and its port."""
    process = Process(["tests.bench.mesh.floor", str(record)], folder / "floor.log")
    return process, int(process.line())


def free_port() -> int:
    """A port of loopback that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port
