"""--dry-run: what would be written, with nothing read and nothing written, so that no privilege is needed.

The pod is taken for one that holds nothing of ours; with --cleanup-only for one that holds what this very command line
writes. All else is as with the backend that is stood in for.
"""

from init import nft_text
from init.backends import Backend
from init.backends.iptables import Iptables
from init.backends.nft import Nftables
from init.rules import Ruleset
from init.tables import Ours

TYPE_CHECKING = False
if TYPE_CHECKING:
    from init.config import Config
    from init.network import Network
    from init.tables import Tables


def dry_run(config: "Config", wanted: Ruleset) -> Backend:
    """The backend that stands in for the one that the configuration names, or whose format it asks for."""
    assumed = wanted if config.cleanup_only else Ruleset()
    nft = config.format == "nft" or (config.effective_backend == "nftables" and config.format != "restore")
    return _Nftables(config, assumed) if nft else _Iptables(config, assumed)


class _Iptables(Iptables):
    def __init__(self, config: "Config", assumed: Ruleset) -> None:
        super().__init__(config.force_iptables_binary, config)
        self.name, self.store, self.routes, self._assumed = "dry-run", "", _Assumed(assumed), assumed.rules

    def _tables(self, family: int) -> "Tables":
        mine = [r for r in self._assumed if r.family == family]
        return Ours(family, mine, {}).replaced({}, mine, self._comments, keep=False)

    def _require(self, family: int) -> None:
        """No program is run."""

    def _restore(self, family: int, script: str) -> None:
        raise NotImplementedError


class _Nftables(Nftables):
    def __init__(self, config: "Config", assumed: Ruleset) -> None:
        super().__init__(config)
        self.name, self.store, self.routes = "dry-run", "", _Assumed(assumed)
        self._assumed = nft_text.script(assumed.rules, self._comments)

    def _listing(self) -> str:
        return self._assumed

    def _write(self, script: str) -> None:
        raise NotImplementedError


class _Assumed:
    """The routing of a ruleset, as netlink would show it."""

    def __init__(self, assumed: Ruleset) -> None:
        self._assumed = assumed.routing

    def addresses(self) -> "list[Network]":
        return [r.source for r in self._assumed if r.source]

    def mark_rules(self, family: int) -> "list[tuple[int, int, int]]":
        return [(r.mark, r.table, 0) for r in self._assumed if r.family == family and r.mark]

    def next_priority(self, family: int) -> int:  # noqa: ARG002 - the kernel tells it
        return 0

    def local_tables(self, family: int) -> "set[int]":
        return {table for _, table, _ in self.mark_rules(family)}
