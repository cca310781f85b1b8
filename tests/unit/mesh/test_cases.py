"""The cases of tests/cases/mesh: what each shows, that Envoy's rules take all of it, the same bytes in any order.

UPDATE_GOLDEN=1 writes `show` (what stands at the paths that are there) and `problems`; never `requests`.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.encode import snapshot
from mesh.encode.messages import decode
from mesh.world.index import new_world
from mesh.world.proxy import Proxy
from mesh.world.world import World
from tests.unit.mesh.cases import FILES, Case, read, state_of, told

TYPES = {
    "clusters": snapshot.CLUSTERS,
    "endpoints": snapshot.ASSIGNMENTS,
    "listeners": snapshot.LISTENERS,
    "routes": snapshot.TABLES,
}
SECTION = r"(?ms)^{}:.*?(?=^[a-z]|\Z)"


def resources(world: World, me: Proxy) -> dict[str, dict[str, bytes]]:
    """All that the proxy is to have, as bytes; nothing was left out."""
    state = state_of(world, me)
    refused = [
        one for node in world.nodes.values() if isinstance(node.value, snapshot.Unit) for one in node.value.problems
    ]
    assert refused == []
    return {
        name: {one: found.body for one in state[type_url].names() if (found := state[type_url].get(one))}
        for name, type_url in TYPES.items()
    }


def plain(value: Any) -> Any:
    """As YAML has it."""
    return json.loads(json.dumps(value))


def at(made: dict[str, dict[str, Any]], path: str) -> Any:
    """What stands at a path: kind / resource / fields; of a table, virtual host / number of the route / fields."""
    kind, name, *steps = path.split("/")
    found = made[kind].get(name)
    if kind == "routes" and found is not None and steps:
        host = next((one for one in found["virtual_hosts"] if one["name"] == steps[0]), None)
        steps = steps[1:]
        found = (host or {}).get("routes") if steps and steps[0].isdecimal() else host
    for step in steps:
        if isinstance(found, list | tuple):
            found = found[int(step)] if int(step) < len(found) else None
        elif found is not None:
            found = found.get(step)
    return found


def write(case: Case, wrong: list[str], shown: dict[str, Any]) -> None:
    """Puts in the file what is so now."""

    def flow(value: Any) -> str:
        return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()

    text = case.path.read_text()
    for key in ("problems", "show"):
        text = re.sub(SECTION.format(key), "", text)
    before, requests = text, ""
    if found := re.search(SECTION.format("requests"), text):
        before, requests = text[: found.start()], text[found.start() :]
    lines = ["problems:", *(f"  - {one}" for one in wrong)] if wrong else []
    lines += ["show:", *(f"  {flow(path)}: {flow(value)}" for path, value in shown.items())]
    case.path.write_text(before.rstrip("\n") + "\n" + "\n".join(lines) + "\n" + requests)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_case(path: Path) -> None:
    case = read(path)
    assert case.said["show"]
    world, me = case.world(), case.proxy
    made = resources(world, me)
    kinds = {name: type_url.rpartition("/")[2] for name, type_url in TYPES.items()}
    dicts = {name: {one: plain(decode(kinds[name], body)) for one, body in mine.items()} for name, mine in made.items()}
    shown = {where: at(dicts, where) for where in case.said["show"]}
    wrong = told(world)
    if os.environ.get("UPDATE_GOLDEN") and (shown != case.said["show"] or wrong != case.said.get("problems", [])):
        write(case, wrong, shown)
        case = read(path)
    assert wrong == case.said.get("problems", [])
    for where, expected in case.said["show"].items():
        assert shown[where] == expected, where
    # one by one and the last first, asked for after each: the same bytes
    slow = new_world()
    for event in reversed(case.events()):
        slow.apply([event])
        resources(slow, me)
    assert resources(slow, me) == made


def test_there_are_cases_of_each_area() -> None:
    areas = {path.stem.partition("-")[0] for path in FILES}
    assert areas == {"svc", "vs", "dr", "se", "sidecar", "gateway", "gapi"}


def test_updating_writes_what_is_so_and_leaves_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "vs-a.yaml"
    kept = "# What it shows.\nservices: {a: {address: 10.96.0.1, ports: {http: 80}}}\n"
    path.write_text(f"{kept}problems:\n  - old\nshow:\n  routes/80: 1\nrequests:\n  - send: {{to: 10.96.0.1:80}}\n")
    write(read(path), ["VirtualService default/a spec shadowed"], {"routes/80": {"b": [None, "1s"]}})
    assert path.read_text() == (
        f"{kept}problems:\n  - VirtualService default/a spec shadowed\nshow:\n  routes/80: {{b: [null, 1s]}}\n"
        "requests:\n  - send: {to: 10.96.0.1:80}\n"
    )
