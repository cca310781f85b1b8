"""The last good settings, in a ConfigMap, where a restart finds them.

Settings that cannot be taken leave those in force alone, as long as the process lives. A replica that starts then has
nothing to start with: it takes what was in force, and says so.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from common.errors import KubernetesError

if TYPE_CHECKING:
    from common.kube import Kubernetes

OWNER: Final = "pyinject"
AGAIN_SECONDS: Final = 60.0

log = logging.getLogger(__name__)


class LastGood:
    """Settings by the names that workers know them by, in a ConfigMap that has to be there, empty at first."""

    def __init__(self, kubernetes: Kubernetes, namespace: str, name: str) -> None:
        self._kubernetes = kubernetes
        self._namespace = namespace
        self._name = name
        self._unsaved: Mapping[str, bytes] | None = None
        self._again_at = 0.0

    def __str__(self) -> str:
        return f"ConfigMap {self._namespace}/{self._name}"

    def load(self) -> dict[str, bytes]:
        """What was in force last; empty where nothing is kept, or nobody answers."""
        try:
            found = self._kubernetes.get("ConfigMap", self._name, self._namespace).get("data") or {}
        except KubernetesError as error:
            log.error("the last good settings cannot be read: %s", error)
            return {}
        return {name: text.encode() for name, text in found.items()}

    def keep(self, settings: Mapping[str, bytes]) -> None:
        """Keep these, at once or when the API server answers again."""
        self._unsaved, self._again_at = settings, 0.0
        self.try_again()

    def try_again(self) -> None:
        """Keep what could not be kept before, now and then."""
        if self._unsaved is None or time.monotonic() < self._again_at:
            return
        data = {name: content.decode() for name, content in self._unsaved.items()}
        try:
            self._kubernetes.apply("ConfigMap", self._name, {"data": data}, OWNER, self._namespace)
        except KubernetesError as error:
            self._again_at = time.monotonic() + AGAIN_SECONDS
            log.error("the settings in force cannot be kept for a restart: %s", error)
        else:
            self._unsaved = None
