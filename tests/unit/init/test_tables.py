"""From one state of a family's tables to another, as iptables-restore's script."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from init.capture import capture
from init.config import Config
from init.rules import CHAINS, TABLES, Rule
from init.tables import Ours, read
from tests.unit.init.hosts import V4, V6, config, host
from tests.unit.init.test_config import CONFIGS

Tables = dict[str, dict[str, tuple[str, ...]]]

FOREIGN = """\
*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [7:420]
:KUBE-TEST - [0:0]
-A PREROUTING -p udp -j RETURN
-A OUTPUT -p tcp -m tcp --dport 9999 -j ACCEPT
-A KUBE-TEST -m comment --comment "not pyinit's: ISTIO_OUTPUT" -j RETURN
COMMIT
# a remark
*filter
:INPUT DROP [0:0]
-A INPUT -j ACCEPT
COMMIT
"""


def play(before: Tables, script: str) -> Tables:
    """What iptables-restore --noflush makes of a state, by iptables(8)."""
    tables = {table: {chain: list(lines) for chain, lines in chains.items()} for table, chains in before.items()}
    chains: dict[str, list[str]] = {}
    for line in script.splitlines():
        if line[0] == "*":
            chains = tables.setdefault(line[1:], {})
        elif line[0] == ":":
            chains[line[1:].split()[0]] = []
        elif line != "COMMIT":
            verb, chain, *rest = line.split(" ", 2)
            if verb == "-A":
                chains.setdefault(chain, []).append(rest[0])
            elif verb == "-I":
                place, text = rest[0].split(" ", 1)
                chains.setdefault(chain, []).insert(int(place) - 1, text)
            elif verb == "-D":
                chains[chain].remove(rest[0])
            elif verb == "-F":
                chains[chain].clear()
            else:
                assert verb == "-X"
                assert not any(words.endswith(f"-j {chain}") for lines in chains.values() for words in lines)
                assert not chains.pop(chain)
    return {table: {chain: tuple(lines) for chain, lines in found.items()} for table, found in tables.items()}


def filled(tables: Tables) -> Tables:
    """The tables that pyinit writes to, without tables and chains of the kernel's that are empty."""
    known = (*CHAINS, "KUBE-TEST")
    kept = {t: {c: ls for c, ls in tables.get(t, {}).items() if ls or c in known} for t in TABLES}
    return {table: chains for table, chains in kept.items() if chains}


def rules(asked: Config, family: int) -> list[Rule]:
    return [r for r in capture(asked, host(V4, V6)).rules if r.family == family]


BEFORE = st.sampled_from([read(""), read(FOREIGN)])


@given(CONFIGS, BEFORE, st.sampled_from([4, 6]), st.booleans())
def test_what_is_written_is_read_again_and_taken_away_again(
    asked: Config, before: Tables, family: int, comments: bool
) -> None:
    wanted = rules(asked, family)
    ours = Ours(family, wanted, before)
    after = ours.replaced(before, wanted, comments, keep=False)
    held = play(before, ours.script(before, after))
    by_chain = sorted(wanted, key=lambda r: (r.table, r.chain, not r.first))
    assert sorted(ours.rules(held), key=lambda r: (r.table, r.chain)) == by_chain
    assert ours.replaced(held, wanted, comments, keep=False) == after
    assert ours.script(held, after) == ""
    assert filled(play(held, ours.script(held, before))) == filled(before)


@given(CONFIGS, CONFIGS, BEFORE)
def test_one_configuration_over_another_is_as_if_the_first_had_never_been(
    first: Config, second: Config, before: Tables
) -> None:
    ours = Ours(4, rules(second, 4), before)
    fresh = ours.replaced(before, rules(second, 4), True, keep=False)
    held = play(before, ours.script(before, ours.replaced(before, rules(first, 4), True, keep=False)))
    swapped = play(held, ours.script(held, ours.replaced(held, rules(second, 4), True, keep=False)))
    assert filled(swapped) == filled(fresh)
    assert filled(play(swapped, ours.script(swapped, held))) == filled(held)


def test_nothing_of_others_is_written() -> None:
    before = read(FOREIGN)
    ours = Ours(4, rules(config("-i * -b * -k eth1"), 4), before)
    script = ours.script(before, ours.replaced(before, rules(config("-i * -b * -k eth1"), 4), True, keep=False))
    assert not any(word in script for word in ("9999", "KUBE", "filter", "udp", "-X", "-F", "-D", ":OUTPUT"))
    assert '-I PREROUTING 1 -i eth1 -m comment --comment "pyinit --kube-virt-interfaces" -j ISTIO_REDIRECT' in script
    assert '-A PREROUTING -p tcp -m comment --comment "pyinit --istio-inbound-ports" -j ISTIO_INBOUND' in script


