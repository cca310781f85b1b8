"""Which probes a configuration calls for."""

import pytest

from init.capture import capture
from init.host import Host
from init.iptables_text import spec
from init.landing import Packet, landing
from init.network import LOOPBACK, Network
from init.probes import Place, Probe, plan
from init.rules import Rule
from init.validate import FAILED, PASSED, Outcome, table
from tests.unit.init.hosts import V4, V6, config, host


def interface_to(address: Network) -> str:
    """Routes of a pod with the address V4."""
    here = address in (V4, V6) or any(network.contains(address) for network in LOOPBACK.values())
    return "lo" if here else "eth0"


def probes_of(line: str, there: Host, uid: int = 0) -> tuple[Probe, ...]:
    asked = config(line)
    return plan(asked, there, capture(asked, there).rules, Place(interface_to, uid, uid))


def planned(line: str, there: Host) -> list[str]:
    return [
        f"{p.sender} {p.packet.protocol} {p.packet.destination.host}:{p.packet.port} -> {p.arrives or 'not the proxy'}"
        for p in probes_of(line, there)
    ]


def test_everything_captured() -> None:
    assert [f"{p.what}: {p.arrives or p.why}" for p in probes_of("-i * -b *", host(V4))] == [
        "outbound: 15001",
        "the proxy's own, outbound: --proxy-uid",
        "the proxy's own, outbound, by its uid 1337: --proxy-uid",
        "the proxy's own, outbound, by its gid 1337: --proxy-gid",
        "the app's own loopback: --proxy-uid",
        "to its own pod: --proxy-uid",
        "inbound, from the proxy: 15006",
        "inbound, from the proxy by its uid 1337: 15006",
        "inbound, from the proxy by its gid 1337: --proxy-uid",
        "its own tunnel: --proxy-uid",
        "what the proxy hands to the app: --inbound-capture-port",
        "inbound: 15006",
        "inbound, tunnel: --inbound-tunnel-port",
    ]


def test_both_families_with_dual_stack_alone() -> None:
    assert any("2001:db8::1" in probe for probe in planned("-i * --dual-stack", host(V4, V6)))
    assert not any("2001:db8::1" in probe for probe in planned("-i *", host(V4, V6)))


def test_ports_of_the_proxy_and_of_the_probes_are_those_that_were_asked_for() -> None:
    probes = planned("-i * -p 1 -z 2 --iptables-probe-port=3", host(V4))
    assert "app tcp 192.0.2.1:3 -> 1" in probes
    assert "proxy tcp 10.244.0.5:3 -> 2" in probes


@pytest.mark.parametrize(
    ("line", "probe"),
    [
        ("-i * -o 81", "app tcp 192.0.2.1:81 -> not the proxy"),
        ("-i * -o 15002", "app tcp 192.0.2.1:15100 -> 15001"),
        ("-i * -x 203.0.113.0/24", "app tcp 203.0.113.1:15002 -> not the proxy"),
        ("-i * -x 203.0.113.7", "app tcp 203.0.113.7:15002 -> not the proxy"),
        ("-i 10.0.0.0/8", "app tcp 10.0.0.1:15002 -> 15001"),
        ("-i 10.244.0.5/32,198.51.100.0/24", "app tcp 198.51.100.1:15002 -> 15001"),
        ("-i 10.0.0.0/8,11.0.0.0/8 -x 10.0.0.0/16", "app tcp 11.0.0.1:15002 -> 15001"),
        ("-q 443", "app tcp 192.0.2.1:443 -> 15001"),
        ("-i * -e 15002", "proxy tcp 10.244.0.5:15100 -> 15006"),
        ("-b * -d 80", "outside tcp 10.244.0.5:80 -> not the proxy"),
        ("-b * -d 15002", "outside tcp 10.244.0.5:15100 -> 15006"),
        ("-b 80,90", "outside tcp 10.244.0.5:80 -> 15006"),
        ("-i *", "outside tcp 10.244.0.5:15002 -> not the proxy"),
        ("-b *", "app tcp 192.0.2.1:15002 -> not the proxy"),
        ("-i * -x 0.0.0.0/0", "app tcp 192.0.2.1:15002 -> not the proxy"),
        ("-i * -x 192.0.2.0/24", "app tcp 192.0.3.0:15002 -> 15001"),
        ("-i * -x 192.0.2.0/24", "app tcp 192.0.2.1:15002 -> not the proxy"),
        ("-i * -c eth0", "app tcp 192.0.2.1:15002 -> not the proxy"),
        ("-b * -c p+", "outside tcp 10.244.0.5:15002 -> not the proxy"),
        ("-i 127.0.0.0/8,10.0.0.0/8", "app tcp 127.0.0.1:15002 -> not the proxy"),
        ("-i 0.0.0.0/32", "app tcp 0.0.0.0:15002 -> not the proxy"),
        ("-b * -d 15001", "outside tcp 10.244.0.5:15001 -> 15001"),
        ("--redirect-dns", "app udp 10.96.0.10:53 -> 15053"),
        ("--redirect-dns", "app tcp 10.96.0.10:53 -> 15053"),
        ("--redirect-dns --capture-all-dns", "app udp 192.0.2.1:53 -> 15053"),
    ],
)
def test_settings_call_for_probes(line: str, probe: str) -> None:
    assert probe in planned(line, host(V4))


