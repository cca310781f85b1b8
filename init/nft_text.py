"""Rules as nft text, and nft's listing as rules again. Pure.

What iptables keeps in its tables raw, mangle and nat stands here in tables of our own, one a family, with the names
that Istio's users know:

    table ip istio-proxy-nat           of IPv6: table ip6 istio-proxy-nat
      chain prerouting { type nat hook prerouting priority -100 … }      the kernel's PREROUTING
      chain istio-inbound                                                our ISTIO_INBOUND

A family's rules stand in the family's own table, so none needs to ask for the packet's family, and what captures IPv4
never meets an IPv6 packet. The tables that istio-iptables makes have the same names in family inet: they are ours as
well, and never written. Syntax: nft(8).
"""

from init.network import Network
from init.rules import CHAINS, TABLES, Match, Rule, Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FAMILIES = {4: "ip", 6: "ip6", 0: "inet"}
_FAMILY_OF = {name: family for family, name in FAMILIES.items()}
_PREFIX = "istio-proxy-"
MAX_COMMENT = 128  # NFTNL_UDATA_COMMENT_MAXLEN

# The hooks of iptables' chains, at iptables' priorities, so that a packet meets them and others' tables in one order.
_HOOKS = {
    ("raw", "PREROUTING"): ("filter", -300),
    ("raw", "OUTPUT"): ("filter", -300),
    ("mangle", "PREROUTING"): ("filter", -150),
    # Of type route: the packet is routed anew when its mark changes, as Envoy's answers in TPROXY mode must be.
    ("mangle", "OUTPUT"): ("route", -150),
    ("nat", "PREROUTING"): ("nat", -100),
    ("nat", "OUTPUT"): ("nat", -100),
}
_SELECTORS = {
    "protocol": "meta l4proto",
    "in_interface": "iifname",
    "out_interface": "oifname",
    "uid": "meta skuid",
    "gid": "meta skgid",
    "mark": "meta mark",
    "connmark": "ct mark",
    "state": "ct state",
}
_KIND_OF = {selector: kind for kind, selector in _SELECTORS.items()}
_STATES = ("INVALID", "NEW", "RELATED", "ESTABLISHED")  # the order in which iptables names them
_STATE_OF_BIT = {"0x1": "INVALID", "0x8": "NEW", "0x4": "RELATED", "0x2": "ESTABLISHED"}  # as nft -n names them
_PROTOCOL_OF_NUMBER = {"6": "tcp", "17": "udp"}
_VERDICTS = ("RETURN", "ACCEPT", "DROP")


def table_name(family: int, table: str) -> str:
    """Family and name of our table, as nft writes them: `ip istio-proxy-nat`."""
    return f"{FAMILIES[family]} {_PREFIX}{table}"


def is_ours(table: str) -> bool:
    """Whether a table of this name, without the family, is ours."""
    return table.startswith(_PREFIX) and table.removeprefix(_PREFIX) in TABLES


def _in_order(rules: "Sequence[Rule]") -> "list[Rule]":
    """The rules by family, table and chain; the order within a chain stays."""
    chains = {chain: number for number, chain in enumerate(("PREROUTING", "OUTPUT", *CHAINS))}
    return sorted(rules, key=lambda r: (r.family, TABLES.index(r.table), chains.get(r.chain, len(chains))))


def script(rules: "Sequence[Rule]", comments: bool) -> str:
    """The tables with all these rules, for `nft -f`; nothing for none."""
    tables: dict[tuple[int, str], list[Rule]] = {}
    for rule in _in_order(rules):
        tables.setdefault((rule.family, rule.table), []).append(rule if comments else rule.replace(why=""))
    return "".join(_table(family, table, held) for (family, table), held in tables.items())


def _table(family: int, table: str, rules: "Sequence[Rule]") -> str:
    chains: dict[str, list[str]] = {}
    for rule in rules:
        lines = chains.setdefault(rule.chain, _head(table, rule.chain))
        lines.extend(f"\t\t{statement}\n" for statement in _statements(rule))
        if rule.target.kind == "JUMP":
            chains.setdefault(str(rule.target.value), [])
    body = "\n".join(f"\tchain {_chain(name)} {{\n{''.join(lines)}\t}}\n" for name, lines in chains.items())
    return f"table {table_name(family, table)} {{\n{body}}}\n"


def _chain(name: str) -> str:
    return name.lower().replace("_", "-")


def _head(table: str, chain: str) -> "list[str]":
    if (table, chain) not in _HOOKS:
        return []
    kind, priority = _HOOKS[table, chain]
    return [f"\t\ttype {kind} hook {_chain(chain)} priority {priority}; policy accept;\n"]


