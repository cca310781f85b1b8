"""--dry-run: what would be done, as text."""

from init.iptables_text import spec
from init.rules import FAMILY_NAMES, TABLES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from init.config import Config
    from init.rules import Rule
    from init.run import Plan


def show(config: "Config", plan: "Plan") -> str:
    """The plan in the format that was asked for: its steps as programs read them, or its rules with their reasons."""
    if config.format == "table":
        removed = plan.removed
        rows = [{"change": "-"} | fields(r) for r in _by_chain(removed)]
        rows += [({"change": "+"} if removed else {}) | fields(r) for r in _by_chain(plan.wanted.rules)]
        return "".join((*_table(rows), *(step.text for step in plan.routing)))
    return "".join(step.text for step in plan.steps)


def _by_chain(rules: "Iterable[Rule]") -> "list[Rule]":
    return sorted(rules, key=lambda r: (r.family, TABLES.index(r.table), r.chain))


def fields(rule: "Rule") -> "dict[str, str]":
    """What people and programs are told of a rule."""
    return {
        "family": FAMILY_NAMES[rule.family],
        "table": rule.table,
        "chain": rule.chain,
        "rule": spec(rule),
        "why": rule.why,
    }


def _table(rows: "list[dict[str, str]]") -> "Iterator[str]":
    names = rows[0] if rows else ("family", "table", "chain", "rule", "why")
    heading = {name: name.upper() for name in names}
    widths = {name: max(len(row[name]) for row in [heading, *rows]) for name in heading}
    for row in (heading, *rows):
        yield "  ".join(row[name].ljust(widths[name]) for name in heading).rstrip() + "\n"
