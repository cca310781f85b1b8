"""What a second run does: nothing, complete, refuse, replace, take away; and that others' rules stay."""

from itertools import permutations

import pytest

from tests.kernel.init.namespace import EVERYTHING, PLAIN, Namespace

FOREIGN = [
    "-t nat -A OUTPUT -p tcp --dport 9999 -j ACCEPT",
    "-t nat -A PREROUTING -p udp -j RETURN",
    "-t nat -N KUBE-TEST",
    "-t nat -A KUBE-TEST -p tcp -m comment --comment ISTIO_OUTPUT -j RETURN",
    "-t mangle -A PREROUTING -p tcp -m mark --mark 0x1 -j ACCEPT",
    "-t filter -A INPUT -p tcp --dport 7777 -j DROP",
]


@pytest.fixture
def settled(dual: Namespace, variant: str) -> Namespace:
    """A namespace with rules, a policy rule and a route of others."""
    for rule in FOREIGN:
        dual.run(f"iptables-{variant}", *rule.split())
        dual.run(f"ip6tables-{variant}", *rule.split())
    dual.run("ip", "rule", "add", "fwmark", "0x77", "lookup", "77")
    dual.run("ip", "route", "add", "local", "default", "dev", "lo", "table", "77")
    return dual


@pytest.fixture
def force(variant: str) -> str:
    return f"--force-iptables-binary={variant}"


@pytest.mark.parametrize("asked", [PLAIN, EVERYTHING], ids=["plain", "everything"])
def test_a_second_run_writes_nothing(settled: Namespace, force: str, asked: list[str]) -> None:
    settled.must(force, *asked)
    there = settled.state()
    assert "all is there already" in settled.must(force, *asked)
    assert settled.state() == there
    assert "all is there already" in settled.must(force, *asked, "--reconcile")
    assert settled.state() == there


@pytest.mark.parametrize("asked", [PLAIN, EVERYTHING], ids=["plain", "everything"])
def test_cleanup_gives_the_state_before(settled: Namespace, force: str, asked: list[str]) -> None:
    before = settled.state()
    settled.must(force, *asked)
    assert settled.state() != before
    settled.must(force, "--cleanup-only")
    assert settled.state() == before
    assert "nothing of ours is there" in settled.must(force, "--cleanup-only")


def test_rules_without_comments_are_known_again(settled: Namespace, force: str) -> None:
    before = settled.state()
    settled.must(force, *EVERYTHING, "--comments=off")
    assert "all is there already" in settled.must(force, *EVERYTHING)
    settled.must(force, *EVERYTHING, "--cleanup-only")
    leftover = [line for line in settled.state()["iptables-nft-save"] if "ISTIO" in line and "KUBE-TEST" not in line]
    assert leftover == []
    assert {k: v for k, v in settled.state().items() if k[:3] == "ip "} == {
        k: v for k, v in before.items() if k[:3] == "ip "
    }


@pytest.mark.parametrize("mode", ["REDIRECT", "TPROXY"])
def test_rules_without_comments_are_known_whatever_is_asked_now(settled: Namespace, force: str, mode: str) -> None:
    before = settled.state()
    settled.must(force, *PLAIN, "-m", mode, "-c", "net1", "-t", "77", "--comments=off")
    refused = settled.pyinit(force, *PLAIN)
    assert refused.returncode == 3
    assert "- -o net1 -j RETURN" in refused.stderr
    settled.must(force, *PLAIN, "--reconcile", "--prune")
    swapped = settled.state()
    settled.must("--cleanup-only")
    assert settled.state() == before
    settled.must(force, *PLAIN)
    assert settled.state() == swapped
    settled.must(force, "--cleanup-only")
    settled.must(force, *PLAIN, "-m", mode, "-c", "net1", "--comments=off")
    settled.must("--cleanup-only")
    assert settled.state() == before


def test_another_configuration_is_refused_with_the_difference(settled: Namespace, force: str) -> None:
    settled.must(force, *PLAIN)
    there = settled.state()
    refused = settled.pyinit(force, *PLAIN, "-p", "16001", "-c", "net1")
    assert refused.returncode == 3
    assert "--reconcile" in refused.stderr
    assert "- -p tcp -j REDIRECT --to-ports 15001" in refused.stderr
    assert "+ -p tcp -j REDIRECT --to-ports 16001" in refused.stderr
    assert "+ -i net1 -j RETURN" in refused.stderr
    assert settled.state() == there


