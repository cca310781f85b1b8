"""iptables-save and iptables-restore, in the variant that works here: nft (nf_tables) or legacy (ip_tables).

Nothing is probed by running programs: netlink and /proc say for free which tables exist, and the restore itself is the
trial. The tables of the other variant are never written.
"""

import os
from errno import EBUSY

from init import netlink, process
from init.backends import Backend, Current, Step
from init.errors import RefusedError, UnsupportedError
from init.host import lacking, why_not_permitted
from init.rules import CHAINS, TABLES
from init.tables import Ours, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from init.config import Config
    from init.rules import Rule
    from init.tables import Tables

# A lock file that the pod's network namespace has to itself, as its tables; the node's would be one for all pods.
_OWN_LOCK = "/proc/self/ns/net"
_LOCK_WAIT = "30"  # seconds to wait for others who hold the xtables lock (legacy)
_PREFIX = {4: "iptables", 6: "ip6tables"}

# What iptables-legacy-restore says whatever the reason is: it may not, or there is no such module.
_UNSAID = "unable to initialize table"
# What the kernel or a binary says when it lacks something, and not when the rules are wrong.
_LACKING = (
    "not supported",
    "No such file or directory",
    "does not exist",
    "by that name",
    "missing kernel module",
    "Failed to initialize nft",
    "is incompatible",
    "Module ",
    _UNSAID,
)
_MODULES = {
    "nft": "nf_tables, nft_chain_nat, nft_compat",
    "legacy": "ip_tables, iptable_nat, iptable_mangle, iptable_raw (for IPv6: ip6_tables, ip6table_nat and so on)",
}
_EXTENSIONS = "xt_REDIRECT, xt_owner, xt_tcpudp, xt_comment, xt_multiport, xt_TPROXY, xt_mark, xt_connmark, xt_CT"


def variants(config: "Config") -> "list[Backend]":
    """The variants to try, the first that works is it.

    The one that was forced; or the one that holds rules of ours; or nft, and legacy where nft does not work.
    """
    if config.force_iptables_binary:
        return [Iptables(config.force_iptables_binary, config)]
    nft, legacy = Iptables("nft", config), Iptables("legacy", config)
    return [legacy, nft] if legacy.holds_ours() and not nft.holds_ours() else [nft, legacy]