@pytest.mark.parametrize("keep", [True, False])
def test_what_only_the_old_configuration_had_stays_or_goes(keep: bool) -> None:
    old, new = rules(config("-i * --redirect-dns -c net1"), 4), rules(config("-i * -b *"), 4)
    ours = Ours(4, new, {})
    held = ours.replaced(read(FOREIGN), old, True, keep=False)
    after = ours.replaced(held, new, True, keep=keep)
    assert ("ISTIO_OUTPUT_DNS" in after["nat"]) is keep
    assert any("-o net1" in line for line in after["nat"]["OUTPUT"]) is keep
    assert "ISTIO_OUTPUT_DNS" not in "".join(after["nat"]["ISTIO_OUTPUT"])


@pytest.mark.parametrize(
    ("old", "new", "order"),
    [
        ("", "-m TPROXY --redirect-dns", ["*raw", "*mangle", "*nat"]),
        ("-m REDIRECT", "-m TPROXY", ["*mangle", "*nat"]),
        ("-m TPROXY", "-m REDIRECT", ["*nat", "*mangle"]),
        ("-m TPROXY --redirect-dns", "-m REDIRECT", ["*nat", "*mangle", "*raw"]),
        ("-m REDIRECT --drop-invalid", "-m TPROXY", ["*mangle", "*nat"]),
        ("-m REDIRECT --drop-invalid --redirect-dns", "-m TPROXY", ["*mangle", "*nat", "*raw"]),
        ("-m TPROXY", "-m REDIRECT --drop-invalid --redirect-dns", ["*raw", "*nat", "*mangle"]),
    ],
)
def test_what_captures_is_in_force_before_what_captured_goes(old: str, new: str, order: list[str]) -> None:
    wanted = rules(config(f"-i * -b * {new}"), 4)
    ours = Ours(4, wanted, {})
    held = ours.replaced({}, rules(config(f"-i * -b * {old}"), 4), True, keep=False) if old else {}
    script = ours.script(held, ours.replaced(held, wanted, True, keep=False))
    assert [line for line in script.splitlines() if line[0] == "*"] == order


# Rules of others in the kernel's chains; no comment of pyinit's, no jump to a chain of ours.
OTHERS = """\
*nat
-A PREROUTING -i eth1 -m comment --comment "of a CNI plugin" -j RETURN
-A PREROUTING -i eth1 -p tcp -j RETURN
-A PREROUTING ! -i eth1 -j RETURN
-A PREROUTING -i eth1 -j ACCEPT
-A OUTPUT -o eth1 -d 10.0.0.0/8 -j RETURN
*mangle
-A PREROUTING -p tcp -m mark --mark 0x1/0xff -j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff
-A PREROUTING -p udp -m mark --mark 0x1 -j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff
-A OUTPUT -o eth0 -p tcp -m mark --mark 0x539 -j RETURN
-A OUTPUT -p tcp -m connmark --mark 0x1 -j MARK --set-xmark 0x1/0xffffffff
"""


@given(CONFIGS, CONFIGS, st.sampled_from([4, 6]))
@example(config("-c --comment,-j,-m"), Config(), 4)
@example(config("-c --comment,-j -m TPROXY -b *"), Config(), 6)
def test_rules_without_comments_are_known_by_their_shape(first: Config, second: Config, family: int) -> None:
    """Whatever today's configuration is, what another one wrote without comments is seen, and goes."""
    before, old = read(OTHERS), rules(first, family)
    held = play(before, Ours(family, old, before).script(before, written(before, old, family)))
    for today in ([], rules(second, family)):
        ours = Ours(family, today, held)
        assert len(ours.rules(held)) == len(old)
        assert filled(play(held, ours.script(held, ours.replaced(held, [], True, keep=False)))) == filled(before)


def written(before: Tables, wanted: list[Rule], family: int) -> Tables:
    return Ours(family, wanted, before).replaced(before, wanted, False, keep=False)


def test_beside_rules_with_comments_those_without_are_of_others() -> None:
    wanted, theirs = rules(config("-i * -b *"), 4), "-i eth1 -j RETURN"
    before = read(f"*nat\n-A PREROUTING {theirs}\n")
    held = Ours(4, wanted, before).replaced(before, wanted, True, keep=False)
    ours = Ours(4, [], held)
    assert not ours("nat", "PREROUTING", theirs)
    assert filled(play(held, ours.script(held, ours.replaced(held, [], True, keep=False)))) == filled(before)


def test_what_stays_of_another_configuration_gets_a_comment_to_be_known_by() -> None:
    old, new = rules(config("-i * -b * -c net1"), 4), rules(config("-i * -b *"), 4)
    held = written({}, old, 4)
    ours = Ours(4, new, held)
    swapped = play(held, ours.script(held, ours.replaced(held, new, True, keep=True)))
    assert '-o net1 -m comment --comment "pyinit of another configuration" -j RETURN' in swapped["nat"]["OUTPUT"]
    later = Ours(4, [], swapped)
    assert filled(play(swapped, later.script(swapped, later.replaced(swapped, [], True, keep=False)))) == {}
