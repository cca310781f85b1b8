"""One HTTP request from a namespace and a uid.

`python -m demo.request NETNS UID URL [NAME:VALUE…]` prints an Answer as JSON.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

from demo.enter import enter

TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `status` is 0, with an `error`, when no HTTP did."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    error: str = ""

    @property
    def passed(self) -> list[str]:
        """The sidecars passed, from the server to the client: of inbound, outbound."""
        value = self.headers.get("x-sidecar", "")
        return [name.strip() for name in value.split(",") if name]

    @property
    def seen(self) -> dict[str, Any]:
        """What the app says it saw; empty when the answer is not the app's."""
        return json.loads(self.body) if self.body.startswith("{") else {}


def request(netns: str, uid: int, url: str, headers: dict[str, str] | None = None) -> Answer:
    """Asks `url` from a process of `uid` in the namespace."""
    lines = [f"{name}:{value}" for name, value in (headers or {}).items()]
    command = [sys.executable, "-m", "demo.request", netns, str(uid), url, *lines]
    return Answer(**json.loads(subprocess.run(command, capture_output=True, check=True).stdout))


def ask(url: str, headers: dict[str, str]) -> Answer:
    """The request itself, from where this process is."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=TIMEOUT)
    try:
        connection.request("GET", parts.path or "/", headers=headers)
        response = connection.getresponse()
        names = {name.lower(): ", ".join(response.headers.get_all(name, [])) for name in response.headers}
        return Answer(response.status, names, response.read().decode(errors="replace"))
    except (OSError, http.client.HTTPException) as error:
        return Answer(0, error=str(error) or type(error).__name__)
    finally:
        connection.close()


def main(netns: str, uid: str, url: str, *headers: str) -> None:
    """Enters, asks, prints."""
    enter(netns, int(uid))
    print(json.dumps(asdict(ask(url, dict(header.split(":", 1) for header in headers)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
