"""The controller of Gateway API: what Gateways need is made, and what became of objects is written into their status.

    world ──standing, ACKs──▶ statuses, objects ──what differs──▶ API server

The holder of the Lease alone writes; only what differs from what is there, so what it wrote itself changes nothing. Who
else writes the same field finds it patient: each time the same is written again, the pause before doubles.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar
from urllib.request import urlopen

from common.errors import KubernetesError
from common.kube import Kubernetes
from mesh.build import deployment
from mesh.build.statuses import Standing, class_status, gateway_status, ready_pods, route_status
from mesh.model.kinds import BY_KEY
from mesh.model.meta import ObjectRef
from mesh.routing.parents import CONTROLLERS, KINDS, is_ours
from mesh.routing.standing import parents_of
from mesh.serve.lease import Lease
from mesh.serve.plane import Plane
from mesh.serve.status import Status
from mesh.world.events import Event, Remove, Upsert

log = logging.getLogger(__name__)

OWNER = "pymesh"
ROUND_SECONDS = 0.1
# while something waits for a proxy's ACK, that wakes nobody here
WAITING_SECONDS = 0.3
IDLE_SECONDS = 30.0
# what somebody else changed of a Gateway's objects is mended after this
MEND_SECONDS = 300.0
LONGEST_PAUSE = 60.0
FAULT_SECONDS = 5.0
AT_ONCE = 8
PEER_SECONDS = 2.0
WRITTEN = frozenset((*KINDS, "KubernetesGateway", "GatewayClass"))


T = TypeVar("T")
Job = Callable[[], Callable[[], None] | None]
"""What a thread does, and what follows in the loop."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What the installation says: the class that is made (empty: none), how a Gateway's pods look, and who we are."""

    gateway_class: str = ""
    template: Mapping[str, Any] = field(default_factory=dict)
    namespace: str = ""
    service: str = ""
    name: str = ""
    debug_port: int = 15014


@dataclass(slots=True)
class _Seen:
    """An object as it last came: its version, its status, and what was made of it."""

    version: str
    status: Mapping[str, Any]
    version_of_api: str
    clean: Any = None
    written: Any = None
    pause: float = 0.0
    not_before: float = 0.0