class Iptables(Backend):
    """One variant, "nft" or "legacy", of the iptables programs."""

    def __init__(self, variant: str, config: "Config") -> None:
        self.variant = self.store = variant
        self.name = f"iptables-{variant}"
        self._comments = config.comments == "on"
        self._keep = config.keeps_old
        self._rewrite = config.force_apply
        self._environ = {} if os.access("/run", os.W_OK) and not config.cni_mode else {"XTABLES_LOCKFILE": _OWN_LOCK}
        self._ours: dict[int, Ours] = {}
        self._found: dict[int, Tables] = {}

    def holds_ours(self) -> bool:
        """Whether a chain of ours is in this variant's tables."""
        try:
            if self.variant == "nft":
                return any(f and table in TABLES and chain in CHAINS for f, table, chain in _nft_chains())
            return any(c in CHAINS for family in (4, 6) for t in self._tables(family).values() for c in t)
        except UnsupportedError:
            return False

    def read(self, wanted: "Sequence[Rule]") -> Current:
        """What is there of ours, IPv4 and IPv6."""
        rules: list[Rule] = []
        chains = set()
        for family in (4, 6):
            self._found[family] = self._tables(family)
            self._ours[family] = Ours(family, [r for r in wanted if r.family == family], self._found[family])
            rules += self._ours[family].rules(self._found[family])
            chains |= {(family, t, c) for t, found in self._found[family].items() for c in found if c in CHAINS}
        return Current(tuple(rules), frozenset(chains))

    def write(self, rules: "Sequence[Rule]") -> "tuple[Step, ...]":
        """One step a family; atomic where it is one table."""
        steps = []
        for family in {r.family for r in rules} | {f for f, found in self._found.items() if found}:
            self._require(family)
        for family in (4, 6):
            ours, before = self._ours[family], self._found[family]
            after = ours.replaced(before, [r for r in rules if r.family == family], self._comments, self._keep)
            script = ours.script(before, after, self._rewrite)
            if script:
                steps.append(self._step(family, script))
        return tuple(steps)

    def _step(self, family: int, script: str) -> Step:
        ours, before = self._ours[family], self._found[family]

        def do() -> None:
            self._restore(family, script)

        def undo() -> None:
            now = self._tables(family)
            back = ours.script(now, before)
            if back:
                self._restore(family, back)
            if self.variant == "nft":
                _delete_tables(family, [t for t in TABLES if t in now and t not in before])

        tables = [line[1:] for line in script.splitlines() if line[:1] == "*"]
        what = f"{self.name}, IPv{family}: {', '.join(tables)}"
        text = f"# {self._named(family, 'restore')} --noflush\n{script}"
        return Step(what, text, do, undo, atomic=len(tables) == 1)

    def _tables(self, family: int) -> "Tables":
        """The family's tables; empty, without running anything, where the kernel says that there are none."""
        if self.variant == "legacy":
            return self._save(family) if legacy_tables(family) else {}
        return self._save(family) if any(f == family and t in TABLES for f, t, _ in _nft_chains()) else {}

    def _save(self, family: int) -> "Tables":
        return read(self._run(family, "save", []))

    def _restore(self, family: int, script: str) -> None:
        wait = ["-w", _LOCK_WAIT] if self.variant == "legacy" else []
        self._run(family, "restore", ["--noflush", *wait], script)

    def _require(self, family: int) -> None:
        """Raise UnsupportedError when something is missing, before anything is touched."""
        for verb in ("save", "restore"):
            self._program(family, verb)

    def _named(self, family: int, verb: str) -> str:
        return "-".join(filter(None, (_PREFIX[family], self.variant, verb)))

    def _program(self, family: int, verb: str) -> str:
        name = self._named(family, verb)
        program = process.find(name) or _unnamed(family, self.variant, verb)
        if not program:
            raise UnsupportedError(f"{name} is not installed; install the package iptables")
        return program

    def _run(self, family: int, verb: str, options: "list[str]", given: str = "") -> str:
        result = process.run([self._program(family, verb), *options], given, self._environ)
        if result.status == 0:
            return result.output
        name = self._named(family, verb)
        said = " ".join(line.strip() for line in result.errors.splitlines() if line.strip() and line[0] != "#")
        said = said or f"ended with status {result.status}"
        if "Permission denied" in said or "Operation not permitted" in said or (_UNSAID in said and lacking()):
            raise RefusedError(f"{name}: {said} {why_not_permitted()}")
        if any(sign in said for sign in _LACKING):
            modules = f"{_MODULES[self.variant]}, {_EXTENSIONS}"
            raise UnsupportedError(f"{name}: {said} The node's kernel may lack one of the modules {modules}.")
        raise RefusedError(f"{name}: {said}")


def _unnamed(family: int, variant: str, verb: str) -> "str | None":
    """`iptables-restore` itself, where it is of this variant: distributions with one variant alone name it so."""
    program = process.find(f"{_PREFIX[family]}-{verb}")
    multi = "xtables-nft-multi" if variant == "nft" else "xtables-legacy-multi"
    return program if program and os.path.realpath(program).endswith(multi) else None


def legacy_tables(family: int) -> str:
    """Names of the legacy tables that exist in this network namespace."""
    try:
        with open("/proc/net/ip_tables_names" if family == 4 else "/proc/net/ip6_tables_names") as file:
            return file.read()
    except OSError:
        return ""


def _nft_chains() -> "set[tuple[int, str, str]]":
    try:
        return netlink.nft_chains()
    except PermissionError as e:
        raise RefusedError(f"reading nf_tables is not permitted. {why_not_permitted()}") from e
    except OSError as e:
        raise UnsupportedError(f"this kernel has no nf_tables ({e.strerror}); the module nf_tables is missing") from e


def _delete_tables(family: int, tables: "Iterable[str]") -> None:
    """Take back tables that were made for us; those that others have put rules into meanwhile stay."""
    chains = _nft_chains()
    for table in tables:
        try:
            netlink.delete_empty_nft_table(family, table, [c for f, t, c in chains if (f, t) == (family, table)])
        except OSError as e:
            if e.errno != EBUSY:
                raise RefusedError(f"cannot delete the table {table} again: {e.strerror}") from e
