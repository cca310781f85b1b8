"""Netlink: addresses, policy routing, and the names of nf_tables chains, without a subprocess.

Messages are those of rtnetlink(7) and of the kernel's rtnetlink.h, fib_rules.h, nfnetlink.h and nf_tables.h.

Every function works in the caller's network namespace and raises OSError with the kernel's reason.
"""

from _socket import AF_INET, AF_INET6, AF_NETLINK, AF_UNSPEC, SOCK_CLOEXEC, SOCK_RAW, if_indextoname, socket
from _struct import calcsize, pack, unpack_from
from os import strerror

from init.network import AF, Network
from init.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROUTE, _NETFILTER = 0, 12  # netlink families
_REQUEST, ACK, _NONREC, _DUMP, EXCL, CREATE = 0x1, 0x4, 0x100, 0x300, 0x200, 0x400
_ERROR, _DONE = 2, 3
NEWADDR, _DELADDR, _GETADDR, _NEWROUTE, _DELROUTE, _GETROUTE = 20, 21, 22, 24, 25, 26
_NEWRULE, _DELRULE, _GETRULE = 32, 33, 34
_NFT_DELTABLE, _NFT_GETCHAIN, _NFT_DELCHAIN = (10 << 8 | message for message in (2, 4, 5))  # subsystem nf_tables
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_FAMILY = {AF_INET: 4, AF_INET6: 6}
_NFT_FAMILY = {1: 0, **_FAMILY}  # NFPROTO_INET: both
_HEADER = "=IHHII"  # length, type, flags, sequence, port
_LO = 1  # index of lo in every network namespace
_RT_SCOPE_HOST, _RTN_LOCAL, _RTPROT_BOOT, _FR_ACT_TO_TBL = 254, 2, 3, 1
IFA_F_NODAD = 0x2
IFA_ADDRESS, IFA_LOCAL = 1, 2
_FRA_PRIORITY, _FRA_FWMARK, _FRA_SUPPRESS_PREFIXLEN, _FRA_TABLE, _FRA_FWMASK, _FRA_PAD, _FRA_PROTOCOL = (
    6, 10, 14, 15, 16, 18, 21,
)  # fmt: skip
_FRA_OF_MARK_RULES = {
    _FRA_PRIORITY, _FRA_FWMARK, _FRA_SUPPRESS_PREFIXLEN, _FRA_TABLE, _FRA_FWMASK, _FRA_PAD, _FRA_PROTOCOL,
}  # fmt: skip
_ALL_BITS = 0xFFFFFFFF
_RTA_DST, _RTA_OIF, _RTA_PRIORITY, _RTA_TABLE = 1, 4, 6, 15
_IP6_RT_PRIO_USER = 1024  # linux/ipv6_route.h: of IPv6 routes for which none is asked
_RTA_OF_OTHERS = {3, 5, 7, 8, 9, 22}  # RTA_IIF, GATEWAY, PREFSRC, METRICS, MULTIPATH, ENCAP
_NFTA_CHAIN_TABLE, _NFTA_CHAIN_NAME, _NFTA_TABLE_NAME = 1, 3, 1


def addresses() -> "list[Network]":
    """All addresses in the kernel's order: IPv4 first, then by interface."""
    found = []
    for data in talk(ROUTE, _GETADDR, _DUMP, pack("=BBBBI", AF_UNSPEC, 0, 0, 0, 0)):
        attributes = dict(_attributes(data, 8))
        address = attributes.get(IFA_LOCAL) or attributes.get(IFA_ADDRESS)
        if data[0] in _FAMILY and address:
            found.append(Network.of(_FAMILY[data[0]], address))
    return found


def interface_to(address: Network) -> str:
    """The interface by which a packet to this address leaves, as `ip route get` says; lo where it is this machine's."""
    header = pack("=8BI", AF[address.family], address.length, *[0] * 6, 0)
    (data,) = talk(ROUTE, _GETROUTE, ACK, header + attribute(_RTA_DST, address.packed))
    return if_indextoname(unpack_from("=I", dict(_attributes(data, 12))[_RTA_OIF])[0])


def add_source(address: Network) -> None:
    """Give lo an address."""
    talk(ROUTE, NEWADDR, ACK | CREATE | EXCL, _source(address))


