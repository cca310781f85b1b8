"""Network namespaces by name, and what tests do with them: commands inside and outside, and waiting."""

import ctypes
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LONGEST_SECONDS = 300.0  # for programs to start on a busy machine


@contextmanager
def inside(netns: str) -> Iterator[None]:
    """Sockets made meanwhile belong to the namespace, for good (setns(2) moves the calling thread alone)."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open("rb") as home, Path("/run/netns", netns).open("rb") as there:
        assert libc.setns(there.fileno(), 0) == 0
        try:
            yield
        finally:
            assert libc.setns(home.fileno(), 0) == 0


def wait(seen: Callable[[], Any], why: Callable[[], str], seconds: float = LONGEST_SECONDS) -> None:
    """Until it is so; a failure tells why not."""
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline, why()
        time.sleep(0.02)


def run(*command: str) -> str:
    """A command's output; it must succeed."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr or done.stdout}"
    return done.stdout


def batch(netns: str, *lines: str) -> None:
    """`ip` commands in a namespace."""
    for line in lines:
        run("ip", "-n", netns, *line.split())
