"""From one state of a family's tables to another, as iptables-restore's script."""

import pytest
from hypothesis import given
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
    ours = Ours(family, wanted)
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
    ours = Ours(4, rules(second, 4))
    fresh = ours.replaced(before, rules(second, 4), True, keep=False)
    held = play(before, ours.script(before, ours.replaced(before, rules(first, 4), True, keep=False)))
    swapped = play(held, ours.script(held, ours.replaced(held, rules(second, 4), True, keep=False)))
    assert filled(swapped) == filled(fresh)
    assert filled(play(swapped, ours.script(swapped, held))) == filled(held)


def test_nothing_of_others_is_written() -> None:
    before = read(FOREIGN)
    ours = Ours(4, rules(config("-i * -b * -k eth1"), 4))
    script = ours.script(before, ours.replaced(before, rules(config("-i * -b * -k eth1"), 4), True, keep=False))
    assert not any(word in script for word in ("9999", "KUBE", "filter", "udp", "-X", "-F", "-D", ":OUTPUT"))
    assert '-I PREROUTING 1 -i eth1 -m comment --comment "pyinit --kube-virt-interfaces" -j ISTIO_REDIRECT' in script
    assert '-A PREROUTING -p tcp -m comment --comment "pyinit --istio-inbound-ports" -j ISTIO_INBOUND' in script


@pytest.mark.parametrize("keep", [True, False])
def test_what_only_the_old_configuration_had_stays_or_goes(keep: bool) -> None:
    old, new = rules(config("-i * --redirect-dns -c net1"), 4), rules(config("-i * -b *"), 4)
    ours = Ours(4, new)
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
    ours = Ours(4, wanted)
    held = ours.replaced({}, rules(config(f"-i * -b * {old}"), 4), True, keep=False) if old else {}
    script = ours.script(held, ours.replaced(held, wanted, True, keep=False))
    assert [line for line in script.splitlines() if line[0] == "*"] == order
