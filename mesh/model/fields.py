"""Readers: what the value of a field may be. Each reads it, and says the same as OpenAPI for the CRD.

A reader is called with the value and the `Reading`; it returns the value as the program uses it, or ABSENT after it
told what is wrong. Durations become seconds, lists tuples, maps a `Table`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any, Protocol

from mesh.model.reading import ABSENT, Reading
from mesh.model.table import EMPTY as EMPTY
from mesh.model.table import Table as Table

Schema = dict[str, Any]


class Reader(Protocol):
    """Reads one value."""

    def __call__(self, value: Any, r: Reading, /) -> Any:
        """The value as the program uses it, or ABSENT."""

    def schema(self) -> Schema:
        """The same as OpenAPI v3, for the CRD."""


Check = Callable[[str], str]  # what is wrong with the text (what is allowed), or empty


class Text:
    """A string; `check` says what is allowed if it is not."""

    def __init__(self, check: Check | None = None, pattern: str = "", longest: int = 0, empty: bool = True) -> None:
        self.check = check
        self.pattern = re.compile(pattern) if pattern else None
        self.longest = longest
        self.empty = empty

    def __call__(self, value: Any, r: Reading, /) -> Any:
        if not isinstance(value, str):
            return r.wrong_type("a string", value)
        if not value:
            return value if self.empty else r.not_allowed(value, "it must not be empty")
        if self.longest and len(value) > self.longest:
            return r.not_allowed(value, f"at most {self.longest} characters")
        if self.pattern and not self.pattern.fullmatch(value):
            return r.not_allowed(value, f"it must match {self.pattern.pattern}")
        if self.check and (allowed := self.check(value)):
            return r.not_allowed(value, allowed)
        return value

    def schema(self) -> Schema:
        return {
            "type": "string",
            **({} if self.empty else {"minLength": 1}),
            **({"maxLength": self.longest} if self.longest else {}),
            **({"pattern": f"^(?:{self.pattern.pattern})$"} if self.pattern else {}),
        }


class Flag:
    """A boolean."""

    def __call__(self, value: Any, r: Reading, /) -> Any:
        return value if isinstance(value, bool) else r.wrong_type("true or false", value)

    def schema(self) -> Schema:
        return {"type": "boolean"}


class Whole:
    """An integer from `low` to `high`."""

    def __init__(self, low: int = 0, high: int = 2**32 - 1) -> None:
        self.low, self.high = low, high

    def __call__(self, value: Any, r: Reading, /) -> Any:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            return r.wrong_type("an integer", value)
        if not self.low <= value <= self.high:
            return r.not_allowed(value, f"{self.low} to {self.high}")
        return value

    def schema(self) -> Schema:
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


class Number:
    """A number from `low` to `high`, as a float."""

    def __init__(self, low: float = 0.0, high: float = math.inf) -> None:
        self.low, self.high = low, high

    def __call__(self, value: Any, r: Reading, /) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return r.wrong_type("a number", value)
        if not (self.low <= value <= self.high and math.isfinite(value)):
            return r.not_allowed(value, f"{self.low:g} to {self.high:g}")
        return float(value)

    def schema(self) -> Schema:
        return {"type": "number", "minimum": self.low, **({"maximum": self.high} if math.isfinite(self.high) else {})}


class OneOf:
    """One of these words."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def __call__(self, value: Any, r: Reading, /) -> Any:
        if not isinstance(value, str):
            return r.wrong_type(f"one of {', '.join(self.words)}", value)
        return value if value in self.words else r.not_allowed(value, f"one of {', '.join(self.words)}")

    def schema(self) -> Schema:
        return {"type": "string", "enum": list(self.words)}


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
_GO_DURATION = re.compile(r"([+-]?)((?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:h|ms|m|s|us|µs|μs|ns))+|0)")
_PIECE = re.compile(r"([0-9.]+)(h|ms|m|s|us|µs|μs|ns)")
# Go's own limit, 292 years (time.Duration), and Envoy's: both count nanoseconds in 64 bits
_LONGEST = 9223372036.0
_GEP_2257 = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}")


def seconds(text: str) -> float | None:
    """A Go duration (`1m30s`, `0.5s`, `250ms`) in seconds, rounded to nanoseconds; None if it is none that Go takes."""
    match = _GO_DURATION.fullmatch(text) if len(text) <= 64 else None
    if match is None:
        return None
    total = sum(float(number) * _UNITS[unit] for number, unit in _PIECE.findall(match[2]))
    if total > _LONGEST:
        return None
    return round(-total if match[1] == "-" else total, 9)


