"""--run-validation: send probes and see where they arrive.

All happens in the pod's network namespace, before the proxy runs: this process listens where the proxy will, and sends
the app's and the proxy's packets from sockets that have their ids, and another pod's over a wire of its own. Packets
that are not captured would leave the pod; with a time to live of 1 they die at the node.
"""

import os
import socket
import struct
from contextlib import ExitStack, suppress
from selectors import EVENT_READ, DefaultSelector
from time import monotonic

from init import netlink
from init.errors import RefusedError, ValidationError
from init.network import AF
from init.probes import Place, listening, plan
from init.values import Value
from init.wire import HOST, Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from init.config import Config
    from init.host import Host
    from init.landing import Packet
    from init.log import Log
    from init.probes import Probe
    from init.rules import Ruleset

_SO_ORIGINAL_DST = 80  # linux/netfilter_ipv4.h; IP6T_SO_ORIGINAL_DST has the same number
_KIND = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_LEVEL = {4: socket.IPPROTO_IP, 6: socket.IPPROTO_IPV6}
_TRANSPARENT = {4: 19, 6: 75}  # IP_TRANSPARENT, IPV6_TRANSPARENT of linux/in.h and in6.h
_HOPS = {4: socket.IP_TTL, 6: socket.IPV6_UNICAST_HOPS}
# A packet that is captured arrives within a millisecond: what has not arrived after this passed the proxy by.
_SILENCE = 0.25
_AGAIN = 0.05  # seconds until a packet from outside is sent again

PASSED, FAILED, SKIPPED = "passed", "FAILED", "skipped"


class Outcome(Value):
    """What became of a probe. note: where it arrived instead, or why it was not sent."""

    probe: "Probe"
    state: str
    note: str = ""


class Arrival(Value):
    """The port where a packet arrived, and where it was sent to, as (address, port); None where that is not known."""

    port: int
    original: "tuple[str, int] | None"


def send_probes(config: "Config", host: "Host", ruleset: "Ruleset") -> "list[Outcome]":
    """Send all probes and see where they arrive. Raises RefusedError."""
    return _Validator(config, host, ruleset).run()


def require_passed(outcomes: "Sequence[Outcome]", log: "Log") -> None:
    """Tell the outcomes. Raises ValidationError when a probe did not arrive where it should, or none could be sent."""
    rows = table(outcomes)
    failed = sum(o.state == FAILED for o in outcomes)
    passed = sum(o.state == PASSED for o in outcomes)
    captured = [o.state for o in outcomes if o.probe.arrives]
    if failed or (PASSED not in captured and captured) or not passed:
        reason = (
            f"{failed} of {failed + passed} probes failed" if failed else "no probe of captured traffic could be sent"
        )
        raise ValidationError("\n".join((f"validation: {reason}", *rows)))
    for row in rows:
        log.info(row)
    log.info("validation passed", probes=passed)


def table(outcomes: "Sequence[Outcome]") -> "list[str]":
    """The outcomes as lines of a table."""
    cells = [("", "from", "probe", "to", "must arrive at", "because of", "note")]
    for outcome in outcomes:
        probe, packet = outcome.probe, outcome.probe.packet
        to = f"{packet.protocol} {_endpoint(packet.destination.host, packet.port)}"
        arrives = f"port {probe.arrives}" if probe.arrives else "not the proxy"
        cells.append((outcome.state, probe.sender, probe.what, to, arrives, probe.why, outcome.note))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


