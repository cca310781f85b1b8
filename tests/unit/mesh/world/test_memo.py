"""Queries: computed when asked, again only when what they read changed, stopped by an equal result."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.world.events import Key, Remove, Upsert
from mesh.world.memo import query
from mesh.world.world import World


@query
def number(world: World, name: str) -> int:
    return world.get("Number", "", name) or 0


@query
def parity(world: World, name: str) -> int:
    return number(world, name) % 2


@query
def odd_ones(world: World) -> tuple[str, ...]:
    return tuple(sorted(key.name for key in world.all("Number") if parity(world, key.name)))


@query
def share(world: World, name: str) -> float:
    return 1 / number(world, name)


@query
def share_or_nothing(world: World, name: str) -> float:
    try:
        return share(world, name)
    except ZeroDivisionError:
        return 0


@query
def itself(world: World) -> int:
    return itself(world)


def put(world: World, **numbers: int | None) -> None:
    world.apply(
        Remove("Number", Key("", name)) if value is None else Upsert("Number", Key("", name), value)
        for name, value in numbers.items()
    )


def test_a_result_is_kept_until_what_it_read_changes() -> None:
    world = World()
    put(world, a=1, b=2)
    assert parity(world, "a") == 1
    before = world.computed
    assert parity(world, "a") == 1
    put(world, b=5)
    assert parity(world, "a") == 1
    assert world.computed == before
    put(world, a=4)
    assert parity(world, "a") == 0


def test_an_equal_result_stops_the_change() -> None:
    world = World()
    put(world, a=1, b=2)
    assert odd_ones(world) == ("a",)
    put(world, a=3)
    before = world.computed
    assert odd_ones(world) == ("a",)
    # the table of all numbers changed, so odd_ones runs; number and parity of a too, those of b do not
    assert world.computed == before + 3


def test_an_equal_object_is_no_change() -> None:
    world = World()
    put(world, a=1)
    assert world.apply([Upsert("Number", Key("", "a"), 1)]) == set()
    assert world.apply([Upsert("Number", Key("", "a"), 2), Upsert("Number", Key("", "a"), 1)]) == set()


def test_a_failure_is_raised_for_each_reader_and_ends_when_its_cause_does() -> None:
    world = World()
    put(world, a=0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            share(world, "a")
    assert share_or_nothing(world, "a") == 0
    put(world, a=4)
    assert share_or_nothing(world, "a") == 0.25


def test_a_failure_that_is_read_often_keeps_no_more_for_it() -> None:
    world = World()
    put(world, a=0)

    def raised() -> int:
        with pytest.raises(ZeroDivisionError) as info:
            share(world, "a")
        return len(info.traceback)

    raised()
    assert len({raised() for _ in range(10)}) == 1


def test_a_query_that_reads_itself_is_told() -> None:
    with pytest.raises(RecursionError, match="reads itself"):
        itself(World())


def test_what_nobody_reads_is_forgotten() -> None:
    world = World()
    world.hold(odd_ones)
    for round_ in range(50):
        put(world, **{f"n{round_}": 1, f"n{round_ - 1}": None})
        assert odd_ones(world) == (f"n{round_}",)
        world.collect()
    # odd_ones, the table, and parity, number and the object of the one that is there
    assert len(world) == 5
    world.release(odd_ones)
    world.collect()
    assert len(world) == 0


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.none() | st.integers(0, 4), st.booleans())))
def test_any_order_of_changes_and_questions_gives_what_a_fresh_world_gives(steps: list) -> None:
    world, objects = World(), {}
    for name, value, ask in steps:
        objects[name] = value
        put(world, **{name: value})
        if ask:
            odd_ones(world)
            share_or_nothing(world, name)
            world.collect()
    fresh = World()
    put(fresh, **objects)
    assert odd_ones(world) == odd_ones(fresh)
    assert [share_or_nothing(world, name) for name in "abcd"] == [share_or_nothing(fresh, name) for name in "abcd"]


def parities(value: int) -> tuple[str, ...]:
    return ("odd" if value % 2 else "even",)


@query
def members(world: World, group: str) -> tuple[int, ...]:
    return world.group("Number", group)


def test_a_change_touches_the_readers_of_its_groups_alone() -> None:
    world = World({"Number": parities})
    put(world, a=1, b=3, c=2)
    assert (members(world, "odd"), members(world, "even")) == ((1, 3), (2,))
    before = world.computed
    put(world, a=5)
    assert (members(world, "odd"), members(world, "even")) == ((5, 3), (2,))
    assert world.computed == before + 1
    put(world, a=4, b=None)
    assert (members(world, "odd"), members(world, "even")) == ((), (4, 2))
