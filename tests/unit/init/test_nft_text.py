"""Rules as nft text: what is rendered parses back, and what nft lists is known again."""

import pytest
from hypothesis import given

from init.capture import capture
from init.config import Config
from init.host import Host
from init.network import Network
from init.nft_text import parse, script, text_of_ours
from init.rules import Match, Rule, Target
from tests.unit.init.hosts import V4, V6, config, host
from tests.unit.init.test_config import CONFIGS
from tests.unit.init.test_iptables_text import HOSTS

TCP, TO_LO = Match("protocol", "tcp"), Match("out_interface", "lo")


def by_chain(rules: tuple[Rule, ...] | list[Rule]) -> dict[tuple[int, str, str], list[Rule]]:
    """The rules of each chain, in order."""
    chains: dict[tuple[int, str, str], list[Rule]] = {}
    for rule in rules:
        chains.setdefault((rule.family, rule.table, rule.chain), []).append(rule)
    return chains


def line(rule: Rule) -> str:
    """The one line of a rule."""
    return "\n".join(text.strip() for text in script([rule], comments=False).splitlines()[2:-2])


def nat(*matches: Match, to: Target, family: int = 4, chain: str = "ISTIO_OUTPUT") -> Rule:
    return Rule(family, "nat", chain, matches, to)


@given(CONFIGS, HOSTS)
def test_every_ruleset_parses_back(asked: Config, there: Host) -> None:
    rules = capture(asked, there).rules
    back, chains = parse(script(rules, comments=True))
    assert by_chain(back) == by_chain(rules)
    assert [r.why for rs in by_chain(back).values() for r in rs] == [
        r.why for chain in by_chain(back) for r in by_chain(rules)[chain]
    ]
    targets = {(r.family, r.table, str(r.target.value)) for r in rules if r.target.kind == "JUMP"}
    assert chains == targets | {(r.family, r.table, r.chain) for r in rules if not r.built_in}


def test_the_plain_case() -> None:
    assert (
        script(capture(config("-i * -b * -d 15090"), host(V4)).rules, comments=False)
        == """\
table ip istio-proxy-nat {
	chain prerouting {
		type nat hook prerouting priority -100; policy accept;
		meta l4proto tcp jump istio-inbound
	}

	chain istio-inbound {
		tcp dport 15008 return
		tcp dport 15090 return
		meta l4proto tcp jump istio-in-redirect
	}

	chain output {
		type nat hook output priority -100; policy accept;
		jump istio-output
	}

	chain istio-output {
		ip saddr 127.0.0.6/32 oifname "lo" return
		ip daddr != 127.0.0.1/32 oifname "lo" tcp dport != 15008 meta skuid 1337 jump istio-in-redirect
		oifname "lo" meta skuid != 1337 return
		meta skuid 1337 return
		ip daddr != 127.0.0.1/32 oifname "lo" tcp dport != 15008 meta skgid 1337 jump istio-in-redirect
		oifname "lo" meta skgid != 1337 return
		meta skgid 1337 return
		ip daddr 127.0.0.1/32 return
		jump istio-redirect
	}

	chain istio-in-redirect {
		meta l4proto tcp redirect to :15006
	}

	chain istio-redirect {
		meta l4proto tcp redirect to :15001
	}
}
"""
    )


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (nat(Match("in_interface", "eth+"), to=Target("RETURN")), 'iifname "eth*" return'),
        (nat(Match("in_interface", "a*"), to=Target("RETURN")), r'iifname "a\*" return'),
        (
            nat(TO_LO, TCP, Match("dports", (15008, 53), negated=True), to=Target("RETURN")),
            'oifname "lo" tcp dport != 15008 tcp dport != 53 return',
        ),
        (nat(TCP, Match("dports", (53, 80)), to=Target("RETURN")), "tcp dport { 53, 80 } return"),
        (
            nat(Match("source", Network.parse("fd00::/8"), negated=True), to=Target("DROP"), family=6),
            "ip6 saddr != fd00::/8 drop",
        ),
        (
            nat(TCP, Match("state", ("RELATED", "ESTABLISHED")), to=Target("ACCEPT")),
            "meta l4proto tcp ct state related,established accept",
        ),
        (nat(Match("state", ("INVALID",), negated=True), to=Target("ACCEPT")), "ct state != { invalid } accept"),
        (
            nat(TCP, Match("connmark", 1337), to=Target("CONNMARK", "restore")),
            "meta l4proto tcp ct mark 0x00000539 meta mark set ct mark",
        ),
        (
            nat(Match("mark", 1338, negated=True), to=Target("MARK", 1337)),
            "meta mark != 0x0000053a meta mark set 0x00000539",
        ),
        (nat(Match("protocol", "udp"), Match("sport", 53), to=Target("CT", 2)), "udp sport 53 ct zone set 2"),
        # what TPROXY cannot deliver, for nobody listens, must not go on to the app
        (
            nat(TCP, to=Target("TPROXY", (15006, 1337))),
            "meta l4proto tcp tproxy to :15006 meta mark set 0x00000539 accept\nmeta l4proto tcp drop",
        ),
    ],
)
def test_statements(rule: Rule, text: str) -> None:
    assert line(rule) == text
    assert parse(script([rule], comments=False))[0] == [rule]


