"""The loop from events to states: what a change costs each stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from mesh.encode import seats
from mesh.encode.resource import Part, State
from mesh.encode.seats import Seat
from mesh.model.kinds import BY_KEY
from mesh.serve.plane import FEW_CHANGES, Plane, Session
from mesh.world.events import Listed
from mesh.world.world import World
from tests.unit.mesh.objects import Object, endpoints, event, service, sidecar

WORLD = [service("a", "10.96.0.1", ("http", 80)), endpoints("a", "10.1.0.1")]


def plane_of(proxies: int, *objects: Object) -> tuple[Plane, Callable[[], int]]:
    """With so many proxies of one class; and how many of them were woken since."""
    plane, woken = Plane(BY_KEY), list[int]()
    for number in range(proxies):
        plane.connect(sidecar(f"p-{number}"), lambda number=number: woken.append(number))  # type: ignore[misc]
    plane.deliver([*map(event, objects), *map(Listed, BY_KEY)])

    def count() -> int:
        found = len(woken)
        woken.clear()
        return found

    return plane, count


def test_a_change_wakes_all_that_it_reaches_and_compares_nothing_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    original = Part.__eq__

    def counted(self: Part, other: object) -> bool:
        compared.append(self)
        return original(self, other)

    def cost(proxies: int) -> int:
        async def talk() -> int:
            plane, woken = plane_of(proxies, *WORLD)
            await plane._build()
            assert woken() == proxies
            await plane._build()
            assert woken() == 0
            compared.clear()
            plane.deliver([event(endpoints("a", "10.1.0.1", "10.1.0.2"))])
            await plane._build()
            assert woken() == proxies
            return len(compared)

        return asyncio.run(talk())

    monkeypatch.setattr(Part, "__eq__", counted)
    assert cost(20) == cost(2)


def test_proxies_that_share_all_are_walked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    walked = []
    original = seats.steps

    def counted(world: World, seat: Seat) -> Iterable[Callable[[], object]]:
        walked.append(seat)
        return original(world, seat)

    async def talk() -> None:
        plane, woken = plane_of(20, *WORLD)
        await plane._build()
        assert len(walked) == 1
        walked.clear()
        many = [service(f"s-{number}", f"10.96.1.{number}", ("http", 80)) for number in range(FEW_CHANGES + 1)]
        plane.deliver(map(event, many))
        await plane._build()
        assert len(walked) == 1
        assert woken() == 40

    monkeypatch.setattr(seats, "steps", counted)
    asyncio.run(talk())


def test_who_comes_is_served_without_a_look_at_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    seated = []
    original = Plane._seat

    def counted(self: Plane, session: Session) -> Seat:
        seated.append(session.proxy.pod)
        return original(self, session)

    async def talk() -> None:
        plane, woken = plane_of(20, *WORLD)
        await plane._build()
        assert woken() == 20
        seated.clear()
        more = [plane.connect(sidecar(f"q-{number}"), lambda: None) for number in range(3)]
        await plane._build()
        assert sorted(seated) == ["q-0", "q-1", "q-2"]
        assert all(one.state for one in more)
        assert woken() == 0
        # a seat that nobody has any more is not kept for long
        for session in [*plane.sessions]:
            session.close()
        plane.connect(replace(sidecar("g-0"), kind="router"), lambda: None)
        await plane._build()
        assert [seat.scope.kind for seat, _ in plane._states.values()] == ["router"]
        plane.deliver([event(endpoints("a", "10.1.0.1", "10.1.0.2"))])
        more = [plane.connect(sidecar("r-0"), lambda: None)]
        await plane._build()
        assert len(plane._states) == 2

    monkeypatch.setattr(Plane, "_seat", counted)
    asyncio.run(talk())


def test_who_could_not_be_served_is_tried_again_with_who_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = True
    original = seats.state_of

    def sometimes(world: World, seat: Seat, before: State | None = None) -> State:
        if broken:
            raise ValueError("not now")
        return original(world, seat, before)

    async def talk() -> None:
        nonlocal broken
        plane, woken = plane_of(1, *WORLD)
        await plane._build()
        assert [one.code for one in plane.problems] == ["not-built"]
        broken = False
        plane.connect(replace(sidecar("g-0"), kind="router"), lambda: None)
        await plane._build()
        assert woken() == 1
        assert not plane.problems

    monkeypatch.setattr(seats, "state_of", sometimes)
    asyncio.run(talk())


def test_what_was_told_of_one_who_left_is_told_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    original = seats.state_of

    def broken(world: World, seat: Seat, before: State | None = None) -> State:
        if seat.scope.namespace == "odd":
            raise ValueError("not this one")
        return original(world, seat, before)

    async def talk() -> None:
        plane, _ = plane_of(1, *WORLD)
        odd = plane.connect(sidecar("odd", namespace="odd"), lambda: None)
        await plane._build()
        assert [one.code for one in plane.problems] == ["not-built"]
        odd.close()
        plane.connect(sidecar("p-1"), lambda: None)
        await plane._build()
        assert not plane.problems

    monkeypatch.setattr(seats, "state_of", broken)
    asyncio.run(talk())
