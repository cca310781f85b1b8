"""Rules as text: what is rendered is what the kernel shows, and parses back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from init import argv
from init.capture import capture
from init.config import Config
from init.host import Host
from init.iptables_text import comment, parse, spec, words
from init.network import Network
from init.rules import Match, Rule, Target
from tests.unit.init.hosts import V4, V6, host
from tests.unit.init.test_config import CONFIGS
from tests.unit.init.test_rules import CASES

HOSTS = st.sampled_from([host(), host(V6), host(V4, V6), host(V4, V6, proxy_uids=(1, 2), owner_groups=(5, 6))])


@given(CONFIGS, HOSTS, st.booleans())
def test_every_rule_parses_back(config: Config, there: Host, comments: bool) -> None:
    for rule in capture(config, there).rules:
        back = parse(rule.family, rule.table, rule.chain, spec(rule, comments))
        assert back == rule
        assert back.why == (rule.why if comments else "")


@pytest.mark.parametrize("name", CASES)
def test_rules_tell_which_flag_made_them(name: str) -> None:
    line, there = CASES[name]
    rules = capture(argv.parse([w for w in line.split() if w != "''"] if "''" not in line else [], {}), there).rules
    assert all(rule.why.startswith("--") for rule in rules)


@pytest.mark.parametrize(
    "text",
    [
        "-p tcp -m tcp --dport 80:90 -j ISTIO_REDIRECT",
        "-p tcp -m tcp --tcp-flags SYN,RST SYN -j RETURN",
        "-j MARK --set-xmark 0x1/0xff",
        "-j REDIRECT --to-ports 80 --random",
        "-j KUBE-SERVICES",
        "-p tcp -j ISTIO_OUTPUT --goto",
        "",
    ],
)
def test_what_pyinit_never_writes_is_no_rule_of_ours(text: str) -> None:
    assert parse(4, "nat", "OUTPUT", text).matches == (Match("other", text),)


def test_what_is_not_understood_is_shown_as_it_is() -> None:
    text = "-m statistic --mode random -j DROP"
    assert spec(parse(4, "nat", "OUTPUT", text)) == text


def test_words_and_comments_with_quotes() -> None:
    line = r'-p tcp -m comment --comment "pyinit --a \"b\"" -j RETURN'
    assert words(line) == ["-p", "tcp", "-m", "comment", "--comment", 'pyinit --a "b"', "-j", "RETURN"]
    assert comment("-m comment --comment word -j RETURN") == "word"
    assert comment("-j RETURN") == ""


def test_the_kernels_spelling() -> None:
    rule = Rule(
        4,
        "nat",
        "ISTIO_OUTPUT",
        (
            Match("destination", Network.parse("127.0.0.1"), negated=True),
            Match("out_interface", "lo"),
            Match("protocol", "tcp"),
            Match("dports", (53, 15008), negated=True),
            Match("uid", 1337),
        ),
        Target("JUMP", "ISTIO_IN_REDIRECT"),
    )
    assert spec(rule) == (
        "! -d 127.0.0.1/32 -o lo -p tcp -m multiport ! --dports 53,15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT"
    )
