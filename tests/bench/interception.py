"""pyinit against its floor: a bare interpreter, one save and one restore of the same rules, as three processes.

Each measurement starts in a network namespace that was made for it. Times are of whole processes, from start to exit.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bench.errors import BenchError
from tests.bench.report import Section, Table

ROOT = Path(__file__).parents[2]
# The interpreter itself: what a shim or a virtual environment puts before it would be measured too.
PYTHON = os.path.realpath(sys.executable)
LEAN = (PYTHON, "-I", "-S")
# As the init image runs it, only that the package lies here.
PYINIT = (*LEAN, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); from init.__main__ import main; main()")
PLAIN = ("-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-b", "*", "-d", "15090,15021,15020")
_CLONE_NEWNET = 0x40000000  # sched.h; os.unshare and os.setns are there from Python 3.12 on


def run(rounds: int) -> Section:
    """The plain case applied once and again, its memory, and how its time grows with what it is asked to exclude."""
    section = Section()
    apply, again = _plain(section, rounds)
    section.tables.append(
        Table(
            "pyinit, plain case (median of rounds)",
            ("", "time", "floors"),
            [
                ("bare interpreter, save, restore", f"{section.figures['init.floor_ms']:.1f} ms", "1.00"),
                ("pyinit", f"{section.figures['init.apply_ms']:.1f} ms", f"{apply:.2f}"),
                ("pyinit again", f"{section.figures['init.again_ms']:.1f} ms", f"{again:.2f}"),
                ("peak memory", f"{section.figures['init.rss_mib']:.1f} MiB", ""),
            ],
        )
    )
    section.tables.append(_growth(section, max(3, rounds // 4)))
    return section


def _plain(section: Section, rounds: int) -> tuple[float, float]:
    with _rules(PLAIN) as rules:
        floors, applies, agains = [], [], []
        for _ in range(rounds):
            floors.append(_floor(rules))
            with _namespace():
                applies.append(_seconds(*PYINIT, *PLAIN))
                agains.append(_seconds(*PYINIT, *PLAIN))
    apply, again = _ratio(applies, floors), _ratio(agains, floors)
    section.figures |= {
        "init.floor_ms": statistics.median(floors) * 1000,
        "init.apply_ms": statistics.median(applies) * 1000,
        "init.again_ms": statistics.median(agains) * 1000,
        "init.apply.ratio": apply,
        "init.again.ratio": again,
        "init.rss_mib": _peak_mib(*PYINIT, *PLAIN),
    }
    return apply, again


def _growth(section: Section, rounds: int) -> Table:
    rows = []
    for what, flag, items in (
        ("excluded CIDRs", "-x", [f"10.{n // 256}.{n % 256}.0/24" for n in range(1000)]),
        ("excluded ports", "-o", [str(20000 + n) for n in range(1000)]),
    ):
        for count in (10, 100, 1000):
            arguments = [*PLAIN, flag, ",".join(items[:count])]
            with _rules(arguments) as rules:
                floors, applies = [], []
                for _ in range(rounds):
                    floors.append(_floor(rules))
                    with _namespace():
                        applies.append(_seconds(*PYINIT, *arguments))
            key = f"init.{what.split()[1].lower()}{count}"
            milliseconds, ratio = statistics.median(applies) * 1000, _ratio(applies, floors)
            section.figures |= {f"{key}_ms": milliseconds, f"{key}.ratio": ratio}
            rows.append((f"{count:,} {what}", f"{milliseconds:.1f} ms", f"{ratio:.2f}"))
    return Table("pyinit as its rules grow (floors: with the same rules)", ("", "time", "floors"), rows)


def _ratio(measured: Sequence[float], floors: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(measured, floors, strict=True))


def _floor(rules: Path) -> float:
    with _namespace():
        interpreter = _seconds(*LEAN, "-c", "pass")
        save = _seconds(_tool("iptables-nft-save"))
        return interpreter + save + _seconds(_tool("iptables-nft-restore"), "--noflush", str(rules))


@contextmanager
def _rules(arguments: Sequence[str]) -> Iterator[Path]:
    """A file with the rules that pyinit makes for these arguments, as iptables-restore reads it.

    Policies of built-in chains are left out: the kernel takes some 10 ms to set all four, and they are not pyinit's.
    """
    with _namespace():
        _seconds(*PYINIT, *arguments)
        saved = subprocess.run([_tool("iptables-nft-save")], stdout=subprocess.PIPE, text=True, check=True).stdout
    lines = [line for line in saved.splitlines() if line[:1] != "#" and not (line[:1] == ":" and " - " not in line)]
    with tempfile.NamedTemporaryFile("w", suffix=".rules") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        yield Path(file.name)


def _seconds(*command: str) -> float:
    """The time a process takes, from its start to its end; BenchError where it fails."""
    with tempfile.TemporaryFile() as output:
        actions = [(os.POSIX_SPAWN_DUP2, output.fileno(), 1), (os.POSIX_SPAWN_DUP2, output.fileno(), 2)]
        start = time.perf_counter()
        pid = os.posix_spawn(command[0], command, {"PATH": os.environ["PATH"]}, file_actions=actions)
        _, status = os.waitpid(pid, 0)
        elapsed = time.perf_counter() - start
        if status:
            output.seek(0)
            said = output.read().decode(errors="replace").strip()
            raise BenchError(f"{' '.join(command)}: exit status {os.waitstatus_to_exitcode(status)}: {said}")
    return elapsed


# A process inherits the peak of the one that spawns it (getrusage(2)): a bare interpreter, smaller than all others.
_MEASURE = """
import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
print(os.wait4(pid, 0)[2].ru_maxrss)
"""


def _peak_mib(*command: str) -> float:
    """The most memory that the process, or any that it started, held at a time (resident set, MiB)."""
    with _namespace():
        result = subprocess.run([*LEAN, "-c", _MEASURE, *command], capture_output=True, text=True, check=True)
    return int(result.stdout) / 1024


@contextmanager
def _namespace() -> Iterator[None]:
    """A fresh network namespace for this process and what it starts; its lo is up and has an address."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/self/ns/net").open("rb") as home:
        if libc.unshare(_CLONE_NEWNET):
            raise BenchError(f"network namespaces need root: {os.strerror(ctypes.get_errno())}")
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            subprocess.run(["ip", "addr", "add", "10.244.0.5/32", "dev", "lo"], check=True)
            yield
        finally:
            libc.setns(home.fileno(), _CLONE_NEWNET)


def _tool(name: str) -> str:
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if path is None:
        raise BenchError(f"{name} is not installed")
    return path
