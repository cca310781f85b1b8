"""Where rules let packets land: the answers that the kernel gives in tests/kernel/init/test_packets.py, without it."""

import pytest

from init.capture import capture
from init.host import Host
from init.landing import Landing, Packet, landing
from init.network import Network
from init.rules import Rule
from tests.kernel.init import world
from tests.kernel.init.test_packets import CASES, expected
from tests.unit.init.hosts import config

ADDRESSES = {
    name: {family: Network.parse(text) for family, text in both.items()} for name, both in world.ADDRESSES.items()
}
DNS = tuple(ADDRESSES["dns"].values())
PORTS = {"outbound": 15001, "inbound": 15006, "agent": 15053}


def rules_of(line: str) -> tuple[Rule, ...]:
    """The rules in that test's pod."""
    asked = config(line)
    pod = Host.probe(asked.replace(redirect_dns=False))
    return capture(asked, pod.replace(addresses=(*ADDRESSES["pod"].values(),), nameservers=DNS)).rules


def as_packet(sent: world.Packet) -> Packet:
    """The packet as the pod's rules meet it."""
    sender = world.SENDERS[sent.sender]
    here = sender.machine == "pod"
    to_itself = sent.destination in ("pod", "loopback")
    interface = ("lo" if to_itself else "eth0") if here else {"outside": "eth0", "vm": "eth1"}[sender.machine]
    source = ADDRESSES[sender.source][sent.family] if sender.source else None
    ids = (sender.uid, sender.gid) if here else (None, None)
    destination = ADDRESSES[sent.destination][sent.family]
    return Packet(sent.protocol, destination, sent.port, interface, *ids, source=source, mark=sender.mark)


@pytest.mark.parametrize("case", CASES)
def test_packets_land_where_the_kernel_lets_them(case: str) -> None:
    line, captured = CASES[case]
    rules = rules_of(f"-u 1337 {line}")
    for packet, where in expected(line, captured).items():
        assert landing(rules, as_packet(packet)).port == PORTS.get(where), packet


def sent(line: str, **fields: object) -> Landing:
    packet = {"protocol": "tcp", "destination": Network.parse("192.0.2.1"), "port": 80, "interface": "eth0"}
    return landing(rules_of(line), Packet(**{**packet, "uid": 1000, "gid": 1000, **fields}))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("-i *", "--istio-service-cidr"),
        ("-i * -x 192.0.2.0/24", "--istio-service-exclude-cidr"),
        ("-i * -o 80", "--istio-local-outbound-ports-exclude"),
        ("-i * -u 1000", "--proxy-uid"),
        ("-q 80 -x 192.0.2.0/25", "--istio-service-exclude-cidr"),
        ("-q 80", "--istio-outbound-ports"),
        ("-i 10.0.0.0/8", ""),
        ("-i * -c eth0", "--istio-exclude-interfaces"),
        ("-i * --istio-outbound-owner-groups-exclude=1000", "--istio-outbound-owner-groups-exclude"),
    ],
)
def test_a_landing_names_the_flag_that_settled_it(line: str, why: str) -> None:
    assert sent(line).why == why


def test_the_path_holds_the_rules_in_order() -> None:
    assert [rule.chain for rule in sent("-i *").path] == ["OUTPUT", "ISTIO_OUTPUT", "ISTIO_REDIRECT"]
