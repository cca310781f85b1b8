"""One of several replicas is the one that writes: the holder of a Lease (coordination.k8s.io).

https://kubernetes.io/docs/concepts/architecture/leases/
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import Any, Final

from common.errors import KubernetesError
from common.kube import Kubernetes

log = logging.getLogger(__name__)

LEASE_SECONDS: Final = 15
RENEW_SECONDS: Final = 5.0


class Lease:
    """Tries to hold the Lease `name`; `held` tells whether it does."""

    def __init__(self, kubernetes: Kubernetes, namespace: str, name: str, identity: str) -> None:
        self._kubernetes, self._namespace, self._name, self._identity = kubernetes, namespace, name, identity
        self._seen: tuple[str, float] = ("", 0.0)  # what the Lease said, and since when: no other's clock is believed
        self._renewed = 0.0

    @property
    def held(self) -> bool:
        """Whether this replica is the one; never for longer than others believe it."""
        return time.monotonic() < self._renewed + LEASE_SECONDS - RENEW_SECONDS

    async def run(self) -> None:
        """Holds or waits, until it is cancelled; then another may have it at once."""
        try:
            while True:
                before = self.held
                try:
                    if await asyncio.to_thread(self._try):
                        self._renewed = time.monotonic()
                except KubernetesError as error:
                    log.warning("%s", error)
                if self.held != before:
                    log.info("this replica %s what others read", "writes" if self.held else "no longer writes")
                await asyncio.sleep(RENEW_SECONDS)
        finally:
            if self.held:
                self._renewed = 0.0
                self._give_up()

    def _try(self) -> bool:
        try:
            found = self._kubernetes.get("Lease", self._name, self._namespace)
        except KubernetesError as error:
            if error.status != 404:
                raise
            return self._write(self._kubernetes.create, {"metadata": {"name": self._name}})
        spec = found.get("spec") or {}
        holder = str(spec.get("holderIdentity") or "")
        said = f"{holder} {spec.get('renewTime')}"
        if said != self._seen[0]:
            self._seen = said, time.monotonic()
        over = time.monotonic() >= self._seen[1] + float(spec.get("leaseDurationSeconds") or LEASE_SECONDS)
        if holder not in ("", self._identity) and not over:
            return False
        return self._write(self._replace, found)

    def _replace(self, kind: str, fields: dict[str, Any], namespace: str) -> None:
        self._kubernetes.replace(kind, {"apiVersion": "coordination.k8s.io/v1", "kind": kind, **fields}, namespace)

    def _write(self, write: Any, found: dict[str, Any], holder: str | None = None) -> bool:
        body = {
            "metadata": found["metadata"],
            "spec": {
                "holderIdentity": self._identity if holder is None else holder,
                "leaseDurationSeconds": LEASE_SECONDS,
                "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            },
        }
        try:
            write("Lease", body, self._namespace)
        except KubernetesError as error:
            if error.status == 409:
                return False  # another was quicker
            raise
        return True

    def _give_up(self) -> None:
        try:
            found = self._kubernetes.get("Lease", self._name, self._namespace)
            if (found.get("spec") or {}).get("holderIdentity") == self._identity:
                self._write(self._replace, found, "")
        except KubernetesError as error:
            log.warning("%s", error)
