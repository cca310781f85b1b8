"""Where packets land: each configuration is written by each backend into a pod of its own, the same packets are sent.

A case lists what is captured; every other packet lands where it would without rules.
"""

from collections.abc import Sequence

import pytest

from tests.kernel.init.world import Packet, World

# sender, protocol, destination:port, and where it lands without rules
PACKETS = """
client          tcp  pod:8080       app
client          tcp  pod:9090       app
client          tcp  pod:15008      app
client          tcp  pod:15090      app
client          tcp  pod:7070       refused
vm              tcp  pod:8080       app
vm              tcp  web:80         outside
vm              tcp  db:5432        outside
app             tcp  web:80         outside
app             tcp  web:443        outside
app             tcp  db:5432        outside
app             tcp  loopback:8080  app
app             tcp  pod:8080       app
app             tcp  dns:53         outside
app             udp  dns:53         outside
app             udp  web:53         outside
group           tcp  web:80         outside
group           udp  dns:53         outside
proxy           tcp  web:80         outside
proxy           tcp  loopback:8080  app
proxy           tcp  pod:8080       app
proxy           tcp  pod:15008      app
proxy           udp  dns:53         outside
proxy's group   tcp  web:80         outside
proxy's group   tcp  pod:8080       app
"""

OUTBOUND = """
app             tcp  web:80         outbound
app             tcp  web:443        outbound
app             tcp  db:5432        outbound
app             tcp  dns:53         outbound
group           tcp  web:80         outbound
"""
INBOUND = """
client          tcp  pod:8080       inbound
client          tcp  pod:9090       inbound
client          tcp  pod:7070       inbound
vm              tcp  pod:8080       inbound
vm              tcp  web:80         inbound
vm              tcp  db:5432        inbound
"""
# Envoy calls its own pod: through its inbound side
ITSELF = """
proxy           tcp  pod:8080       inbound
passthrough     tcp  pod:8080       app
"""
# in TPROXY mode also what has only the proxy's group, and also the tunnel's port
TPROXY_ITSELF = """
proxy           tcp  pod:8080       inbound
proxy           tcp  pod:15008      inbound
proxy's group   tcp  pod:8080       inbound
passthrough     tcp  pod:8080       app
transparent     tcp  pod:8080       app
"""
TPROXY_INBOUND = f"{INBOUND}client tcp pod:15008 inbound"
DNS = """
app             tcp  dns:53         agent
app             udp  dns:53         agent
group           udp  dns:53         agent
"""
VM_PASSES = """
vm              tcp  pod:8080       app
vm              tcp  web:80         outside
vm              tcp  db:5432        outside
"""
ALL = "-i * -b * -d 15090"

