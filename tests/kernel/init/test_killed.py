"""SIGKILL at every step that changes the system: the state is as before, or as asked; never between.

The process under test counts its changes (programs that write, netlink messages that write) and kills itself before or
after the one that it is told. When its guardian is gone as well, as with a whole container, the next run completes.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.init.namespace import EVERYTHING, PLAIN, Namespace, State, namespace
from tests.kernel.init.test_refused import in_place_of

# argv: when ("before", "after", "never"), which change, whether a guardian may be, then pyinit's own.
DRIVER = """
import os, signal, sys
from init import cli, netlink, process, transaction

when, which, guarded, *argv = sys.argv[1:]
changes, process_under_test = 0, os.getpid()  # its guardian counts for itself, and lives

def counted(real, writes):
    def call(*given):
        global changes
        if not writes(*given):
            return real(*given)
        changes += 1
        mine = changes == int(which) and os.getpid() == process_under_test
        if mine and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*given)
        if mine and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call

class NoGuardian:
    def __init__(self, steps): pass
    def tell(self, what): pass
    def release(self): pass

# of rtnetlink's messages, those that only read (RTM_GET…) have a number that is 2 modulo 4
netlink.talk = counted(netlink.talk, lambda family, message, *_: family == 0 and message % 4 != 2)
process.run = counted(process.run, lambda argv, *_: argv[0].endswith("-restore") or "-f" in argv)
if guarded == "alone":
    transaction.Guardian = NoGuardian
status = cli.run(argv, os.environ)
print(changes)
sys.exit(status)
"""


def killed(there: Namespace, when: str, which: int, guarded: str, *argv: str) -> int:
    """Run pyinit under the driver, and wait for its guardian; the number of changes, or minus the signal."""
    done = there.run("python3", "-c", DRIVER, when, str(which), guarded, *argv, check=False)
    assert done.returncode in (0, -9, 137), done.stderr
    return int(done.stdout) if done.returncode == 0 else -9


def changes(there: Namespace, *argv: str) -> int:
    """How many changes a run makes."""
    return killed(there, "never", 0, "guarded", *argv)


FOREIGN = ["-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", "9999", "-j", "ACCEPT"]
FIRST = [*PLAIN, "--dual-stack", "-c", "net2"]
# A run that is killed, and what was run before it.
RUNS = {
    "apply": ([], EVERYTHING),
    "reconcile": (FIRST, [*EVERYTHING, "--reconcile", "--prune"]),
    "reconcile-back": (EVERYTHING, [*FIRST, "--reconcile", "--prune"]),
    "cleanup": (EVERYTHING, ["--cleanup-only"]),
}


# The steps of the legacy variant differ in that one restore is several: two runs show it.
VARIED = [("nft", name) for name in RUNS] + [("legacy", "apply"), ("legacy", "reconcile")]


@pytest.fixture(params=VARIED, ids="-".join)
def run(request: pytest.FixtureRequest) -> Iterator[tuple[Namespace, list[str], list[str], State]]:
    """A namespace, what was run in it before, what is to be run, and the state that this ends in."""
    variant, name = request.param
    first, second = RUNS[name]
    first = [f"--force-iptables-binary={variant}", *first] if first else []
    second = [f"--force-iptables-binary={variant}", *second]
    with namespace("10.244.0.5/24", "2001:db8:1::5/64") as there:
        prepare(there, variant, first)
        there.must(*second)
        done = there.state()
    with namespace("10.244.0.5/24", "2001:db8:1::5/64") as there:
        prepare(there, variant, first)
        yield there, first, second, done


def prepare(there: Namespace, variant: str, first: list[str]) -> None:
    there.run(f"iptables-{variant}", *FOREIGN)
    if first:
        there.must(*first)


def kills() -> Iterator[tuple[str, int]]:
    """Before the first change, and after each."""
    yield "before", 1
    yield from (("after", which) for which in itertools.count(1))


def test_killed_at_each_step_all_is_as_before(run: tuple[Namespace, list[str], list[str], State]) -> None:
    there, _, second, done = run
    before = there.state()
    for when, which in kills():
        status = killed(there, when, which, "guarded", *second)
        if status != -9:
            break
        assert there.state() == before, f"killed {when} change {which}"
    assert which == status + 1 > 5
    assert there.state() == done


def test_killed_with_the_guardian_the_next_run_completes(
    run: tuple[Namespace, list[str], list[str], State],
) -> None:
    there, first, second, done = run
    status = -9
    for when, which in kills():
        status = killed(there, when, which, "alone", *second)
        if status != -9:
            break
        there.must(*second)
        assert there.state() == done, f"killed {when} change {which}"
        there.must(*([*first, "--reconcile", "--prune"] if first else ["--cleanup-only"]))
    assert which == status + 1 > 5


@pytest.mark.parametrize("program", ["iptables-nft-restore", "ip6tables-nft-restore"])
def test_a_restore_that_outlives_its_killed_parent_is_taken_back(dual: Namespace, tmp_path: Path, program: str) -> None:
    before = dual.state()
    script = 'kill -9 $PPID; sleep 0.2; exec "$real" "$@"'
    once = f'[ -e {tmp_path}/once ] && exec "$real" "$@"; touch {tmp_path}/once; {script}'
    killed_run = dual.pyinit(*EVERYTHING, env=in_place_of(tmp_path, program, once))
    assert killed_run.returncode in (-9, 137)
    assert dual.state() == before


def test_the_plain_case_is_one_step_that_the_kernel_does_whole(pod: Namespace) -> None:
    before = pod.state()
    assert killed(pod, "before", 1, "alone", *PLAIN) == -9
    assert pod.state() == before
    assert killed(pod, "after", 1, "alone", *PLAIN) == -9
    whole = pod.state()
    assert changes(pod, *PLAIN) == 0
    assert pod.state() == whole != before


def test_terminated_is_as_killed(dual: Namespace, tmp_path: Path) -> None:
    before = dual.state()
    script = f'[ -e {tmp_path}/once ] && exec "$real" "$@"; touch {tmp_path}/once; kill -TERM $PPID; exec "$real" "$@"'
    dual.pyinit(*EVERYTHING, env=in_place_of(tmp_path, "ip6tables-nft-restore", script))
    assert dual.state() == before
    assert (tmp_path / "once").exists()
