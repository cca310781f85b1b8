"""Rules as iptables writes them, in the spelling of iptables-save: what is rendered is what the kernel then shows.

`parse(family, table, chain, spec(rule)) == rule` for every rule (iptables(8), iptables-extensions(8)).
"""

from init.network import Network
from init.rules import CHAINS, Match, Rule, Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

COMMENT = "pyinit "  # starts the comment of every rule that pyinit writes
_ANY = {4: "0.0.0.0", 6: "::"}
_ALL_BITS = "0xffffffff"

# kind of match: (extension to load, option, value to text)
_MATCHES: "dict[str, tuple[str, str, Callable[[Any], str]]]" = {
    "source": ("", "-s", str),
    "destination": ("", "-d", str),
    "in_interface": ("", "-i", str),
    "out_interface": ("", "-o", str),
    "protocol": ("", "-p", str),
    "dport": ("protocol", "--dport", str),
    "sport": ("protocol", "--sport", str),
    "dports": ("multiport", "--dports", lambda ports: ",".join(map(str, ports))),
    "uid": ("owner", "--uid-owner", str),
    "gid": ("owner", "--gid-owner", str),
    "mark": ("mark", "--mark", hex),
    "connmark": ("connmark", "--mark", hex),
    "state": ("conntrack", "--ctstate", ",".join),
}


def spec(rule: Rule, comments: bool = False) -> str:
    """The rule's matches, comment and target, as after `-A CHAIN`."""
    words: list[str] = []
    protocol = ""
    for match in rule.matches:
        if match.kind == "other":
            return str(match.value)
        if match.kind == "protocol":
            protocol = str(match.value)
        extension, option, show = _MATCHES[match.kind]
        if extension:
            words += "-m", protocol if extension == "protocol" else extension
        if match.negated:
            words.append("!")
        words += option, show(match.value)
    if comments:
        words += "-m", "comment", "--comment", f'"{COMMENT}{rule.why}"'
    words += "-j", _show_target(rule.family, rule.target)
    return " ".join(words)


def _show_target(family: int, target: Target) -> str:
    kind, value = target.kind, target.value
    if kind == "JUMP":
        return str(value)
    if kind == "REDIRECT":
        return f"REDIRECT --to-ports {value}"
    if kind == "MARK" and isinstance(value, int):
        return f"MARK --set-xmark {value:#x}/{_ALL_BITS}"
    if kind == "CT":
        return f"CT --zone {value}"
    if kind == "CONNMARK":
        return f"CONNMARK --{value}-mark --nfmask {_ALL_BITS} --ctmask {_ALL_BITS}"
    if kind == "TPROXY" and isinstance(value, tuple):
        return f"TPROXY --on-port {value[0]} --on-ip {_ANY[family]} --tproxy-mark {value[1]:#x}/{_ALL_BITS}"
    return kind


def _numbers(text: str) -> "tuple[int, ...]":
    return tuple(map(int, text.split(",")))


def _states(text: str) -> "tuple[str, ...]":
    return tuple(text.split(","))


# option as iptables-save prints it: (kind, text to value)
_OPTIONS: "dict[str, tuple[str, Callable[[str], Any]]]" = {
    "-s": ("source", Network.parse),
    "-d": ("destination", Network.parse),
    "-i": ("in_interface", str),
    "-o": ("out_interface", str),
    "-p": ("protocol", str),
    "--dport": ("dport", int),
    "--sport": ("sport", int),
    "--dports": ("dports", _numbers),
    "--uid-owner": ("uid", int),
    "--gid-owner": ("gid", int),
    "--ctstate": ("state", _states),
}


def parse(family: int, table: str, chain: str, text: str) -> Rule:
    """The rule of a line of iptables-save, from behind `-A CHAIN `.

    What pyinit never writes is not understood: such a rule has the one match "other" with the text, and equals no
    rule of ours.
    """
    try:
        matches, why, rest = _parse_matches(words(text))
        return Rule(family, table, chain, matches, _parse_target(rest), why)
    except (ValueError, KeyError, IndexError):
        return Rule(family, table, chain, (Match("other", text),), Target("RETURN"))


def words(text: str) -> "list[str]":
    """The words of a line of iptables-save; quotes hold a word together."""
    if '"' not in text:
        return text.split()
    found: list[str] = []
    for number, part in enumerate(text.replace('\\"', "\0").split('"')):
        found += [part.replace("\0", '"')] if number % 2 else part.split()
    return found


def comment(text: str) -> str:
    """The comment of a line of iptables-save, or an empty text."""
    if "--comment" not in text:
        return ""
    found = words(text)
    # An interface may have the name --comment.
    at = (n for n in range(2, len(found) - 1) if found[n - 2 : n + 1] == ["-m", "comment", "--comment"])
    return next((found[n + 1] for n in at), "")


def jumps_to(text: str) -> str:
    """The target of a line of iptables-save, or an empty text."""
    found = words(text)
    # Whatever stands before a target is an option and its value; an interface may have the name -j.
    at = (n for n in range(len(found) - 1) if found[n] == "-j" and (n == 0 or found[n - 1] not in ("-i", "-o")))
    return next((found[n + 1] for n in at), "")


def _parse_matches(queue: "list[str]") -> "tuple[tuple[Match, ...], str, list[str]]":
    matches: list[Match] = []
    why, extension, negated, at = "", "", False, 0
    while queue[at] != "-j":
        option, value = queue[at], queue[at + 1]
        if option == "!":
            negated, at = True, at + 1
            continue
        at += 2
        if option == "-m":
            extension = value
        elif option == "--comment":
            why = value.removeprefix(COMMENT)
        elif option == "--mark":
            matches.append(Match(extension, int(value, 16), negated))
        else:
            kind, read = _OPTIONS[option]
            matches.append(Match(kind, read(value), negated))
        negated = False if option != "-m" else negated
    return tuple(matches), why, queue[at + 1 :]


def _parse_target(queue: "list[str]") -> Target:
    kind, options = queue[0], queue[1:]
    if kind in CHAINS and not options:
        return Target("JUMP", kind)
    if kind in ("RETURN", "ACCEPT", "DROP") and not options:
        return Target(kind)
    if kind == "CONNMARK" and options[1:] == ["--nfmask", _ALL_BITS, "--ctmask", _ALL_BITS]:
        return Target(kind, options[0].removeprefix("--").removesuffix("-mark"))
    given = dict(zip(options[::2], options[1::2], strict=True))
    if kind == "REDIRECT" and given.keys() == {"--to-ports"}:
        return Target(kind, int(given["--to-ports"]))
    if kind == "MARK" and given.keys() == {"--set-xmark"}:
        return Target(kind, _full_mark(given["--set-xmark"]))
    if kind == "CT" and given.keys() == {"--zone"}:
        return Target(kind, int(given["--zone"]))
    if kind == "TPROXY" and given.keys() == {"--on-port", "--on-ip", "--tproxy-mark"}:
        return Target(kind, (int(given["--on-port"]), _full_mark(given["--tproxy-mark"])))
    raise ValueError(kind)


def _full_mark(text: str) -> int:
    mark, _, mask = text.partition("/")
    if mask != _ALL_BITS:
        raise ValueError(text)
    return int(mark, 16)
