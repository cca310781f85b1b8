"""Native nftables: tables of our own, written by one transaction for both families.

Nothing of others is touched, and nf_tables swaps our tables as a whole: no packet meets half of them.
"""

from init import nft_text, process
from init.backends import Backend, Current, Step
from init.errors import RefusedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from init.rules import Rule


class Nft(Backend):
    """Reads and writes with the program nft. Raises RefusedError where there is none."""

    name = "nftables"

    def __init__(self, comments: bool = True) -> None:
        program = process.find("nft")
        if program is None:
            raise RefusedError(
                "the program nft was not found; install nftables, or leave out --native-nftables to use iptables"
            )
        self.program = program
        self.comments = comments
        self.before = ""

    def read(self) -> Current:
        """Our tables; their text is kept for the way back."""
        listing = self._nft("-n", "list", "ruleset")
        self.before = nft_text.text_of_ours(listing)
        rules, chains = nft_text.parse(self.before)
        return Current(tuple(rules), frozenset(chains))

    def write(self, rules: "Sequence[Rule]") -> "tuple[Step, ...]":
        """One step: the old tables go and the new ones come in one transaction."""
        wanted = rules if self.comments else [r.replace(why="") for r in rules]
        before, after = self.before, nft_text.render(wanted)
        return (Step("write nftables' rules", lambda: self._swap(before, after), lambda: self._swap(after, before)),)

    def _swap(self, old: str, new: str) -> None:
        tables = dict.fromkeys(line.removesuffix(" {") for line in f"{old}{new}".splitlines() if line[:6] == "table ")
        # Added first, so that deleting never meets a table that is not there.
        gone = "".join(f"add {table}\ndelete {table}\n" for table in tables)
        self._nft("-f", "-", given=gone + new)

    def _nft(self, *args: str, given: str = "") -> str:
        result = process.run([self.program, *args], given)
        if result.status:
            raise RefusedError(f"nft {' '.join(args)} failed: {result.errors.strip()}{_way_out(result.errors)}")
        return result.output


def _way_out(errors: str) -> str:
    if "Operation not permitted" in errors:
        return "\npyinit needs the capability NET_ADMIN: securityContext.capabilities.add: [NET_ADMIN, NET_RAW]"
    if "not supported" in errors or "No such file or directory" in errors:
        return (
            "\nthe node's kernel lacks a part of nf_tables; modprobe nf_tables nft_nat nft_redir nft_ct nft_tproxy on the node, "
            "or leave out --native-nftables to use iptables"
        )
    return ""
