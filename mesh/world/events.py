"""What sources deliver: objects as parsed values, one at a time, in any order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from mesh.model.problem import Problem


class Key(NamedTuple):
    """An object within its kind; `namespace` is empty where the kind has none."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Upsert:
    """The object is there, new or changed. `value` is None where it could not be read: then it counts as absent."""

    kind: str
    key: Key
    value: Any
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Remove:
    """The object is gone."""

    kind: str
    key: Key


@dataclass(frozen=True, slots=True)
class Listed:
    """All objects of the kind that were there at first have been delivered: from now on absent means absent."""

    kind: str


Event = Upsert | Remove | Listed
