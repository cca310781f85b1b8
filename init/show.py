"""--dry-run: what would be done, as text."""

from init.iptables_text import spec
from init.rules import FAMILY_NAMES, TABLES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from init.apply import Plan
    from init.config import Config
    from init.rules import Rule


def show(config: "Config", plan: "Plan") -> str:
    """The plan in the format that was asked for: its steps as programs read them, or its rules with their reasons."""
    wanted = set(plan.wanted.rules)
    removed = [r for r in plan.there.rules if r not in wanted]
    if config.format == "json":
        from init.log import as_json

        steps = [step.what for step in plan.routing]
        rules = {"rules": plan.wanted.rules, "removed": removed}
        fields = {name: [_fields(r) for r in found] for name, found in rules.items()}
        return as_json({**fields, "routing": steps}) + "\n"
    if config.format == "table":
        rows = [{"change": "-"} | _fields(r) for r in _by_chain(removed)]
        rows += [({"change": "+"} if removed else {}) | _fields(r) for r in _by_chain(plan.wanted.rules)]
        return "".join((*_table(rows), *(step.text for step in plan.routing)))
    return "".join(step.text for step in plan.steps)


def _by_chain(rules: "Iterable[Rule]") -> "list[Rule]":
    return sorted(rules, key=lambda r: (r.family, TABLES.index(r.table), r.chain))


def _fields(rule: "Rule") -> "dict[str, str]":
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
