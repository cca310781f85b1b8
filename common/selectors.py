"""Label selectors of the Kubernetes API (meta/v1 LabelSelector): matchLabels and matchExpressions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.errors import SettingsError

_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement on one label. `values` counts with In and NotIn; NotIn holds also where the label is missing."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether `labels` fulfil it."""
        if self.operator == "In":
            return labels.get(self.key) in self.values if self.key in labels else False
        if self.operator == "NotIn":
            return self.key not in labels or labels[self.key] not in self.values
        return (self.key in labels) == (self.operator == "Exists")

    def __str__(self) -> str:
        if self.operator in ("In", "NotIn"):
            return f"{self.key} {self.operator} ({', '.join(sorted(self.values))})"
        return f"{self.key} {self.operator}"


@dataclass(frozen=True, slots=True)
class Selector:
    """Requirements that must all hold. A selector without any matches nothing: it was left empty, not meant for all."""

    requirements: tuple[Requirement, ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether pods with these labels are selected."""
        return bool(self.requirements) and all(requirement.holds(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        return " and ".join(map(str, self.requirements)) or "(empty)"


def parse(selector: object, where: str) -> Selector:
    """The selector of a LabelSelector object. Raises SettingsError, whose message begins with `where`."""
    if not isinstance(selector, Mapping):
        raise SettingsError(f"{where}: {selector!r} is not a label selector (matchLabels, matchExpressions)")
    labels = selector.get("matchLabels") or {}
    expressions = selector.get("matchExpressions") or []
    if not isinstance(labels, Mapping) or not all(isinstance(v, str) for pair in labels.items() for v in pair):
        raise SettingsError(f"{where}.matchLabels: {labels!r} is not a mapping of strings")
    if not isinstance(expressions, list):
        raise SettingsError(f"{where}.matchExpressions: {expressions!r} is not a list")
    equals = [Requirement(key, "In", frozenset({value})) for key, value in labels.items()]
    others = [_requirement(entry, f"{where}.matchExpressions[{n}]") for n, entry in enumerate(expressions)]
    return Selector((*equals, *others))


def _requirement(entry: Any, where: str) -> Requirement:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("key"), str):
        raise SettingsError(f"{where}: {entry!r} is not an object with key, operator and values")
    operator, values = entry.get("operator"), entry.get("values") or []
    if operator not in _OPERATORS:
        raise SettingsError(f"{where}.operator: {operator!r} is not one of {', '.join(_OPERATORS)}")
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise SettingsError(f"{where}.values: {values!r} is not a list of strings")
    if (operator in ("In", "NotIn")) != bool(values):
        raise SettingsError(f"{where}.values: {values!r} does not go with operator {operator}")
    return Requirement(entry["key"], operator, frozenset(values))