class Gateways:
    """See above."""

    def __init__(self, kubernetes: Kubernetes, lease: Lease, plane: Plane, status: Status, setup: Setup) -> None:
        self._kubernetes, self._lease, self._plane, self._status, self._setup = kubernetes, lease, plane, status, setup
        self._seen: dict[ObjectRef, _Seen] = {}
        self._held: set[ObjectRef] = set()
        self._made: dict[ObjectRef, tuple[str, float]] = {}
        self._class_at = 0.0
        self._put_off = False
        # others' threads ask for tokens, which shall not wait for what is written
        self._threads = ThreadPoolExecutor(AT_ONCE, "gateways")
        self._tasks: set[asyncio.Future[None]] = set()
        plane.observers.append(self.observe)

    def observe(self, events: Sequence[Event]) -> None:
        """Takes the objects as they come: what their status says already."""
        for event in events:
            if isinstance(event, Upsert) and event.kind in WRITTEN:
                self._take(ObjectRef(event.kind, *event.key), event.raw)
            elif isinstance(event, Remove) and event.kind in WRITTEN:
                self._seen.pop(ObjectRef(event.kind, *event.key), None)

    def _take(self, ref: ObjectRef, thing: Mapping[str, Any]) -> None:
        version = str((thing.get("metadata") or {}).get("resourceVersion") or "")
        before = self._seen.get(ref)
        if before is not None and before.version == version:
            return
        status = thing.get("status")
        made = _Seen(version, status if isinstance(status, Mapping) else {}, str(thing.get("apiVersion") or ""))
        if before is not None:
            made.written, made.pause, made.not_before = before.written, before.pause, before.not_before
        self._seen[ref] = made

    async def run(self) -> None:
        """Writes until it is cancelled."""
        waits = True
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._plane.built.wait(), WAITING_SECONDS if waits else IDLE_SECONDS)
            self._plane.built.clear()
            waits = not self._lease.held or not self._plane.ready.is_set()
            if not waits:
                try:
                    waits = await self._round()
                except Exception:
                    # proxies are served whatever becomes of statuses
                    log.exception("Gateways and statuses: this should not happen; tried again")
                    waits = True
                    await asyncio.sleep(FAULT_SECONDS)
            await asyncio.sleep(ROUND_SECONDS)

    async def _round(self) -> bool:
        """Writes what differs; tells whether something is waited for."""
        if not self._plane.is_settled:
            return True
        self._put_off = False
        for job in (*self._class(), *self._objects()):
            # what takes longer than a status keeps none waiting
            task = asyncio.ensure_future(self._do(job))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        jobs: list[Job] = []
        found = self._status.standings()
        waits = self._unprogrammed(found)
        if waits:
            for told in await asyncio.gather(*(self._in_thread(partial(_ask, url)) for url in self._peers())):
                for ref, one in told.items():
                    if ref in found:
                        found[ref] = found[ref].beside(one)
        if self._plane.is_settled:
            jobs += self._statuses(found)
        await asyncio.gather(*(self._do(job) for job in jobs))
        return waits or self._put_off or bool(jobs) or bool(self._tasks)

    async def _in_thread(self, job: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, job)

    async def _do(self, job: Job) -> None:
        after = await self._in_thread(job)
        if after is not None:
            after()

    # --- what Gateways need -------------------------------------------------------------------------------------------

    def _class(self) -> Iterable[Job]:
        name, now = self._setup.gateway_class, time.monotonic()
        if not name or self._plane.world.get("GatewayClass", "", name) is not None or now < self._class_at:
            return ()
        self._class_at = now + IDLE_SECONDS
        return (lambda: self._make_class(name),)

    def _make_class(self, name: str) -> None:
        spec = {"controllerName": CONTROLLERS[-1], "description": "Gateways that pymesh runs, each in pods of its own"}
        try:
            self._kubernetes.apply("GatewayClass", name, {"spec": spec}, OWNER)
        except KubernetesError as error:
            if error.status != 404:  # without Gateway API there is nothing to be made
                log.warning("%s", error)

    def _objects(self) -> Iterable[Job]:
        world, now = self._plane.world, time.monotonic()
        gateways = world.all("KubernetesGateway").values()
        for ref in self._made.keys() - {one.meta.ref for one in gateways}:
            del self._made[ref]
        for one in gateways:
            if not self._setup.template or not is_ours(world, one) or deployment.is_manual(one):
                continue
            if deployment.hindrance(world, one):
                continue
            wanted = deployment.objects(one, self._setup.template)
            text = json.dumps(wanted, sort_keys=True)
            before, at = self._made.get(one.meta.ref, ("", 0.0))
            if before != text or now >= at:
                self._made[one.meta.ref] = text, now + MEND_SECONDS
                yield partial(self._make, one.meta.ref, deployment.name_of(one), wanted)

    def _make(self, ref: ObjectRef, name: str, wanted: Iterable[dict[str, Any]]) -> None:
        try:
            for one in wanted:
                kind, fields = one["kind"], {key: value for key, value in one.items() if key != "kind"}
                self._kubernetes.apply(kind, name, fields, OWNER, ref.namespace)
        except KubernetesError as error:
            log.warning("%s: %s", ref, error)
            self._made[ref] = self._made.get(ref, ("", 0.0))[0], time.monotonic() + 5.0

    # --- statuses -----------------------------------------------------------------------------------------------------

    def _unprogrammed(self, found: Mapping[ObjectRef, Standing]) -> bool:
        for ref, one in found.items():
            seen = self._seen.get(ref)
            told = (seen.status.get("conditions") or ()) if seen else ()
            if ("True", one.generation) not in (
                (c.get("status"), c.get("observedGeneration")) for c in told if c.get("type") == "Programmed"
            ):
                return True
        return False

    def _peers(self) -> list[str]:
        """Where the other replicas tell how far their proxies are."""
        world, setup = self._plane.world, self._setup
        service = world.get("Service", setup.namespace, setup.service)
        if service is None or not service.selector:
            return []
        return [
            f"http://{f'[{pod.ip}]' if ':' in pod.ip else pod.ip}:{setup.debug_port}/gateways"
            for pod in world.all("Pod").values()
            if pod.meta.namespace == setup.namespace
            and pod.meta.name != setup.name
            and pod.ready
            and pod.ip
            and service.selector.items() <= pod.meta.labels.items()
        ]

    def _statuses(self, found: Mapping[ObjectRef, Standing]) -> list[Job]:
        world, now = self._plane.world, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        jobs = []
        for one in world.all("GatewayClass").values():
            if seen := self._seen.get(one.meta.ref):
                jobs += self._job(one.meta.ref, seen, class_status(one, now, seen.status))
        for ref, standing in found.items():
            gateway, seen = world.get(*ref), self._seen.get(ref)
            if gateway is not None and seen is not None:
                pods = ready_pods(world, ref.namespace, ref.name)
                jobs += self._job(ref, seen, gateway_status(world, gateway, standing, pods, now, seen.status))
        there = set()
        for kind in KINDS:
            for one in world.all(kind).values():
                ref, seen = one.meta.ref, self._seen.get(one.meta.ref)
                there.add(ref)
                if ref not in self._held:
                    world.hold(parents_of, ref)
                    self._held.add(ref)
                told = parents_of(world, ref), one.meta.generation
                if seen is not None and seen.clean != told:
                    mine = self._job(ref, seen, route_status(world, ref, one.meta, now, seen.status))
                    seen.clean = None if mine or time.monotonic() < seen.not_before else told
                    jobs += mine
        for ref in self._held - there:
            world.release(parents_of, ref)
        self._held &= there
        return jobs

    def _job(self, ref: ObjectRef, seen: _Seen, wanted: dict[str, Any] | None) -> list[Job]:
        if wanted is None or all(seen.status.get(key) == value for key, value in wanted.items()):
            return []
        now, said = time.monotonic(), _without_times(wanted)
        if said == seen.written:
            if now < seen.not_before:
                self._put_off = True
                return []
            seen.pause = min(max(seen.pause * 2, 1.0), LONGEST_PAUSE)
            seen.not_before = now + seen.pause
        else:
            seen.written, seen.pause, seen.not_before = said, 0.0, now + 1.0
        return [lambda: self._write(ref, seen, wanted)]

    def _write(self, ref: ObjectRef, seen: _Seen, wanted: dict[str, Any]) -> Callable[[], None] | None:
        kind = BY_KEY[ref.kind]
        where = f"namespaces/{ref.namespace}/" if kind.namespaced else ""
        path = f"/apis/{seen.version_of_api}/{where}{kind.plural}/{ref.name}"
        try:
            answer = self._kubernetes.patch_status(path, seen.version, wanted)
        except KubernetesError as error:
            if error.status not in (404, 409):  # gone, or changed meanwhile: then its event comes
                log.warning("%s", error)
                seen.not_before = time.monotonic() + 5.0
            return None

        def take() -> None:
            # what has come by the watch meanwhile is newer
            if self._seen.get(ref) is seen:
                self._take(ref, answer)

        return take


def _without_times(thing: Any) -> Any:
    if isinstance(thing, dict):
        return {key: _without_times(value) for key, value in thing.items() if key != "lastTransitionTime"}
    return [_without_times(one) for one in thing] if isinstance(thing, list) else thing


def _ask(url: str) -> dict[ObjectRef, Standing]:
    """What another replica says; nothing where it does not answer."""
    try:
        with urlopen(url, timeout=PEER_SECONDS) as answer:
            told = json.load(answer)
        return {ObjectRef("KubernetesGateway", one.pop("namespace"), one.pop("name")): Standing(**one) for one in told}
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.warning("%s: %s", url, error)
        return {}
