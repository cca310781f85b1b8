"""What the proxies of a class refused: the memory that their streams share.

Envoy refuses a resource for what is in it, so what one refused the next would refuse too, and a proxy that starts would
be without it. It is sent what was accepted last instead, until the content changes. What any proxy accepted is not bad:
one that refuses everything harms itself alone.
"""

from __future__ import annotations

from typing import Protocol

from mesh.encode.resource import Encoded

REMEMBERED_VERSIONS = 8  # of one resource


class Member(Protocol):
    """A proxy of the class that is connected."""

    def has(self, type_url: str, name: str) -> Encoded | None:
        """What it accepted last."""


class Verdicts:
    """By type and name: the versions refused and accepted by none, and the one accepted last.

    Costs nothing while nothing is refused. `revision` changes with what is bad.
    """

    __slots__ = ("_bad", "_good", "members", "revision")

    def __init__(self) -> None:
        self.revision = 0
        self.members: set[Member] = set()
        self._bad: dict[tuple[str, str], dict[str, str]] = {}
        self._good: dict[tuple[str, str], Encoded] = {}

    @property
    def is_needed(self) -> bool:
        """Is a proxy connected, or anything remembered."""
        return bool(self.members or self._bad)

    def accepted(self, type_url: str, resource: Encoded) -> None:
        """A proxy took it."""
        if not self._bad or (type_url, resource.name) not in self._bad:
            return
        self._good[type_url, resource.name] = resource
        if self._bad[type_url, resource.name].pop(resource.version, None) is not None:
            self.revision += 1

    def refused(self, type_url: str, resource: Encoded, words: str) -> None:
        """A proxy refused it, with these words of Envoy's."""
        name = resource.name
        known = [has for member in self.members if (has := member.has(type_url, name)) is not None and has.body]
        if any(has.version == resource.version for has in known):
            return
        versions = self._bad.setdefault((type_url, name), {})
        versions[resource.version] = words
        while len(versions) > REMEMBERED_VERSIONS:
            del versions[next(iter(versions))]
        if known:
            self._good[type_url, name] = known[0]
        self.revision += 1

    def removed(self, type_url: str, name: str) -> None:
        """There is no such resource any more."""
        self._good.pop((type_url, name), None)
        self._bad.pop((type_url, name), None)

    def is_bad(self, type_url: str, resource: Encoded) -> bool:
        """Was it refused, and accepted by none."""
        return bool(self._bad) and resource.version in self._bad.get((type_url, resource.name), ())

    def good(self, type_url: str, name: str) -> Encoded | None:
        """The version of a refused resource that was accepted last."""
        return self._good.get((type_url, name))
