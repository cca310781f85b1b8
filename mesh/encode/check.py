"""The constraints of Envoy's API (validate.rules), checked before anything is sent.

Envoy refuses a whole response for one value that breaks them; here only what holds the value is left out. The rules
are those of protoc-gen-validate, read from the descriptors and compiled once for each type of message; they work on
the same dicts as `plans`, into each Any of a type that Envoy has. Twice: `holds` only says whether all is well, which
is most of what a build asks; `check` says what is not, and where.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

from google.protobuf import json_format

from common.envoy.parts import Shared
from mesh.encode import rules
from mesh.encode.descriptors import descriptor, field_option, kind_of, message_option, oneof_option, pool
from mesh.encode.plans import WELL_KNOWN, WRITERS


class Violation(NamedTuple):
    """A value that breaks a rule: `path` as in `circuit_breakers.thresholds[0].priority`, `rule` as in `min_len: 1`."""

    path: str
    rule: str
    value: Any

    def __str__(self) -> str:
        text = repr(self.value)
        return f"{self.path}: {text if len(text) <= 60 else text[:57] + '…'} breaks {self.rule}"


class Rule(NamedTuple):
    """What is asked of a value: whether all is `well`; and `tell`, which adds what is not."""

    well: Callable[[Any], bool]
    tell: Callable[[Any, str, list[Violation]], None]


def holds(kind: str, body: Mapping[str, Any]) -> bool:
    """Does the dict keep all rules: what `check` says, without the words, in a third of the time."""
    return checker(kind).well(body)


def check(kind: str, body: Any) -> tuple[Violation, ...]:
    """All that breaks a rule in a dict (or a message of this package's classes) of that type; empty where all is well.

    Asks for what `plans.encode` takes: what is no such message at all is found there.
    """
    if not isinstance(body, Mapping):
        body = json_format.MessageToDict(body, preserving_proto_field_name=True, descriptor_pool=pool())
    found: list[Violation] = []
    checker(kind).check(body, "", found)
    return tuple(found)


class Checker:
    """The rules of one type of message."""

    __slots__ = ("_members", "_needed", "_well", "absent", "fields", "oneofs")

    def __init__(self, kind: str) -> None:
        described = descriptor(kind)
        self.fields: dict[str, Rule] = {}
        # what breaks a rule by not being there: a field that is required, a default that is not allowed
        self.absent: list[tuple[str, str, Any]] = []
        self.oneofs: list[tuple[str, frozenset[str]]] = []
        if not (message_option(described, "validate.disabled") or message_option(described, "validate.ignored")):
            for field in described.fields:
                known = field_option(field, "validate.rules")
                if (made := _field(field, known)) is not None:
                    self.fields[field.name] = made
                if (missing := _missing(field, known)) is not None:
                    self.absent.append((field.name, *missing))
            for oneof in described.oneofs:
                if oneof_option(oneof, "validate.required"):
                    self.oneofs.append((oneof.name, frozenset(field.name for field in oneof.fields)))
        self._well = {name: rule.well for name, rule in self.fields.items()}
        self._needed = tuple(name for name, _, _ in self.absent)
        self._members = tuple(members for _, members in self.oneofs)

    def well(self, body: Mapping[str, Any]) -> bool:
        """Is nothing broken in `body`."""
        tests = self._well
        for name, value in body.items():
            if value is not None and name in tests and not tests[name](value):
                return False
        for name in self._needed:
            if body.get(name) is None:
                return False
        for members in self._members:
            for name, value in body.items():
                if value is not None and name in members:
                    break
            else:
                return False
        return True

    def check(self, body: Mapping[str, Any], path: str, found: list[Violation]) -> None:
        """Adds what is broken in `body`, which is at `path`."""
        start = path + "." if path else ""
        for name, value in body.items():
            if value is not None and (rule := self.fields.get(name)) is not None:
                rule.tell(value, start + name, found)
        for name, broken, value in self.absent:
            if body.get(name) is None:
                found.append(Violation(start + name, broken, value))
        for name, members in self.oneofs:
            if not any(body.get(member) is not None for member in members):
                found.append(Violation(start + name, "required: one of " + ", ".join(sorted(members)), None))


@cache
def checker(kind: str) -> Checker:
    """The compiled rules of a type of message."""
    return Checker(kind)


def _is_map(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _missing(field: Any, known: Any) -> tuple[str, Any] | None:
    if known is None or (field.containing_oneof is not None and not field.containing_oneof.name.startswith("_")):
        return None  # of a oneof's members one is there; which is its own rule
    if field.is_repeated:
        group = known.map if _is_map(field) else known.repeated
        least = group.min_pairs if _is_map(field) else group.min_items
        return None if not least or group.ignore_empty else (f"min_items: {least}", [])
    if field.message_type is not None:
        required = known.message.required or known.any.required or known.duration.required or known.timestamp.required
        return ("required", None) if required else None
    if field.has_presence:
        return None
    empty = field.enum_type.values_by_number[0].name if field.enum_type is not None else field.default_value
    broken = next((test.text for test in rules.tests(field, known) if not test.holds(empty)), None)
    return None if broken is None else (broken, empty)


def _field(field: Any, known: Any) -> Rule | None:
    if known is not None and known.message.skip:
        return None
    if _is_map(field):
        entry = field.message_type.fields_by_name
        return _map(
            _one(entry["key"], known and known.map.keys),
            _one(entry["value"], known and known.map.values),
            known.map if known is not None else None,
        )
    if field.is_repeated:
        group = known.repeated if known is not None else None
        return _list(_one(field, group and group.items), group)
    return _one(field, known)


def _one(field: Any, known: Any) -> Rule | None:
    """What is asked of a single value: its own rules, then what is inside it."""
    tests = rules.tests(field, known) if known is not None else ()
    inside = None if field.message_type is None or (known and known.message.skip) else _inside(field.message_type)
    if not tests:
        return inside

    def tell(value: Any, path: str, found: list[Violation]) -> None:
        found.extend(Violation(path, test.text, value) for test in tests if not test.holds(value))
        if inside is not None:
            inside.tell(value, path, found)

    asked = (*(test.holds for test in tests), *((inside.well,) if inside else ()))

    def well(value: Any) -> bool:
        return all(one(value) for one in asked)

    return Rule(asked[0] if len(asked) == 1 else well, tell)


def _inside(described: Any) -> Rule | None:
    kind = described.full_name
    if kind == "google.protobuf.Any":
        return Rule(_any_is_well, _tell_any)
    if kind in WELL_KNOWN:
        return None
    known: list[Checker] = []  # looked up at first use, for types contain themselves

    def tell(value: Any, path: str, found: list[Violation]) -> None:
        if type(value) not in WRITERS:
            checker(kind).check(value, path, found)

    def well(value: Any) -> bool:
        if not known:
            known.append(checker(kind))
        mine = known[0]
        if type(value) is Shared:
            return value.once(mine, mine.well)
        return type(value) in WRITERS or mine.well(value)  # who writes it keeps the rules

    return Rule(well, tell)


def _any_is_well(value: Any) -> bool:
    kind = kind_of(value["@type"])
    return kind in WELL_KNOWN or checker(kind).well(value)  # no rule is about "@type"


def _tell_any(value: Any, path: str, found: list[Violation]) -> None:
    kind = kind_of(value["@type"])
    if kind not in WELL_KNOWN:
        checker(kind).check({name: part for name, part in value.items() if name != "@type"}, path, found)


def _list(one: Rule | None, group: Any) -> Rule | None:
    if one is None and not group:
        return None
    least, most, unique = (group.min_items, group.max_items, group.unique) if group else (0, 0, False)

    def tell(values: Any, path: str, found: list[Violation]) -> None:
        if len(values) < least:
            found.append(Violation(path, f"min_items: {least}", values))
        if most and len(values) > most:
            found.append(Violation(path, f"max_items: {most}", values))
        if unique and any(value in values[:place] for place, value in enumerate(values)):
            found.append(Violation(path, "unique", values))
        if one is not None:
            for place, value in enumerate(values):
                one.tell(value, f"{path}[{place}]", found)

    def well(values: Any) -> bool:
        if not least <= len(values) or (most and len(values) > most):
            return False
        if unique and any(value in values[:place] for place, value in enumerate(values)):
            return False
        return one is None or all(map(one.well, values))

    return Rule(well, tell)


def _map(keys: Rule | None, values: Rule | None, group: Any) -> Rule | None:
    if keys is None and values is None and not group:
        return None
    least, most = (group.min_pairs, group.max_pairs) if group else (0, 0)

    def tell(members: Any, path: str, found: list[Violation]) -> None:
        if len(members) < least:
            found.append(Violation(path, f"min_items: {least}", members))
        if most and len(members) > most:
            found.append(Violation(path, f"max_items: {most}", members))
        for key, value in members.items():
            inside = f"{path}[{key!r}]"
            if keys is not None:
                keys.tell(key, inside, found)
            if values is not None:
                values.tell(value, inside, found)

    def well(members: Any) -> bool:
        if not least <= len(members) or (most and len(members) > most):
            return False
        return (keys is None or all(map(keys.well, members))) and (
            values is None or all(map(values.well, members.values()))
        )

    return Rule(well, tell)
