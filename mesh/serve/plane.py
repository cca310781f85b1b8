"""The loop: events in, one state for each proxy out.

    sources ──deliver──▶ pending (the newest of each) ──gather──▶ world.apply ──build, in slices──▶ states ──▶ wake

Everything here runs in one thread. Events only wait in `pending` while a build is under way, so that a build sees one
moment; a build gives way every 10 ms, so that streams are answered meanwhile.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Iterable, Sequence

from mesh.encode import seats
from mesh.encode.resource import State, is_same
from mesh.encode.seats import Seat
from mesh.model.meta import ObjectRef
from mesh.model.problem import Problem
from mesh.serve.metrics import Metrics
from mesh.world import gather
from mesh.world.events import Event, Key, Listed, Upsert
from mesh.world.index import new_world
from mesh.world.proxy import Proxy
from mesh.world.world import World

log = logging.getLogger(__name__)

SLICE_SECONDS = 0.01
FEW_CHANGES = 50
URGENT_KINDS = frozenset({"EndpointSlice", "Pod"})


class Session:
    """What one stream is to send: the newest state of its proxy."""

    def __init__(self, plane: Plane, proxy: Proxy, wake: Callable[[], None]) -> None:
        self.proxy, self.wake = proxy, wake
        self.guest = seats.guest_of(proxy)
        self.sits = plane.world.hold(seats.seat_of, self.guest)
        self.state: State = {}
        self.seat: Seat | None = None
        self.since = time.monotonic()
        self.changed_at = 0.0
        """When the change came that the state follows from, or the stream, if later; 0 once the proxy has all of it."""
        self._plane = plane

    def close(self) -> None:
        """The stream ended."""
        self._plane.leave(self)


class Plane:
    """The control plane without its ports."""

    def __init__(self, kinds: Iterable[str], metrics: Metrics | None = None) -> None:
        self.metrics = metrics or Metrics()
        self.world: World = new_world()
        self.ready = asyncio.Event()
        self.sessions: set[Session] = set()
        self._kinds = frozenset(kinds)
        self._pending: dict[tuple[str, Key | None], Event] = {}
        self._wake = asyncio.Event()
        self._first = self._last = 0.0
        self._built = -gather.LONGEST_SECONDS
        self._urgent = False
        self.builds = 0
        self.problems: tuple[Problem, ...] = ()
        """What the proxies are without, since it could not be built."""
        self._failed: dict[Session, Problem] = {}
        self._states: dict[int, tuple[Seat, State]] = {}
        """Of the last build, by the seat's id: `seat_of` gives equal seats as one object."""
        self.is_settled = False
        """Whether every session's state is that of the world: not while a build is under way."""
        self.news = asyncio.Event()
        self.observers: list[Callable[[Sequence[Event]], None]] = []
        """Who is told of events as they come, with the objects as they are."""

    @property
    def missing(self) -> frozenset[str]:
        """The kinds that have not been listed yet: nothing is served before."""
        return self._kinds - self.world.listed

    def deliver(self, events: Sequence[Event]) -> None:
        """Takes events; of one object the newest counts."""
        now = time.monotonic()
        for observer in self.observers:
            observer(events)
        if not self._pending:
            self._first, self._urgent = now, True
        self._last = now
        for event in events:
            at = (event.kind, None if isinstance(event, Listed) else event.key)
            self._pending.pop(at, None)
            self._pending[at] = event
            self.metrics.events.labels(event.kind).inc()
            if isinstance(event, Upsert) and event.changed:
                self.metrics.lag.labels(event.kind).observe(max(0.0, time.time() - event.changed))
            self._urgent = self._urgent and event.kind in URGENT_KINDS
        self._wake.set()

    def connect(self, proxy: Proxy, wake: Callable[[], None]) -> Session:
        """A stream began; its state is empty until it has been built."""
        session = Session(self, proxy, wake)
        self.sessions.add(session)
        self._wake.set()
        return session

    def leave(self, session: Session) -> None:
        """A stream ended."""
        if session not in self.sessions:
            return
        self.sessions.discard(session)
        self.news.set()
        self.world.release(seats.seat_of, session.guest)
        if session.seat is not None:
            seats.release(self.world, session.seat)
            session.seat = None

    async def run(self) -> None:
        """Builds whenever something changed; ends when it is cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending and (
                pause := gather.wait(
                    time.monotonic(),
                    self._first,
                    self._last,
                    self._built,
                    urgent=self._urgent or not self.ready.is_set(),
                )
            ):
                await asyncio.sleep(pause)
            try:
                await self._build()
            except Exception:
                # whatever it was, the streams and the next change shall not suffer for it
                log.exception("the build failed; all proxies keep what they have")
                self.metrics.failures.inc()

    async def _build(self) -> None:
        events, self._pending = list(self._pending.values()), {}
        began, computed, came = time.monotonic(), self.world.computed, self._first
        # where all had what the world says, and it says nothing new, only those who came are to be served
        only_new = self.is_settled and not events and not self._failed
        self.is_settled = False
        changed = self.world.apply(events)
        if self.missing:
            return
        sessions = [one for one in self.sessions if not only_new or one.seat is None]
        until = time.monotonic() + SLICE_SECONDS
        before, states = self._states, self._still_needed() if only_new else {}
        kept = len(states)
        walked: set[Seat] = set()
        built = {seats.shared(seat) for seat, _ in before.values()}
        failed: dict[Session, Problem] = {}
        for session in sessions:
            if session not in self.sessions:
                continue  # it left while others were built
            try:
                seat = self._seat(session)
                if id(seat) in states:
                    continue
                # a few changes are soon built; walking all steps to find them would cost more
                shared = seats.shared(seat)
                if shared not in built or (len(changed) > FEW_CHANGES and shared not in walked):
                    until = await self._walk(seat, until, lasts=shared not in built)
                built.add(shared)
                walked.add(shared)
                _, known = before.get(id(seat), (seat, None))
                states[id(seat)] = seat, seats.state_of(self.world, seat, known)
            except Exception as error:
                failed[session] = self._not_built(session, error)
        self._built = time.monotonic()
        self.builds += 1
        self._failed, self._states = failed, states
        for session in sessions:
            _, state = states.get(id(session.seat), (None, session.state))
            if state is not session.state and not is_same(state, session.state):
                session.state, session.changed_at = state, max(came, session.since)
                session.wake()
        made = len(states) - kept
        if made or failed or not only_new or len(states) < len(before):
            self._tell()
        self.world.collect()
        if not self.ready.is_set():
            _pass_over_what_lasts()
        self.ready.set()
        self.is_settled = True
        self.news.set()
        self.metrics.builds.inc()
        self.metrics.build_seconds.observe(self._built - began)
        self.metrics.states.labels("made").inc(made)
        self.metrics.states.labels("shared").inc(max(0, len(sessions) - made - len(failed)))
        self.metrics.computed.inc(self.world.computed - computed)
        self.metrics.kept.set(len(self.world))
        self.metrics.ready.set(1)
        if changed:
            seconds = round(self._built - began, 4)
            log.debug("built", extra={"fields": {"changed": len(changed), "seconds": seconds}})

    def _still_needed(self) -> dict[int, tuple[Seat, State]]:
        """The states of seats in which somebody still sits."""
        taken = {id(session.seat) for session in self.sessions}
        return {at: one for at, one in self._states.items() if at in taken}

    async def _walk(self, seat: Seat, until: float, *, lasts: bool) -> float:
        """Builds what a seat is made of and gives way meanwhile; returns until when the next step may go on.

        `lasts`: it is made for the first time, and most of it is there to stay.
        """
        gc.disable()  # to look through what grows again and again would be for nothing
        try:
            for step in seats.steps(self.world, seat):
                step()
                if time.monotonic() > until:
                    await asyncio.sleep(0)
                    until = time.monotonic() + SLICE_SECONDS
        finally:
            if lasts and self.ready.is_set():
                gc.freeze()
            gc.enable()
        return until

    def _seat(self, session: Session) -> Seat:
        """The session's seat, held as long as it has it."""
        seat: Seat = self.world.value(session.sits)
        if seat is not session.seat:
            seats.hold(self.world, seat)
            if session.seat is not None:
                seats.release(self.world, session.seat)
            session.seat = seat
        return seat

    def _not_built(self, session: Session, error: Exception) -> Problem:
        """A proxy's state could not be built: it keeps what it has, the others go on, and it is said once."""
        self.metrics.failures.inc()
        proxy = session.proxy
        message = f"what it is to have cannot be built, so it keeps what it has: {type(error).__name__}: {error}"
        problem = Problem("not-built", ObjectRef("Pod", proxy.namespace, proxy.pod), "", message)
        if self._failed.get(session) != problem:
            log.error("%s", problem, exc_info=error)
        return problem

    def _tell(self) -> None:
        """Brings `problems` up to date, and logs what is new among them."""
        problems = seats.problems_of(state for _, state in self._states.values())
        known = frozenset(self.problems)
        for problem in problems:
            if problem not in known:
                log.warning("%s", problem)
        self.problems = (*problems, *self._failed.values())


def _pass_over_what_lasts() -> None:
    """The objects and what is made of them live long and in no cycles: the collector need not look again and again."""
    gc.collect()
    gc.freeze()
