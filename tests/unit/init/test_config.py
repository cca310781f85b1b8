"""Command lines and environments: what they parse to, and what is refused with which words."""

import string
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from init.argv import parse
from init.config import SETTINGS, Config
from init.errors import ConfigError
from init.hints import unread
from init.kinds import ALL, ENVOY_OUTBOUND_MARK
from init.network import LOOPBACK, Network
from init.variables import looks_mistaken


@pytest.mark.parametrize(
    "argv",
    [["-p15002"], ["-p", "15002"], ["-p=15002"], ["--envoy-port=15002"], ["--envoy-port", "15002"]],
    ids=" ".join,
)
def test_a_flag_can_be_spelled_in_all_ways_of_pflag(argv: list[str]) -> None:
    assert parse(argv, {}).envoy_port == 15002


@pytest.mark.parametrize(
    ("argv", "changes"),
    [
        (["-nh"], {"dry_run": True, "help": True}),
        (["-np15002"], {"dry_run": True, "envoy_port": 15002}),
        (["-np", "15002"], {"dry_run": True, "envoy_port": 15002}),
        (["-fn=false"], {}),
        (["-p", "15002", "--"], {"envoy_port": 15002}),
        (["--probe-timeout=0"], {"probe_timeout": 0.0}),
        (["--probe-timeout=0s"], {"probe_timeout": 0.0}),
        (["--probe-timeout=+.5s"], {"probe_timeout": 0.5}),
        (["--probe-timeout=1500µs"], {"probe_timeout": 0.0015}),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else None,
)
def test_what_pflag_takes_is_taken(argv: list[str], changes: dict[str, Any]) -> None:
    assert parse(argv, {}) == Config().replace(**changes)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [([], False), (["--redirect-dns"], True), (["--redirect-dns=false"], False), (["--redirect-dns=1"], True)],
)
def test_booleans(argv: list[str], expected: bool) -> None:
    assert parse(argv, {}).redirect_dns is expected


def test_a_flag_wins_over_its_variable_and_the_last_flag_over_the_first() -> None:
    config = parse(["-z", "1", "-z", "2"], {"INBOUND_CAPTURE_PORT": "3"})
    assert config.inbound_capture_port == 2


def test_every_setting_has_a_variable_but_those_that_ask_for_an_answer() -> None:
    for name, spec in SETTINGS.items():
        text = "true" if spec.kind.boolean else spec.kind.show(spec.default)
        for variable in spec.variables:
            assert getattr(parse([], {variable: text}), name) == (spec.kind.boolean or spec.default)
    assert {name for name, spec in SETTINGS.items() if not spec.variables} == {
        "envoy_port",
        "explain",
        "completion",
        "version",
        "help",
    }


def test_variables_of_the_application_are_not_taken_for_settings() -> None:
    assert parse([], {"VERSION": "1.2", "HELP": "me", "LOG_LEVEL": "INFO", "PRUNE": "no"}) == Config()


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("ISTIO_META_DNS_CAPTURE", "redirect_dns"),
        ("INVALID_DROP", "drop_invalid"),
        ("ISTIO_DUAL_STACK", "dual_stack"),
    ],
)
def test_the_variables_of_other_components_of_istio_count(variable: str, name: str) -> None:
    assert getattr(parse([], {variable: "true"}), name) is True


def test_an_empty_variable_counts() -> None:
    assert parse([], {"ISTIO_INBOUND_PORTS": "", "ISTIO_INBOUND_INTERCEPTION_MODE": ""}).inbound_ports == ()
    with pytest.raises(ConfigError, match=r"variable INBOUND_CAPTURE_PORT: '' is not allowed"):
        parse([], {"INBOUND_CAPTURE_PORT": ""})
    assert parse([], {"REDIRECT_DNS": ""}) == Config()


