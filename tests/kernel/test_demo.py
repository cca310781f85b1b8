"""`python -m demo`, as a user runs it: every claim holds, and nothing is left behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DEMO = [sys.executable, "-m", "demo"]
CLAIMS = {
    "inject": ["webhook", "allowed", "containers", "app"],
    "start": ["init", "ready", "probes", "uids"],
    "inbound": ["header", "source", "log", "counters"],
    "outbound": ["header", "source", "log", "counters"],
    "past": ["proxy-uid", "excluded-port"],
    "stop": ["drain", "ended"],
    "mesh": ["served", "ready"],
    "split": ["even", "ninety"],
    "live": ["switched", "unbroken", "all"],
    "look": ["origin", "synced"],
}


def leftovers(pid: int) -> list[str]:
    """The namespaces that a demo of this process has left."""
    return [path.name for path in Path("/run/netns").glob(f"pysidecar-demo*-{pid}-*")]


@pytest.fixture(scope="module")
def story() -> dict[str, Any]:
    with subprocess.Popen(
        [*DEMO, "--json"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        out, err = demo.communicate(timeout=180)
    assert (demo.returncode, err) == (0, ""), out + err
    assert leftovers(demo.pid) == []
    told: dict[str, Any] = json.loads(out)
    return told


@pytest.mark.parametrize("step", CLAIMS)
def test_claims_hold(story: dict[str, Any], step: str) -> None:
    (told,) = [each for each in story["steps"] if each["name"] == step]
    assert [name for name, claim in told["claims"].items() if claim["holds"]] == CLAIMS[step]
    assert all(claim["evidence"] for claim in told["claims"].values())


def test_no_other_step(story: dict[str, Any]) -> None:
    assert [step["name"] for step in story["steps"]] == list(CLAIMS)
    assert story["ok"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_cleans_up(number: signal.Signals) -> None:
    with subprocess.Popen(DEMO, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as demo:
        deadline = time.monotonic() + 30
        while not leftovers(demo.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert leftovers(demo.pid)
        time.sleep(1)
        demo.send_signal(number)
        _, err = demo.communicate(timeout=30)
    assert (demo.returncode, err) == (130, "demo: interrupted; everything is cleaned up\n")
    assert leftovers(demo.pid) == []
    namespace = f"pysidecar-demo-{demo.pid}-"
    running = [path for path in Path("/proc").glob("[0-9]*/cmdline") if namespace.encode() in _read(path)]
    assert running == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # ended meanwhile
        return b""
