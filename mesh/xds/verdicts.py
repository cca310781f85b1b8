"""What the proxies of a class refused: the memory that their streams share.

Envoy refuses a resource for what is in it, so what one refused the next would refuse too, and a proxy that starts would
be without it. It is sent what was accepted last instead, until the content changes. What any proxy accepted is not bad:
one that refuses everything harms itself alone.
"""

from __future__ import annotations

from typing import Protocol

from mesh.encode.resource import Encoded

REMEMBERED_VERSIONS = 8  # of one resource
REMEMBERED_NAMES = 1000

Name = tuple[str, ...]
"""A type URL and a resource's name; for a part of the resource its name too."""


class Member(Protocol):
    """A proxy of the class that is connected."""

    def has(self, type_url: str, name: str) -> Encoded | None:
        """What it accepted last."""


class Verdicts:
    """The versions refused and accepted by none, and the one accepted last, of resources and of their parts.

    Costs nothing while nothing is refused. `revision` changes with what is bad.
    """

    __slots__ = ("_bad", "_good", "members", "revision")

    def __init__(self) -> None:
        self.revision = 0
        self.members: set[Member] = set()
        self._bad: dict[Name, dict[str, None]] = {}  # versions, the oldest first
        self._good: dict[Name, Encoded] = {}

    @property
    def is_needed(self) -> bool:
        """Is a proxy connected, or anything remembered."""
        return bool(self.members or self._bad)

    def accepted(self, type_url: str, resource: Encoded) -> None:
        """A proxy took it."""
        if not self._bad:
            return
        self._accepted((type_url, resource.name), resource)
        for part in resource.parts:
            self._accepted((type_url, resource.name, part.name), part)

    def _accepted(self, name: Name, taken: Encoded) -> None:
        versions = self._bad.get(name)
        if versions is None:
            return
        self._good[name] = taken
        if taken.version in versions:
            del versions[taken.version]
            self.revision += 1

    def refused(self, type_url: str, resource: Encoded) -> None:
        """A proxy refused it."""
        has = self._held(type_url, resource.name)
        self._refused((type_url, resource.name), resource, [one for one in has if one.body])

    def refused_part(self, type_url: str, name: str, part: Encoded) -> None:
        """A proxy refused this part of a resource, and would have taken the rest."""
        has = [one for held in self._held(type_url, name) for one in held.parts if one.name == part.name]
        self._refused((type_url, name, part.name), part, has)

    def _held(self, type_url: str, name: str) -> list[Encoded]:
        found = (member.has(type_url, name) for member in self.members)
        return list({id(one): one for one in found if one is not None}.values())

    def _refused(self, name: Name, refused: Encoded, known: list[Encoded]) -> None:
        if any(has.version == refused.version for has in known):
            return
        versions = self._bad.setdefault(name, {})
        versions[refused.version] = None
        while len(versions) > REMEMBERED_VERSIONS:
            del versions[next(iter(versions))]
        while len(self._bad) > REMEMBERED_NAMES:
            oldest = next(iter(self._bad))
            del self._bad[oldest]
            self._good.pop(oldest, None)
        if known:
            self._good[name] = known[0]
        self.revision += 1

    def removed(self, type_url: str, name: str) -> None:
        """There is no such resource any more."""
        for about in [one for one in self._bad if one[:2] == (type_url, name)]:
            del self._bad[about]
            self._good.pop(about, None)

    def is_bad(self, type_url: str, resource: Encoded) -> bool:
        """Was it refused, and accepted by none."""
        return bool(self._bad) and resource.version in self._bad.get((type_url, resource.name), ())

    def bad_parts(self, type_url: str, resource: Encoded) -> set[str]:
        """The versions of those of its parts that were refused, and accepted by none."""
        if not self._bad:
            return set()
        about = {name[2]: versions for name, versions in self._bad.items() if name[:-1] == (type_url, resource.name)}
        return {part.version for part in resource.parts if part.version in about.get(part.name, ())}

    def good(self, type_url: str, name: str, *part: str) -> Encoded | None:
        """The version of a refused resource, or part of one, that was accepted last."""
        return self._good.get((type_url, name, *part))