# What Kubernetes sets in every pod of a namespace with a Service called envoy, and with one called inbound-capture.
_SERVICES = {
    "ENVOY_SERVICE_HOST": "10.96.1.1",
    "ENVOY_SERVICE_PORT": "9901",
    "ENVOY_PORT": "tcp://10.96.1.1:9901",
    "ENVOY_PORT_9901_TCP_PORT": "9901",
    "INBOUND_CAPTURE_SERVICE_HOST": "10.96.1.2",
    "INBOUND_CAPTURE_PORT": "tcp://10.96.1.2:80",
    "ISTIO_INGRESSGATEWAY_SERVICE_HOST": "10.96.1.3",
    "ISTIO_INGRESSGATEWAY_SERVICE_PORT_HTTP2": "80",
    "ISTIO_INGRESSGATEWAY_PORT_80_TCP_ADDR": "10.96.1.3",
}


def test_no_service_is_taken_for_a_setting() -> None:
    assert parse([], _SERVICES) == Config()
    assert list(unread(_SERVICES)) == [
        "variable INBOUND_CAPTURE_PORT: 'tcp://10.96.1.2:80' is of a Service with that name; it has no effect here"
    ]


@pytest.mark.parametrize(
    "name", ["ENVOY_PORT", "ISTIO_AGENT_DUAL_STACK", "FORMAT", "LOG_FORMAT", "BACKEND", "COMMENTS"]
)
def test_variables_that_istio_does_not_read_are_not_read(name: str) -> None:
    assert parse([], {name: "7", "ALLOW_HOST_NETWORK": "true"}) == Config()


def test_of_very_many_variables_a_few_are_named() -> None:
    told = list(unread({f"ISTIO_{n}": "" for n in range(5000)}))
    assert len(told) == 11
    assert told[-1] == "4990 more variables are none that pyinit reads"


def test_settings_that_istio_has_not_have_variables_with_a_prefix() -> None:
    assert parse([], {"PYINIT_BACKEND": "nftables", "PYINIT_COMMENTS": "off"}).backend == "nftables"


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("ISTIO_INBOUND_PORT", "it has no effect, did you mean ISTIO_INBOUND_PORTS?"),
        ("ISTIO_AGENT_DUAL_STACK", "it has no effect, did you mean ISTIO_DUAL_STACK?"),
        ("ISTIO_META_DNS_CAPTUR", "did you mean ISTIO_META_DNS_CAPTURE?"),
        ("PYINIT_BACKENDS", "did you mean PYINIT_BACKEND?"),
        ("ISTIO_SOMETHING_ELSE", "variable ISTIO_SOMETHING_ELSE is none that pyinit reads; it has no effect"),
        ("ISTIO_META_CLUSTER_ID", ""),
        ("ISTIO_META_DNS_AUTO_ALLOCATE", ""),
        ("ISTIO_INBOUND_PORTS", ""),
        ("APPLICATION", ""),
    ],
)
def test_a_variable_that_is_read_by_nobody_is_warned_of(name: str, warning: str) -> None:
    told = list(unread({name: "1"}))
    assert len(told) == bool(warning)
    assert all(t.endswith(warning) for t in told)
    assert looks_mistaken({name: "1"}) or not warning


def test_what_istios_templates_pass_is_understood() -> None:
    argv = ["istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", ""]
    argv += ["-b", "*", "-d", "15090,15021,15020", "--log_output_level=default:debug", "--log_as_json", "-f"]
    config = parse(argv, {"DISABLE_REDIRECTION_ON_LOCAL_LOOPBACK": "true"})
    assert (config.inbound_ports, config.outbound_networks, config.proxy_uids) == (ALL, ALL, (1337,))
    assert (config.log_level, config.log_format) == ("debug", "json")


def test_blanks_around_commas_do_not_count_and_addresses_are_networks() -> None:
    config = parse(["-d", " 80 , 90 ", "-x", "9.9.9.9, 10.1.2.3/8,2001:db8::1"], {})
    assert config.inbound_exclude_ports == (80, 90)
    assert [str(n) for n in config.outbound_exclude_networks] == ["9.9.9.9/32", "10.0.0.0/8", "2001:db8::1/128"]


