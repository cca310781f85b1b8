"""Any configuration: validation passes rules as they were made, and finds out a rule that is missing."""

import os
import re
import shlex

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from init.capture import capture
from init.config import Config
from init.host import Host
from init.iptables_text import spec
from init.kinds import ALL
from init.landing import landing
from init.netlink import interface_to
from init.network import Network
from init.probes import Place, plan
from init.rules import Rule
from tests.kernel.init.namespace import Namespace, namespace
from tests.kernel.netns import inside
from tests.unit.init.test_config import lists

# Values of which those of the probes, and each other, are likely to be.
PORTS = st.sampled_from([53, 80, 443, 15001, 15002, 15006, 15008, 15053, 15100])
IDS = st.sampled_from([0, 1, 1000, 1001, 1337])
INTERFACES = st.sampled_from(["lo", "eth0", "eth+", "pyinit-probe0", "p+", "net1"])
_NAMED = """
    0.0.0.0/0 0.0.0.0/1 128.0.0.0/1 10.0.0.0/8 10.244.0.0/24 10.244.0.5/32 127.0.0.0/8 127.0.0.1/32 127.0.0.6/32
    192.0.2.0/24 192.0.2.1/32 203.0.113.0/24 203.0.113.252/30 224.0.0.0/4 255.255.255.255/32 0.0.0.0/32
    ::/0 ::1/128 2001:db8::/32 2001:db8::1/128 2001:db8:1::5/128 fd00::/8 fe80::/10 ff00::/8
"""
NETWORKS = st.sampled_from(_NAMED.split()).map(Network.parse)
CONFIGS = st.builds(
    Config,
    mode=st.sampled_from(["REDIRECT", "TPROXY"]),
    proxy_uids=lists(IDS, 3),
    proxy_gids=lists(IDS, 3),
    inbound_ports=st.one_of(st.just(ALL), lists(PORTS, 3)),
    inbound_exclude_ports=lists(PORTS, 3),
    outbound_networks=st.one_of(st.just(ALL), lists(NETWORKS, 4)),
    outbound_exclude_networks=lists(NETWORKS, 3),
    outbound_ports=lists(PORTS, 3),
    outbound_exclude_ports=lists(PORTS, 3),
    owner_groups=st.one_of(st.just(ALL), st.just(ALL), lists(IDS, 3)),
    owner_groups_exclude=lists(IDS, 2),
    loopback=st.sampled_from(["127.0.0.1/32", "127.0.0.0/8"]).map(Network.parse),
    kube_virt_interfaces=lists(INTERFACES, 2),
    exclude_interfaces=lists(INTERFACES, 2),
    redirect_dns=st.booleans(),
    capture_all_dns=st.just(value=True),  # else the nameservers of the machine that tests
    dual_stack=st.booleans(),
    drop_invalid=st.booleans(),
)
EXAMPLES = int(os.environ.get("EXAMPLES", 20 if os.environ.get("CI") else 3))


def noticed(pod: Namespace, config: Config) -> list[Rule]:
    """The rules without which some probe, that can be sent here, would land elsewhere."""
    with inside(pod.name):
        host = Host.probe(config)
        rules = capture(config, host).rules
        probes = plan(config, host, rules, Place(interface_to, os.geteuid(), os.getegid()))
    # No machine has these addresses, or this one does.
    usual = [
        Network.parse(n) for n in ("127.0.0.0/8", "::1", "10.244.0.5", "2001:db8:1::5", "192.0.2.1", "2001:db8::1")
    ]
    packets = [p.packet for p in probes if not p.unsent and any(n.contains(p.packet.destination) for n in usual)]
    there = [landing(rules, packet).port for packet in packets]

    def changes(rule: Rule) -> bool:
        fewer = [r for r in rules if r is not rule]
        return any(landing(fewer, p).port != port for p, port in zip(packets, there, strict=True))

    return [rule for rule in rules if changes(rule)]


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(config=CONFIGS, data=st.data())
def test_right_rules_pass_and_broken_rules_do_not(backend: str, config: Config, data: st.DataObject) -> None:
    with namespace("10.244.0.5/24", "2001:db8:1::5/64") as pod:
        pod.run("ip", "route", "add", "default", "via", "10.244.0.1")
        pod.run("ip", "route", "add", "default", "via", "2001:db8:1::1")
        line = [*config.to_argv(), "--run-validation", "--probe-timeout=20s"]
        passed = pod.pyinit(backend, *line)
        assert passed.returncode == 0, passed.stderr
        rules = noticed(pod, config)
        if not rules or "nftables" in backend:  # a rule of native tables has no text to be deleted by
            return
        rule = data.draw(st.sampled_from(rules), label="the rule that is taken away")
        variant = "nft" if "nft" in backend else "legacy"
        program = f"{'iptables' if rule.family == 4 else 'ip6tables'}-{variant}"
        place = ["-t", rule.table, "-D", rule.chain, *shlex.split(spec(rule, comments=True))]
        pod.run(program, *place)
        failed = pod.pyinit("--skip-rule-apply", *config.to_argv(), "--run-validation", "--probe-timeout=300ms")
        assert failed.returncode == 126, failed.stderr
        assert re.search("FAILED", failed.stderr)
