"""A pod between two other machines, as network namespaces, and packets sent for real between them.

    outside ──eth0── pod ──eth1── vm

Every server answers with its name, who it sees and where the packet was sent to; a packet's landing is what its sender
reads.
"""

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from tempfile import NamedTemporaryFile
from time import monotonic
from typing import Any, NamedTuple

from tests.kernel.netns import inside

ROOT = Path(__file__).parents[3]
PROXY, APP, GROUP = 1337, 1000, 2000
MARK = 1337
TIMEOUT = 20.0  # seconds until a packet counts as lost
LOSS = 1.0  # the same for one that is expected to be
IP_TRANSPARENT, IPV6_TRANSPARENT, IP_FREEBIND, SO_ORIGINAL_DST = 19, 75, 15, 80
LEVEL = {4: socket.IPPROTO_IP, 6: socket.IPPROTO_IPV6}
AF = {4: socket.AF_INET, 6: socket.AF_INET6}
KIND = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
ADDRESSES = {
    "pod": {4: "10.1.0.2", 6: "fd01::2"},
    "client": {4: "10.1.0.1", 6: "fd01::1"},
    "web": {4: "192.0.2.80", 6: "2001:db8::80"},
    "db": {4: "10.3.0.9", 6: "fd03::9"},
    "dns": {4: "10.96.0.10", 6: "fd96::10"},
    "vm": {4: "10.2.0.1", 6: "fd02::1"},
    "loopback": {4: "127.0.0.1", 6: "::1"},
    "passthrough": {4: "127.0.0.6", 6: "::6"},
}
_numbers = count()


class Packet(NamedTuple):
    """sender: who opens the connection (SENDERS); destination: a name of ADDRESSES."""

    sender: str
    protocol: str
    destination: str
    port: int
    family: int = 4

    def __str__(self) -> str:
        return f"IPv{self.family} {self.sender} {self.protocol} {self.destination}:{self.port}"


class Sender(NamedTuple):
    """Where a sender's socket is, whose it is, and what it is bound to."""

    machine: str
    uid: int = 0
    gid: int = 0
    source: str = ""
    mark: int = 0


SENDERS = {
    "client": Sender("outside"),
    "vm": Sender("vm"),
    "app": Sender("pod", APP, APP),
    "group": Sender("pod", APP, GROUP),
    "proxy": Sender("pod", PROXY, APP),
    "proxy's group": Sender("pod", APP, PROXY),
    "passthrough": Sender("pod", PROXY, PROXY, "passthrough"),
    # Envoy in TPROXY mode, which runs as root, hands to the app from the client's address, marked
    "transparent": Sender("pod", 0, PROXY, "client", MARK),
}


