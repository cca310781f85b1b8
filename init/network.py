"""Networks as values, parsed and printed with the C library's functions (`ipaddress` is slow to import)."""

from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from init.values import Value

BITS = {4: 32, 6: 128}
_MAPPED = 0xFFFF  # the bits before the last 32 of an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2)
AF = {4: AF_INET, 6: AF_INET6}


class Network(Value):
    """An IP network; an address is a network of full length.

    family: 4 or 6. address: the network address as an integer, host bits zero (but in what `as_written` gives). length:
    the prefix length in bits.
    """

    family: int
    address: int
    length: int

    @classmethod
    def of(cls, family: int, packed: bytes, length: "int | None" = None) -> "Network":
        """From an address in network byte order; host bits are cleared, as iptables does."""
        bits = BITS[family]
        length = bits if length is None else length
        return cls(family, int.from_bytes(packed, "big") >> (bits - length) << (bits - length), length)

    @classmethod
    def parse(cls, text: str) -> "Network":
        """From `10.0.0.0/8`, `2001:db8::/32` or a bare address (taken as /32 or /128). Raises ValueError."""
        return cls.as_written(text).masked

    @classmethod
    def as_written(cls, text: str) -> "Network":
        """As `parse`, but host bits stay: of `::1/64` it can be told that it was written with the loopback address."""
        address, slash, prefix = text.partition("/")
        family = 6 if ":" in address else 4
        try:
            packed = inet_pton(AF[family], address)
        except (OSError, ValueError):
            raise ValueError("no IPv4 or IPv6 address") from None
        number = int.from_bytes(packed, "big")
        if not slash:
            return cls(family, number, BITS[family])
        if not (prefix.isascii() and prefix.isdigit()) or (prefix[0] == "0" and prefix != "0"):
            raise ValueError("no prefix length after /")
        if int(prefix) > BITS[family]:
            raise ValueError(f"prefix length {prefix} is more than {BITS[family]}")
        return cls(family, number, int(prefix))

    @property
    def masked(self) -> "Network":
        """The network, host bits zero."""
        return Network.of(self.family, self.packed, self.length)

    @property
    def unmapped(self) -> "Network":
        """The IPv4 address that an address of ::ffff:0:0/96 stands for; any other as it is."""
        if self.family == 6 and self.length == BITS[6] and self.address >> 32 == _MAPPED:
            return Network(4, self.address & 0xFFFFFFFF, BITS[4])
        return self

    @property
    def packed(self) -> bytes:
        """The network address in network byte order."""
        return self.address.to_bytes(BITS[self.family] // 8, "big")

    @property
    def host(self) -> str:
        """The address alone, without the prefix length."""
        return inet_ntop(AF[self.family], self.packed)

    def contains(self, other: "Network") -> bool:
        """Whether every address of `other` lies in this network."""
        shift = BITS[self.family] - self.length
        return (
            self.family == other.family
            and self.length <= other.length
            and self.address >> shift == other.address >> shift
        )

    def __str__(self) -> str:
        return f"{self.host}/{self.length}"


LOOPBACK = {4: Network.parse("127.0.0.0/8"), 6: Network.parse("::1/128")}
LINK_LOCAL = {4: Network.parse("169.254.0.0/16"), 6: Network.parse("fe80::/10")}
# Envoy hands to the app what it received for it from this address, so that it is told apart from all else on lo.
PASSTHROUGH = {4: Network.parse("127.0.0.6/32"), 6: Network.parse("::6/128")}