def delete_source(address: Network) -> None:
    """Take an address from lo."""
    talk(ROUTE, _DELADDR, ACK, _source(address))


def mark_rules(family: int) -> "list[tuple[int, int, int]]":
    """(mark, routing table, priority) of each `fwmark MARK lookup TABLE`: policy rules that ask for nothing else."""
    rules = _policy_rules(family)
    return [(rule.mark, rule.table, rule.priority) for rule in rules if rule.plain and rule.mark]


def next_priority(family: int) -> int:
    """The priority that a new policy rule gets from ip(8): before all but the first."""
    rules = _policy_rules(family)
    return max(rules[1].priority - 1, 0) if len(rules) > 1 else 0


def add_mark_rule(family: int, mark: int, table: int, priority: int) -> None:
    """`ip rule add fwmark MARK lookup TABLE priority PRIORITY`."""
    talk(ROUTE, _NEWRULE, ACK | CREATE | EXCL, _mark_rule(family, mark, table, priority))


def delete_mark_rule(family: int, mark: int, table: int, priority: int) -> None:
    """`ip rule del fwmark MARK lookup TABLE priority PRIORITY`.

    The kernel deletes the first rule that has all this, and perhaps more; but it lets none with this alone be added
    behind such a one, so the first is the one that `mark_rules` tells of.
    """
    talk(ROUTE, _DELRULE, ACK, _mark_rule(family, mark, table, priority))


class _PolicyRule(Value):
    """plain: it asks for the mark, all its bits, and nothing else, and looks its table up without exceptions."""

    priority: int
    mark: int
    table: int
    plain: bool


def _policy_rules(family: int) -> "list[_PolicyRule]":
    """The policy rules in the order in which the kernel tries them (struct fib_rule_hdr of linux/fib_rules.h)."""
    found = []
    for data in talk(ROUTE, _GETRULE, _DUMP, pack("=12B", AF[family], *[0] * 11)):
        _, to, source, tos, _, _, _, action, flags = unpack_from("=8BI", data)
        given = dict(_attributes(data, 12))
        numbers = {kind: unpack_from("=I", value)[0] for kind, value in given.items() if len(value) == 4}
        priority, mark, table = (numbers.get(a, 0) for a in (_FRA_PRIORITY, _FRA_FWMARK, _FRA_TABLE))
        plain = (
            (to, source, tos, action, flags) == (0, 0, 0, _FR_ACT_TO_TBL, 0)
            and given.keys() <= _FRA_OF_MARK_RULES
            and numbers.get(_FRA_FWMASK, _ALL_BITS) == _ALL_BITS
            and numbers.get(_FRA_SUPPRESS_PREFIXLEN, _ALL_BITS) == _ALL_BITS
        )
        found.append(_PolicyRule(priority, mark, table, plain))
    return found


def local_tables(family: int) -> "set[int]":
    """Routing tables with the route `local default dev lo`, and no other attribute."""
    found = set()
    for data in talk(ROUTE, _GETROUTE, _DUMP, pack("=8BI", AF[family], *[0] * 7, 0)):
        _, to, source, tos, _, _, _, route_type, _ = unpack_from("=8BI", data)
        given = dict(_attributes(data, 12))
        priority = unpack_from("=I", given.get(_RTA_PRIORITY, bytes(4)))[0]
        plain = not given.keys() & _RTA_OF_OTHERS and priority in (0, _IP6_RT_PRIO_USER)
        plain = plain and given.get(_RTA_OIF) == pack("=I", _LO)
        if (to, source, tos, route_type) == (0, 0, 0, _RTN_LOCAL) and plain and _RTA_TABLE in given:
            found.add(unpack_from("=I", given[_RTA_TABLE])[0])
    return found


def add_local_route(family: int, table: int) -> None:
    """`ip route add local default dev lo table TABLE`."""
    talk(ROUTE, _NEWROUTE, ACK | CREATE | EXCL, _local_route(family, table))


def delete_local_route(family: int, table: int) -> None:
    """`ip route del local default dev lo table TABLE`."""
    talk(ROUTE, _DELROUTE, ACK, _local_route(family, table))


