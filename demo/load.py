"""Requests one after the other, from a namespace and a uid, and who answered them.

`python -m demo.load NETNS UID URL HOST [COUNT]` asks COUNT times, or until its input ends, and prints a Load as JSON.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

from demo.enter import enter

TIMEOUT = 5.0


@dataclass(slots=True)
class Load:
    """How often each address answered with 200 and when it last did (seconds since the epoch), and what else came."""

    answers: dict[str, int] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """All requests."""
        return sum(self.answers.values()) + len(self.failed)


def count(netns: str, uid: int, url: str, host: str, times: int) -> Load:
    """Asks so many times."""
    done = subprocess.run(_command(netns, uid, url, host, str(times)), capture_output=True, check=True)
    return Load(**json.loads(done.stdout))


@contextmanager
def steady(netns: str, uid: int, url: str, host: str) -> Iterator[Load]:
    """Asks without a pause meanwhile; what is yielded is filled at the end."""
    load = Load()
    command = _command(netns, uid, url, host)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield load
        out, _ = process.communicate(b"")
    told = Load(**json.loads(out))
    load.answers, load.last, load.failed = told.answers, told.last, told.failed


def _command(netns: str, uid: int, url: str, host: str, *times: str) -> list[str]:
    return [sys.executable, "-m", "demo.load", netns, str(uid), url, host, *times]


def ask(url: str, host: str, times: int | None) -> Load:
    """The requests themselves, from where this process is."""
    parts, load, ended = urlsplit(url), Load(), threading.Event()
    if times is None:
        threading.Thread(target=_until_input_ends, args=(ended,), daemon=True).start()
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=TIMEOUT)
    while not ended.is_set() and (times is None or load.total < times):
        try:
            connection.request("GET", parts.path or "/", headers={"Host": host})
            response = connection.getresponse()
            body = response.read()
            if response.status == 200:
                who = json.loads(body)["address"]
                load.answers[who] = load.answers.get(who, 0) + 1
                load.last[who] = time.time()
            else:
                load.failed.append(f"HTTP {response.status}: {body[:200].decode(errors='replace')}")
        except (OSError, http.client.HTTPException) as error:
            load.failed.append(str(error) or type(error).__name__)
            connection.close()
    connection.close()
    return load


def _until_input_ends(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


def main(netns: str, uid: str, url: str, host: str, times: str = "") -> None:
    """Enters, asks, prints."""
    enter(netns, int(uid))
    print(json.dumps(asdict(ask(url, host, int(times) if times else None))))


if __name__ == "__main__":
    main(*sys.argv[1:])
