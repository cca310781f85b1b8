"""The cases of tests/cases/mesh: what each shows, that Envoy's rules take all of it, the same bytes in any order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.encode import snapshot
from mesh.encode.messages import decode
from mesh.model.kinds import kind_of
from mesh.world.events import Event, Key, Upsert
from mesh.world.index import new_world
from mesh.world.proxy import Proxy
from mesh.world.world import World

FOLDER = Path(__file__).parents[2] / "cases" / "mesh"
CASES = sorted(FOLDER.glob("*.yaml"))
TYPES = {
    "clusters": snapshot.CLUSTERS,
    "endpoints": snapshot.ASSIGNMENTS,
    "listeners": snapshot.LISTENERS,
    "routes": snapshot.TABLES,
}


def read(case: dict[str, Any]) -> tuple[list[Event], list[str]]:
    """The objects as events, and all that is wrong in them."""
    events: list[Event] = []
    problems: list[str] = []
    for thing in case["objects"]:
        kind = kind_of(thing)
        assert kind is not None, thing
        parsed = kind.parse(thing)
        events.append(Upsert(kind.key, Key(parsed.ref.namespace, parsed.ref.name), parsed.value))
        problems += (f"{one.ref} {one.path} {one.code}" for one in parsed.problems)
    return events, problems


def proxy(case: dict[str, Any]) -> Proxy:
    said = {"kind": "sidecar", "namespace": "default", "labels": {"app": "client"}} | case.get("proxy", {})
    kind = "router" if said["kind"] == "router" else "sidecar"
    return Proxy(kind, "me", said["namespace"], ("10.9.9.9",), labels=said["labels"])


def resources(world: World, me: Proxy) -> dict[str, dict[str, bytes]]:
    """All that the proxy is to have, as bytes; nothing was left out."""
    state = snapshot.state_of(world, snapshot.seat_of(world, me))
    refused = [
        one for node in world._nodes.values() if isinstance(node.value, snapshot.Unit) for one in node.value.problems
    ]
    assert refused == []
    return {
        name: {one: found.body for one in state[type_url].names() if (found := state[type_url].get(one))}
        for name, type_url in TYPES.items()
    }


def at(made: dict[str, dict[str, Any]], path: str) -> Any:
    """What stands at a path: kind / resource / fields; of a table, virtual host / route / fields."""
    kind, name, *steps = path.split("/")
    found = made[kind].get(name)
    if kind == "routes" and found is not None and steps:
        host = next((one for one in found["virtual_hosts"] if one["name"] == steps[0]), None)
        found, steps = (host or {}).get("routes") if len(steps) > 1 else host, steps[1:]
    for step in steps:
        if isinstance(found, list | tuple):
            found = found[int(step)] if int(step) < len(found) else None
        elif found is not None:
            found = found.get(step)
    return found


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_case(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# "), "a case begins with a sentence that says what it shows"
    case = yaml.safe_load(text)
    assert case["show"]
    events, problems = read(case)
    assert problems == case.get("problems", [])
    me = proxy(case)
    world = new_world()
    world.apply(events)
    made = resources(world, me)
    kinds = {name: type_url.rpartition("/")[2] for name, type_url in TYPES.items()}
    told = {name: {one: decode(kinds[name], body) for one, body in mine.items()} for name, mine in made.items()}
    for where, expected in case["show"].items():
        assert at(told, where) == expected, where
    # one by one and the last first, asked for after each: the same bytes
    slow = new_world()
    for event in reversed(events):
        slow.apply([event])
        resources(slow, me)
    assert resources(slow, me) == made


def test_there_are_cases() -> None:
    assert CASES
