"""What every backend does alike: clean up, see drift, swap, work from outside the pod."""

import sys

import pytest

from tests.kernel.init.namespace import EVERYTHING, PLAIN, PYINIT, Namespace
from tests.kernel.init.test_killed import killed, kills
from tests.kernel.init.world import Packet, World

FOREIGN = """
table inet somebody {
	chain input {
		type filter hook input priority filter; policy accept;
		tcp dport 22 accept comment "not ours"
	}
}
"""


@pytest.fixture
def inhabited(dual: Namespace, backend: str) -> Namespace:
    """A pod with rules of others in the same tables, and in tables of their own."""
    programs = [] if "nftables" in backend else ["iptables", "ip6tables"]
    variant = "nft" if "=nft" in backend else "legacy"
    for program in programs:
        for chain in ("PREROUTING", "OUTPUT"):
            rule = ["-p", "tcp", "--dport", "9999", "-m", "comment", "--comment", "not ours", "-j", "ACCEPT"]
            dual.run(f"{program}-{variant}", "-t", "nat", "-A", chain, *rule)
    dual.run("nft", FOREIGN)
    return dual


def everything(there: Namespace) -> dict[str, list[str]]:
    """The namespace's state, with all of nf_tables."""
    listing = [line for line in there.run("nft", "list", "ruleset").stdout.splitlines() if "counter" not in line]
    chains = [line for line in listing if line.strip() and "type " not in line]
    return there.state() | {"nft": without_empty_tables(chains)}


def without_empty_tables(lines: list[str]) -> list[str]:
    """A listing without the tables of iptables-nft, which `state` has, and which stay when they are empty."""
    kept, mine = [], True
    for line in lines:
        if line.startswith("table "):
            mine = line.split()[2] not in ("raw", "mangle", "nat", "filter")
        if mine:
            kept.append(line)
    return kept


@pytest.mark.parametrize("mode", ["REDIRECT", "TPROXY"])
def test_clean_up_gives_the_state_before(inhabited: Namespace, backend: str, mode: str) -> None:
    before = everything(inhabited)
    inhabited.must(*EVERYTHING, "-m", mode, backend)
    assert everything(inhabited) != before
    inhabited.must("--cleanup-only", backend)
    assert everything(inhabited) == before


def test_the_second_run_writes_nothing(inhabited: Namespace, backend: str) -> None:
    inhabited.must(*EVERYTHING, backend)
    before = inhabited.run("nft", "-a", "-s", "list", "ruleset").stdout  # with handles: a rule written anew has another
    assert "all is there already" in inhabited.must(*EVERYTHING, backend)
    assert inhabited.run("nft", "-a", "-s", "list", "ruleset").stdout == before


def test_another_configuration_is_refused_and_changes_nothing(inhabited: Namespace, backend: str) -> None:
    inhabited.must(*PLAIN, backend)
    before = everything(inhabited)
    refused = inhabited.pyinit(*PLAIN, "-o", "88", backend)
    assert refused.returncode == 3
    assert "+ -p tcp -m tcp --dport 88 -j RETURN" in refused.stderr
    assert everything(inhabited) == before


def test_reconcile_gives_what_a_fresh_run_gives(inhabited: Namespace, backend: str) -> None:
    inhabited.must(*EVERYTHING, backend)
    wanted = everything(inhabited)
    inhabited.must("--cleanup-only", backend)
    inhabited.must(*PLAIN, "-z", "1506", backend)
    inhabited.must(*EVERYTHING, "--reconcile", "--prune", backend)
    assert everything(inhabited) == wanted


def test_from_the_node_into_a_pods_namespace(inhabited: Namespace, pod: Namespace, backend: str) -> None:
    """As a CNI plugin does it: pyinit runs in one namespace (`pod`, here the node's) and writes into another."""
    node_before = everything(pod)
    argv = [*PYINIT, *EVERYTHING, "--cni-mode", f"--network-namespace=/run/netns/{inhabited.name}", backend]
    done = pod.run(*argv, check=False)
    assert done.returncode == 0, done.stderr
    assert everything(pod) == node_before
    assert "all is there already" in inhabited.must(*EVERYTHING, backend)


@pytest.mark.parametrize("first", [[], PLAIN], ids=["apply", "reconcile"])
def test_killed_at_each_step_native_tables_are_as_before(dual: Namespace, first: list[str]) -> None:
    flags = ["--native-nftables", "--reconcile", "--prune"]
    if first:
        dual.must(*first, *flags)
    before = everything(dual)
    for when, which in kills():
        status = killed(dual, when, which, "guarded", *EVERYTHING, *flags)
        if status != -9:
            break
        assert everything(dual) == before, f"killed {when} change {which}"
    assert which == status + 1 > 5


def test_python_iptables_needs_no_iptables_program(dual: Namespace) -> None:
    pytest.importorskip("iptc", reason="pip install python-iptables")
    hidden = "from init import process; process.find = lambda name: None; "
    start = "import sys; from init.cli import run; sys.exit(run(sys.argv[1:], {}))"
    for argv in (EVERYTHING, ["--cleanup-only"]):
        dual.run(sys.executable, "-c", hidden + start, *argv, "--backend=python-iptables")


def test_python_iptables_and_the_legacy_programs_write_the_same(dual: Namespace) -> None:
    """To the bit: a rule is deleted by comparing all of it, the mask of an interface's name too."""
    pytest.importorskip("iptc", reason="pip install python-iptables")
    ways = ["--backend=python-iptables", "--force-iptables-binary=legacy"]
    before = everything(dual)
    for first, second in (ways, ways[::-1]):
        dual.must(*EVERYTHING, "-c", "net1,tun+", first)
        assert "all is there already" in dual.must(*EVERYTHING, "-c", "net1,tun+", second)
        dual.must("--cleanup-only", second)
        assert everything(dual) == before


def test_a_namespace_that_is_not_there(pod: Namespace) -> None:
    refused = pod.pyinit(*PLAIN, "--network-namespace=/run/netns/gone")
    assert refused.returncode == 2
    assert "--network-namespace=/run/netns/gone: No such file or directory" in refused.stderr


def test_what_nobody_listens_for_is_lost_and_not_let_through(backend: str) -> None:
    """TPROXY while Envoy does not listen yet: the app must not be reached past it."""
    packet = Packet("client", "tcp", "pod", 8080)
    with World() as world:
        world.pyinit("-m", "TPROXY", "-b", "*", backend)
        assert world.landings([packet]) == {packet: "inbound"}
        assert world.landings([packet], absent="inbound", doomed=[packet]) == {packet: "lost"}
