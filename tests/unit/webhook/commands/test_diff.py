"""`pyinject diff`: what changes, and where it comes from."""

import subprocess
from pathlib import Path

import pytest

from webhook.commands.cli import run

INPUTS = Path(__file__).parent.parent / "inputs"


def diff(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["diff", *arguments]) == 1
    return capsys.readouterr().out


@pytest.mark.parametrize("name", ["deployment", "list", "cronjob"])
def test_it_is_a_patch_that_makes_the_injected_file(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = tmp_path / "a.yaml", tmp_path / "b.yaml"
    before.write_text((INPUTS / f"{name}.yaml").read_text())
    patch = diff(capsys, "-f", str(before), "--no-sources")
    assert run(["kube-inject", "-f", str(before), "-o", str(after)]) == 0
    subprocess.run(["patch", "-s", str(before)], input=patch.encode(), check=True)
    assert before.read_bytes() == after.read_bytes()


def test_lines_name_the_annotation_or_setting_they_come_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("profile: standalone\nglobal:\n  hub: example.com/mesh\n")
    out = diff(capsys, "-f", str(INPUTS / "customised.yaml"), "--valuesFile", str(values))
    lines = out.splitlines()
    assert "+    - debug  ◂ annotation sidecar.istio.io/logLevel=debug" in lines
    images = [line for line in lines if "image: example.com/mesh/" in line]
    assert len(images) == 2
    assert all(line.endswith("◂ values global.hub=example.com/mesh") for line in images)


def test_colours_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    assert "\x1b[32m+" in diff(capsys, "-f", str(INPUTS / "knative.yaml"), "--color=always")
    assert "\x1b" not in diff(capsys, "-f", str(INPUTS / "knative.yaml"))


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = tmp_path / "same.yaml"
    same.write_text("kind: Service\n")
    assert run(["diff", "-f", str(same)]) == 0
    assert capsys.readouterr().out == ""
    same.write_text("kind: [\n")
    assert run(["diff", "-f", str(same)]) == 2
    assert f"{same}:2: no YAML" in capsys.readouterr().err
