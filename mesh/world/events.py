"""What sources deliver: objects as parsed values, one at a time, in any order.

A source tells each object before the `Listed` of its kind; what then goes comes as Remove. So empty and unknown differ
by `Listed`, never by a guess, and a connection that breaks tells nothing. `kind` is `Kind.key` of `mesh.model.kinds`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mesh.model.problem import Problem
from mesh.model.table import EMPTY


class Key(NamedTuple):
    """An object within its kind; `namespace` is empty where the kind has none."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Upsert:
    """The object is there, new or changed. `value` is None where it could not be read: then it counts as absent.

    `raw` is the object as it came, for those who write its status; `changed` is when it was changed by its own word, in
    seconds since the epoch, where a watch told it and it says so, else 0. Neither takes part in comparing.
    """

    kind: str
    key: Key
    value: Any
    problems: tuple[Problem, ...] = ()
    raw: Mapping[str, Any] = field(default=EMPTY, compare=False, repr=False)
    changed: float = field(default=0.0, compare=False, repr=False)


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
