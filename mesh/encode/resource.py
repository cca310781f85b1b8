"""What is ready to be sent: bytes with their version, shared by all proxies that are to have them.

From the small to the whole:

    Encoded     one resource
    Part        resources of one type that a class of proxies shares; two parts know their difference
    Snapshot    all of one type that one proxy is to have: the parts side by side
    State       {type URL: Snapshot} of one revision of the world
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from operator import is_

from mesh.model.meta import ObjectRef
from mesh.model.problem import Problem


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Encoded:
    """A serialised resource; `version` is a hash of its bytes alone, so that it outlives a restart.

    `origins` are the objects that it is made of, `parts` what it was put together from: a table's virtual hosts.
    """

    name: str
    version: str
    body: bytes
    origins: tuple[ObjectRef, ...] = ()
    parts: tuple[Encoded, ...] = ()

    def blamed(self, before: Encoded | None) -> tuple[ObjectRef, ...]:
        """The objects of what is here and was not in `before`, which was accepted."""
        had = {one.version for one in before.parts} if before else ()
        fresh = (ref for one in self.parts if one.version not in had for ref in one.origins)
        return tuple(dict.fromkeys((*self.origins, *fresh)))


def encoded(name: str, body: bytes, origins: tuple[ObjectRef, ...] = (), parts: tuple[Encoded, ...] = ()) -> Encoded:
    """The resource with its version."""
    return Encoded(name, blake2b(body, digest_size=8).hexdigest(), body, origins, parts)


@dataclass(frozen=True, slots=True)
class Changes:
    """From one part to a newer one."""

    changed: tuple[Encoded, ...]
    removed: tuple[str, ...]


class Part(Mapping[str, Encoded]):
    """Resources by name; never changed. Remembers its difference to the part that was asked for last.

    `problems` tell what is not among them, since it could not be built.
    """

    __slots__ = ("_older", "_resources", "_since", "find", "problems")

    def __init__(self, resources: Mapping[str, Encoded], problems: tuple[Problem, ...] = ()) -> None:
        self._resources, self.problems = resources, problems
        self.find = resources.get  # `get`, without Mapping's detour
        self._older: Part | None = None
        self._since: Changes | None = None

    def __getitem__(self, name: str) -> Encoded:
        return self._resources[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._resources)

    def __len__(self) -> int:
        return len(self._resources)

    def __eq__(self, other: object) -> bool:
        # Mapping's would copy both
        return self is other or (
            isinstance(other, Part) and self._resources == other._resources and self.problems == other.problems
        )

    __hash__ = None  # type: ignore[assignment]

    def changes_since(self, older: Part) -> Changes:
        """What is other here than in `older`. All streams of a class ask the same, so the answer is kept."""
        if self._since is None or self._older is not older:
            mine, theirs = self._resources, older._resources
            changed = tuple(
                resource
                for name, resource in mine.items()
                if (before := theirs.get(name)) is not resource
                and (before is None or before.version != resource.version)
            )
            removed = tuple(name for name in theirs if name not in mine)
            # the parts before the older one are let go: no chain of revisions stays in memory
            older._older = older._since = None
            self._older, self._since = older, Changes(changed, removed)
        return self._since


def joined(parts: Iterable[Part]) -> Part:
    """One part of all that is in several, no name of which is in two."""
    resources: dict[str, Encoded] = {}
    problems: list[Problem] = []
    for part in parts:
        resources |= part._resources
        problems += part.problems
    return Part(resources, tuple(problems))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All resources of a type for one proxy. No name is in two parts."""

    parts: tuple[Part, ...] = ()

    def get(self, name: str) -> Encoded | None:
        """The resource of that name."""
        for part in self.parts:
            if (found := part.find(name)) is not None:
                return found
        return None

    @property
    def size(self) -> int:
        """How many there are."""
        return sum(len(part) for part in self.parts)

    def is_same(self, other: Snapshot) -> bool:
        """Is it put together from the very same parts: queries keep a part as long as it is equal."""
        return len(self.parts) == len(other.parts) and all(map(is_, self.parts, other.parts))

    def names(self) -> Iterator[str]:
        """All names."""
        for part in self.parts:
            yield from part

    def changes_since(self, older: Snapshot) -> Iterator[str]:
        """Names, some perhaps twice, among which is every one that is other here than in `older`."""
        if len(self.parts) != len(older.parts):
            yield from older.names()
            yield from self.names()
            return
        for part, before in zip(self.parts, older.parts, strict=True):
            if part is not before:
                changes = part.changes_since(before)
                yield from (resource.name for resource in changes.changed)
                yield from changes.removed


State = Mapping[str, Snapshot]


def is_same(state: State, other: State) -> bool:
    """Is there nothing else in the one than in the other; told without looking into parts."""
    return state.keys() == other.keys() and all(one.is_same(other[url]) for url, one in state.items())