# What is asked for, and a part of the one line that refuses it.
BAD = [
    (["-p", "http"], "-p, --envoy-port: 'http' is not allowed; allowed is a port from 1 to 65535"),
    (["-p", "0"], "'0' is not allowed"),
    (["-p", "65536"], "'65536' is not allowed"),
    (["-p", "-1"], "'-1' is not allowed"),
    (["-p", "１５"], "is not allowed"),
    (["-p", ""], "'' is not allowed"),
    (["-p"], "-p needs a value: a port"),
    (["-m", "DIVERT"], "allowed is REDIRECT or TPROXY"),
    (["-m", "tproxy"], "allowed is REDIRECT or TPROXY"),
    (["-d", "80,,90"], "item 2 of 3 is empty"),
    (["-d", "80,"], "item 2 of 2 is empty"),
    (["-d", "*"], "* is not allowed here"),
    (["-d", "80:90"], "'80:90' is not allowed"),
    (["-b", "*,80"], "* must stand alone"),
    (["-o", "a"], "-o, --istio-local-outbound-ports-exclude: 'a' is not allowed"),
    (["-i", "*,10.0.0.0/8"], "* must stand alone"),
    (["-i", "10.0.0.0/33"], "prefix length 33 is more than 32"),
    (["-i", "10.0.0.0/"], "no prefix length after /"),
    (["-i", "10.0.0"], "no IPv4 or IPv6 address"),
    (["-i", "2001:db8::/129"], "prefix length 129 is more than 128"),
    (["-x", "*"], "* is not allowed here"),
    (["-x", "10.0.0.0/8,nope"], "item 2, 'nope'"),
    (["-u", "-1"], "user ids"),
    (["-u", "4294967295"], "user ids (0 to 4294967294)"),
    (["-g", "a b"], "group ids"),
    (["-c", "eth0/1"], "interface names"),
    (["-k", "a-name-far-too-long"], "interface names of 1 to 15 characters"),
    (["-k", "!eth0"], "interface names"),
    (["-t", "0"], "a number from 1 to 4294967295"),
    (["-t", str(ENVOY_OUTBOUND_MARK)], "the mark of Envoy's own outbound packets"),
    (["-r", "254"], "one of the kernel's own tables"),
    (["--redirect-dns=maybe"], "allowed is true or false"),
    (["--probe-timeout", "5"], "a duration such as 5s"),
    (["--probe-timeout", "1.2.3s"], "a duration such as 5s"),
    (["--force-iptables-binary=xt"], "allowed is legacy or nft"),
    (["--native-nftables", "--force-iptables-binary=nft"], "means nothing to native nftables"),
    (["--explain="], "--explain: '' is not allowed; allowed is tcp or udp, out or in, ADDRESS:PORT"),
    (["--completion="], "allowed is bash, zsh or fish"),
    (["--check", "-n"], "--check and --dry-run contradict each other"),
    (["--check", "--run-validation"], "--check changes nothing"),
    (["--diff", "--skip-rule-apply"], "there is nothing to compare"),
    (["--native-nftables", "--backend=iptables"], "contradict each other"),
    (["--backend=python-iptables", "--force-iptables-binary=nft"], "legacy tables alone"),
    (["--istio-outbound-ipv4-loopback-cidr=10.0.0.0/8"], "lies outside 127.0.0.0/8"),
    (["--istio-outbound-ipv4-loopback-cidr=126.0.0.0/7"], "lies outside 127.0.0.0/8"),
    (["--istio-outbound-owner-groups", ",".join(map(str, range(49)))], "49 groups; allowed are 48"),
    (["--no-such-flag=1"], "there is no flag --no-such-flag"),
    (["-y"], "there is no flag -y"),
    (["--istio-inbound-port=80"], "there is no flag --istio-inbound-port, did you mean --istio-inbound-ports?"),
    (["--", "-n"], "'-n' is no flag"),
    (["-ny"], "there is no flag -y"),
    (["--dual-stack="], "--dual-stack: '' is not allowed; allowed is true or false"),
    (["-b", " "], "-b, --istio-inbound-ports: ' ' is not allowed: item 1 of 1 is empty"),
    (["--probe-timeout="], "a duration such as 5s"),
    (["--probe-timeout=.s"], "a duration such as 5s"),
    (["--probe-timeout=-1s"], "a duration such as 5s"),
    (["word"], "'word' is no flag"),
]