class _Validator:
    def __init__(self, config: "Config", host: "Host", ruleset: "Ruleset") -> None:
        self.config, self.host, self.ruleset = config, host, ruleset
        self.selector = DefaultSelector()
        self.stack = ExitStack()
        # A probe is known again where it arrives by the kind of its socket, its source address and its source port.
        self.sources: dict[Probe, tuple[int, str, int]] = {}
        self.arrived: dict[tuple[int, str, int], Arrival] = {}
        self.skipped: dict[Probe, Outcome] = {}
        self.no_wire = ""

    def run(self) -> "list[Outcome]":
        """Send all, wait until those that must arrive have, and for a moment for those that must not."""
        with self.stack, self.selector:
            wire = self.wire()  # first: the wire has addresses and routes, too
            place = Place(netlink.interface_to, os.geteuid(), os.getegid())
            probes = plan(self.config, self.host, self.ruleset.rules, place)
            for where in listening(self.config, self.host):
                self.listen(*where)
            # Other ports each time: the kernel remembers for a while where an earlier connection was sent.
            for port, probe in enumerate(probes, 32768 + int.from_bytes(os.urandom(2), "big") // 4):
                if probe.sender != "outside":
                    self.send(probe, port)
                elif wire:
                    host = HOST[probe.packet.destination.family].host
                    self.sources[probe] = socket.SOCK_STREAM, host, port
                else:
                    self.skipped[probe] = Outcome(probe, SKIPPED, self.no_wire)
            self.wait(wire)
        return [self.skipped.get(probe) or self.judge(probe) for probe in probes]

    def listen(self, family: int, protocol: str, port: int) -> None:
        """Be the proxy."""
        listener = self.stack.enter_context(socket.socket(AF[family], _KIND[protocol]))
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == 6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if self.config.mode == "TPROXY":
            with suppress(PermissionError):  # then there is no wire either, and what is redirected arrives nevertheless
                listener.setsockopt(_LEVEL[family], _TRANSPARENT[family], 1)
        try:
            listener.bind(("0.0.0.0" if family == 4 else "::", port))
            if protocol == "tcp":
                listener.listen(16)
        except OSError as e:
            raise RefusedError(
                f"--run-validation: cannot listen on port {port} (IPv{family} {protocol}): {e.strerror}; "
                "it must run before the proxy"
            ) from e
        self.selector.register(listener, EVENT_READ, lambda: self.accept(listener))

    def wire(self) -> "Wire | None":
        """The wire to the families' own addresses."""
        families = {a.family for a in self.host.addresses} & set(self.host.families(self.config))
        if not families:
            return None
        try:
            wire = self.stack.enter_context(Wire(families))
        except OSError as e:
            self.no_wire = f"{e.strerror}: a wire from outside needs NET_ADMIN, NET_RAW and the module veth"
            return None
        self.selector.register(wire.frames, EVENT_READ, wire.answer)
        return wire

    def send(self, probe: "Probe", port: int) -> None:
        """Send one of this machine's packets, from this port if it is free."""
        try:
            if probe.unsent:
                raise OSError(probe.unsent)
            client = self.stack.enter_context(self.open(probe.packet, port))
        except OSError as e:
            self.skipped[probe] = Outcome(probe, SKIPPED, e.strerror or str(e))
        else:
            self.sources[probe] = (client.type, *client.getsockname()[:2])

    def wait(self, wire: "Wire | None") -> None:
        start, again = monotonic(), 0.0
        awaited = {source for probe, source in self.sources.items() if probe.arrives}
        while (now := monotonic() - start) < max(self.config.probe_timeout, _SILENCE):
            if awaited <= self.arrived.keys() and now >= _SILENCE:
                return
            if wire and now >= again:
                again += _AGAIN
                for probe, source in self.sources.items():
                    if probe.sender == "outside" and source not in self.arrived:
                        wire.open(probe.packet.destination, probe.packet.port, source[2])
            for key, _ in self.selector.select(_AGAIN / 2):
                key.data()

    def open(self, packet: "Packet", port: int) -> socket.socket:
        """A socket of the sender's, its first packet on the way. Raises OSError with the reason why there is none."""
        family = packet.destination.family
        client = self.socket_of(packet.uid or 0, packet.gid or 0, family, _KIND[packet.protocol])
        try:
            client.setblocking(False)
            client.setsockopt(_LEVEL[family], _HOPS[family], 1)
            # a port of its own: connect(2) would share one among different destinations
            source = packet.source.host if packet.source else ""
            try:
                client.bind((source, port))
            except OSError:  # not free
                client.bind((source, 0))
            try:
                client.connect((packet.destination.host, packet.port))
            except BlockingIOError:
                return client  # on its way
            except ConnectionRefusedError:
                return client  # already back: nothing listens there, so it did not arrive at the proxy
            if packet.protocol == "udp":
                client.send(b"pyinit")
        except OSError:
            client.close()
            raise
        return client

    def socket_of(self, uid: int, gid: int, family: int, kind: int) -> socket.socket:
        """A socket of this user's and group's: the kernel keeps the ids that the process has when it is made."""
        before = os.geteuid(), os.getegid()
        if (uid, gid) == before:
            return socket.socket(AF[family], kind)
        try:
            os.setegid(gid)
            os.seteuid(uid)
        except PermissionError:
            os.setegid(before[1])
            raise OSError(
                f"this is uid {before[0]} and gid {before[1]}; to be uid {uid} and gid {gid} needs the capabilities "
                "SETUID and SETGID"
            ) from None
        try:
            return socket.socket(AF[family], kind)
        finally:
            os.seteuid(before[0])
            os.setegid(before[1])

    def accept(self, listener: socket.socket) -> None:
        port = listener.getsockname()[1]
        if listener.type == socket.SOCK_DGRAM:
            peer = listener.recvfrom(64)[1]
            self.arrived[listener.type, *peer[:2]] = Arrival(port, None)
            return
        connection, peer = listener.accept()
        with connection:
            self.arrived[listener.type, *peer[:2]] = Arrival(port, _original_destination(connection))

    def judge(self, probe: "Probe") -> Outcome:
        arrival = self.arrived.get(self.sources[probe])
        if arrival is None:
            return Outcome(probe, FAILED, "did not arrive") if probe.arrives else Outcome(probe, PASSED)
        if arrival.port != probe.arrives:
            return Outcome(probe, FAILED, f"arrived at port {arrival.port}")
        packet = probe.packet
        if packet.protocol == "tcp" and arrival.original != (packet.destination.host, packet.port):
            kernel = _endpoint(*arrival.original) if arrival.original else "nothing"
            return Outcome(probe, FAILED, f"the original destination is lost: SO_ORIGINAL_DST says {kernel}")
        return Outcome(probe, PASSED)


def _original_destination(connection: socket.socket) -> "tuple[str, int] | None":
    """Where the client wanted to go, from connection tracking: a struct sockaddr_in or sockaddr_in6."""
    family = 6 if connection.family == socket.AF_INET6 else 4
    try:
        data = connection.getsockopt(_LEVEL[family], _SO_ORIGINAL_DST, 28)
    except OSError:
        return None
    (port,) = struct.unpack_from("!H", data, 2)
    address = data[8:24] if family == 6 else data[4:8]
    return socket.inet_ntop(AF[family], address), port


def _endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