class Duration:
    """A duration, as seconds. Istio's are Go's and exact to a millisecond; Gateway API's are those of GEP-2257."""

    def __init__(self, least: float = 0.0, gep: bool = False) -> None:
        self.least, self.gep = least, gep

    def __call__(self, value: Any, r: Reading, /) -> Any:
        if not isinstance(value, str):
            return r.wrong_type('a duration such as "1.5s"', value)
        found = seconds(value)
        if found is None or (self.gep and not _GEP_2257.fullmatch(value)):
            return r.not_allowed(value, "a duration such as 1h30m, 10s, 250ms")
        if found < self.least:
            return r.not_allowed(value, f"at least {self.least:g}s")
        if abs(found * 1000 - round(found * 1000)) > 1e-6:
            return r.not_allowed(value, "whole milliseconds")
        return found

    def schema(self) -> Schema:
        if self.gep:
            return {"type": "string", "pattern": f"^{_GEP_2257.pattern}$"}
        return {"type": "string"}


class Many:
    """A list of what `item` reads, as a tuple."""

    def __init__(self, item: Reader, least: int = 0, most: int = 0) -> None:
        self.item, self.least, self.most = item, least, most

    def __call__(self, value: Any, r: Reading, /) -> Any:
        if not isinstance(value, (list, tuple)):
            return r.wrong_type("a list", value)
        if len(value) < self.least:
            return r.not_allowed(value, f"at least {self.least} of them")
        if self.most and len(value) > self.most:
            return r.not_allowed(value, f"at most {self.most} of them")
        item, path, out = self.item, r.path, []
        for index, one in enumerate(value):
            path.append(index)
            made = item(one, r)
            path.pop()
            if made is not ABSENT:
                out.append(made)
        return tuple(out)

    def schema(self) -> Schema:
        return {
            "type": "array",
            "items": self.item.schema(),
            **({"minItems": self.least} if self.least else {}),
            **({"maxItems": self.most} if self.most else {}),
        }


class MapOf:
    """A map from strings to what `item` reads."""

    def __init__(self, item: Reader, key: Check | None = None) -> None:
        self.item, self.key = item, key

    def __call__(self, value: Any, r: Reading, /) -> Any:
        if not isinstance(value, Mapping):
            return r.wrong_type("a map", value)
        out = Table()
        for key, one in value.items():
            if not isinstance(key, str):
                r.wrong_type("a string as a key", key)
                continue
            r.path.append(key)
            if self.key and (allowed := self.key(key)):
                r.not_allowed(key, allowed)
            else:
                made = self.item(one, r)
                if made is not ABSENT:
                    out[key] = made
            r.path.pop()
        return out

    def schema(self) -> Schema:
        return {"type": "object", "additionalProperties": self.item.schema()}


class Raw:
    """Any JSON, as it is. For parts that only pass through; lists become tuples, maps Tables."""

    def __call__(self, value: Any, _r: Reading, /) -> Any:
        return frozen(value)

    def schema(self) -> Schema:
        return {"x-kubernetes-preserve-unknown-fields": True}


