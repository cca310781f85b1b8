"""Which probes a configuration calls for."""

import pytest

from init.host import Host
from init.network import Network
from init.probes import Probe, plan
from init.validate import FAILED, PASSED, Outcome, table
from tests.unit.init.hosts import V4, V6, config, host


def planned(line: str, there: Host) -> list[str]:
    return [
        f"{p.sender} {p.protocol} {p.destination.host}:{p.port} -> {p.arrives or 'not the proxy'}"
        for p in plan(config(line), there)
    ]


def test_everything_captured() -> None:
    assert planned("-i * -b *", host(V4)) == [
        "app tcp 192.0.2.1:15002 -> 15001",
        "proxy tcp 192.0.2.1:15002 -> not the proxy",
        "app tcp 127.0.0.1:15002 -> not the proxy",
        "proxy tcp 10.244.0.5:15002 -> 15006",
        "outside tcp 10.244.0.5:15002 -> 15006",
    ]


def test_both_families_with_dual_stack_alone() -> None:
    assert any("2001:db8::1" in probe for probe in planned("-i * --dual-stack", host(V4, V6)))
    assert not any("2001:db8::1" in probe for probe in planned("-i *", host(V4, V6)))


def test_ports_of_the_proxy_and_of_the_probes_are_those_that_were_asked_for() -> None:
    probes = planned("-i * -p 1 -z 2 --iptables-probe-port=3", host(V4))
    assert "app tcp 192.0.2.1:3 -> 1" in probes
    assert "proxy tcp 10.244.0.5:3 -> 2" in probes


def test_nothing_captured_outbound() -> None:
    assert planned("-b *", host(V4)) == [
        "app tcp 192.0.2.1:15002 -> not the proxy",
        "proxy tcp 10.244.0.5:15002 -> 15006",
        "outside tcp 10.244.0.5:15002 -> 15006",
    ]


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
        ("--redirect-dns", "app udp 10.96.0.10:53 -> 15053"),
        ("--redirect-dns", "app tcp 10.96.0.10:53 -> 15053"),
        ("--redirect-dns --capture-all-dns", "app udp 192.0.2.1:53 -> 15053"),
    ],
)
def test_settings_call_for_probes(line: str, probe: str) -> None:
    assert probe in planned(line, host(V4))


def test_a_captured_loopback_is_not_probed_as_spared() -> None:
    assert not any("127.0.0.1" in probe for probe in planned("-i 127.0.0.0/8,10.0.0.0/8", host(V4)))


def test_excluded_dns_is_not_probed() -> None:
    assert not any(":53 -> 15053" in probe for probe in planned("-i * --redirect-dns -o 53", host(V4)))


def test_nothing_comes_from_outside_where_its_interface_would_be_left_out() -> None:
    assert not any(probe.startswith("outside") for probe in planned("-b * -c p+", host(V4)))


def test_the_table_tells_what_failed() -> None:
    probe = Probe("outbound", "app", "tcp", Network.parse("2001:db8::1"), 80, 15001)
    spared = probe.replace(arrives=None)
    assert table([Outcome(probe, FAILED, "did not arrive"), Outcome(spared, PASSED)]) == [
        "        from  probe     to                    must arrive at  note",
        "FAILED  app   outbound  tcp [2001:db8::1]:80  port 15001      did not arrive",
        "passed  app   outbound  tcp [2001:db8::1]:80  not the proxy",
    ]