LISTING = """\
table ip nat {
	chain OUTPUT {
		type nat hook output priority -100; policy accept;
		jump somebody-elses
	}
}
table ip istio-proxy-nat {
	chain output {
		type nat hook output priority -100; policy accept;
		meta l4proto 6 ct state 0x2,0x4 jump istio-output comment "--a b"
	}

	chain istio-output {
	}
}
table inet istio-proxy-of-somebody {
}
"""


def test_a_listing_with_numbers_and_tables_of_others() -> None:
    rules, chains = parse(LISTING)
    established = Match("state", ("RELATED", "ESTABLISHED"))
    assert rules == [nat(TCP, established, to=Target("JUMP", "ISTIO_OUTPUT"), chain="OUTPUT")]
    assert [r.why for r in rules] == ["--a b"]
    assert chains == {(4, "nat", "ISTIO_OUTPUT")}
    assert text_of_ours(LISTING).count("table") == 1


def test_tables_of_istios_own_are_ours_and_equal_nothing_that_is_asked() -> None:
    listing = LISTING.replace("table ip istio", "table inet istio")
    assert text_of_ours(listing).startswith("table inet istio-proxy-nat {")
    rules, chains = parse(listing)
    assert [r.family for r in rules] == [0]
    assert chains == {(0, "nat", "ISTIO_OUTPUT")}


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("jump istio-output", "jump istio-output counter"),
        ("jump istio-output", "goto istio-output"),
        ("jump istio-output", "queue"),
        ("priority -100;", "priority 0;"),
        ("policy accept;", "policy drop;"),
        ("\t\ttype nat hook output priority -100; policy accept;\n", ""),
        ("\tchain istio-output {", "\tset s {\n\t\ttype ipv4_addr\n\t}\n\n\tchain istio-output {"),
        ("\tchain output {", "\tflags dormant\n\n\tchain output {"),
        ("jump istio-output", "meta l4proto 6 tproxy to :1 meta mark set 0x1 accept"),
    ],
)
def test_what_pyinit_never_writes_is_seen(right: str, wrong: str) -> None:
    head, ours = LISTING.split("table ip istio-proxy-nat")
    rules, _ = parse(f"{head}table ip istio-proxy-nat{ours.replace(right, wrong, 1)}")
    assert any(match.kind == "other" for rule in rules for match in rule.matches)


def test_comments_are_cut_to_what_nft_takes() -> None:
    text = script([nat(to=Target("RETURN")).replace(why='"' * 200)], comments=True)
    assert f'return comment "{chr(39) * 128}"' in text


def test_ipv6_rules_stand_in_their_own_tables() -> None:
    text = script(capture(config("-i * -b *"), host(V6)).rules, comments=False)
    assert text.index("table ip istio-proxy-nat") < text.index("table ip6 istio-proxy-nat")
    assert "ip6 saddr ::6/128" in text.partition("table ip6")[2]
