"""Ways to read and write the kernel's rules; one policy (`capture`) serves them all.

A backend reads what is there of ours as the same values that `capture` makes, and turns what it read into what is
wanted in steps that can be taken back. It decides nothing: comparing, order, drift and rollback are `init.apply`'s.
"""

from init import netlink
from init.rules import Rule
from init.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from init.network import Network

    class Routes(Protocol):
        """What is there of routing; the module netlink asks the kernel."""

        def addresses(self) -> list[Network]: ...  # noqa: D102 - see init.netlink
        def mark_rules(self, family: int) -> list[tuple[int, int, int]]: ...  # noqa: D102
        def next_priority(self, family: int) -> int: ...  # noqa: D102
        def local_tables(self, family: int) -> set[int]: ...  # noqa: D102


class Current(Value):
    """What the kernel holds of ours.

    rules: in the order of each chain; a rule that is not understood has one match of kind "other" with its text.
    chains: (family, table, chain) of each chain of ours that exists, also when empty.
    """

    rules: "tuple[Rule, ...]" = ()
    chains: "frozenset[tuple[int, str, str]]" = frozenset()


class Step(Value):
    """One change of the system. what: for the log. do, undo: raise RefusedError.

    text: the change as the program that makes it, or would make it, reads it; with remarks behind `#`. Ends a line.
    `undo` leaves all as it was before `do`, whether that was done wholly, in part, or not at all, and can be repeated.
    atomic: the kernel does all of it or nothing, even when the process that asks for it is killed.
    direct: it is asked of the kernel itself; when `do` raises, nothing was done, and what is there is somebody else's.
    """

    what: str
    text: str
    do: "Callable[[], None]"
    undo: "Callable[[], None]"
    atomic: bool = True
    direct: bool = False


class Backend:
    """A way to read and write rules.

    name: for people. store: where in the kernel its rules are ("nft", "legacy": iptables' tables; "nftables": our own;
    empty: nowhere). routes: what is there beside its rules.
    """

    name = ""
    store = ""
    routes: "Routes" = netlink

    def holds_ours(self) -> bool:
        """Whether rules of ours are there; costs no subprocess where none are. False where this cannot work."""
        raise NotImplementedError

    def read(self, wanted: "Sequence[Rule]") -> Current:
        """What is there of ours. `wanted`: to know rules again that have no comment.

        Raises UnsupportedError when this backend cannot work here.
        """
        raise NotImplementedError

    def write(self, rules: "Sequence[Rule]") -> "tuple[Step, ...]":
        """The steps from what the last `read` found to these rules (none: all that is ours goes)."""
        raise NotImplementedError
