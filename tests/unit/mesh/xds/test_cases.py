"""The cases of tests/cases/mesh through the protocol: the fake Envoy takes all of each, and finds no loose end."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mesh.encode.messages import decode
from mesh.encode.resource import State
from mesh.world.index import new_world
from mesh.world.world import World
from mesh.xds.machine import Machine
from mesh.xds.paths import Paths
from mesh.xds.types import CDS, EDS, LDS, RDS
from tests.unit.mesh.cases import FILES, Case, read, state_of
from tests.unit.mesh.xds.envoy import FakeEnvoy, Pair, state

KEYS = {CDS: "cds", EDS: "eds", LDS: "lds", RDS: "rds"}
# a reference by name: in a table to clusters, in a listener to tables
REFERS = {RDS: "cluster", LDS: "route_config_name"}


def names_under(value: Any, key: str) -> set[str]:
    """Texts that stand under a key, however deep; of weighted clusters, the names."""
    if isinstance(value, list | tuple):
        return {name for one in value for name in names_under(one, key)}
    if not isinstance(value, dict):
        return set()
    found = {name for one in value.values() for name in names_under(one, key)}
    if isinstance(value.get(key), str):
        found.add(value[key])
    if key == "cluster":
        found |= {one["name"] for one in (value.get("weighted_clusters") or {}).get("clusters", ())}
    return found


def plain(world: World, case: Case) -> State:
    """The state as the fake Envoy reads it: names, versions, and what refers to what that is there."""
    real = state_of(world, case.proxy)
    there = {url: set(real[url].names()) for url in KEYS}
    made: dict[str, dict[str, str]] = {}
    for url, key in KEYS.items():
        for name in there[url]:
            resource = real[url].get(name)
            assert resource is not None
            text = resource.version
            if url in REFERS:
                below = there[CDS if url == RDS else RDS]
                named = names_under(decode(url.rpartition("/")[2], resource.body), REFERS[url])
                # a cluster that nobody has is answered with 503; so is Istio's
                assert url == RDS or named <= below, f"{name} asks for {named - below}"
                text += " -> " + " ".join(re.sub(r"\s", "_", one) for one in sorted(named & below))
            made.setdefault(key, {})[name] = text
    # the fake asks for the endpoints of every cluster, of whatever type
    made["eds"] = {name: made.get("eds", {}).get(name, "none") for name in made.get("cds", {})}
    return state(**made)


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "whole"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_case(path: Path, delta: bool) -> None:
    case = read(path)
    pair = Pair(FakeEnvoy(delta=delta), Machine(delta=delta, paths=Paths()))
    pair.envoy.connect()
    # the first half of the objects, then the others: changes as well as a start
    world, events = new_world(), case.events()
    for end in (len(events) // 2, len(events)):
        world.apply(events[:end])
        pair.machine.on_state(plain(world, case))
        pair.until_quiet()
        assert pair.envoy.is_quiet()
    assert not [one for one in pair.outcomes if one.words]
    pair.envoy.log.clear()
    pair.machine.on_state(plain(case.world(), case))
    pair.until_quiet()
    assert pair.envoy.log == [], "the same again, and something was sent"
