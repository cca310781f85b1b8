"""Reading one object: the place where it is read now, and what was found wrong so far."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Final

from mesh.model.meta import ObjectRef
from mesh.model.problem import Problem

Key = str | int

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-:$")


# What Services are called below: name.namespace.svc.DOMAIN, unless the mesh is told another.
DOMAIN: Final = "cluster.local"


class _Absent:
    """What a reader returns for a value that it could not take: the field keeps its default."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()


def spelled(path: Iterable[Key]) -> str:
    """A path as people write it: `spec.http[0].match[1].headers["x.y"]`."""
    out: list[str] = []
    for key in path:
        if isinstance(key, int):
            out.append(f"[{key}]")
        elif key and _PLAIN.issuperset(key):
            out.append(f".{key}" if out else key)
        else:
            out.append('["' + key.replace('"', '\\"') + '"]')
    return "".join(out)


def shown(value: Any) -> str:
    """A value in an error message: short, and never the whole of a document."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, (list, tuple)):
        return "a list"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) > 10**20:  # the longest cannot even be written
        return "a very large number"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


class Reading:
    """Collects the problems of one object. `path` is where the reader stands."""

    __slots__ = ("domain", "errors", "path", "problems", "ref")

    def __init__(self, ref: ObjectRef, domain: str = DOMAIN) -> None:
        self.ref = ref
        self.domain = domain
        self.path: list[Key] = []
        self.problems: list[Problem] = []
        self.errors = 0

    def error(self, code: str, message: str, *at: Key) -> None:
        """Something that the object cannot be used with; `at` leads on from the current path."""
        self.errors += 1
        self.problems.append(Problem(code, self.ref, spelled((*self.path, *at)), message))

    def warn(self, code: str, message: str, *at: Key) -> None:
        """Something that works, but hardly as meant."""
        self.problems.append(Problem(code, self.ref, spelled((*self.path, *at)), message, "warning"))

    def wrong_type(self, wanted: str, value: Any) -> _Absent:
        """The value is of another type than `wanted`."""
        self.error("wrong-type", f"want {wanted}, not {shown(value)}")
        return ABSENT

    def not_allowed(self, value: Any, allowed: str) -> _Absent:
        """The value is none of those that are allowed."""
        self.error("not-allowed", f"{shown(value)} is not allowed: {allowed}")
        return ABSENT

    def unknown(self, key: Any, known: Iterable[str]) -> None:
        """A field that the kind does not have."""
        near = get_close_matches(str(key), list(known), 1, 0.7)
        hint = f"; did you mean {near[0]}?" if near else ""
        self.warn("unknown-field", f"there is no such field, it has no effect{hint}", str(key))