def _statements(rule: Rule) -> "Iterator[str]":
    matches = [text for match in rule.matches if (text := _match(match, rule))]
    comment = f' comment "{rule.why.replace(chr(34), chr(39))[:MAX_COMMENT]}"' if rule.why else ""
    yield " ".join([*matches, _target(rule.target)]) + comment
    if rule.target.kind == "TPROXY":
        # Without a listener there, iptables drops the packet, while nft goes on to the next rule: past the proxy.
        yield " ".join([*matches, "drop"]) + comment


def _match(match: Match, rule: Rule) -> str:
    """A match as nft statement; empty for a protocol that a match on ports implies."""
    kind, value, not_ = match.kind, match.value, "!= " if match.negated else ""
    ports = [m for m in rule.matches if m.kind in ("dport", "sport", "dports")]
    if kind == "protocol" and ports and not match.negated:
        return ""
    if kind in ("source", "destination"):
        side = "saddr" if kind == "source" else "daddr"
        return f"{FAMILIES[rule.family]} {side} {not_}{value}"
    if match in ports:
        protocol = next(m.value for m in rule.matches if m.kind == "protocol")
        return _ports(f"{protocol} {kind[:5]}", match)
    if kind in ("in_interface", "out_interface"):
        name = str(value).replace("*", "\\*")
        text = f'"{name.removesuffix("+")}*"' if name.endswith("+") else f'"{name}"'
    elif kind in ("mark", "connmark"):
        text = f"{value:#010x}"
    elif isinstance(value, tuple):
        states = [str(v).lower() for v in value]
        text = f"{{ {', '.join(states)} }}" if match.negated else ",".join(states)
    else:
        text = str(value)
    return f"{_SELECTORS[kind]} {not_}{text}"


def _ports(selector: str, match: Match) -> str:
    if not isinstance(match.value, tuple):
        return f"{selector} {'!= ' if match.negated else ''}{match.value}"
    if match.negated:  # none of them; one by one, for a set would come back in another order
        return " ".join(f"{selector} != {port}" for port in match.value)
    return f"{selector} {{ {', '.join(map(str, match.value))} }}"


def _target(target: Target) -> str:
    value = target.value
    if target.kind == "JUMP":
        return f"jump {_chain(str(value))}"
    if target.kind == "REDIRECT":
        return f"redirect to :{value}"
    if target.kind == "TPROXY" and isinstance(value, tuple):
        return f"tproxy to :{value[0]} meta mark set {value[1]:#010x} accept"
    if target.kind == "MARK":
        return f"meta mark set {value:#010x}"
    if target.kind == "CONNMARK":
        return "ct mark set meta mark" if value == "save" else "meta mark set ct mark"
    if target.kind == "CT":
        return f"ct zone set {value}"
    return target.kind.lower()


def parse(listing: str) -> "tuple[list[Rule], set[tuple[int, str, str]]]":
    """Our rules and chains, as (family, table, chain), in what `nft list ruleset` prints or `script` wrote.

    What pyinit never writes is not understood: such a rule has the one match "other" with the text, and equals no rule
    of ours.
    """
    rules: list[Rule] = []
    chains: set[tuple[int, str, str]] = set()
    for family, table, block in _our_tables(listing):
        for name, lines in _blocks(block):
            chain = name.upper().replace("-", "_")
            if (table, chain) not in _HOOKS:
                chains.add((family, table, chain))
            rules += _rules(family, table, chain, lines)
    return _in_order(rules), chains


def text_of_ours(listing: str) -> str:
    """The part of a listing that is ours; nft reads it back."""
    return "".join(
        "\n".join((f"table {table_name(family, table)} {{", *lines, "}\n"))
        for family, table, lines in _our_tables(listing)
    )


def _our_tables(listing: str) -> "Iterator[tuple[int, str, list[str]]]":
    family, table, ours = 0, "", False
    lines: list[str] = []
    for line in listing.splitlines():
        if line[:6] == "table ":
            _, kind, name = line.split()[:3]
            ours = kind in _FAMILY_OF and is_ours(name)
            family, table, lines = _FAMILY_OF.get(kind, 0), name.removeprefix(_PREFIX), []
        elif line == "}" and ours:
            yield family, table, lines
        else:
            lines.append(line)


def _blocks(lines: "list[str]") -> "Iterator[tuple[str, list[str]]]":
    """(chain, its lines); what stands in a table beside chains has the chain "" and equals nothing of ours."""
    name, inside = "", False
    found: list[str] = []
    for line in lines:
        text = line.strip()
        if not inside and line[:7] == "\tchain ":
            name, found, inside = text.split()[1], [], True
        elif inside and line == "\t}":
            inside = False
            yield name, found
        elif inside:
            found.append(text)
        elif text:
            yield "", [text]


