"""The pages of docs/tasks, run as they stand: their YAML is the objects, their commands must print what is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path

import pytest
import yaml

from tests.kernel.mesh.rig import POD_IP, Object, Rig, started

PAGES = Path(__file__).parents[3] / "docs" / "tasks"
BLOCK = re.compile(r"(?:<!-- (?P<note>[^\n]*) -->\n)?```(?P<kind>yaml|console)\n(?P<text>.*?)\n```", re.DOTALL)
FILE = re.compile(r"# objects/([a-z-]+)\.yaml\n")
NUMBER = re.compile(r"\d+")
GATEWAY: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "gateway",
        "namespace": "istio-system",
        "labels": {"istio": "ingressgateway", "gateway.networking.k8s.io/gateway-name": "bookinfo"},
    },
    "status": {"podIP": POD_IP},
}


def blocks(page: str) -> list[tuple[str, str, str]]:
    """(note, kind, text) of each block that is run."""
    found = [(one["note"] or "", one["kind"], one["text"]) for one in BLOCK.finditer((PAGES / page).read_text())]
    assert found, f"{page} has nothing to run"
    return found


def base() -> list[Object]:
    [(_, _, text)] = blocks("README.md")
    return list(yaml.safe_load_all(text))


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with started(tmp_path_factory.mktemp("tasks"), base()) as rig:
        yield rig


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    things = [*base(), GATEWAY]
    with started(tmp_path_factory.mktemp("tasks"), things, kind="router", proxy=("gateway", "istio-system")) as rig:
        yield rig


def is_as_shown(printed: str, shown: str, within: int) -> bool:
    """Line by line; `…` stands for anything in a line, and numbers may be `within` off."""
    lines, wanted = printed.rstrip().splitlines(), shown.rstrip().splitlines()
    if len(lines) != len(wanted):
        return False
    for line, want in zip(lines, wanted, strict=True):
        if within:
            numbers, near = NUMBER.findall(line), NUMBER.findall(want)
            apart = [abs(int(one) - int(other)) for one, other in zip(numbers, near, strict=False)]
            if len(numbers) != len(near) or max(apart, default=0) > within:
                return False
            line, want = NUMBER.sub("0", " ".join(line.split())), NUMBER.sub("0", " ".join(want.split()))
        if not re.fullmatch(".*".join(map(re.escape, want.split("…"))), line.rstrip()):
            return False
    return True


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block, with what it is shown to print."""
    assert text.startswith("$ "), text
    for one in text.removeprefix("$ ").split("\n$ "):
        command, _, shown = one.partition("\n")
        while command.endswith("\\"):
            more, _, shown = shown.partition("\n")
            command = command[:-1] + more.removeprefix("> ")
        yield command, shown


@pytest.mark.parametrize("page", sorted(file.name for file in PAGES.glob("*.md") if file.name != "README.md"))
def test_a_page(page: str, request: pytest.FixtureRequest) -> None:
    text = (PAGES / page).read_text()
    rig: Rig = request.getfixturevalue("gateway" if "<!-- at a gateway -->" in text else "sidecar")
    rig.replace([*base(), GATEWAY] if rig.kind == "router" else base())
    hosts = dict(line.split(" ", 1) for line in re.findall(r"<!-- host: ([^\n]*) -->", text))
    rig.workloads.names |= hosts
    rig.resolve(hosts)
    rig.serve(80)
    rig.settle()
    rig.workloads.arrived.clear()
    ran = 0
    for note, kind, block in blocks(page):
        if kind == "yaml":
            name = FILE.match(block)
            assert name, f"{page}: a YAML block begins with the file's name: # objects/NAME.yaml"
            rig.write(name[1], block + "\n")
            rig.resolve(hosts)
            rig.settle()
            continue
        within = int(note.removeprefix("within ")) if note.startswith("within ") else 0
        for command, shown in commands(block):
            ran += 1
            printed = rig.shell(command)
            diff = "\n".join(unified_diff(shown.splitlines(), printed.splitlines(), "shown", "printed", lineterm=""))
            assert is_as_shown(printed, shown, within), f"{page}: $ {command}\n{diff}\n{rig.log()[-1500:]}"
    assert ran


def test_the_list_of_pages_has_all_of_them() -> None:
    text = (PAGES / "README.md").read_text()
    assert sorted(re.findall(r"\]\(([a-z-]+\.md)\)", text)) == sorted(
        file.name for file in PAGES.glob("*.md") if file.name != "README.md"
    )
