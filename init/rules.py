"""Rules as values: what capture() returns and every backend renders.

    Ruleset
    ├── rules: Rule…        table, chain, matches, target, why; in the order in which the kernel tries them
    └── routing             what netfilter alone cannot do: policy routing for TPROXY, the source address ::6

A chain of CHAINS is ours as a whole. In the kernel's own chains (PREROUTING, OUTPUT) rules of others may stand as well;
there `first` tells whether ours go before or after them.
"""

from init.network import Network
from init.values import Value

FAMILY_NAMES = {4: "IPv4", 6: "IPv6", 0: "IPv4 and IPv6"}
# Tables in the order in which they are committed: what captures (nat) comes after what it relies on.
TABLES = ("raw", "mangle", "nat")
CHAINS = (
    "ISTIO_INBOUND",
    "ISTIO_OUTPUT",
    "ISTIO_OUTPUT_DNS",
    "ISTIO_REDIRECT",
    "ISTIO_IN_REDIRECT",
    "ISTIO_DIVERT",
    "ISTIO_TPROXY",
    "ISTIO_DROP",
)


class Match(Value):
    """One condition on a packet. All conditions of a rule must hold.

    kind and the type of its value:
      protocol                  "tcp" or "udp"
      source, destination       Network
      in_interface, out_interface   interface name; a trailing + stands for any rest
      dport, sport              port
      dports                    tuple of ports (any of them)
      uid, gid                  id of the socket's owner (packets that this machine sends)
      mark, connmark            mark of the packet, of its connection
      state                     tuple of conntrack states: "NEW", "ESTABLISHED", "RELATED", "INVALID"
    negated: the condition must not hold.
    """

    kind: str
    value: "str | int | tuple[int, ...] | tuple[str, ...] | Network"
    negated: bool = False


class Target(Value):
    """What happens to a packet that matches.

    kind and its value:
      JUMP            chain name (one of CHAINS)
      RETURN, ACCEPT, DROP    None
      REDIRECT        port on this machine
      TPROXY          (port, mark): delivered to a transparent socket there, and marked
      MARK            mark to set on the packet
      CONNMARK        "save" the packet's mark on its connection, or "restore" it from there
      CT              conntrack zone
    """

    kind: str
    value: "str | int | tuple[int, int] | None" = None


class Rule(Value):
    """A rule of one family and chain.

    family: 4 or 6; 0 for a rule that is there for both. why: the flag that made it; goes into its comment, is not
    compared; nor is first.
    """

    family: int
    table: str
    chain: str
    matches: "tuple[Match, ...]"
    target: Target
    why: str = ""
    first: bool = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rule) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def key(self) -> "tuple[int, str, str, tuple[Match, ...], Target]":
        """What tells rules apart: all but the reason and the place among others' rules."""
        return self.family, self.table, self.chain, self.matches, self.target

    @property
    def built_in(self) -> bool:
        """Whether the chain is the kernel's own, shared with others."""
        return self.chain not in CHAINS


class Routing(Value):
    """What a family needs beside netfilter.

    mark, table: packets with this mark are looked up in this routing table, whose one route delivers all to lo
    (`ip rule add fwmark MARK lookup TABLE`, `ip route add local default dev lo table TABLE`); 0 for none.
    source: an address to add to lo (`::6/128`), or None.
    """

    family: int
    mark: int = 0
    table: int = 0
    source: "Network | None" = None


class Ruleset(Value):
    """All that a configuration asks of the kernel."""

    rules: "tuple[Rule, ...]" = ()
    routing: "tuple[Routing, ...]" = ()