CASES = {
    "plain": (ALL, (OUTBOUND, INBOUND, ITSELF)),
    "plain-dual-stack": (f"{ALL} --dual-stack", (OUTBOUND, INBOUND, ITSELF)),
    "nothing": ("", (ITSELF,)),
    "inbound-ports-listed": ("-b 9090 --dual-stack", (ITSELF, "client tcp pod:9090 inbound")),
    "tproxy": (f"-m TPROXY {ALL}", (OUTBOUND, TPROXY_INBOUND, TPROXY_ITSELF)),
    "tproxy-dual-stack": (f"-m TPROXY {ALL} --dual-stack", (OUTBOUND, TPROXY_INBOUND, TPROXY_ITSELF)),
    "tproxy-ports-listed": (
        "-m TPROXY -b 9090 --dual-stack -i *",
        (OUTBOUND, ITSELF, "client tcp pod:9090 inbound", "transparent tcp pod:8080 app"),
    ),
    "networks": (
        "-i 10.0.0.0/8,fd00::/8 -x 10.96.0.0/16,fd96::/16 --dual-stack",
        (ITSELF, "app tcp db:5432 outbound"),
    ),
    "networks-with-loopback": (
        "-i 127.0.0.0/8,::1/128 --dual-stack",
        (ITSELF, "proxy's group tcp pod:8080 inbound"),
    ),
    "networks-excluded": (
        "-i * -x 192.0.2.0/24,2001:db8::/32 -q 443 --dual-stack",
        (ITSELF, "app tcp db:5432 outbound", "app tcp dns:53 outbound"),
    ),
    "ports": ("-q 443 -o 5432 --dual-stack", (ITSELF, "app tcp web:443 outbound")),
    "ports-excluded": (
        "-i * -o 53,5432 --dual-stack",
        (OUTBOUND, ITSELF, "app tcp db:5432 outside", "app tcp dns:53 outside"),
    ),
    "dns-of-resolv-conf": (f"{ALL} --redirect-dns --dual-stack", (OUTBOUND, INBOUND, ITSELF, DNS)),
    "dns-all": (
        f"{ALL} --redirect-dns --capture-all-dns --dual-stack",
        (OUTBOUND, INBOUND, ITSELF, DNS, "app udp web:53 agent"),
    ),
    "dns-all-tproxy": (
        f"-m TPROXY {ALL} --redirect-dns --capture-all-dns --dual-stack --drop-invalid",
        (OUTBOUND, TPROXY_INBOUND, TPROXY_ITSELF, DNS, "app udp web:53 agent"),
    ),
    "owner-groups": (
        "-i * --istio-outbound-owner-groups=2000 --dual-stack",
        (ITSELF, "group tcp web:80 outbound"),
    ),
    "owner-groups-excluded": (
        "-i * --istio-outbound-owner-groups-exclude=2000 --dual-stack",
        (OUTBOUND, ITSELF, "group tcp web:80 outside"),
    ),
    "interface-excluded": (
        f"{ALL} -c eth1 --dual-stack",
        (OUTBOUND, INBOUND, ITSELF, VM_PASSES),
    ),
    "interface-excluded-tproxy": (
        f"-m TPROXY {ALL} -c eth1+ --dual-stack",
        # what the pod forwards gets lost: its answers come in by eth0, and are taken for the proxy's
        (OUTBOUND, TPROXY_INBOUND, TPROXY_ITSELF, VM_PASSES, "vm tcp web:80 lost", "vm tcp db:5432 lost"),
    ),
    # the virtual machine's packets are the app's: captured as outbound, whatever it is in the pod that they are sent to
    "kube-virt": (
        "-i 10.0.0.0/8,fd00::/8 -b * -d 15090 -k eth1 --dual-stack",
        (
            INBOUND,
            ITSELF,
            "vm tcp pod:8080 outbound",
            "vm tcp web:80 outside",
            "vm tcp db:5432 outbound",
            "app tcp db:5432 outbound",
            "app tcp dns:53 outbound",
        ),
    ),
}


def read(text: str) -> dict[Packet, str]:
    """The packets and landings of a table."""
    landings = {}
    for line in filter(str.strip, text.splitlines()):
        *sender, protocol, to, landing = line.split()
        destination, port = to.split(":")
        landings[Packet(" ".join(sender), protocol, destination, int(port))] = landing
    return landings


def expected(line: str, captured: Sequence[str]) -> dict[Packet, str]:
    """Where all packets must land, of both families; a later table counts."""
    four = read("\n".join((PACKETS, *captured)))
    six = four if "--dual-stack" in line else read(PACKETS)
    return four | {packet._replace(family=6): landing for packet, landing in six.items()}


def misled(world: World, wanted: dict[Packet, str]) -> list[str]:
    """The packets that land elsewhere."""
    landings = world.landings(list(wanted), doomed=[p for p, landing in wanted.items() if landing == "lost"])
    return [f"{p}: {landings[p]}, not {landing}" for p, landing in wanted.items() if landings[p] != landing]


@pytest.mark.parametrize("case", CASES)
def test_packets_land_where_they_should(case: str, backend: str) -> None:
    line, captured = CASES[case]
    wanted = expected(line, captured)
    with World() as world:
        world.pyinit("-u", "1337", *line.split(), backend)
        assert misled(world, wanted) == []


def test_packets_land_naturally_without_rules() -> None:
    wanted = expected("", ())
    with World() as world:
        assert misled(world, wanted) == []
