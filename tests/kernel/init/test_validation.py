"""--run-validation: probes in a real namespace, with rules that work and rules that do not."""

import re
import socket

import pytest

from tests.kernel.init.namespace import PLAIN, Namespace, confined_to
from tests.kernel.netns import inside

FULL = [*PLAIN, "--dual-stack", "--redirect-dns", "--capture-all-dns", "-o", "81", "-x", "203.0.113.0/24"]


@pytest.fixture
def routed(dual: Namespace) -> Namespace:
    """A pod with default routes, so that packets for elsewhere have a way."""
    dual.run("ip", "route", "add", "default", "via", "10.244.0.1")
    dual.run("ip", "route", "add", "default", "via", "2001:db8:1::1")
    return dual


@pytest.mark.parametrize("mode", ["REDIRECT", "TPROXY"])
def test_all_probes_pass(routed: Namespace, backend: str, mode: str) -> None:
    said = routed.must(*FULL, "-m", mode, "--run-validation", backend)
    assert "validation passed probes=43" in said
    assert "skipped" not in said


@pytest.mark.parametrize(
    "line",
    [
        ["-x", "0.0.0.0/0"],
        ["-x", "192.0.2.0/24"],
        ["-u", "1337,0"],
        ["--istio-outbound-owner-groups="],
        ["-c", "eth0"],
        ["-q", "53", "--redirect-dns", "--capture-all-dns"],
    ],
    ids=" ".join,
)
def test_right_rules_pass(routed: Namespace, line: list[str]) -> None:
    routed.must("-i", "*", "-b", "*", *line, "--run-validation")


def test_without_rules_it_fails_with_a_table(routed: Namespace) -> None:
    failed = routed.pyinit(*PLAIN, "--skip-rule-apply", "--run-validation", "--probe-timeout=300ms")
    assert failed.returncode == 126
    assert "validation: 4 of 16 probes failed" in failed.stderr
    assert re.search(r"FAILED  app +outbound +tcp 192\.0\.2\.1:15002 +port 15001 +--istio-service-cidr", failed.stderr)
    assert "did not arrive" in failed.stderr


@pytest.mark.parametrize(
    ("break_it", "probe"),
    [
        ("-F ISTIO_REDIRECT", "FAILED  app      outbound "),
        ("-F ISTIO_IN_REDIRECT", "FAILED  proxy    inbound, from the proxy "),
        ("-I OUTPUT -p tcp -j REDIRECT --to-ports 15001", "FAILED  proxy    the proxy's own, outbound "),
        ("-I OUTPUT -p tcp --dport 81 -j REDIRECT --to-ports 15001", "FAILED  app      outbound, excluded port "),
        (
            "-I OUTPUT -d 203.0.113.1 -p tcp -j REDIRECT --to-ports 15001",
            "FAILED  app      outbound, excluded network ",
        ),
        ("-I OUTPUT -d 192.0.2.1 -p tcp -j DNAT --to 127.0.0.1:15006", "arrived at port 15006"),
        ("-F ISTIO_INBOUND", "FAILED  outside  inbound "),
        ("-I PREROUTING -p tcp -j REDIRECT --to-ports 15006", "FAILED  outside  inbound, excluded port "),
        ("-F ISTIO_OUTPUT_DNS", "FAILED  app      DNS over UDP "),
    ],
)
def test_a_broken_rule_is_found_out(routed: Namespace, break_it: str, probe: str) -> None:
    routed.must(*FULL)
    routed.run("iptables", "-t", "nat", *break_it.split())
    # A rule that is gone makes probes get lost; one that is wrong sends them to where they are awaited.
    patience = "300ms" if break_it.startswith("-F") else "20s"
    failed = routed.pyinit(*FULL, "--skip-rule-apply", "--run-validation", f"--probe-timeout={patience}")
    assert failed.returncode == 126
    assert probe in failed.stderr


def test_the_wire_from_outside_is_gone_afterwards(routed: Namespace) -> None:
    before = routed.run("ip", "-brief", "link").stdout
    routed.must(*FULL, "--run-validation")
    assert routed.run("ip", "-brief", "link").stdout == before


def test_where_ipv6_is_off(pod: Namespace) -> None:
    pod.run("sh", "-c", "for all in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 >$all; done")
    assert "passed   outside  inbound " in pod.must(*PLAIN, "--run-validation")


def test_probes_are_told_apart_where_ports_are_few(routed: Namespace) -> None:
    routed.run("sh", "-c", "echo 40000 40019 >/proc/sys/net/ipv4/ip_local_port_range")
    assert "validation passed probes=43" in routed.must(*FULL, "--run-validation")


def test_again_in_the_same_pod(routed: Namespace) -> None:
    for mode in ("REDIRECT", "TPROXY"):
        routed.must(*FULL, "-m", mode, "--run-validation", "--reconcile", "--prune")


def test_as_the_proxys_user_without_privilege(routed: Namespace) -> None:
    """As a container that validates what a CNI plugin wrote: what it may not send is skipped, and said so."""
    routed.must(*PLAIN)
    done = routed.run(*confined_to("", uid=1337), *PLAIN, "--skip-rule-apply", "--run-validation")
    assert "passed   proxy    inbound, from the proxy" in done.stderr
    assert "a wire from outside needs NET_ADMIN, NET_RAW and the module veth" in done.stderr
    assert (
        "this is uid 1337 and gid 1337; to be uid 1000 and gid 1000 needs the capabilities SETUID and SETGID"
        in done.stderr
    )


def test_a_pod_without_routes_validates_what_it_can(pod: Namespace) -> None:
    said = pod.must(*PLAIN, "--run-validation")
    assert "skipped  app      outbound" in said
    assert "Network is unreachable" in said


def test_after_the_proxy_has_started_it_says_so(pod: Namespace) -> None:
    with inside(pod.name), socket.create_server(("127.0.0.1", 15001)):
        refused = pod.pyinit(*PLAIN, "--run-validation")
    assert refused.returncode == 2
    assert "cannot listen on port 15001 (IPv4 tcp): Address already in use" in refused.stderr