@pytest.mark.parametrize(("argv", "words"), BAD, ids=lambda v: " ".join(v) if isinstance(v, list) else None)
def test_bad_input_is_refused_with_value_and_what_is_allowed(argv: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(argv, {})
    assert len(refused.value.faults) == 1
    assert words in refused.value.faults[0]


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        parse(["-p", "0", "--nope", "-d", "80,,90", "-u"], {"INVALID_DROP": "perhaps"})
    told = "\n".join(refused.value.faults)
    assert len(refused.value.faults) == 5
    assert all(part in told for part in ("--nope", "-u needs", "-p, --envoy-port", "80,,90", "variable INVALID_DROP"))


T = TypeVar("T")
PORTS = st.integers(1, 65535)
IDS = st.one_of(st.integers(0, 0xFFFFFFFE), st.text(string.ascii_lowercase, min_size=1, max_size=8))
NETWORKS = st.one_of(
    st.builds(lambda a, n: Network.of(4, a.to_bytes(4, "big"), n), st.integers(0, 2**32 - 1), st.integers(0, 32)),
    st.builds(lambda a, n: Network.of(6, a.to_bytes(16, "big"), n), st.integers(0, 2**128 - 1), st.integers(0, 128)),
)
NAMES = st.text(string.ascii_letters + string.digits + "-_.@", min_size=1, max_size=15).filter(
    lambda n: n not in (".", "..")
)


def lists(items: st.SearchStrategy[T], size: int = 8) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(items, max_size=size).map(tuple)


CONFIGS = st.builds(
    Config,
    envoy_port=PORTS,
    inbound_capture_port=PORTS,
    inbound_tunnel_port=PORTS,
    proxy_uids=lists(IDS),
    proxy_gids=lists(IDS),
    mode=st.sampled_from(["REDIRECT", "TPROXY"]),
    inbound_ports=st.one_of(st.just(ALL), lists(PORTS)),
    inbound_exclude_ports=lists(PORTS),
    tproxy_mark=st.integers(1, 0xFFFFFFFF).filter(lambda m: m != ENVOY_OUTBOUND_MARK),
    tproxy_table=st.integers(1, 252),
    outbound_networks=st.one_of(st.just(ALL), lists(NETWORKS)),
    outbound_exclude_networks=lists(NETWORKS),
    outbound_ports=lists(PORTS),
    outbound_exclude_ports=lists(PORTS),
    owner_groups=st.one_of(st.just(ALL), lists(IDS, 48)),
    owner_groups_exclude=lists(IDS),
    loopback=st.sampled_from([LOOPBACK[4], Network.parse("127.0.0.1/32"), Network.parse("127.1.0.0/16")]),
    kube_virt_interfaces=lists(NAMES),
    exclude_interfaces=lists(NAMES),
    redirect_dns=st.booleans(),
    capture_all_dns=st.booleans(),
    dual_stack=st.booleans(),
    drop_invalid=st.booleans(),
    reconcile=st.booleans(),
    probe_timeout=st.integers(0, 10**7).map(lambda ms: ms / 1000),
    log_format=st.sampled_from(["text", "json"]),
    comments=st.sampled_from(["on", "off"]),
)


@given(CONFIGS)
def test_a_configuration_parses_back_from_its_command_line(config: Config) -> None:
    assert parse(config.to_argv(), {}) == config


@given(st.lists(st.text(max_size=12), max_size=6))
def test_any_command_line_is_parsed_or_refused(argv: list[str]) -> None:
    try:
        config = parse(argv, {})
    except ConfigError:
        return
    assert config.help or config.version or parse(config.to_argv(), {}) == config


def test_the_default_command_line_is_empty() -> None:
    assert Config().to_argv() == []
