"""The controller of Gateway API: what Gateways need is made, and what became of objects is written into their status.

    world ──standing, ACKs──▶ statuses, objects ──what differs──▶ API server

The holder of the Lease alone writes, at once when there is news (a build, a gateway's answer) and many objects side by
side; only what differs from what is there, so what it wrote itself changes nothing. Who else writes the same field
finds it patient: each time the same is written again, the pause before doubles.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
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
from mesh.build.policystatus import POLICIES, policy_status
from mesh.build.statuses import (
    Standing,
    class_status,
    gateway_status,
    listener_set_status,
    ready_pods,
    route_status,
)
from mesh.model.kinds import BY_KEY
from mesh.model.meta import ObjectRef
from mesh.routing.backendtls import ancestors_of
from mesh.routing.listeners import CONTROLLERS, entries_of, is_ours, listener_sets, parent_gateway
from mesh.routing.parents import KINDS
from mesh.routing.standing import parents_of
from mesh.serve.lease import Lease
from mesh.serve.plane import Plane
from mesh.serve.status import Status
from mesh.world.events import Event, Remove, Upsert

log = logging.getLogger(__name__)

OWNER = "pymesh"
ROUND_SECONDS = 0.02
# while a Gateway waits, perhaps for proxies of another replica, or this replica for the Lease
WAITING_SECONDS = 0.25
IDLE_SECONDS = 30.0
# what somebody else changed of a Gateway's objects is mended after this
MEND_SECONDS = 300.0
LONGEST_PAUSE = 60.0
FAULT_SECONDS = 5.0
AT_ONCE = 16
PEER_SECONDS = 2.0
# what another replica said counts for so long
FRESH_SECONDS = 1.0
WRITTEN = frozenset((*KINDS, *POLICIES, "KubernetesGateway", "ListenerSet", "GatewayClass"))


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
        self._held: set[tuple[Callable[..., Any], ObjectRef]] = set()
        self._made: dict[ObjectRef, tuple[str, float]] = {}
        self._faults: dict[ObjectRef, str] = {}
        self._writing: set[ObjectRef] = set()
        self._peers_told: tuple[list[dict[ObjectRef, Standing]], float] = [], 0.0
        self._asking = False
        self._class_at = 0.0
        self._again_at = 0.0
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
        news, pause = self._plane.news, WAITING_SECONDS
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), pause)
            news.clear()
            pause, began = WAITING_SECONDS, time.monotonic()
            if self._lease.held and self._plane.ready.is_set():
                try:
                    pause = self._round()
                except Exception:
                    # proxies are served whatever becomes of statuses
                    log.exception("Gateways and statuses: this should not happen; tried again")
                    await asyncio.sleep(FAULT_SECONDS)
            # whatever the number of objects, most of the time is the proxies'
            await asyncio.sleep(max(ROUND_SECONDS, 4 * (time.monotonic() - began)))

    def _round(self) -> float:
        """Begins to write what differs; tells when to look again if there is no news."""
        if not self._plane.is_settled:
            return WAITING_SECONDS
        now = time.monotonic()
        self._again_at = now + IDLE_SECONDS
        found = self._status.standings()
        waiting = self._unprogrammed(found)
        unknown: set[ObjectRef] = set()
        if waiting:
            self._again_at = now + WAITING_SECONDS
            told, at = self._peers_told
            if peers := self._peers():
                if now > at + WAITING_SECONDS:
                    self._start(self._ask_all(peers))
                if now > at + FRESH_SECONDS:
                    unknown = waiting
            for one in told if peers else ():
                for ref in waiting & one.keys():
                    found[ref] = found[ref].beside(one[ref])
        for ref, job in (*self._class(), *self._objects(), *self._statuses(found, unknown)):
            self._writing.add(ref)
            self._start(self._do(ref, job))
        return max(ROUND_SECONDS, self._again_at - now)

    def _start(self, what: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask_all(self, peers: Iterable[str]) -> None:
        if self._asking:
            return
        self._asking = True
        try:
            told = await asyncio.gather(*(self._in_thread(partial(_ask, url)) for url in peers))
            self._peers_told = told, time.monotonic()
        finally:
            self._asking = False
        self._plane.news.set()

    async def _in_thread(self, job: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, job)

    async def _do(self, ref: ObjectRef, job: Job) -> None:
        try:
            after = await self._in_thread(job)
            if after is not None:
                after()
        finally:
            self._writing.discard(ref)
            self._plane.news.set()

    # --- what Gateways need -------------------------------------------------------------------------------------------

    def _class(self) -> Iterable[tuple[ObjectRef, Job]]:
        name, now = self._setup.gateway_class, time.monotonic()
        if not name or self._plane.world.get("GatewayClass", "", name) is not None or now < self._class_at:
            return ()
        self._class_at = now + IDLE_SECONDS
        return ((_objects_of(ObjectRef("GatewayClass", "", name)), lambda: self._make_class(name)),)

    def _make_class(self, name: str) -> None:
        spec = {"controllerName": CONTROLLERS[-1], "description": "Gateways that pymesh runs, each in pods of its own"}
        try:
            self._kubernetes.apply("GatewayClass", name, {"spec": spec}, OWNER)
        except KubernetesError as error:
            if error.status != 404:  # without Gateway API there is nothing to be made
                log.warning("%s", error)

    def _objects(self) -> Iterable[tuple[ObjectRef, Job]]:
        world, now = self._plane.world, time.monotonic()
        gateways = world.all("KubernetesGateway").values()
        for ref in self._made.keys() - {one.meta.ref for one in gateways}:
            del self._made[ref]
            self._faults.pop(ref, None)
        for one in gateways:
            if not self._setup.template or not is_ours(world, one) or deployment.is_manual(one):
                continue
            if not deployment.is_makeable(one):
                continue
            if deployment.hindrance(world, one) or _objects_of(one.meta.ref) in self._writing:
                continue
            listeners = [of.listener for of in entries_of(world, one.meta.ref) if not of.conflict]
            wanted = deployment.objects(one, listeners, self._setup.template)
            text = json.dumps(wanted, sort_keys=True)
            before, at = self._made.get(one.meta.ref, ("", 0.0))
            if before != text or now >= at:
                self._made[one.meta.ref] = text, now + MEND_SECONDS
                yield _objects_of(one.meta.ref), partial(self._make, one.meta.ref, deployment.name_of(one), wanted)
            self._again_at = min(self._again_at, self._made[one.meta.ref][1])

    def _make(self, ref: ObjectRef, name: str, wanted: Iterable[dict[str, Any]]) -> None:
        try:
            for one in wanted:
                kind, fields = one["kind"], {key: value for key, value in one.items() if key != "kind"}
                self._kubernetes.apply(kind, name, fields, OWNER, ref.namespace)
        except KubernetesError as error:
            log.warning("%s: %s", ref, error)
            self._faults[ref] = str(error)
            self._made[ref] = self._made.get(ref, ("", 0.0))[0], time.monotonic() + 5.0
        else:
            self._faults.pop(ref, None)

    # --- statuses -----------------------------------------------------------------------------------------------------

    def _unprogrammed(self, found: Mapping[ObjectRef, Standing]) -> set[ObjectRef]:
        """Gateways that are to be told Programmed yet, themselves or their ListenerSets."""
        world = self._plane.world
        return {
            ref
            for ref, one in found.items()
            if self._waits(ref, one.generation)
            or any(self._waits(of, world.get(*of).meta.generation) for of in listener_sets(world, ref))
        }

    def _waits(self, ref: ObjectRef, generation: int) -> bool:
        seen = self._seen.get(ref)
        conditions = (seen.status.get("conditions") or ()) if seen else ()
        told = {c.get("type"): c.get("status") for c in conditions if c.get("observedGeneration") == generation}
        return told.get("Accepted") != "False" and told.get("Programmed") != "True"

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

    def _statuses(
        self, found: Mapping[ObjectRef, Standing], unknown: Collection[ObjectRef]
    ) -> Iterable[tuple[ObjectRef, Job]]:
        world, now = self._plane.world, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for one in world.all("GatewayClass").values():
            yield from self._job(one.meta.ref, partial(class_status, one, now))
        for ref, standing in found.items():
            gateway = world.get(*ref)
            if gateway is None or ref in unknown:
                continue
            pods, fault = ready_pods(world, ref.namespace, ref.name), self._faults.get(ref, "")
            yield from self._job(ref, partial(gateway_status, world, gateway, standing, pods, fault, now))
        for one in world.all("ListenerSet").values():
            parent = parent_gateway(one)
            if parent is None or parent in unknown or parent not in found:
                continue
            pods = ready_pods(world, parent.namespace, parent.name)
            yield from self._job(one.meta.ref, partial(listener_set_status, world, one, found[parent], pods, now))
        yield from self._derived(KINDS, parents_of, route_status, now)
        yield from self._derived(POLICIES, ancestors_of, policy_status, now)

    def _derived(
        self, kinds: Iterable[str], query: Callable[..., Any], make: Callable[..., Any], now: str
    ) -> Iterable[tuple[ObjectRef, Job]]:
        """Of objects whose status follows from a query alone, which tells whether anything can be new."""
        world, there = self._plane.world, set()
        for one in (one for kind in kinds for one in world.all(kind).values()):
            ref = one.meta.ref
            there.add((query, ref))
            if (query, ref) not in self._held:
                world.hold(query, ref)
                self._held.add((query, ref))
            seen, told = self._seen.get(ref), (query(world, ref), one.meta.generation)
            if seen is None or seen.clean == told:
                continue
            jobs = self._job(ref, partial(make, world, ref, one.meta, now))
            seen.clean = None if jobs or ref in self._writing or time.monotonic() < seen.not_before else told
            yield from jobs
        for held in [held for held in self._held if held[0] is query and held not in there]:
            world.release(*held)
            self._held.discard(held)

    def _job(
        self, ref: ObjectRef, make: Callable[[Mapping[str, Any]], dict[str, Any] | None]
    ) -> list[tuple[ObjectRef, Job]]:
        """Writes what `make` gives for the status as it is, where that is another."""
        seen = self._seen.get(ref)
        if seen is None or ref in self._writing:
            return []
        wanted = make(seen.status)
        if wanted is None or all(seen.status.get(key) == value for key, value in wanted.items()):
            return []
        now, said = time.monotonic(), _without_times(wanted)
        if said == seen.written:
            if now < seen.not_before:
                self._again_at = min(self._again_at, seen.not_before)
                return []
            seen.pause = min(max(seen.pause * 2, 1.0), LONGEST_PAUSE)
            seen.not_before = now + seen.pause
        else:
            seen.written, seen.pause, seen.not_before = said, 0.0, now + 1.0
        return [(ref, lambda: self._write(ref, seen, wanted))]

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


def _objects_of(ref: ObjectRef) -> ObjectRef:
    """What is made for an object, as something that is written beside its status."""
    return ref._replace(kind=f"objects of {ref.kind}")


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
