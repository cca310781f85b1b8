"""Writes what is wrong in objects of Istio's into their status, where their author looks.

    problems of the objects, of all together, of what Envoy refused ──verdict──what differs──▶ API server

The Lease's holder alone writes, a few at once and each no sooner than its verdict has stood for a while; an object
whose verdict changes again and again is written ever more seldom. What is said already is never written.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from common.errors import KubernetesError
from common.kube import Kubernetes
from mesh.build.verdict import verdict
from mesh.model.kinds import BY_KEY
from mesh.model.meta import Meta, ObjectRef
from mesh.model.problem import Problem
from mesh.routing.analysis import problems_of
from mesh.serve.lease import Lease
from mesh.serve.plane import Plane
from mesh.serve.progress import progress
from mesh.serve.status import Status
from mesh.world.events import Event, Remove, Upsert

log = logging.getLogger(__name__)

KINDS = frozenset({"VirtualService", "DestinationRule", "ServiceEntry", "WorkloadEntry", "Gateway", "Sidecar"})
ROUND_SECONDS, SLICE_SECONDS = 1.0, 0.01
# how long a verdict has to stand, and how seldom one object is written
STANDS_SECONDS, PAUSE_SECONDS, LONGEST_PAUSE = 1.0, 5.0, 300.0
AT_ONCE, A_ROUND = 4, 20


@dataclass(slots=True)
class _Seen:
    """An object as it last came. `told` is the verdict that stands for it, since `since`; `clean`: it has that."""

    version: str
    version_of_api: str
    generation: int
    status: Mapping[str, Any]
    told: tuple[int, tuple[Problem, ...]] | None = None
    since: float = 0.0
    clean: bool = False
    pause: float = 0.0
    not_before: float = 0.0


class Conditions:
    """See above."""

    def __init__(self, kubernetes: Kubernetes, lease: Lease, plane: Plane, status: Status) -> None:
        self._kubernetes, self._lease, self._plane, self._status = kubernetes, lease, plane, status
        self._seen: dict[ObjectRef, _Seen] = {}
        self._held: set[ObjectRef] = set()
        self._came, self._looked_at = 0, (-1, -1, -1)
        self._waits = False
        self._threads = ThreadPoolExecutor(AT_ONCE, "conditions")
        plane.observers.append(self.observe)

    def observe(self, events: Sequence[Event]) -> None:
        """Takes the objects as they come: what their status says already."""
        for event in events:
            if isinstance(event, Upsert) and event.kind in KINDS:
                self._take(ObjectRef(event.kind, *event.key), event.raw)
            elif isinstance(event, Remove) and event.kind in KINDS:
                self._seen.pop(ObjectRef(event.kind, *event.key), None)

    def _take(self, ref: ObjectRef, thing: Mapping[str, Any]) -> None:
        metadata = thing.get("metadata") or {}
        version, generation = str(metadata.get("resourceVersion") or ""), metadata.get("generation")
        before = self._seen.get(ref)
        if before is not None and before.version == version:
            return
        status = thing.get("status")
        made = _Seen(
            version,
            str(thing.get("apiVersion") or ""),
            generation if isinstance(generation, int) else 0,
            status if isinstance(status, Mapping) else {},
        )
        if before is not None:
            made.told, made.since, made.pause, made.not_before = (
                before.told, before.since, before.pause, before.not_before,
            )  # fmt: skip
        self._seen[ref] = made
        self._came += 1

    async def run(self) -> None:
        """Writes until it is cancelled."""
        while True:
            await asyncio.sleep(ROUND_SECONDS)
            if self._lease.held and self._plane.ready.is_set() and self._plane.is_settled:
                try:
                    await self._round()
                except Exception:
                    # proxies are served whatever becomes of statuses
                    log.exception("conditions: this should not happen; tried again")
                    await asyncio.sleep(PAUSE_SECONDS)

    async def _round(self) -> None:
        """Writes what differs and has stood; nothing is looked at where nothing has changed."""
        refused = self._refused()
        looked_at = self._plane.builds, self._came, hash(frozenset(refused))
        if looked_at == self._looked_at and not self._waits:
            return
        told = await self._problems(refused)
        if told is None:
            return
        self._looked_at, self._waits = looked_at, False
        now, at = time.monotonic(), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        jobs: list[Coroutine[Any, Any, None]] = []
        for ref, seen in self._seen.items():
            standing = seen.generation, told.get(ref, ())
            if seen.told != standing:
                seen.told, seen.since, seen.clean = standing, now, False
            if seen.clean:
                continue
            wanted = verdict(standing[1], Meta(ref, generation=seen.generation), at, seen.status)
            if all(seen.status.get(key) == value for key, value in wanted.items()):
                seen.clean = True
            elif now < max(seen.since + STANDS_SECONDS, seen.not_before) or len(jobs) == A_ROUND:
                self._waits = True
            else:
                # who is written soon again waits longer, and who is calm a while begins anew
                calm = now > seen.not_before + LONGEST_PAUSE
                seen.pause = PAUSE_SECONDS if calm else min(max(seen.pause * 2, PAUSE_SECONDS), LONGEST_PAUSE)
                seen.not_before = now + seen.pause
                jobs.append(self._write(ref, seen, wanted))
        await asyncio.gather(*jobs)

    def _refused(self) -> set[Problem]:
        """What Envoys here do not take, by the objects to blame; in Envoy's words."""
        found = {one for one in self._plane.problems if one.ref.kind in KINDS}
        for connection in self._status.connections():
            if not any(ledger.refusals for ledger in connection.machine.ledgers.values()):
                continue
            for name, of in progress(connection.machine).items():
                for ref in of.origins if of.stage == "ERROR" else ():
                    if ref.kind in KINDS:
                        found.add(Problem("refused-by-envoy", ref, "", f"Envoy refuses its {name}: {of.why[:300]}"))
        return found

    async def _problems(self, refused: Iterable[Problem]) -> dict[ObjectRef, tuple[Problem, ...]] | None:
        """All that is wrong, by object; None where the world changed meanwhile."""
        world, builds = self._plane.world, self._plane.builds
        found: dict[ObjectRef, dict[Problem, None]] = {}
        for one in (*refused, *(one for many in world.problems.values() for one in many)):
            found.setdefault(one.ref, {})[one] = None
        until = time.monotonic() + SLICE_SECONDS
        there = set(self._seen)
        for ref in there:
            if ref not in self._held:
                world.hold(problems_of, *ref)
                self._held.add(ref)
            for one in problems_of(world, *ref):
                found.setdefault(ref, {})[one] = None
            if time.monotonic() > until:
                await asyncio.sleep(0)
                if not self._plane.is_settled or self._plane.builds != builds:
                    return None
                until = time.monotonic() + SLICE_SECONDS
        for ref in self._held - there:
            world.release(problems_of, *ref)
        self._held &= there
        return {
            ref: tuple(sorted(all_, key=lambda one: (one.path, one.code, one.message))) for ref, all_ in found.items()
        }

    async def _write(self, ref: ObjectRef, seen: _Seen, wanted: dict[str, Any]) -> None:
        kind = BY_KEY[ref.kind]
        path = f"/apis/{seen.version_of_api}/namespaces/{ref.namespace}/{kind.plural}/{ref.name}"
        try:
            answer = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._kubernetes.patch_status, path, seen.version, wanted
            )
        except KubernetesError as error:
            self._waits = True
            if error.status not in (404, 409):  # gone, or changed meanwhile: then its event comes
                log.warning("%s: its status cannot be written: %s", ref, error)
            return
        if self._seen.get(ref) is seen:
            # what has come by the watch meanwhile is newer
            self._take(ref, answer)
