"""How the demo reports: every claim, broken ones too, to people and as data, and in the exit code."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from demo import cli, scenario
from demo.errors import DemoError
from demo.pod import expand
from demo.story import Story, Table, Text
from demo.tellers import Json, Terminal


def tell(story: Story, _folder: Path) -> None:
    story.step("first", "A step", "What happens in it.")
    story.show(Table("rules", "The rules:", ("rule", "seen"), [("-j RETURN", "7")]))
    story.show(Text("command", "The command:", ["pyinit -i '*'"]))
    story.claim("good", True, "This holds", "evidence one")
    story.claim("bad", False, "This does not", "evidence two")


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(scenario, "needs", lambda: "")
    monkeypatch.setattr(cli, "INTERRUPTS", ())
    monkeypatch.setattr(scenario, "tell", tell)
    return monkeypatch


def test_terminal_without_colours() -> None:
    out = io.StringIO()
    story = Story(Terminal(out))
    tell(story, Path())
    story.end(1.25)
    text = out.getvalue()
    for part in (" 1  A step", "-j RETURN", "pyinit -i '*'", "✔ This holds", "evidence one", "✘ This does not"):
        assert part in text
    assert "1 of 2 claims do not hold. It took 1.2 s" in text
    assert "\x1b" not in text


def test_json() -> None:
    out = io.StringIO()
    story = Story(Json(out))
    tell(story, Path())
    assert out.getvalue() == ""
    story.end(1.25)
    told = json.loads(out.getvalue())
    (step,) = told["steps"]
    assert (told["ok"], told["seconds"]) == (False, 1.25)
    assert step["claims"]["bad"] == {"holds": False, "text": "This does not", "evidence": "evidence two"}
    assert step["shown"] == {"rules": [{"rule": "-j RETURN", "seen": "7"}], "command": ["pyinit -i '*'"]}


def test_exit_codes(as_root: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--json"]) == 1
    as_root.setattr(scenario, "tell", lambda _story, _folder: None)
    assert cli.run(["--json"]) == 0

    def fail(_story: Story, _folder: Path) -> None:
        raise DemoError("no Envoy here")

    as_root.setattr(scenario, "tell", fail)
    assert cli.run(["--json"]) == 2
    assert capsys.readouterr().err == "demo: no Envoy here\n"


def test_without_root(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert cli.run([]) == 2
    assert "sudo make demo" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [("$(A)", "1"), ("$$(A)", "$(A)"), ("$(B)", "$(B)"), ("$A $", "$A $"), ("$$$(A)", "$1"), ("", "")],
)
def test_variables_as_kubelet_expands_them(text: str, expected: str) -> None:
    assert expand(text, {"A": "1"}) == expected


@pytest.mark.parametrize(
    ("pointer", "words"),
    [
        ("/spec/containers/0/image", "spec.containers[0].image"),
        ("/metadata/annotations/a.b~1c~0d", "annotation a.b/c~d"),
        ("/spec/volumes", "spec.volumes"),
    ],
)
def test_pointers_in_words(pointer: str, words: str) -> None:
    assert scenario.where(pointer) == words