def test_excluded_dns_is_asked_about_as_such() -> None:
    probes = planned("-i * --redirect-dns -o 53", host(V4))
    assert "app udp 10.96.0.10:53 -> not the proxy" in probes
    assert not any(":53 -> 15053" in probe for probe in probes)


def test_groups_are_asked_about() -> None:
    asked = config("-i * --istio-outbound-owner-groups=2000")
    there = host(V4, owner_groups=(2000,))
    probes = plan(asked, there, capture(asked, there).rules, Place(interface_to, 0, 0))
    assert {(p.packet.gid, p.arrives) for p in probes if p.what.startswith("outbound")} == {(2000, 15001), (1000, None)}


def test_this_process_own_ids_are_taken_where_they_will_do() -> None:
    probes = probes_of("-i *", host(V4), uid=1337)
    assert {p.packet.uid for p in probes if p.what == "inbound, from the proxy"} == {1337}
    assert {p.packet.uid for p in probes if p.what == "outbound"} == {1000}


def test_without_a_route_the_reason_is_told() -> None:
    def nowhere(_: Network) -> str:
        raise OSError(101, "Network is unreachable")

    asked, there = config("-i *"), host(V4)
    probes = plan(asked, there, capture(asked, there).rules, Place(nowhere, 0, 0))
    assert {p.unsent for p in probes if p.sender != "outside"} == {"Network is unreachable"}


def test_no_rule_could_be_missing_without_being_found_out() -> None:
    """But for those that say what another has said, as rules for a user and rules for its group do."""
    asked, there = config("-i * -b * -d 15090 -o 81 -x 203.0.113.0/24 -q 443 -c eth9"), host(V4)
    rules = capture(asked, there).rules
    probes = plan(asked, there, rules, Place(interface_to, 0, 0))

    def noticed(rule: Rule) -> bool:
        fewer = [r for r in rules if r is not rule]
        return any(landing(fewer, p.packet).port != p.arrives for p in probes)

    assert [spec(rule) for rule in rules if not noticed(rule)] == [
        "-i eth9 -j RETURN",
        "-o eth9 -j RETURN",
        "-p udp -m udp --dport 81 -j RETURN",
        "! -d 127.0.0.1/32 -o lo -p tcp -m tcp ! --dport 15008 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT",
        "-o lo -m owner ! --gid-owner 1337 -j RETURN",
        "-d 127.0.0.1/32 -j RETURN",
        "-p tcp -m tcp --dport 443 -j ISTIO_REDIRECT",
    ]


def test_the_table_tells_what_failed() -> None:
    packet = Packet("tcp", Network.parse("2001:db8::1"), 80, "eth0", 1000, 1000)
    probe = Probe("outbound", "app", packet, 15001, "--istio-service-cidr")
    spared = probe.replace(arrives=None, why="")
    assert table([Outcome(probe, FAILED, "did not arrive"), Outcome(spared, PASSED)]) == [
        "        from  probe     to                    must arrive at  because of            note",
        "FAILED  app   outbound  tcp [2001:db8::1]:80  port 15001      --istio-service-cidr  did not arrive",
        "passed  app   outbound  tcp [2001:db8::1]:80  not the proxy",
    ]