def _rules(family: int, table: str, chain: str, lines: "list[str]") -> "Iterator[Rule]":
    head = [line.strip() for line in _head(table, chain)]
    if lines[: len(head)] != head:
        yield _not_understood(family, table, chain, f"not at the hook: {' '.join(lines[:1])}")
    queue = lines[len(head) :]
    while queue:
        text, _, comment = queue.pop(0).partition(' comment "')
        before, tproxy, _ = text.partition("tproxy to ")
        if tproxy and (not queue or queue[0].partition(' comment "')[0] != f"{before}drop"):
            yield _not_understood(family, table, chain, text)
            continue
        if tproxy:
            queue.pop(0)
        try:
            matches, target = _parse_rule(family, text.split())
            yield Rule(family, table, chain, matches, target, comment.removesuffix('"'))
        except (ValueError, KeyError, IndexError):
            yield _not_understood(family, table, chain, text)


def _not_understood(family: int, table: str, chain: str, text: str) -> Rule:
    return Rule(family, table, chain, (Match("other", text),), Target("RETURN"))


def _parse_rule(family: int, words: "list[str]") -> "tuple[tuple[Match, ...], Target]":
    matches: list[Match] = []
    while (target := _parse_target(words)) is None:
        selector = words.pop(0)
        if selector not in _KIND_OF:
            selector += f" {words.pop(0)}"
        negated = words[0] == "!="
        if negated:
            del words[0]
        end = words.index("}") + 1 if words[0] == "{" else 1
        value, words = " ".join(words[:end]).strip("{} "), words[end:]
        matches = _with(matches, family, selector, value, negated, end > 1)
    return tuple(matches), target


def _with(matches: "list[Match]", family: int, selector: str, value: str, negated: bool, is_set: bool) -> "list[Match]":
    """The matches and one more."""
    first, _, second = selector.partition(" ")
    if first == FAMILIES[family] and second in ("saddr", "daddr"):
        return [*matches, Match("source" if second == "saddr" else "destination", Network.parse(value), negated)]
    if first in ("tcp", "udp") and second in ("dport", "sport"):
        return _with_ports(matches, first, second, tuple(map(int, value.split(","))), negated, is_set)
    kind = _KIND_OF[selector]
    if kind == "protocol":
        return [*matches, Match(kind, _PROTOCOL_OF_NUMBER.get(value, value), negated)]
    if kind in ("in_interface", "out_interface"):
        name = value.strip('"')
        name = f"{name[:-1]}+" if name[-1] == "*" and name[-2:] != "\\*" else name
        return [*matches, Match(kind, name.replace("\\*", "*"), negated)]
    if kind == "state":
        states = [_STATE_OF_BIT.get(s.strip(), s.strip().upper()) for s in value.split(",")]
        return [*matches, Match(kind, tuple(sorted(states, key=_STATES.index)), negated)]
    return [*matches, Match(kind, int(value, 0), negated)]


def _with_ports(
    matches: "list[Match]", protocol: str, kind: str, ports: "tuple[int, ...]", negated: bool, is_set: bool
) -> "list[Match]":
    implied = Match("protocol", protocol)
    if implied not in matches:
        matches = [*matches, implied]
    if negated and matches[-1].kind.startswith(kind) and matches[-1].negated:
        several = matches[-1].value if isinstance(matches[-1].value, tuple) else (matches[-1].value,)
        return [*matches[:-1], Match("dports", (*several, *ports), negated=True)]
    return [*matches, Match("dports", ports, negated) if is_set else Match(kind, ports[0], negated)]


def _parse_target(words: "list[str]") -> "Target | None":
    """The target, when the rest of a rule is one."""
    text = " ".join(words)
    if text.upper() in _VERDICTS:
        return Target(text.upper())
    if words[0] == "jump" and len(words) == 2:
        return Target("JUMP", words[1].upper().replace("-", "_"))
    if text == "ct mark set meta mark":
        return Target("CONNMARK", "save")
    if text == "meta mark set ct mark":
        return Target("CONNMARK", "restore")
    where, _, last = text.rpartition(" ")
    if where == "redirect to":
        return Target("REDIRECT", int(last[1:]))
    if where == "meta mark set":
        return Target("MARK", int(last, 0))
    if where == "ct zone set":
        return Target("CT", int(last))
    if words[0] == "tproxy" and text.endswith(" accept"):
        to, _, mark = text.removesuffix(" accept").partition(" meta mark set ")
        return Target("TPROXY", (int(to.removeprefix("tproxy to :")), int(mark, 0)))
    return None