class World:
    """The three machines. `with World() as world`: they are gone afterwards."""

    def __init__(self) -> None:
        tag = f"t{os.getpid()}-{next(_numbers)}"
        self.names = {name: f"{tag}-{name}" for name in ("pod", "outside", "vm")}
        self.stack = ExitStack()

    def __enter__(self) -> "World":
        for name in self.names.values():
            run(["ip", "netns", "add", name])
            self.stack.callback(run, ["ip", "netns", "del", name])
        pod, outside, vm = self.names.values()
        run(["ip", "link", "add", "eth0", "netns", pod, "type", "veth", "peer", "name", "eth0", "netns", outside])
        run(["ip", "link", "add", "eth1", "netns", pod, "type", "veth", "peer", "name", "eth0", "netns", vm])
        self.configure(pod, ["eth0 10.1.0.2/24 fd01::2/64", "eth1 10.2.0.2/24 fd02::2/64"], "10.1.0.1 fd01::1")
        self.configure(outside, ["eth0 10.1.0.1/24 fd01::1/64"], "10.1.0.2 fd01::2")
        self.configure(vm, ["eth0 10.2.0.1/24 fd02::1/64"], "10.2.0.2 fd02::2")
        everywhere = [a for name in ("web", "db", "dns") for a in ADDRESSES[name].values()]
        # nodad: else an IPv6 address cannot be bound to for a moment, on lo too
        self.batch(outside, [f"addr add {a} dev lo {'nodad' if ':' in a else ''}" for a in everywhere])
        with inside(pod):
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
            Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def configure(self, name: str, links: list[str], gateways: str) -> None:
        lines = ["link set lo up"]
        for link in links:
            device, four, six = link.split()
            lines += [f"addr add {four} dev {device}", f"addr add {six} dev {device} nodad", f"link set {device} up"]
        self.batch(name, [*lines, *(f"route add default via {gateway}" for gateway in gateways.split())])

    def batch(self, name: str, lines: list[str]) -> None:
        run(["ip", "-netns", name, "-batch", "-"], given="\n".join(lines))

    def pyinit(self, *argv: str, resolv_conf: str = "nameserver 10.96.0.10\nnameserver fd96::10\n") -> str:
        """Run pyinit in the pod, with this resolv.conf; what it logged."""
        mount = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        with NamedTemporaryFile("w") as file:
            file.write(resolv_conf)
            file.flush()
            inner = ["sh", "-c", mount, file.name, sys.executable, "-m", "init", *argv]
            return run(["ip", "netns", "exec", self.names["pod"], *inner])

    def landings(
        self, packets: Sequence[Packet], absent: str = "", doomed: Collection[Packet] = ()
    ) -> dict[Packet, str]:
        """Where each packet lands: the name of a server, "refused", "lost", or why it could not be sent.

        absent: the server that does not run. doomed: packets that are expected to get lost, and not waited for long.
        """
        with ExitStack() as stack:
            selector = stack.enter_context(DefaultSelector())
            self.serve(selector, stack, absent)
            found: dict[Packet, str] = {}
            clients: dict[socket.socket, Packet] = {}
            for packet in packets:
                try:
                    client = stack.enter_context(self.send(packet))
                except OSError as e:
                    found[packet] = os.strerror(e.errno or 0)
                    continue
                clients[client] = packet
                selector.register(client, EVENT_READ)
            start = monotonic()
            while clients and monotonic() - start < (LOSS if set(doomed).issuperset(clients.values()) else TIMEOUT):
                for key, _ in selector.select(0.1):
                    if key.fileobj in clients:
                        selector.unregister(key.fileobj)
                        packet = clients.pop(key.fileobj)
                        found[packet] = landing(packet, key.fileobj)
                    else:
                        answer(key.fileobj, key.data)
            return {**found, **dict.fromkeys(clients.values(), "lost")}

    def serve(self, selector: DefaultSelector, stack: ExitStack, absent: str) -> None:
        servers = [("pod", "app", "tcp", "", port) for port in (8080, 9090, 15008, 15090)]
        servers += [("pod", name, "tcp", "", port) for name, port in (("outbound", 15001), ("inbound", 15006))]
        servers += [("pod", "agent", protocol, "loopback", 15053) for protocol in ("tcp", "udp")]
        servers += [("outside", "outside", "tcp", "", port) for port in (80, 443, 5432)]
        servers += [("outside", "outside", p, name, 53) for p in ("tcp", "udp") for name in ("web", "dns")]
        for machine, name, protocol, address, port in (server for server in servers if server[1] != absent):
            # whose answers are the agent's is told by its user, as what it sends is
            owner = (PROXY, PROXY) if name == "agent" else (0, 0)
            with inside(self.names[machine]), owned_by(*owner):
                for family in (4, 6):
                    where = ADDRESSES[address][family] if address else ("0.0.0.0" if family == 4 else "::")
                    server = stack.enter_context(socket.socket(AF[family], KIND[protocol]))
                    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    if family == 6:
                        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    if name == "inbound":  # TPROXY delivers to transparent sockets alone
                        transparent(server, family)
                    server.bind((where, port))
                    if protocol == "tcp":
                        server.listen(64)
                    server.setblocking(False)
                    selector.register(server, EVENT_READ, name)

    def send(self, packet: Packet) -> socket.socket:
        sender = SENDERS[packet.sender]
        with inside(self.names[sender.machine]), owned_by(sender.uid, sender.gid):
            client = socket.socket(AF[packet.family], KIND[packet.protocol])
        client.setblocking(False)
        try:
            if sender.mark:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, sender.mark)
                transparent(client, packet.family)
            if sender.source:
                client.bind((ADDRESSES[sender.source][packet.family], 0))
            try:
                client.connect((ADDRESSES[packet.destination][packet.family], packet.port))
            except BlockingIOError:
                return client
            if packet.protocol == "udp":
                client.send(b"?")
        except OSError:
            client.close()
            raise
        return client


def answer(server: socket.socket, name: str) -> None:
    """Tell the sender who it has reached."""
    if server.type == socket.SOCK_DGRAM:
        _, peer = server.recvfrom(16)
        server.sendto(json.dumps({"name": name, "sees": peer[0]}).encode(), peer)
        return
    connection, peer = server.accept()
    with connection:
        connection.send(json.dumps({"name": name, "sees": peer[0], "for": original_destination(connection)}).encode())


def landing(packet: Packet, client: socket.socket) -> str:
    """The server's name, when it knows who sent the packet and where to; the differences too when it does not."""
    try:
        report: dict[str, Any] = json.loads(client.recv(512))
    except OSError as e:
        return "refused" if isinstance(e, ConnectionRefusedError) else os.strerror(e.errno or 0)
    expected = {"name": report["name"], "sees": client.getsockname()[0]}
    if packet.protocol == "tcp":
        expected["for"] = [ADDRESSES[packet.destination][packet.family], packet.port]
    return str(report["name"]) if report == expected else f"{report} instead of {expected}"


def original_destination(connection: socket.socket) -> tuple[str, int]:
    """Where a connection was meant to go (SO_ORIGINAL_DST)."""
    family = 6 if connection.family == socket.AF_INET6 else 4
    try:
        data = connection.getsockopt(LEVEL[family], SO_ORIGINAL_DST, 28)
    except OSError:  # not tracked, so not redirected
        return connection.getsockname()[:2]
    (port,) = struct.unpack_from("!H", data, 2)
    return socket.inet_ntop(AF[family], data[8:24] if family == 6 else data[4:8]), port


def transparent(sock: socket.socket, family: int) -> None:
    sock.setsockopt(LEVEL[family], IP_TRANSPARENT if family == 4 else IPV6_TRANSPARENT, 1)


@contextmanager
def owned_by(uid: int, gid: int) -> Iterator[None]:
    """Sockets made meanwhile belong to this user and group."""
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def run(command: list[str], given: str | None = None) -> str:
    """Run a command to its end; what it said. Fails the test with that when it fails."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr
