"""What the proxies of a class made of what they were sent: the memory that their streams share.

Envoy refuses a resource for what is in it, so what one refused the next would refuse too, and a proxy that starts would
be without it. It is sent what was accepted last instead, until the content changes. What any proxy accepted is not bad:
one that refuses everything harms itself alone.
"""

from __future__ import annotations

from mesh.encode.resource import Encoded

REMEMBERED_VERSIONS = 8  # of one resource


class Verdicts:
    """By type and name: the version accepted last, and those refused and accepted by none.

    `revision` changes with what is bad.
    """

    __slots__ = ("_bad", "_good", "revision")

    def __init__(self) -> None:
        self.revision = 0
        self._good: dict[tuple[str, str], Encoded] = {}
        self._bad: dict[tuple[str, str], dict[str, str]] = {}

    def accepted(self, type_url: str, resource: Encoded) -> None:
        """A proxy took it."""
        self._good[type_url, resource.name] = resource
        if self._bad and self.is_bad(type_url, resource):
            del self._bad[type_url, resource.name][resource.version]
            self.revision += 1

    def refused(self, type_url: str, resource: Encoded, words: str) -> None:
        """A proxy refused it, with these words of Envoy's."""
        at = type_url, resource.name
        if (good := self._good.get(at)) is not None and good.version == resource.version:
            return
        versions = self._bad.setdefault(at, {})
        versions[resource.version] = words
        self.revision += 1
        while len(versions) > REMEMBERED_VERSIONS:
            del versions[next(iter(versions))]

    def removed(self, type_url: str, name: str) -> None:
        """There is no such resource any more."""
        self._good.pop((type_url, name), None)
        self._bad.pop((type_url, name), None)

    def is_bad(self, type_url: str, resource: Encoded) -> bool:
        """Was it refused, and accepted by none."""
        return bool(self._bad) and resource.version in self._bad.get((type_url, resource.name), ())

    def good(self, type_url: str, name: str) -> Encoded | None:
        """The version that was accepted last."""
        return self._good.get((type_url, name))
