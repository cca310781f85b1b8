"""Load on an HTTPS server, made by wrk."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.bench.errors import BenchError

_SCRIPT = Path(__file__).with_name("post.lua")
_LONGEST_SECONDS = 8


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of wrk saw. Times in milliseconds, from a request's first byte to its answer's last."""

    requests: int
    rate: float  # requests a second
    p50: float
    p99: float


def post(url: str, body: Path, connections: int, seconds: int) -> Load:
    """Posts the file over and over, each of the connections as soon as it has its answer. BenchError if any fails.

    Where the time was too short for a single answer, twice as long is taken, up to _LONGEST_SECONDS.
    """
    wrk = shutil.which("wrk")
    if wrk is None:
        raise BenchError("wrk is not installed; `make bench` installs it (scripts/setup wrk)")
    command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout=10s", f"-s{_SCRIPT}", url, "--", str(body)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise BenchError(f"{' '.join(command)}: {result.stderr.strip() or result.stdout.strip()}")
    report = json.loads(result.stdout.splitlines()[-1])
    if report["errors"]:
        raise BenchError(f"{url}: {report['errors']} failures, {report['requests']} answers")
    if not report["requests"]:
        if seconds >= _LONGEST_SECONDS:
            raise BenchError(f"{url}: no answer in {seconds} s")
        return post(url, body, connections, seconds * 2)
    return Load(
        requests=report["requests"],
        rate=report["requests"] / report["microseconds"] * 1e6,
        p50=report["p50"] / 1000,
        p99=report["p99"] / 1000,
    )
