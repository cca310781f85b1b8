"""Where a ruleset lets a packet land: the rules evaluated as the kernel would. Pure.

A packet opens a connection, so it meets the nat tables, and no answers are asked for. What this pod sends to itself
comes in again by lo; it meets PREROUTING there, but for its nat table: a connection is translated once.
"""

from init.network import LOOPBACK, Network
from init.rules import TABLES
from init.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from init.rules import Match, Rule

# Chains that only carry out what the rule that jumped to them decided.
_HANDS = ("ISTIO_REDIRECT", "ISTIO_IN_REDIRECT", "ISTIO_TPROXY", "ISTIO_DIVERT")


class Packet(Value):
    """The first packet of a connection.

    protocol: "tcp" or "udp". destination, source: addresses, as networks of full length; source None: any that is none
    of the special ones. port, source_port: of the destination and source. uid, gid: the owner of the socket that this
    machine sends it from; None for a packet from outside. interface: what it comes in by, or goes out by; "lo" for a
    packet to this machine itself. mark: the packet's.
    """

    protocol: str
    destination: Network
    port: int
    interface: str
    uid: "int | None" = None
    gid: "int | None" = None
    source: "Network | None" = None
    source_port: int = 0
    mark: int = 0

    @property
    def sent_here(self) -> bool:
        """Whether this machine sends it."""
        return self.uid is not None


class Landing(Value):
    """What becomes of a packet.

    port: where on this machine REDIRECT or TPROXY sends it; None when it goes on its way. dropped: it is lost.
    path: the rules that held for it, in order. decided: the one of them that settled it; None when none did.
    """

    port: "int | None"
    dropped: bool
    path: "tuple[Rule, ...]"
    decided: "Rule | None"

    @property
    def why(self) -> str:
        """The flag of the rule that settled it, or an empty text."""
        return self.decided.why if self.decided else ""


def landing(rules: "Iterable[Rule]", packet: Packet) -> Landing:
    """Where the packet lands under these rules, each of a kind that `capture` makes."""
    walk = _Walk(rules, packet)
    walk.through()
    return Landing(walk.port, walk.dropped, tuple(walk.path), walk.decided)


class _Walk:
    """A packet on its way; what rules change of it changes here."""

    def __init__(self, rules: "Iterable[Rule]", packet: Packet) -> None:
        self.chains: dict[tuple[str, str], list[Rule]] = {}
        for rule in rules:
            if rule.family == packet.destination.family:
                self.chains.setdefault((rule.table, rule.chain), []).append(rule)
        self.packet = packet
        self.comes_by, self.goes_by = ("", packet.interface) if packet.sent_here else (packet.interface, "")
        self.mark, self.connmark = packet.mark, 0
        self.port: int | None = None
        self.dropped = False
        self.path: list[Rule] = []
        self.decided: Rule | None = None

    def through(self) -> None:
        if not self.packet.sent_here:
            self.hook("PREROUTING", TABLES)
            return
        self.hook("OUTPUT", TABLES)
        if self.port:  # rewritten to this machine's own address: on by lo
            destination = LOOPBACK[self.packet.destination.family]
            destination = destination.replace(address=destination.address | 1, length=len(destination.packed) * 8)
            self.packet = self.packet.replace(destination=destination, port=self.port)
        if self.port or self.goes_by == "lo":
            self.comes_by, self.goes_by = "lo", ""
            self.hook("PREROUTING", ("raw", "mangle"))

    def hook(self, name: str, tables: "tuple[str, ...]") -> None:
        for table in tables:
            if not self.dropped:
                self.decides(table, name)

    def decides(self, table: str, chain: str) -> bool:
        """Walk a chain. Whether a rule in it, or in one that it jumps to, ends the packet's way through the table."""
        for rule in self.chains.get((table, chain), ()):
            if not all(self.holds(match) for match in rule.matches):
                continue
            self.path.append(rule)
            kind = rule.target.kind
            if kind == "JUMP":
                if self.decides(table, str(rule.target.value)):
                    return True
            elif kind == "RETURN":
                self.spare(rule)
                return False
            elif kind == "ACCEPT":
                return True
            elif kind in ("DROP", "REDIRECT", "TPROXY"):
                self.take(rule)
                return True
            else:
                self.mark_with(rule)
        return False

    def spare(self, rule: "Rule") -> None:
        """A rule lets the packet go on its way. What nat says of it counts most."""
        if not self.port and (self.decided is None or rule.table == "nat"):
            self.decided = rule

    def take(self, rule: "Rule") -> None:
        """A rule takes the packet off its way."""
        self.decided = next((r for r in reversed(self.path) if r.chain not in _HANDS), rule)
        value = rule.target.value
        if rule.target.kind == "DROP":
            self.dropped = True
        elif isinstance(value, tuple):  # TPROXY: the socket is settled, whatever nat makes of the destination
            self.port, self.mark = value
        elif isinstance(value, int) and not self.port:
            self.port = value

    def mark_with(self, rule: "Rule") -> None:
        kind, value = rule.target.kind, rule.target.value
        if kind == "MARK" and isinstance(value, int):
            self.mark = value
        elif kind == "CONNMARK":
            self.mark, self.connmark = (self.connmark,) * 2 if value == "restore" else (self.mark,) * 2

    def holds(self, match: "Match") -> bool:
        return self.matches(match.kind, match.value) != match.negated

    def matches(self, kind: str, value: "Any") -> bool:
        packet = self.packet
        if kind in ("destination", "source"):
            address = getattr(packet, kind)
            return address is not None and value.contains(address)
        if kind in ("in_interface", "out_interface"):
            name = self.comes_by if kind == "in_interface" else self.goes_by
            return name.startswith(value[:-1]) if value.endswith("+") else name == value
        if kind == "dports":
            return packet.port in value
        if kind == "state":
            return "NEW" in value
        held = {"dport": packet.port, "sport": packet.source_port, "mark": self.mark, "connmark": self.connmark}
        return bool(value == (held[kind] if kind in held else getattr(packet, kind)))
