"""Completion scripts in the shells themselves: a line is typed with tabs, and the shell says what became of it."""

import os
import pty
import select
import shutil
import subprocess
from pathlib import Path
from time import monotonic

import pytest

from init.completion import script
from init.config import SETTINGS

SHELLS = {
    "bash": (["bash", "--norc", "-i"], "source {file}"),
    "zsh": (["zsh", "-f", "-i"], "autoload -Uz compinit; compinit -u -D; unsetopt prompt_cr; source {file}"),
}
LINES = [
    ("--native\t", "--native-nftables"),
    ("--format=ta\t", "--format=table"),
    ("--backend=pyth\t", "--backend=python-iptables"),
    ("-m TP\t", "-m TPROXY"),
    ("-c l\t", "-c lo"),
    ("--network-namespace=/proc/self/ns/ne\t", "--network-namespace=/proc/self/ns/net"),
]
PATIENCE = 30.0


def need(shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed: scripts/setup {shell}")


def typed(shell: str, tmp_path: Path, lines: list[str]) -> str:
    """What the shell says when these are typed, with a pyinit that repeats its arguments."""
    need(shell)
    file = tmp_path / "completion"
    file.write_text(script(shell))
    command, prepare = SHELLS[shell]
    child, terminal = pty.fork()
    if not child:
        os.execvpe(command[0], command, {**os.environ, "TERM": "dumb", "HOME": str(tmp_path), "PS1": "$ "})
    said = ""
    # Each line is typed when the one before it has been answered, for a shell reads its terminal anew at each prompt.
    say = 'pyinit() { echo "("ran: $*")"; }; echo rea\'\'dy'
    steps = [(f"{prepare.format(file=file)}; {say}\r", "ready"), *((f"pyinit {line}\r", "(ran:") for line in lines)]
    try:
        for line, answer in steps:
            count, end = said.count(answer), monotonic() + PATIENCE
            os.write(terminal, line.encode())
            while said.count(answer) == count and monotonic() < end:
                if select.select([terminal], [], [], 0.1)[0]:
                    said += os.read(terminal, 65536).decode(errors="replace")
        os.write(terminal, b"exit\r")
    finally:
        os.close(terminal)
        os.waitpid(child, 0)
    return said


@pytest.mark.parametrize("shell", SHELLS)
def test_what_is_typed_is_completed(shell: str, tmp_path: Path) -> None:
    said = typed(shell, tmp_path, [line for line, _ in LINES])
    ran = [line.partition("(ran: ")[2].rstrip(")").strip() for line in said.splitlines() if "(ran: " in line]
    assert ran == [completed for _, completed in LINES], said


def in_fish(tmp_path: Path, line: str) -> list[str]:
    """What fish offers for a line."""
    need("fish")
    file = tmp_path / "pyinit.fish"
    file.write_text(script("fish"))
    command = ["fish", "--no-config", "-c", f"source {file}; complete -C {line!r}"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "HOME": str(tmp_path)}
    )
    assert done.stderr == ""
    return [offer.partition("\t")[0] for offer in done.stdout.splitlines()]


def test_fish_offers_every_flag_and_value(tmp_path: Path) -> None:
    assert {f"--{spec.flag}" for spec in SETTINGS.values()} <= set(in_fish(tmp_path, "pyinit --"))
    assert in_fish(tmp_path, "pyinit -m ") == ["REDIRECT", "TPROXY"]
    assert "lo" in in_fish(tmp_path, "pyinit -c ")
    assert in_fish(tmp_path, "pyinit --network-namespace /proc/self/ns/ne") == ["/proc/self/ns/net"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_flag_and_word_is_in_the_script(shell: str) -> None:
    text = script(shell)
    for spec in SETTINGS.values():
        assert (f"-l {spec.flag} " if shell == "fish" else f"--{spec.flag}") in text
        assert " ".join(spec.kind.words) in text
