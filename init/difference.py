"""What tells rules that are there from rules that are asked for, as lines for people."""

from init.iptables_text import spec
from init.rules import FAMILY_NAMES, TABLES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from init.rules import Rule
    from init.run import Plan

    Chain = tuple[int, str, str]


def difference(plan: "Plan") -> "Iterator[str]":
    """Lines that tell what is there from what is asked for."""
    wanted = plan.wanted.rules
    # In the kernel's chains, what stays stands between what goes first and the rest.
    after = (*(r for r in wanted if r.first), *plan.stays, *(r for r in wanted if not r.first))
    there_chains, after_chains = plan.there.chains, chains_of(after)
    there, want = in_chains(plan.there.rules, there_chains), in_chains(after, after_chains)
    for chain in sorted(there.keys() | want.keys(), key=lambda c: (c[0], TABLES.index(c[1]), c[2])):
        comes = chain in after_chains and chain not in there_chains
        goes = chain in there_chains and chain not in after_chains
        lines = list(difference_of_chain(chain, there.get(chain, ()), want.get(chain, ())))
        if comes or goes:
            lines[0] += " (new)" if comes else " (goes)"
        if len(lines) > 1 or comes or goes:
            yield from lines
    for name, found in plan.elsewhere:
        yield f"{name}, which is not used any more:"
        for chain, rules in in_chains(found.rules, found.chains).items():
            yield from difference_of_chain(chain, rules, ())
    if plan.routing:
        yield "routing:"
        yield from (f"  {'-' if ' del ' in step.what else '+'} {step.what}" for step in plan.routing)


def difference_of_chain(chain: "Chain", there: "Sequence[Rule]", want: "Sequence[Rule]") -> "Iterator[str]":
    """Lines that tell what a chain holds from what it should hold."""
    family, table, name = chain
    yield f"{FAMILY_NAMES[family]} {table} {name}:"
    yield from (f"  {line}" for line in changes([spec(r) for r in there], [spec(r) for r in want]))


def chains_of(rules: "Iterable[Rule]") -> "frozenset[Chain]":
    """The chains of ours that rules are in or jump to."""
    targets = {(r.family, r.table, str(r.target.value)) for r in rules if r.target.kind == "JUMP"}
    return frozenset(targets | {(r.family, r.table, r.chain) for r in rules if not r.built_in})


def in_chains(rules: "Iterable[Rule]", chains: "Iterable[Chain]") -> "dict[Chain, list[Rule]]":
    """The rules of each chain; of these chains also when they have none."""
    found: dict[Chain, list[Rule]] = {chain: [] for chain in chains}
    for rule in rules:
        found.setdefault((rule.family, rule.table, rule.chain), []).append(rule)
    # In a chain of the kernel's, rules that go first stand first, whatever the order in which they were made.
    return {chain: sorted(there, key=lambda r: not r.first) for chain, there in found.items()}


def changes(there: "Sequence[str]", want: "Sequence[str]") -> "Iterator[str]":
    """The lines to take away ("- line") and to add ("+ line"), in order, that make `want` of `there`.

    In time that grows with their number; difflib takes its square or cube. How often a line is still to come on the
    other side tells whether it goes, comes, or only moves.
    """
    old, new = list(reversed(there)), list(reversed(want))
    to_come, to_go = _counted(new), _counted(old)
    while old or new:
        if old and new and old[-1] == new[-1]:
            to_go[old.pop()] -= 1
            to_come[new.pop()] -= 1
        elif old and not (new and to_come.get(old[-1]) and not to_go.get(new[-1])):
            line = old.pop()
            to_go[line] -= 1
            yield f"- {line}"
        else:
            line = new.pop()
            to_come[line] -= 1
            yield f"+ {line}"


def _counted(lines: "Sequence[str]") -> "dict[str, int]":
    found: dict[str, int] = {}
    for line in lines:
        found[line] = found.get(line, 0) + 1
    return found