def test_order_in_a_chain_counts(pod: Namespace) -> None:
    pod.must(*PLAIN)
    assert pod.pyinit(*PLAIN, "-d", "15020,15021,15090").returncode == 3


def test_a_rule_of_ours_that_someone_took_away_is_drift(pod: Namespace) -> None:
    pod.must(*PLAIN)
    whole = pod.state()
    pod.run("iptables-nft", "-t", "nat", "-D", "ISTIO_INBOUND", "1")
    assert pod.pyinit(*PLAIN).returncode == 3
    pod.must(*PLAIN, "--reconcile")
    assert pod.state() == whole


@pytest.mark.parametrize("first", [PLAIN, EVERYTHING], ids=["plain", "everything"])
def test_reconcile_with_prune_ends_as_if_the_other_had_never_been(
    settled: Namespace, force: str, first: list[str]
) -> None:
    second = [*PLAIN, "-q", "443", "-c", "net2"]
    before = settled.state()
    settled.must(force, *second)
    fresh = settled.state()
    settled.must(force, "--cleanup-only")
    assert settled.state() == before
    settled.must(force, *first)
    settled.must(force, *second, "--reconcile", "--prune")
    assert settled.state() == fresh


def test_reconcile_alone_leaves_what_only_the_other_had_and_says_so(pod: Namespace) -> None:
    pod.must(*PLAIN, "-c", "net1")
    assert "a rule of another configuration stays" in pod.must(*PLAIN, "-p", "16001", "--reconcile")
    listing = pod.run("iptables-nft-save").stdout
    assert "-o net1" in listing
    assert "--to-ports 16001" in listing
    assert "--to-ports 15001" not in listing


def test_native_tables_are_replaced_whole_and_nothing_else_is_said(pod: Namespace) -> None:
    pod.must(*PLAIN, "-c", "net1", "--native-nftables")
    assert "stays" not in pod.must(*PLAIN, "-p", "16001", "--native-nftables", "--reconcile")
    listing = pod.run("nft", "list", "ruleset").stdout
    assert "net1" not in listing
    assert "redirect to :16001" in listing


def test_marks_of_a_former_configuration_go(dual: Namespace) -> None:
    before = dual.state()
    dual.must(*EVERYTHING, "-t", "2000", "-r", "200")
    dual.must(*PLAIN, "--reconcile", "--prune")
    dual.must("--cleanup-only")
    assert dual.state() == before


def test_rules_of_ours_decide_the_variant(pod: Namespace) -> None:
    pod.must(*PLAIN, "--force-iptables-binary=legacy")
    assert "backend=iptables-legacy" in pod.must(*PLAIN)
    assert pod.state()["iptables-nft-save"] == []


def test_the_other_variants_tables_are_not_written(pod: Namespace) -> None:
    pod.run("iptables-legacy", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", "9999", "-j", "ACCEPT")
    before = pod.state()
    assert "backend=iptables-nft" in pod.must(*EVERYTHING)
    after = pod.state()
    assert (after["iptables-legacy-save"], after["ip6tables-legacy-save"]) == (before["iptables-legacy-save"], [])


@pytest.mark.parametrize("asked", [PLAIN, EVERYTHING], ids=["plain", "everything"])
def test_force_apply_writes_and_changes_nothing(dual: Namespace, asked: list[str]) -> None:
    dual.must(*asked)
    there = dual.state()
    assert "done" in dual.must(*asked, "--force-apply")
    assert dual.state() == there


WAYS = {
    "nft": ["--force-iptables-binary=nft"],
    "legacy": ["--force-iptables-binary=legacy"],
    "nftables": ["--native-nftables"],
}


@pytest.mark.parametrize(("old", "new"), list(permutations(WAYS, 2)))
def test_rules_are_in_one_place(dual: Namespace, old: str, new: str) -> None:
    before = dual.state()
    dual.must(*EVERYTHING, *WAYS[old])
    refused = dual.pyinit(*EVERYTHING, *WAYS[new])
    assert refused.returncode == 3
    assert "--reconcile replaces them" in refused.stderr
    dual.must(*EVERYTHING, *WAYS[new], "--reconcile")
    moved = dual.state(), dual.run("nft", "list", "ruleset").stdout
    assert "all is there already" in dual.must(*EVERYTHING, *WAYS[new])
    dual.must("--cleanup-only")
    assert dual.state() == before
    assert "istio-proxy" not in dual.run("nft", "list", "ruleset").stdout
    dual.must(*EVERYTHING, *WAYS[new])
    assert dual.state() == moved[0]
