"""The servers that are measured: their processes, and what these take of the machine."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from common import tls
from tests.bench.bare import ANSWERS_VARIABLE
from tests.bench.errors import BenchError

WORKERS = 2
_START_SECONDS = 30
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Memory:
    """Of all processes together, in MiB. RSS counts a page once for each process that has it, PSS once in all."""

    rss: float
    pss: float


class Server:
    """An HTTPS server with its workers, there between `with` and its end; what it logs goes to a file."""

    def __init__(self, name: str, command: Sequence[str], url: str, folder: Path, env: Mapping[str, str]) -> None:
        self.url = url
        self._name = name
        self._command = [sys.executable, "-m", *command]
        self._env = {**os.environ, **env}
        self._log = folder / f"{name}.log"

    def __enter__(self) -> Server:
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                self._command, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self._wait()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self._stop()

    def post(self, path: str, body: bytes) -> bytes:
        """The answer to one request, over a connection of its own."""
        request = urllib.request.Request(self.url + path, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10, context=_no_verification()) as response:
            answer: bytes = response.read()
            return answer

    def cpu_seconds(self) -> float:
        """Processor time of all its processes so far, in user and kernel mode."""
        ticks = 0
        for pid in self._pids():
            # proc_pid_stat(5): fields 14 and 15; field 2, the command's name, ends with the last `)`
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / _TICKS

    def memory(self) -> Memory:
        """What all its processes hold now (proc_pid_smaps(5))."""
        totals = {"Rss": 0, "Pss": 0}
        for pid in self._pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                key, _, value = line.partition(":")
                if key in totals:
                    totals[key] += int(value.split()[0])
        return Memory(totals["Rss"] / 1024, totals["Pss"] / 1024)

    def _pids(self) -> list[int]:
        """The process started, and all that descend from it."""
        children: dict[int, list[int]] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(stat.read_text().rpartition(")")[2].split()[1])
            except OSError:  # a process of someone else's that has just ended
                continue
            children.setdefault(parent, []).append(int(stat.parent.name))
        pids = [self._process.pid]
        for pid in pids:
            pids += children.get(pid, [])
        return pids

    def _wait(self) -> None:
        """Until it answers HTTP, whatever it answers."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                urllib.request.urlopen(self.url, timeout=5, context=_no_verification()).close()
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise BenchError(f"{self._name} did not start: {' '.join(self._command)}\n{self._log.read_text()[-2000:]}")

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass(frozen=True, slots=True)
class Certificate:
    """A serving certificate and its key in files, and the authority that signed it (PEM)."""

    certificate: Path
    key: Path
    authority: bytes

    @classmethod
    def make(cls, folder: Path, name: str) -> Certificate:
        """One for a DNS name."""
        now = tls.now()
        authority = tls.new_authority("test CA", now)
        pair = tls.issue(authority, [name], now)
        found = cls(folder / f"{name}.crt", folder / f"{name}.key", authority.certificate)
        found.certificate.write_bytes(pair.certificate)
        found.key.write_bytes(pair.key)
        return found


def bare(folder: Path, certificate: Certificate, answers: Mapping[str, int]) -> Server:
    """The handler to compare with; `answers`: the size of the answer of each of its routes, in bytes."""
    port = free_port()
    options = f"--port {port} --workers {WORKERS} --loop uvloop --http httptools --no-access-log --log-level warning"
    command = ["uvicorn", "tests.bench.bare:app", *options.split()]
    command += ["--ssl-certfile", str(certificate.certificate), "--ssl-keyfile", str(certificate.key)]
    routes = " ".join(f"{name}={size}" for name, size in answers.items())
    return Server("bare", command, f"https://127.0.0.1:{port}", folder, {ANSWERS_VARIABLE: routes})


def webhook(folder: Path, certificate: Certificate, address: str = "127.0.0.1") -> Server:
    """The webhook with this project's own settings, its log and metrics as in production."""
    port = free_port()
    command = ["webhook", "serve", "--address", address, "--port", str(port), "--metrics-port", str(free_port())]
    command += ["--workers", str(WORKERS), "--log-format", "json"]
    command += ["--tls-cert-file", str(certificate.certificate), "--tls-key-file", str(certificate.key)]
    return Server("webhook", command, f"https://{address}:{port}", folder, {})


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _no_verification() -> ssl.SSLContext:
    # the certificate was made for this run, and its key never left this folder
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
