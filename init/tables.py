"""A family's tables as text, and the iptables-restore script that turns one state into another.

    Tables: {table: {chain: (line…)}}, each line as iptables-save prints it behind `-A CHAIN `

Applying, reconciling, cleaning up and rolling back are all the same thing: `Ours.script(before, after)`.
"""

from init import iptables_text
from init.capture import has_our_shape
from init.rules import CHAINS, TABLES, Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Tables = dict[str, dict[str, tuple[str, ...]]]

# Chains of the tables before nat: what captures in its place, and what it relies on.
_BEFORE_NAT = {"mangle": "ISTIO_TPROXY", "raw": "ISTIO_OUTPUT_DNS"}
_STAYS = "of another configuration"


def read(listing: str) -> "Tables":
    """The tables of an iptables-save listing."""
    tables: dict[str, dict[str, list[str]]] = {}
    chains: dict[str, list[str]] = {}
    for line in listing.splitlines():
        if line[:1] == "*":
            chains = tables.setdefault(line[1:].strip(), {})
        elif line[:1] == ":":
            chains.setdefault(line[1:].split()[0], [])
        elif line[:3] == "-A ":
            _, chain, *rest = line.split(" ", 2)
            chains.setdefault(chain, []).append(rest[0] if rest else "")
    return {table: {chain: tuple(lines) for chain, lines in found.items()} for table, found in tables.items()}


def _surely(chain: str, line: str) -> bool:
    """Whether a line's place or target is a chain of ours."""
    return chain in CHAINS or iptables_text.jumps_to(line) in CHAINS


class Ours:
    """Tells the rules of ours in a family's tables from those of others.

    A chain of ours is ours as a whole. In the kernel's own chains ours have a comment of pyinit's or jump to a chain of
    ours. Those of istio-iptables and of --comments=off have no comment: they are known because they are equal to a
    wanted rule; or, in tables where chains of ours have rules without comments as well, by their shape.
    """

    def __init__(self, family: int, wanted: "Sequence[Rule]", there: "Tables") -> None:
        self.family = family
        self._wanted = {r for r in wanted if r.built_in}
        self._by_shape = any(
            _surely(chain, line) and not iptables_text.comment(line)
            for table in TABLES
            for chain, lines in there.get(table, {}).items()
            for line in lines
        )

    def __call__(self, table: str, chain: str, line: str) -> bool:
        """Whether a line of a chain is ours."""
        if _surely(chain, line):
            return True
        told = iptables_text.comment(line)
        if told:
            return told.startswith(iptables_text.COMMENT)
        rule = iptables_text.parse(self.family, table, chain, line)
        return rule in self._wanted or (self._by_shape and has_our_shape(rule))

    def rules(self, tables: "Tables") -> "list[Rule]":
        """What the tables hold of ours, as values."""
        return [
            iptables_text.parse(self.family, table, chain, line)
            for table in TABLES
            for chain, lines in tables.get(table, {}).items()
            for line in lines
            if self(table, chain, line)
        ]

    def replaced(self, before: "Tables", rules: "Sequence[Rule]", comments: bool, keep: bool) -> "Tables":
        """The tables with these rules in the place of those that are ours.

        keep: in the place of the same rules and chains alone; what else there is of ours stays.
        """
        after: dict[str, dict[str, tuple[str, ...]]] = {}
        for table in TABLES:
            mine = [r for r in rules if r.table == table]
            named = [r.chain for r in mine] + [str(r.target.value) for r in mine if r.target.kind == "JUMP"]
            old = before.get(table, {})
            chains = {c: lines for c, lines in old.items() if c not in CHAINS or (keep and c not in named)}
            chains.update({c: () for c in named if c not in chains})
            for chain in dict.fromkeys(named) if keep else chains:
                there = [r for r in mine if r.chain == chain]
                stays = self._others(table, chain, chains[chain], there if keep else None, comments)
                first = tuple(iptables_text.spec(r, comments) for r in there if r.first)
                last = tuple(iptables_text.spec(r, comments) for r in there if not r.first)
                chains[chain] = first + stays + last
            after[table] = chains
        return after

    def _others(
        self, table: str, chain: str, lines: "tuple[str, ...]", rules: "Sequence[Rule] | None", comments: bool
    ) -> "tuple[str, ...]":
        """The lines of a chain that are not ours; or, given rules, all lines but these rules.

        With comments, a line of ours that stays gets one, to be known by when the others have theirs.
        """
        if rules is None:
            return tuple(line for line in lines if not self(table, chain, line))
        known, stay = set(rules), []
        for line in lines:
            rule = iptables_text.parse(self.family, table, chain, line)
            if rule not in known:
                told = not comments or iptables_text.comment(line) or not self(table, chain, line)
                stay.append(line if told else iptables_text.spec(rule.replace(why=_STAYS), comments=True))
        return tuple(stay)

    def script(self, before: "Tables", after: "Tables", rewrite: bool = False) -> str:
        """What iptables-restore --noflush must read to turn one state into the other; empty when they are equal.

        Rules of others are never written: both states must hold the same ones, in the same order.
        rewrite: write ours also where they are equal.

        Each table is committed by itself, in the order of TABLES: TPROXY is in mangle before REDIRECT goes from nat.
        The other way, mangle comes after nat: a packet, which meets nat last, finds REDIRECT there when TPROXY is gone.
        So does raw when DNS is captured no more: its zones are needed for as long as nat redirects.
        """
        losing = [t for t, chain in _BEFORE_NAT.items() if chain in before.get(t, {}) and chain not in after.get(t, {})]
        parts = []
        for table in (*(t for t in TABLES if t not in losing), *losing):
            edits = self._edits(table, before.get(table, {}), after.get(table, {}), rewrite)
            if edits:
                parts += [f"*{table}", *edits, "COMMIT"]
        return "\n".join([*parts, ""])

    def _edits(
        self, table: str, before: "dict[str, tuple[str, ...]]", after: "dict[str, tuple[str, ...]]", rewrite: bool
    ) -> "list[str]":
        make, take, fill, link = [], [], [], []
        for chain in {**before, **after}:
            old, new = before.get(chain), after.get(chain)
            if old == new and not rewrite:
                continue
            if chain not in CHAINS:
                take += [f"-D {chain} {line}" for line in old or () if self(table, chain, line)]
                places = [(place, line, self(table, chain, line)) for place, line in enumerate(new or (), 1)]
                last = max((place for place, _, mine in places if not mine), default=0)  # of others
                link += [
                    f"-A {chain} {line}" if place > last else f"-I {chain} {place} {line}"
                    for place, line, mine in places
                    if mine
                ]
            elif new is not None:
                make.append(f":{chain} - [0:0]")  # a chain that exists is emptied by this
                fill += [f"-A {chain} {line}" for line in new]
        gone = [chain for chain in before if chain in CHAINS and chain not in after]
        return [*make, *take, *(f"-F {c}" for c in gone), *(f"-X {c}" for c in gone), *fill, *link]