def frozen(value: Any) -> Any:
    """JSON with tuples and Tables instead of lists and dicts."""
    if isinstance(value, Mapping):
        return Table((str(key), frozen(one)) for key, one in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(frozen(one) for one in value)
    return value


# What texts may be: each says what is allowed, or nothing if the text is.

_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def fqdn(text: str) -> str:
    """A DNS name of at most 255 characters, a dot at its end allowed (RFC 1123; Istio's CheckDNS1123Label by label)."""
    name = text.removesuffix(".")
    if len(text) > 255 or not name or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        return "a DNS name such as reviews.default.svc.cluster.local"
    return ""


def wildcard_fqdn(text: str) -> str:
    """A DNS name, or `*`, or one whose first label is or begins with `*` (Istio's ValidateWildcardDomain)."""
    first, dot, rest = text.partition(".")
    if text == "*":
        return ""
    if "*" in text:
        good = first == "*" or (first.startswith("*") and _LABEL.fullmatch(first[1:].lstrip("-") or "-") is not None)
        if good and (not dot or not fqdn(rest)):
            return "" if dot or first != "*" else "a DNS name"
        return "a DNS name, or one that begins with * such as *.example.com"
    return fqdn(text)


def label(text: str) -> str:
    """A DNS label (RFC 1123)."""
    return "" if _DNS_LABEL.fullmatch(text) else "lower case letters, digits and -, at most 63 characters"


def address(text: str) -> str:
    """An IP address."""
    return "" if is_address(text) else "an IP address"


def canonical(text: str) -> str:
    """An address, or a network, as it is spelled everywhere: those that mean the same are equal (RFC 5952)."""
    return str(ip_network(text, strict=False)) if "/" in text else str(ip_address(text)) if ":" in text else text


def is_address(text: str) -> bool:
    """Whether this is an IP address, without a zone."""
    if "%" in text:
        return False
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def subnet(text: str) -> str:
    """An IP address or a network in CIDR notation."""
    mask = "none" if "%" in text else text.partition("/")[2]
    try:
        ip_network(text, strict=False)
    except ValueError:
        mask = "none"
    return "an IP address or a CIDR such as 10.0.0.0/8" if mask and not mask.isdecimal() else ""


def printable(text: str) -> str:
    """What can stand in a header's value: no control characters, which would begin another line."""
    return "no control characters" if any(ord(char) < 32 or ord(char) == 127 for char in text) else ""


def header_name(text: str) -> str:
    """A header's name (RFC 9110 5.6.2), or a pseudo-header such as `:authority`."""
    return "" if _HEADER.fullmatch(text.removeprefix(":")) else "a header's name"


def regex(text: str) -> str:
    """A regular expression as RE2 takes it (Envoy's engine): no look-around, no back-references, 1,024 characters."""
    if len(text) > 1024:
        return "at most 1024 characters"
    bare = _CLASS.sub("x", text)
    if found := _NOT_RE2.search(bare):
        return f"RE2 has no {found[0]}"
    if any(int(number) > _MOST_REPEATS for number in _REPEAT.findall(bare)):
        return f"at most {_MOST_REPEATS} repetitions"
    if unknown := next((name for name in _POSIX_NAME.findall(text) if name not in _POSIX.split()), ""):
        return f"RE2 has no class [:{unknown}:]"
    try:
        re.compile(_as_python(text))
        if _repeats(bare) > _MOST_REPEATS:
            return f"at most {_MOST_REPEATS} repetitions, those of repetitions multiplied"
    except (re.error, OverflowError, RecursionError) as error:
        return f"a regular expression: {error}"
    return ""


_MOST_REPEATS = 1000
_POSIX = "alnum alpha ascii blank cntrl digit graph lower print punct space upper word xdigit"
_POSIX_NAME = re.compile(r"\[:\^?(\w+):\]")
_BRACES = re.compile(r"\{([0-9]+)(?:,([0-9]*))?\}")


def _repeats(bare: str) -> int:
    """How often what is innermost is repeated at most: the counts of nested {n,m} multiplied, as RE2 reckons."""
    most, open_groups, inner, index = 1, [1], 1, 0
    while index < len(bare):
        char, step = bare[index], 1
        if char == "\\":
            step, inner = 2, 1
        elif char == "(":
            open_groups.append(1)
        elif char == ")" and len(open_groups) > 1:
            inner = open_groups.pop()
            open_groups[-1] = max(open_groups[-1], inner)
        elif braces := _BRACES.match(bare, index):
            inner *= max(int(braces[2] or braces[1]), int(braces[1]), 1)
            open_groups[-1] = max(open_groups[-1], inner)
            step = len(braces[0])
        elif char not in "*+?":
            inner = 1
        most, index = max(most, inner), index + step
    return most


_CLASS = re.compile(r"(?<!\\)((?:\\\\)*)\[(\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*)\]", re.DOTALL)
_NOT_RE2 = re.compile(r"(?<!\\)(?:\\\\)*(?:\(\?(?:=|!|<=|<!|>|\(|P=|P>|#)|\\[1-9ZuUN]|\\k<)|(?<!\\)[*+?}]\+")
_OPERATORS = re.compile(r"(\\.)|[\[&|~]", re.DOTALL)
_REPEAT = re.compile(r"[{,]([0-9]{4,})(?=[,}])")


def _as_python(text: str) -> str:
    """RE2's own spellings that Python's `re` does not know, in its words; for checking alone."""
    text = re.sub(r"\\[pP](?:\{\^?\w+\}|[A-Z])", r"\\w", text)
    text = _CLASS.sub(_class_as_python, text)
    text = re.sub(r"\(\?[imsU-]+\)", "", text)
    text = text.replace(r"\z", r"\Z").replace(r"\C", ".").replace(r"\Q", "").replace(r"\E", "")
    return re.sub(r"\\x\{[0-9A-Fa-f]+\}", "x", text).replace("(?<", "(?P<").replace("(?U", "(?i")


def _class_as_python(match: re.Match[str]) -> str:
    """A class without what Python warns of: sets in sets, and operators on them."""
    inner = re.sub(r"\[:\^?\w+:\]", "a", match[2])
    plain = _OPERATORS.sub(lambda found: found[1] or "_", inner)
    return f"{match[1]}[{plain}]"


def one_of_checks(checks: Iterable[Check], allowed: str) -> Check:
    """Passes what any of these passes."""
    every = tuple(checks)
    return lambda text: "" if any(not check(text) for check in every) else allowed
