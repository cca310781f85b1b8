"""What is somebody else's stays: policy rules like ours, and what others put there while a run is at work."""

import sys

import pytest

from tests.kernel.init.namespace import EVERYTHING, PLAIN, Namespace

TPROXY = ["-i", "*", "-b", "*", "-m", "TPROXY"]
# Policy rules that have our mark and table, and ask for more or for less.
ALIKE = [
    "from 10.9.9.9 fwmark 1337 lookup 133",
    "fwmark 1337/0xffff lookup 133",
    "not fwmark 1337 lookup 133",
    "fwmark 1337 lookup 133 suppress_prefixlength 0",
    "fwmark 1337 iif eth0 lookup 133",
    "fwmark 1337 uidrange 7-7 lookup 133",
    "fwmark 1337 ipproto udp dport 53 lookup 133",
    "fwmark 1337 tos 0x10 lookup 133",
]


@pytest.mark.parametrize("place", ["", "pref 77 "], ids=["before", "first"])
@pytest.mark.parametrize("alike", ALIKE)
def test_a_policy_rule_that_is_like_ours(pod: Namespace, alike: str, place: str) -> None:
    pod.run("ip", "rule", "add", *f"{place}{alike}".split())
    before = pod.state()
    pod.must(*TPROXY)
    rules = pod.run("ip", "rule").stdout
    assert "from all fwmark 0x539 lookup 133\n" in rules
    assert "all is there already" in pod.must(*TPROXY)
    pod.must("--cleanup-only")
    assert pod.state() == before
    assert "nothing of ours is there" in pod.must("--cleanup-only")


def test_a_policy_rule_of_the_same_priority_stays(pod: Namespace) -> None:
    alike = ["ip", "rule", "add", "pref", "77", "from", "10.9.9.9", "fwmark", "1337", "lookup", "133"]
    pod.run(*alike)
    before = pod.state()
    ours = ["ip", "rule", "add", "pref", "77", "fwmark", "1337", "lookup", "133"]
    assert pod.run(*ours, check=False).stderr == "RTNETLINK answers: File exists\n"
    pod.run("ip", "rule", "del", "pref", "77")
    pod.run(*ours)
    pod.run(*alike)
    assert "rule add" not in pod.must(*TPROXY)
    pod.must("--cleanup-only")
    assert pod.state() == before


def test_policy_rules_that_came_twice_go_both(pod: Namespace) -> None:
    """As istio-iptables' second run leaves them."""
    before = pod.state()
    pod.must(*TPROXY)
    pod.run("ip", "rule", "add", "pref", "99", "fwmark", "1337", "lookup", "133")
    assert "all is there already" in pod.must(*TPROXY)
    pod.must("--cleanup-only")
    assert pod.state() == before


def test_a_route_that_is_like_ours(pod: Namespace) -> None:
    pod.run("ip", "route", "add", "local", "default", "dev", "lo", "table", "133", "src", "10.244.0.5")
    before = pod.state()
    failed = pod.pyinit(*TPROXY)
    assert failed.returncode == 2
    assert "ip -4 route add local default dev lo table 133: File exists" in failed.stderr
    assert pod.state() == before


# Between pyinit's reading and its writing, somebody adds the very same.
MEANWHILE = """
import os, subprocess, sys
from init import netlink
from init.cli import run

def after_another(name, *command):
    real = getattr(netlink, name)
    def call(*given):
        subprocess.run(["ip", *command], check=True)
        return real(*given)
    setattr(netlink, name, call)

name, *command = sys.argv[1].split()
after_another(name, *command)
sys.exit(run(sys.argv[2:], {}))
"""


@pytest.mark.parametrize(
    ("call", "command", "gone"),
    [
        ("add_local_route", "-4 route add local default dev lo table 133", ""),
        ("add_mark_rule", "-4 rule add fwmark 1337 lookup 133", "-4 rule del fwmark 1337 lookup 133"),
        ("add_source", "-6 addr add ::6/128 dev lo nodad", "-6 addr del ::6/128 dev lo"),
    ],
)
def test_what_another_made_meanwhile_is_not_taken_back(dual: Namespace, call: str, command: str, gone: str) -> None:
    dual.run("ip", *command.split())
    with_theirs = dual.state()
    dual.run("ip", *(gone or command.replace("add", "del", 1)).split())
    argv = [*EVERYTHING, "--force-iptables-binary=nft"]
    failed = dual.run(sys.executable, "-c", MEANWHILE, f"{call} {command}", *argv, check=False)
    assert failed.returncode == 2, failed.stderr
    assert "File exists" in failed.stderr
    assert dual.state() == with_theirs


def test_ipv6_that_is_off_on_lo_is_named(dual: Namespace) -> None:
    dual.run("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/lo/disable_ipv6")
    before = dual.state()
    refused = dual.pyinit(*PLAIN, "--dual-stack")
    assert refused.returncode == 2
    assert "net.ipv6.conf.lo.disable_ipv6=0" in refused.stderr
    assert "NET_ADMIN" not in refused.stderr
    assert dual.state() == before
