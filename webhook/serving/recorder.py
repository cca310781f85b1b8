"""Events of the refusals that workers tell of (`events`). Whoever sends reviews of pods that he makes up can make
Events, so they are few.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

from common.errors import KubernetesError

if TYPE_CHECKING:
    from common.kube import Kubernetes

# The same of one owner is told again after so long; of all owners together so many are told in that time.
AGAIN_SECONDS: Final = 60.0
MOST: Final = 60

log = logging.getLogger("pyinject")


class Recorder:
    """Makes Events of lines, for the supervisor."""

    def __init__(self, kubernetes: Kubernetes) -> None:
        self._kubernetes = kubernetes
        self._told: dict[tuple[str, str], float] = {}

    def follow(self, lines: Iterable[bytes]) -> None:
        """Make Events of all lines that come."""
        for told in lines:
            self.record(orjson.loads(told), time.monotonic())

    def record(self, refusal: Mapping[str, Any], now: float) -> None:
        """Make an Event of a refusal, unless there are enough."""
        self._told = {key: since for key, since in self._told.items() if now - since < AGAIN_SECONDS}
        key = (refusal["regarding"]["uid"], refusal["note"])
        if key in self._told or len(self._told) >= MOST:
            return
        self._told[key] = now
        try:
            self._kubernetes.create("Event", _event(refusal), refusal["namespace"])
        except KubernetesError as error:
            log.warning("no Event could be made: %s", error)


def _event(refusal: Mapping[str, Any]) -> dict[str, Any]:
    namespace = refusal["namespace"]
    return {
        "metadata": {"generateName": f"{refusal['regarding']['name'][:200]}.", "namespace": namespace},
        "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "type": "Warning",
        "reason": "InjectionRefused",
        "action": "Inject",
        "note": refusal["note"],
        "regarding": {**refusal["regarding"], "namespace": namespace},
        "reportingController": "pysidecar/pyinject",
        "reportingInstance": socket.gethostname()[:128],
    }
