"""Kinds of settings: how each is read from text, written as text, and what is allowed.

A parser raises ValueError with what is wrong with the text; the message to the user adds flag, value and `allowed`.
"""

from init.network import Network
from init.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal

    Ports = tuple[int, ...] | Literal["*"]
    Networks = tuple[Network, ...] | Literal["*"]
    Owners = tuple[int | str, ...]

ALL: "Literal['*']" = "*"


class Kind(Value):
    """parse: text to value, raises ValueError. show: the value as text that parses back. allowed: for people.

    words: all that it may be, where that is a few words.
    """

    parse: "Callable[[str], Any]"
    allowed: str
    show: "Callable[[Any], str]" = str
    boolean: bool = False
    words: "tuple[str, ...]" = ()


def _number(text: str, low: int, high: int, base: int = 10) -> int:
    digits = text.isascii() and text.isalnum() and (base == 0 or text.isdigit())
    number = int(text, base) if digits else -1
    if not low <= number <= high:
        raise ValueError
    return number


def _port(text: str) -> int:
    return _number(text.strip(), 1, 65535)


def _mark(text: str) -> int:
    number = _number(text, 1, 0xFFFFFFFF, 0 if text[:2].lower() == "0x" else 10)
    if number == ENVOY_OUTBOUND_MARK:
        raise ValueError("is the mark of Envoy's own outbound packets")
    return number


def _route_table(text: str) -> int:
    number = _number(text, 1, 0xFFFFFFFF)
    if number in (253, 254, 255):
        raise ValueError("is one of the kernel's own tables default, main, local")
    return number


def _owner(text: str) -> "int | str":
    if text.isascii() and text.isdigit():
        return _number(text, 0, 0xFFFFFFFE)
    if not text.isascii() or text[:1] in ("", "-") or not all(c.isalnum() or c in "-_." for c in text):
        raise ValueError
    return text


def _interface(text: str) -> str:
    printable = all("!" <= c <= "~" and c not in "/!:\"'\\" for c in text)
    if not printable or not 1 <= len(text.removesuffix("+")) <= 15 or text in (".", ".."):
        raise ValueError
    return text


def _boolean(text: str) -> bool:
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False", ""):
        return False
    raise ValueError


_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def _duration(text: str) -> float:
    """A duration as Go writes it, in seconds: 5s, 500ms, 1m30s, 0."""
    total, rest = 0.0, text.removeprefix("+")
    if rest == "0":
        return 0.0
    if not rest:
        raise ValueError
    while rest:
        amount = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        unit = rest[len(amount) :]
        unit = unit[: len(unit) - len(unit.lstrip("nuµμsmh"))]
        if unit not in _UNITS or amount.count(".") > 1 or not amount.strip("."):
            raise ValueError
        total += float(amount) * _UNITS[unit]
        rest = rest[len(amount) + len(unit) :]
    return total


def _show_duration(seconds: float) -> str:
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def _loopback(text: str) -> Network:
    network = Network.parse(text)
    if network.family != 4 or network.length < 8 or network.address >> 24 != 127:
        raise ValueError("lies outside 127.0.0.0/8")
    return network


def _list(item: "Callable[[str], Any]", *, wildcard: bool = False) -> "Callable[[str], Any]":
    def parse(text: str) -> object:
        if not text:
            return ()
        items = [i.strip() for i in text.split(",")]
        if wildcard and items == [ALL]:
            return ALL
        values = []
        for number, each in enumerate(items, 1):
            if not each:
                raise ValueError(f"item {number} of {len(items)} is empty")
            if each == ALL:
                raise ValueError("* must stand alone" if wildcard else "* is not allowed here")
            try:
                values.append(item(each))
            except ValueError as e:
                place = f"item {number}, {each!r}" if len(items) > 1 else ""
                raise ValueError(": ".join(filter(None, (place, str(e))))) from None
        return tuple(values)

    return parse


def _show_list(value: "Any") -> str:
    return value if value == ALL else ",".join(map(str, value))


def choice(*values: str, empty: "str | None" = None) -> Kind:
    """One of some words; `empty` is what an empty text stands for."""

    def parse(text: str) -> str:
        if empty is not None and not text:
            return empty
        if text not in values:
            raise ValueError
        return text

    allowed = " or ".join(values) if len(values) < 3 else ", ".join(values[:-1]) + " or " + values[-1]
    return Kind(parse, allowed, words=values)


def _not_empty(text: str) -> str:
    if not text.strip():
        raise ValueError
    return text


ENVOY_OUTBOUND_MARK = 1338  # Envoy marks what it sends to the pod's own addresses with this

PORT = Kind(_port, "a port from 1 to 65535")
PORTS = Kind(_list(_port), "ports from 1 to 65535, separated by commas, or empty for none", _show_list)
PORTS_OR_ALL = Kind(
    _list(_port, wildcard=True), "*, or ports from 1 to 65535 separated by commas, or empty for none", _show_list
)
NETWORKS = Kind(
    _list(Network.parse),
    "CIDRs or addresses (10.0.0.0/8, 2001:db8::/32, 9.9.9.9) separated by commas, or empty",
    _show_list,
)
NETWORKS_OR_ALL = Kind(
    _list(Network.as_written, wildcard=True),
    "*, or CIDRs or addresses (10.0.0.0/8, 2001:db8::/32, 9.9.9.9) separated by commas, or empty for none",
    _show_list,
)
USERS = Kind(_list(_owner), "user ids (0 to 4294967294) or names separated by commas", _show_list)
GROUPS = Kind(_list(_owner), "group ids (0 to 4294967294) or names separated by commas", _show_list)
GROUPS_OR_ALL = Kind(
    _list(_owner, wildcard=True), "*, or group ids (0 to 4294967294) or names separated by commas", _show_list
)
INTERFACES = Kind(
    _list(_interface),
    "interface names of 1 to 15 characters separated by commas; a trailing + stands for any rest",
    _show_list,
)
MARK = Kind(_mark, f"a number from 1 to 4294967295 other than {ENVOY_OUTBOUND_MARK}, decimal or 0x…")
ROUTE_TABLE = Kind(_route_table, "a number from 1 to 4294967295 other than 253, 254, 255")
LOOPBACK = Kind(_loopback, "an IPv4 network within 127.0.0.0/8")
BOOLEAN = Kind(_boolean, "true or false", lambda value: "true" if value else "false", boolean=True)
DURATION = Kind(_duration, "a duration such as 5s, 500ms, 1m30s or 0", _show_duration)
TEXT = Kind(str, "any text")
FILE = Kind(str, "a path")
PACKET = Kind(
    _not_empty,
    "tcp or udp, out or in, ADDRESS:PORT, and then as needed uid N, gid N, from ADDRESS, by INTERFACE, mark N; "
    "as in 'tcp out 10.0.0.1:80 uid 1000' or 'tcp in [2001:db8::5]:8080 by eth1'",
)
