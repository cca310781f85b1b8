"""--explain: where the rules of a command line let a packet land, rule by rule."""

from init import netlink
from init.errors import ConfigError
from init.iptables_text import spec
from init.kinds import PACKET
from init.landing import Landing, Packet, landing
from init.network import BITS, LOOPBACK, Network
from init.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from init.config import Config
    from init.host import Host
    from init.rules import Ruleset

_APP = 1000  # a user and a group that are the proxy's in no usual pod


class Explained(Value):
    """A packet, where it lands, and whether its family has rules at all."""

    packet: Packet
    landing: Landing
    ruled: bool


def explain(config: "Config", host: "Host", ruleset: "Ruleset") -> Explained:
    """Where the packet that --explain describes lands. Raises ConfigError."""
    try:
        packet = _parse(config.explain, host)
    except ValueError as e:
        reason = f": {e}" if str(e) else ""
        raise ConfigError(
            (f"--explain: {config.explain!r} is not allowed{reason}; allowed is {PACKET.allowed}",), config
        ) from e
    family = packet.destination.family
    return Explained(packet, landing(ruleset.rules, packet), family in host.families(config))


def _parse(text: str, host: "Host") -> Packet:
    """Raises ValueError."""
    words = text.split()
    if len(words) < 3 or words[0] not in ("tcp", "udp") or words[1] not in ("out", "in") or not len(words) % 2:
        raise ValueError
    protocol, direction, to, *rest = words
    address, colon, port = to.rpartition(":")
    if not colon:
        raise ValueError(f"{to} has no port")
    destination = _address(address.removeprefix("[").removesuffix("]"))
    given = dict(zip(rest[::2], rest[1::2], strict=True))
    if not given.keys() <= {"uid", "gid", "from", "by", "mark"} or len(given) * 2 != len(rest):
        raise ValueError
    if direction == "in" and given.keys() & {"uid", "gid"}:
        raise ValueError("what comes in has no user or group")
    source = _address(given["from"]) if "from" in given else None
    ids = tuple(_number(given.get(kind, str(_APP)), 0xFFFFFFFE) for kind in ("uid", "gid"))
    interface = given.get("by") or (_interface_to(destination, host) if direction == "out" else "eth0")
    packet = Packet(protocol, destination, _number(port, 65535), interface, source=source)
    packet = packet.replace(mark=_number(given.get("mark", "0"), 0xFFFFFFFF))
    return packet.replace(uid=ids[0], gid=ids[1]) if direction == "out" else packet


def _address(text: str) -> Network:
    network = Network.parse(text)
    if network.length != BITS[network.family]:
        raise ValueError(f"{text} is no single address")
    return network


def _number(text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > most:
        raise ValueError(f"{text!r} is no number up to {most}")
    return int(text)


def _interface_to(address: Network, host: "Host") -> str:
    if address in host.addresses or LOOPBACK[address.family].contains(address):
        return "lo"
    try:
        return netlink.interface_to(address)
    except OSError:
        return "eth0"  # there is no way from here, but there is where this is about


def show(explained: Explained) -> str:
    """The landing for people."""
    return "".join(f"{line}\n" for line in _lines(explained))


def _lines(explained: Explained) -> "Iterator[str]":
    packet, found = explained.packet, explained.landing
    to = f"[{packet.destination.host}]" if packet.destination.family == 6 else packet.destination.host
    if packet.sent_here:
        who = f"from uid {packet.uid}, gid {packet.gid}, out by {packet.interface}"
    else:
        who = f"from outside, in by {packet.interface}"
    yield f"{packet.protocol} to {to}:{packet.port} {who}"
    cells = [(f"{r.table} {r.chain}", spec(r), r.why) for r in found.path]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)] if cells else []
    for row in cells:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    because = f", because of {found.why}" if found.why else ""
    if found.dropped:
        yield f"is dropped{because}"
    elif found.port:
        yield f"arrives at port {found.port}{because}"
    elif not explained.ruled:
        yield f"goes on its way: there are no rules for IPv{packet.destination.family}"
    else:
        yield f"goes on its way{because or ': no rule captures it'}"