def nft_chains() -> "set[tuple[int, str, str]]":
    """(family, table, chain) of the chains of nf_tables, iptables-nft's among them; family 4, 6, or 0 for inet."""
    found = set()
    for data in talk(_NETFILTER, _NFT_GETCHAIN, _DUMP, pack("=BBH", AF_UNSPEC, 0, 0)):
        attributes = dict(_attributes(data, 4))
        if data[0] in _NFT_FAMILY:
            table, chain = (attributes[a].rstrip(b"\0").decode() for a in (_NFTA_CHAIN_TABLE, _NFTA_CHAIN_NAME))
            found.add((_NFT_FAMILY[data[0]], table, chain))
    return found


def delete_empty_nft_table(family: int, table: str, chains: "Iterable[str]") -> None:
    """Delete a table that has these chains, and none of them a rule; else it stays as it is, and OSError is raised."""
    name = attribute(_NFTA_TABLE_NAME, f"{table}\0".encode())
    generic = pack("=BBH", AF[family], 0, 0)
    messages = [
        (_NFT_DELCHAIN, generic + name + attribute(_NFTA_CHAIN_NAME, f"{chain}\0".encode())) for chain in chains
    ]
    batch = pack("!BBH", AF_UNSPEC, 0, 10)  # for the subsystem nf_tables
    begin, delete, end = (_BATCH_BEGIN, batch), (_NFT_DELTABLE, generic + name), (_BATCH_END, batch)
    data = b"".join(_message(kind, _NONREC, body) for kind, body in [begin, *messages])
    _exchange(_NETFILTER, data + _message(delete[0], _NONREC | ACK, delete[1]) + _message(end[0], 0, end[1]))


def _source(address: Network) -> bytes:
    # Without the flag an IPv6 address cannot be sent from until the kernel has got round to finding it no duplicate.
    header = pack("=BBBBI", AF[address.family], address.length, IFA_F_NODAD, _RT_SCOPE_HOST, _LO)
    return header + attribute(IFA_LOCAL, address.packed) + attribute(IFA_ADDRESS, address.packed)


def _mark_rule(family: int, mark: int, table: int, priority: int) -> bytes:
    header = pack("=12B", AF[family], 0, 0, 0, table if table < 256 else 0, 0, 0, _FR_ACT_TO_TBL, *[0] * 4)
    given = {_FRA_FWMARK: mark, _FRA_FWMASK: _ALL_BITS, _FRA_TABLE: table}
    given |= {_FRA_PRIORITY: priority} if priority else {}
    return header + b"".join(attribute(kind, pack("=I", value)) for kind, value in given.items())


def _local_route(family: int, table: int) -> bytes:
    short_table = table if table < 256 else 0
    header = pack("=8BI", AF[family], 0, 0, 0, short_table, _RTPROT_BOOT, _RT_SCOPE_HOST, _RTN_LOCAL, 0)
    return header + attribute(_RTA_OIF, pack("=I", _LO)) + attribute(_RTA_TABLE, pack("=I", table))


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute of a message: type, length and value, padded to four bytes."""
    return pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _attributes(data: bytes, offset: int) -> "Iterator[tuple[int, bytes]]":
    while offset + 4 <= len(data):
        length, kind = unpack_from("=HH", data, offset)
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def talk(family: int, message: int, flags: int, payload: bytes) -> "list[bytes]":
    """Send one request; return the payloads of the answer's messages. Raises OSError."""
    return _exchange(family, _message(message, flags, payload))


def _message(kind: int, flags: int, payload: bytes) -> bytes:
    padded = payload + bytes(-len(payload) % 4)
    return pack(_HEADER, calcsize(_HEADER) + len(payload), kind, _REQUEST | flags, 1, 0) + padded


def _exchange(family: int, messages: bytes) -> "list[bytes]":
    size = calcsize(_HEADER)
    answers: list[bytes] = []
    link = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, family)
    try:
        link.sendto(messages, (0, 0))
        while True:
            data = link.recv(1 << 16)
            while len(data) >= size:
                length, kind, _, _, _ = unpack_from(_HEADER, data)
                body, data = data[size:length], data[(length + 3) & ~3 :]
                if kind in (_ERROR, _DONE):
                    error = -unpack_from("=i", body)[0] if len(body) >= 4 else 0
                    if error:
                        raise OSError(error, strerror(error))
                    return answers
                answers.append(body)
    finally:
        link.close()
