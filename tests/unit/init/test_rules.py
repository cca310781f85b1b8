"""Golden cases: a file each in rules/, with the command line, the host, and the rules as `--dry-run` shows them.

UPDATE_GOLDEN=1 writes them anew.
"""

import os
from pathlib import Path

import pytest

from init.host import Host
from tests.unit.init.hosts import DNS4, DNS6, V4, V6, config, host, shown

FILES = Path(__file__).parent / "rules"
PLAIN = "-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x '' -b * -d 15090,15021,15020"
IPV6, BOTH = host(V6), host(V4, V6)

CASES: dict[str, tuple[str, Host]] = {
    "plain": (PLAIN, host()),
    "nothing-captured": ("", host()),
    "ipv6-first": (PLAIN, IPV6),
    "ipv6-second-is-left-alone": (PLAIN, BOTH),
    "dual-stack": (f"{PLAIN} --dual-stack", BOTH),
    "dual-stack-without-ipv6-address": (f"{PLAIN} --dual-stack", host()),
    "inbound-ports-listed": ("-b 8080,9090 -d 80", host()),
    "outbound-networks-listed-by-family": ("-i 10.0.0.0/8,2001:db8::/32 -x 10.1.0.0/16,fd00::/8", IPV6),
    "outbound-everything-by-prefix": ("-i 0.0.0.0/0,::/0", IPV6),
    "outbound-loopback-included": ("-i 127.0.0.0/8,10.0.0.0/8", host()),
    "outbound-ports": ("-i 10.0.0.0/8 -q 443,8443 -o 22,3306", host()),
    "loopback-wider": ("-i * --istio-outbound-ipv4-loopback-cidr=127.0.0.0/8", host()),
    "several-owners": ("-i *", host(proxy_uids=(1337, 0), proxy_gids=(3, 4))),
    "owner-groups-included": ("-i * --istio-outbound-owner-groups=202,203", host(owner_groups=(202, 203))),
    "owner-groups-excluded": ("-i * --istio-outbound-owner-groups-exclude=888", host(owner_groups_exclude=(888,))),
    "owner-groups-none": ("-i * --istio-outbound-owner-groups=", host()),
    "kube-virt-all": ("-i * -k eth1,eth2", host()),
    "kube-virt-networks": ("-i 10.0.0.0/8,172.16.0.0/12 -k eth1,eth2", host()),
    "interfaces-excluded": ("-i * -b * -c net1,net2", host()),
    "tproxy": ("-i * -b * -d 15090 -m TPROXY", host()),
    "tproxy-ports-listed": ("-i * -b 80,443 -m TPROXY -t 2000 -r 200", host()),
    "tproxy-without-inbound": ("-i * -m TPROXY", host()),
    "tproxy-dual-stack-interfaces": ("-i * -b * -m TPROXY --dual-stack -c net1 -k eth1", BOTH),
    "drop-invalid": ("-i * --drop-invalid", host()),
    "dns-of-resolv-conf": ("-i * --redirect-dns", host(V4, V6)),
    "dns-of-resolv-conf-by-family": ("-i * --redirect-dns", host(V6, nameservers=(DNS4, DNS4, DNS6))),
    "dns-nameserver-of-the-other-family": ("-i * --redirect-dns", host(nameservers=(DNS6,))),
    "dns-without-nameserver": ("-i * --redirect-dns", host(nameservers=())),
    "dns-all": ("-i * --redirect-dns --capture-all-dns", IPV6),
    "dns-all-without-redirect": ("-i * --capture-all-dns", host()),
}


def rendered(line: str, there: Host) -> str:
    asked = config(f"{line} --dry-run --format=table")
    facts = {
        "addresses": map(str, there.addresses),
        "nameservers": map(str, there.nameservers),
        "proxy": (*(f"uid {i}" for i in there.proxy_uids), *(f"gid {i}" for i in there.proxy_gids)),
    }
    heading = "".join(f"# {name}: {', '.join(values)}\n" for name, values in facts.items())
    return f"# pyinit {line}\n{heading}\n{shown(asked, there)}"


@pytest.mark.parametrize("name", CASES)
def test_rules(name: str) -> None:
    got, file = rendered(*CASES[name]), FILES / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(got)
    assert file.read_text() == got


def test_no_golden_file_is_stale() -> None:
    assert {file.stem for file in FILES.iterdir()} == set(CASES)
