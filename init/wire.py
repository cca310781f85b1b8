"""A wire into the pod: a veth pair, at whose outer end this process plays another host, frame by frame.

What a pod sends to itself never meets nat PREROUTING, for the kernel settles a connection's translation once, in
OUTPUT. To see what happens to a packet from outside, there must be an outside. The pair exists while the probes do.
"""

import socket
import struct
from contextlib import suppress

from init.netlink import ACK, CREATE, EXCL, IFA_ADDRESS, IFA_F_NODAD, IFA_LOCAL, NEWADDR, ROUTE, attribute, talk
from init.network import AF, Network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

INNER, OUTER = "pyinit-probe0", "pyinit-probe1"
# Addresses for documentation (RFC 5737, RFC 3849), the last ones; those of the wire's ends are neighbours.
_INNER = {4: Network.parse("203.0.113.253"), 6: Network.parse("2001:db8:ffff:ffff:ffff:ffff:ffff:fffd")}
_PREFIX = {4: 30, 6: 126}
HOST = {4: Network.parse("203.0.113.254"), 6: Network.parse("2001:db8:ffff:ffff:ffff:ffff:ffff:fffe")}
# The host's is another than that of the outer end, so that the pod's own stack does not take its packets in there.
_INNER_MAC, _OUTER_MAC, _HOST_MAC = (bytes((2, 0x50, 0x59, 0, 0, number)) for number in (1, 2, 3))
_ETHERTYPE = {4: 0x0800, 6: 0x86DD}
_ETH_P_ALL = 3
# rtnetlink.h, if_link.h, neighbour.h, veth.h
_NEWLINK, _DELLINK, _NEWNEIGH = 16, 17, 28
_IFF_UP, _NUD_PERMANENT = 0x1, 0x80
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 3, 18, 1, 2, 1
_NDA_DST, _NDA_LLADDR = 1, 2
_SYN, _ACK = 0x02, 0x10


class Wire:
    """Opened with `with`, for these IP families. Raises OSError: without NET_ADMIN and NET_RAW there is no wire."""

    def __init__(self, families: "Iterable[int]") -> None:
        self.families = families

    def __enter__(self) -> "Self":
        self.frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        try:
            _delete_pair()  # of a run that was killed
            _add_pair()
            index = socket.if_nametoindex(INNER)
            for family in self.families:
                _add_address(index, _INNER[family], _PREFIX[family])
                _add_neighbour(index, HOST[family])
            self.frames.bind((OUTER, _ETH_P_ALL))
        except OSError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.frames.close()
        _delete_pair()

    def open(self, destination: Network, port: int, source_port: int) -> None:
        """Send the packet that opens a connection; again until it has arrived, for a new link loses packets."""
        self._send(destination, source_port, port, 0, 0, _SYN)

    def answer(self) -> None:
        """Read one frame; if it is an answer to `open`, complete the connection."""
        frame = self.frames.recv(2048)
        (ethertype,) = struct.unpack_from("!H", frame, 12)
        family = next((f for f, t in _ETHERTYPE.items() if t == ethertype), 0)
        if not family:
            return
        packet = frame[14:]
        protocol, source, segment = (
            (packet[9], packet[12:16], packet[(packet[0] & 15) * 4 :])
            if family == 4
            else (packet[6], packet[8:24], packet[40:])
        )
        if protocol != socket.IPPROTO_TCP:
            return
        port, own_port, sequence, _, _, flags = struct.unpack_from("!HHIIBB", segment)
        if flags & _SYN and flags & _ACK:
            self._send(Network.of(family, source), own_port, port, 1, sequence + 1, _ACK)

    def _send(
        self, destination: Network, source_port: int, port: int, sequence: int, acknowledged: int, flags: int
    ) -> None:
        family, source, target = destination.family, HOST[destination.family].packed, destination.packed
        values = (source_port, port, sequence, acknowledged & 0xFFFFFFFF, 5 << 4, flags, 0xFFFF)
        segment = struct.pack("!HHIIBBHHH", *values, 0, 0)
        pseudo = source + target + struct.pack("!IBBBB", len(segment), 0, 0, 0, socket.IPPROTO_TCP)
        segment = struct.pack("!HHIIBBHHH", *values, checksum(pseudo + segment), 0)
        if family == 4:
            header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0, 64, socket.IPPROTO_TCP, 0)
            header = header[:10] + struct.pack("!H", checksum(header + source + target)) + source + target
        else:
            header = struct.pack("!IHBB", 6 << 28, len(segment), socket.IPPROTO_TCP, 64) + source + target
        self.frames.send(_INNER_MAC + _HOST_MAC + struct.pack("!H", _ETHERTYPE[family]) + header + segment)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def _link(name: str, mac: bytes, flags: int = 0) -> bytes:
    """A link's description: a struct ifinfomsg with name and hardware address."""
    header = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 0, flags, flags)
    return header + attribute(_IFLA_IFNAME, name.encode() + b"\0") + attribute(_IFLA_ADDRESS, mac)


def _add_pair() -> None:
    peer = attribute(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, _link(OUTER, _OUTER_MAC)))
    veth = attribute(_IFLA_LINKINFO, attribute(_IFLA_INFO_KIND, b"veth\0") + peer)
    talk(ROUTE, _NEWLINK, ACK | CREATE | EXCL, _link(INNER, _INNER_MAC) + veth)
    for name, mac in ((INNER, _INNER_MAC), (OUTER, _OUTER_MAC)):
        talk(ROUTE, _NEWLINK, ACK, _link(name, mac, _IFF_UP))


def _delete_pair() -> None:
    with suppress(OSError):  # it was never there
        talk(ROUTE, _DELLINK, ACK, _link(INNER, _INNER_MAC))


def _add_address(index: int, address: Network, length: int) -> None:
    header = struct.pack("=BBBBI", AF[address.family], length, IFA_F_NODAD, 0, index)
    both = attribute(IFA_LOCAL, address.packed) + attribute(IFA_ADDRESS, address.packed)
    talk(ROUTE, NEWADDR, ACK | CREATE | EXCL, header + both)


def _add_neighbour(index: int, address: Network) -> None:
    """So that the pod need not ask for the host's hardware address."""
    header = struct.pack("=BxxxiHBB", AF[address.family], index, _NUD_PERMANENT, 0, 0)
    entry = attribute(_NDA_DST, address.packed) + attribute(_NDA_LLADDR, _HOST_MAC)
    talk(ROUTE, _NEWNEIGH, ACK | CREATE | EXCL, header + entry)
