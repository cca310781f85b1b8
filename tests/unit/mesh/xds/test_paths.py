"""Streams of a class that are equally far share their position, as long as nothing tells them apart."""

import weakref

import pytest

from mesh.xds.machine import Machine
from mesh.xds.paths import Paths
from mesh.xds.position import Position
from mesh.xds.types import RDS
from tests.unit.mesh.xds.envoy import FakeEnvoy, Pair, state

WORLD = {"cds": {"a": "1"}, "eds": {"a": "10.0.0.1"}, "lds": {"in": "1 -> 80"}, "rds": {"80": "1 -> a"}}
VARIANTS = pytest.mark.parametrize("delta", [True, False], ids=["delta", "whole"])


def pairs(count, paths, delta=True, **envoy):
    made = [Pair(FakeEnvoy(delta=delta, **envoy), Machine(delta=delta, paths=paths)) for _ in range(count)]
    for one in made:
        one.envoy.connect()
    return made


def change(made, **world):
    told = state(**world)
    for one in made:
        one.machine.on_state(told)
        one.until_quiet()


@VARIANTS
def test_what_many_streams_do_alike_is_done_once(delta, monkeypatch):
    paths, advanced, advance = Paths(), [], Position.advance
    monkeypatch.setattr(Position, "advance", lambda self, patient: advanced.append(self) or advance(self, patient))

    def cost(streams, *worlds):
        advanced.clear()
        for world in worlds:
            change(streams, **world)
        return len(advanced)

    first = pairs(1, paths, delta)
    alone = cost(first, WORLD)
    streams = pairs(20, Paths(), delta)
    assert cost(streams, WORLD) == alone
    assert len({id(one.machine.position) for one in streams}) == 1
    assert cost(streams, WORLD | {"eds": {"a": "10.0.0.2"}}) < 10
    assert all(one.envoy.accepted["type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"]["a"]
               == "a: 10.0.0.2" for one in streams)  # fmt: skip


def test_streams_that_came_at_different_times_meet_where_all_is_done():
    paths = Paths()
    old = pairs(1, paths)
    for number in range(3):
        change(old, **WORLD | {"eds": {"a": f"10.0.0.{number}"}})
    told, new = old[0].machine.position.state, pairs(1, paths)
    new[0].machine.on_state(told)
    new[0].until_quiet()
    assert new[0].machine.position is old[0].machine.position


def test_who_refuses_goes_alone_until_that_is_mended():
    paths = Paths()
    streams = [*pairs(2, paths), *pairs(1, paths, refuses={"bad"})]
    change(streams, **WORLD)
    change(streams, **WORLD | {"rds": {"80": "bad -> a"}})
    good, other, odd = (one.machine.position for one in streams)
    assert good is other is not odd
    assert not odd.is_shared
    assert [one.envoy.accepted[RDS]["80"] for one in streams] == ["80: bad -> a"] * 2 + ["80: 1 -> a"]
    change(streams, **WORLD | {"rds": {"80": "3 -> a"}})
    assert len({id(one.machine.position) for one in streams}) == 1


def test_where_streams_have_been_is_forgotten():
    paths, been = Paths(), []
    streams = pairs(3, paths)
    for number in range(20):
        change(streams, **WORLD | {"eds": {"a": f"10.0.0.{number}"}})
        been.append(weakref.ref(streams[0].machine.position))
        paths.turn()
    paths.turn()
    assert [number for number, one in enumerate(been) if one() is not None] == [19]
