"""What protoc-gen-validate's rules ask of a single value, each as a test with its own words.

Source: validate/validate.proto, which is among the descriptors. A rule that this file does not know is an error and
not passed over, so a newer Envoy API cannot bring one that is silently unchecked.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from mesh.encode.plans import duration

Holds = Callable[[Any], bool]


class Test(NamedTuple):
    """`text` is the rule as in `gte: 1`; `holds` takes a value as dicts have it."""

    text: str
    holds: Holds


def tests(field: Any, known: Any) -> tuple[Test, ...]:
    """The tests of one value of this field by its `validate.FieldRules`; none for what is about presence or lists."""
    which = known.WhichOneof("type")
    if which is None or which in ("repeated", "map", "message", "any"):
        return ()
    group, read = getattr(known, which), _read(field, which)
    made = tuple(
        _test(rule, wanted, group, read, field)
        for rule, wanted in group.ListFields()
        if rule.name not in ("required", "ignore_empty", "strict")
    )
    if "ignore_empty" in group.DESCRIPTOR.fields_by_name and group.ignore_empty:
        return tuple(Test(test.text, _unless_empty(test.holds)) for test in made)
    return made


def _unless_empty(holds: Holds) -> Holds:
    return lambda value: not value or holds(value)


def _test(rule: Any, wanted: Any, group: Any, read: Callable[[Any], Any], field: Any) -> Test:
    if rule.name == "well_known_regex":
        regex = HEADER[wanted] if group.strict else LOOSE_HEADER
        return Test(f"well_known_regex: {HEADER_NAMES[wanted]}", lambda value: regex.fullmatch(value) is not None)
    if rule.name == "defined_only":
        numbers = {known.number for known in field.enum_type.values}
        return Test("defined_only", lambda value: read(value) in numbers)
    wanted = [_plain(one) for one in wanted] if rule.is_repeated else _plain(wanted)
    shown = f"{wanted[0] + wanted[1] / 1e9:g}s" if isinstance(wanted, tuple) else wanted
    holds = HOLDS[rule.name](wanted)
    return Test(f"{rule.name}: {shown}", holds if read is _as_it_is else lambda value: holds(read(value)))


def _plain(wanted: Any) -> Any:
    # a google.protobuf.Duration as the pair that `duration` makes
    return (wanted.seconds, wanted.nanos) if hasattr(wanted, "nanos") else wanted


def _read(field: Any, which: str) -> Callable[[Any], Any]:
    """What turns a value of a dict into one that compares."""
    if which == "duration":
        return duration
    if which == "enum":
        numbers = {known.name: known.number for known in field.enum_type.values}
        return lambda value: numbers.get(value, value)
    if which in ("int64", "uint64", "sint64", "fixed64", "sfixed64"):
        return int
    if which in ("float", "double"):
        return float
    if which == "bytes":
        return lambda value: base64.b64decode(value) if isinstance(value, str) else value
    return _as_it_is


def _as_it_is(value: Any) -> Any:
    return value


# Source: validate.proto's comments. A loose header may hold all but NUL and line ends.
HEADER = {1: re.compile(r":?[0-9a-zA-Z!#$%&'*+,\-.^_|~`]+"), 2: re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")}
LOOSE_HEADER = re.compile(r"[^\x00\n\r]*")
HEADER_NAMES = {1: "HTTP_HEADER_NAME", 2: "HTTP_HEADER_VALUE"}


def _pattern(wanted: str) -> Holds:
    # RE2's $ is the end alone, Python's also stands before a last line feed. No pattern of Envoy's has a $ in brackets.
    regex = re.compile(wanted.replace("$", r"\Z"))
    return lambda value: regex.search(value) is not None


HOLDS: dict[str, Callable[[Any], Holds]] = {
    "const": lambda wanted: lambda value: value == wanted,
    "lt": lambda wanted: lambda value: value < wanted,
    "lte": lambda wanted: lambda value: value <= wanted,
    "gt": lambda wanted: lambda value: value > wanted,
    "gte": lambda wanted: lambda value: value >= wanted,
    "in": lambda wanted: lambda value: value in wanted,
    "not_in": lambda wanted: lambda value: value not in wanted,
    "len": lambda wanted: lambda value: len(value) == wanted,
    "min_len": lambda wanted: lambda value: len(value) >= wanted,
    "max_len": lambda wanted: lambda value: len(value) <= wanted,
    "min_bytes": lambda wanted: lambda value: len(value.encode()) >= wanted,
    "max_bytes": lambda wanted: lambda value: len(value.encode()) <= wanted,
    "prefix": lambda wanted: lambda value: value.startswith(wanted),
    "suffix": lambda wanted: lambda value: value.endswith(wanted),
    "pattern": _pattern,
}
