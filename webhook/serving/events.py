"""Events on the owner of a refused pod: `kubectl describe` of a ReplicaSet or Job then tells why it has no pod.

    worker: a line of JSON for each refusal ──stdout, a pipe──▶ supervisor: few Events, by the API (events.k8s.io/v1)

A review makes no API call and waits for nobody: where the pipe is full, the line is dropped. `recorder` reads it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any, Final

import orjson

# An Event's note is 1 KiB at most (events.k8s.io/v1).
NOTE: Final = 1000
# A write of no more than this to a pipe is whole or not at all (pipe(7), PIPE_BUF).
LINE_BYTES: Final = 4096
_OWNER: Final = ("apiVersion", "kind", "name", "uid")

log = logging.getLogger("pyinject")


def line(pod: Mapping[str, Any], namespace: str, message: str) -> bytes:
    """A refusal as a line for the supervisor; empty for a pod that no controller owns: its creator reads the answer."""
    references = (pod.get("metadata") or {}).get("ownerReferences")
    for owner in references if isinstance(references, list) else ():
        if isinstance(owner, dict) and owner.get("controller") is True:
            regarding = {field: owner.get(field) for field in _OWNER}
            if all(isinstance(value, str) for value in regarding.values()):
                told = orjson.dumps({"regarding": regarding, "namespace": namespace, "note": message[:NOTE]}) + b"\n"
                return told if len(told) <= LINE_BYTES else b""
    return b""


def write(told: bytes) -> None:
    """Hand a line to the supervisor by stdout, which does not block; dropped where it does not keep up."""
    try:
        os.write(1, told)
    except OSError as error:
        log.debug("an Event was dropped: %s", error)
