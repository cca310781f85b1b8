"""Native nftables: tables of our own, written by one transaction for both families.

Nothing of others is touched, and nf_tables swaps our tables as a whole: no packet meets half of them.
"""

from init import netlink, nft_text, process
from init.backends import Backend, Current, Step
from init.errors import RefusedError, UnsupportedError
from init.host import why_not_permitted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from init.config import Config
    from init.rules import Rule


class Nftables(Backend):
    """Reads and writes with the program nft."""

    name = store = "nftables"

    def __init__(self, config: "Config") -> None:
        self._comments = config.comments == "on"
        self._before = ""

    def holds_ours(self) -> bool:
        """Whether one of our tables is there."""
        try:
            return any(nft_text.is_ours(table) for _, table, _ in netlink.nft_chains())
        except OSError:
            return False

    def read(self, wanted: "Sequence[Rule]") -> Current:  # noqa: ARG002 - in tables of our own, all rules are ours
        """What is in our tables; their text is kept for the way back."""
        self._before = nft_text.text_of_ours(self._listing())
        rules, chains = nft_text.parse(self._before)
        return Current(tuple(rules), frozenset(chains))

    def write(self, rules: "Sequence[Rule]") -> "tuple[Step, ...]":
        """One step: the old tables go and the new ones come in one transaction."""
        before, after = self._before, nft_text.script(rules, self._comments)
        there, back = _swap(before, after), _swap(after, before)
        return (
            Step(
                "nft: tables istio-proxy-*",
                f"# nft -f -\n{there}",
                lambda: self._write(there),
                lambda: self._write(back),
            ),
        )

    def _listing(self) -> str:
        return self._nft("-n", "list", "ruleset")

    def _write(self, script: str) -> None:
        self._nft("-f", "-", given=script)

    def _nft(self, *args: str, given: str = "") -> str:
        program = process.find("nft")
        if program is None:
            raise UnsupportedError("nft is not installed; install the package nftables, or leave out --native-nftables")
        result = process.run([program, *args], given)
        if result.status == 0:
            return result.output
        said = " ".join(result.errors.split()) or f"ended with status {result.status}"
        if "Operation not permitted" in said or "Permission denied" in said:
            raise RefusedError(f"nft: {said}. {why_not_permitted()}")
        if "not supported" in said or "No such file or directory" in said:
            raise UnsupportedError(
                f"nft: {said} The node's kernel may lack one of the modules nf_tables, nft_chain_nat, nft_redir, "
                "nft_ct, nft_tproxy; or leave out --native-nftables to use iptables."
            )
        raise RefusedError(f"nft: {said}")


def _swap(old: str, new: str) -> str:
    """A script that puts tables in the place of others, or of themselves."""
    tables = dict.fromkeys(line.removesuffix(" {") for line in f"{old}{new}".splitlines() if line[:6] == "table ")
    # Added first, so that deleting never meets a table that is not there.
    return "".join(f"add {table}\ndelete {table}\n" for table in tables) + new
