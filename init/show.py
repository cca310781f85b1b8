"""--dry-run: what would be written, as text; netfilter rules, and the routing beside them."""

from init.iptables_text import spec
from init.rules import TABLES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from init.config import Config
    from init.rules import Rule, Ruleset


def show(config: "Config", ruleset: "Ruleset") -> str:
    """The ruleset in the format that was asked for."""
    if config.format == "json":
        from init.log import as_json

        routing = list(_routing(ruleset))
        return as_json({"rules": [_fields(r) for r in ruleset.rules], "routing": routing}) + "\n"
    if config.format == "table":
        by_chain = sorted(ruleset.rules, key=lambda r: (r.family, TABLES.index(r.table), r.chain))
        rules = "".join(_table([_fields(r) for r in by_chain]))
    elif config.format == "nft":
        from init.nft_text import script

        rules = script(ruleset.rules, comments=config.comments == "on")
    else:
        rules = "".join(_restore(config, ruleset))
    return rules + "".join(f"# {line}\n" for line in _routing(ruleset))


def _restore(config: "Config", ruleset: "Ruleset") -> "Iterator[str]":
    for family, program in ((4, "iptables-restore"), (6, "ip6tables-restore")):
        rules = [r for r in ruleset.rules if r.family == family]
        if rules:
            yield f"# {program} --noflush\n"
        for table in TABLES:
            mine = [r for r in rules if r.table == table]
            if mine:
                yield f"*{table}\n"
                targets = [str(r.target.value) for r in mine if r.target.kind == "JUMP"]
                chains = dict.fromkeys(targets + [r.chain for r in mine if not r.built_in])
                yield from (f":{chain} - [0:0]\n" for chain in chains)
                heads = [r for r in mine if r.built_in and r.first]
                yield from (f"-I {r.chain} {n} {_spec(config, r)}\n" for n, r in enumerate(heads, 1))
                yield from (f"-A {r.chain} {_spec(config, r)}\n" for r in mine if r not in heads)
                yield "COMMIT\n"


def _spec(config: "Config", rule: "Rule") -> str:
    return spec(rule, comments=config.comments == "on")


def _routing(ruleset: "Ruleset") -> "Iterator[str]":
    for need in ruleset.routing:
        ip = f"ip -{need.family}"
        if need.source:
            yield f"{ip} addr add {need.source} dev lo"
        if need.mark:
            yield f"{ip} route add local default dev lo table {need.table}"
            yield f"{ip} rule add fwmark {need.mark:#x} lookup {need.table}"


def _fields(rule: "Rule") -> "dict[str, str]":
    return {
        "family": f"IPv{rule.family}",
        "table": rule.table,
        "chain": rule.chain,
        "rule": spec(rule),
        "why": rule.why,
    }


def _table(rows: "list[dict[str, str]]") -> "Iterator[str]":
    heading = {name: name.upper() for name in ("family", "table", "chain", "rule", "why")}
    widths = {name: max(len(row[name]) for row in [heading, *rows]) for name in heading}
    for row in (heading, *rows):
        yield "  ".join(row[name].ljust(widths[name]) for name in heading).rstrip() + "\n"
