"""While one configuration takes another's place, every new connection is captured, in and out."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.kernel.init.namespace import Namespace, namespace

# Accepts on the proxy's ports, for any destination, as user 1337.
PROXY = """
import os, selectors, socket
ports = selectors.DefaultSelector()
for port in (15001, 15006):
    for family in (socket.AF_INET, socket.AF_INET6):
        server = socket.socket(family)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            server.setsockopt(socket.IPPROTO_IPV6, 75, 1)  # IPV6_TRANSPARENT
        else:
            server.setsockopt(socket.IPPROTO_IP, 19, 1)  # IP_TRANSPARENT
        server.bind(("", port))
        server.listen(512)
        ports.register(server, selectors.EVENT_READ)
os.setuid(1337)
print("ready", flush=True)
while True:
    for key, _ in ports.select():
        key.fileobj.accept()[0].close()
"""
# Connects again and again to where nobody listens, until told to end; says how often, and what went wrong. It waits for
# the proxy's answer each time: else it would fill the proxy's queue of connections, and the kernel would drop SYNs.
CLIENT = """
import select, socket, sys
made, failed = 0, []
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    try:
        with socket.create_connection((sys.argv[1], 8080), timeout=10) as connection:
            assert connection.recv(1) == b""
        made += 1
    except OSError as e:
        failed.append(str(e))
print(made, *failed)
"""


@contextmanager
def started(there: Namespace, code: str, *argv: str) -> Iterator[subprocess.Popen[str]]:
    command = ["ip", "netns", "exec", there.name, sys.executable, "-c", code, *argv]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def neighbours() -> Iterator[tuple[Namespace, Namespace]]:
    """A pod 10.244.0.5 and, at the other end of its wire, 10.244.0.6, which is its way out; of IPv6 likewise."""
    with namespace("10.244.0.5/24", "2001:db8:1::5/64") as pod, namespace() as client:
        client.run("ip", "link", "del", "eth0")
        pod.run("ip", "link", "set", "peer0", "netns", client.name)
        client.run("ip", "addr", "add", "10.244.0.6/24", "dev", "peer0")
        client.run("ip", "addr", "add", "2001:db8:1::6/64", "dev", "peer0", "nodad")
        client.run("ip", "link", "set", "peer0", "up")
        pod.run("ip", "route", "add", "default", "via", "10.244.0.6")
        pod.run("ip", "-6", "route", "add", "default", "via", "2001:db8:1::6")
        yield pod, client


# Two configurations that differ in what each table holds.
SWAPS = {
    "REDIRECT": ("-c net1 --redirect-dns --capture-all-dns", "-d 22 --drop-invalid"),
    "TPROXY": ("-c net1 --redirect-dns --capture-all-dns", "-d 22 --drop-invalid -m TPROXY"),
    "TPROXY-valid": ("-c net1 --drop-invalid", "-d 22 --redirect-dns --capture-all-dns -m TPROXY"),
}


@pytest.mark.parametrize("swap", SWAPS)
@pytest.mark.parametrize("way", ["--force-iptables-binary=nft", "--force-iptables-binary=legacy", "--native-nftables"])
def test_no_connection_passes_by(neighbours: tuple[Namespace, Namespace], way: str, swap: str) -> None:
    pod, client = neighbours
    force = ["-b", "*", "-i", "*", "--dual-stack", way, "--reconcile", "--prune"]
    first, second = (flags.split() for flags in SWAPS[swap])
    pod.must(*first, *force)
    with ExitStack() as stack:
        stack.enter_context(started(pod, PROXY))
        ways = {
            (there.name, target): stack.enter_context(started(there, CLIENT, target))
            for there, targets in ((client, ("10.244.0.5", "2001:db8:1::5")), (pod, ("192.0.2.80", "2001:db8:2::80")))
            for target in targets
        }
        for _ in range(3):
            pod.must(*second, *force)
            pod.must(*first, *force)
        for to, process in ways.items():
            made, *failed = process.communicate("end", timeout=30)[0].split(" ", 1)
            assert int(made) > 50, to
            assert failed == [], to
