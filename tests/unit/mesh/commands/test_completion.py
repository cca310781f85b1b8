"""`pymesh completion`: scripts that shells take."""

import shutil
import subprocess

import pytest

from mesh.cli import run


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_it_knows_commands_and_flags(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(word in script for word in ("bootstrap", "xds-address"))
    if shutil.which(shell):
        subprocess.run([shell, "-n", "/dev/stdin"], input=script.encode(), check=True)
