"""A table that was refused for one of its virtual hosts: which one, and the table without it.

Envoy takes a table as a whole or not at all, and seldom says which host it means. Whatever is in the refused table and
not in the one it took last may be to blame. Half of that is held back, until the other half is taken or a single host
is left, and so on: a bad host among a thousand is found in some twenty answers, and the others' changes arrive. The bad
one stays as it was, or out where it never was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from mesh.encode.messages import with_hosts
from mesh.encode.resource import Encoded
from mesh.model.meta import ObjectRef
from mesh.xds.types import GONE
from mesh.xds.verdicts import Verdicts

# When so many were found, what else is doubted of their namespaces is held back with them, and not tried one by one:
# who writes a thousand bad ones harms himself alone, and a proxy that refuses everything is not asked without end.
MOST_FOUND = 16


class Refusal(NamedTuple):
    """What the proxy refused, and Envoy's words; `origins` are the objects to blame."""

    version: str
    words: str
    at: float
    origins: tuple[ObjectRef, ...]


class Culprit(NamedTuple):
    """A host that is to blame, and why; `found` where the proxy refused it alone."""

    host: Encoded
    refusal: Refusal
    found: bool


@dataclass(slots=True)
class Sieve:
    """What of one table is not sent to one proxy; hosts by their versions, which no other table's are."""

    url: str
    verdicts: Verdicts
    bad: dict[str, Culprit] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    """Refused by others of the class, before this proxy had any table."""
    later: list[frozenset[str]] = field(default_factory=list)
    """Held back, to be sent one after the other."""
    tried: dict[str, str] = field(default_factory=dict)
    """Versions of the table that the proxy refused, with its words."""

    def sift(self, table: Encoded, has: Encoded | None) -> Encoded:
        """What is to be sent for a table, to a proxy that `has` this."""
        there = {host.version for host in table.parts}
        known_bad = self.verdicts.bad_parts(self.url, table)
        if has is None or has is GONE:
            self.skipped |= known_bad
        self.skipped &= known_bad
        self.bad = {version: one for version, one in self.bad.items() if version in there}
        if len(found := {version: one for version, one in self.bad.items() if one.found}) < MOST_FOUND:
            self.bad = found
        self.later = [held for one in self.later if (held := one & there)]
        sifted = self._without(table, has)
        while self.later and has is not None and sifted.version == has.version:
            self.later.pop(0)  # what was sent before is taken
            sifted = self._without(table, has)
        return sifted

    def _without(self, table: Encoded, has: Encoded | None) -> Encoded:
        out = self.skipped.union(self.bad, *self.later)
        if not out:
            return table
        had = {host.name: host for host in has.parts} if has is not None else {}
        hosts = []
        for host in table.parts:
            if host.version in out:
                older = had.get(host.name) or self.verdicts.good(self.url, table.name, host.name)
                if older is None or older.version in out:
                    continue
                host = older
            hosts.append(host)
        return with_hosts(table, hosts)

    def refuse(
        self, sent: Encoded, has: Encoded | None, table: Encoded | None, words: str, now: float
    ) -> Encoded | None:
        """The proxy refused what was sent of a table. Returns the host to blame, None while it is looked for.

        `table` is what it is to have by now. Raises LookupError where it is no host's fault.
        """
        self.tried[sent.version] = words
        doubted = self._doubted(sent, has)
        if not doubted:
            self.later = []
            raise LookupError
        if not {host.version for host in doubted} <= {host.version for host in (table.parts if table else ())}:
            return None  # it may have been for one that is not wanted any more
        if held := self._of_their_namespaces(doubted):
            for host in held:
                self.bad[host.version] = Culprit(host, Refusal(host.version, words, now, host.origins), found=False)
            return None
        if len(doubted) > 1:
            known_bad = self.verdicts.bad_parts(self.url, sent)
            held = [host for host in doubted if host.version in known_bad]
            if not held or len(held) == len(doubted):
                held = doubted[len(doubted) // 2 :]
            self.later.insert(0, frozenset(host.version for host in held))
            return None
        host = doubted[0]
        self.verdicts.refused_part(self.url, sent.name, host)
        self.bad[host.version] = Culprit(host, Refusal(host.version, words, now, host.origins), found=True)
        return host

    def _of_their_namespaces(self, doubted: list[Encoded]) -> list[Encoded]:
        if len(self.bad) < MOST_FOUND:
            return []
        theirs = {ref.namespace for one in self.bad.values() for ref in one.host.origins}
        return [host for host in doubted if any(ref.namespace in theirs for ref in host.origins)]

    def _doubted(self, sent: Encoded, has: Encoded | None) -> list[Encoded]:
        if has is not None and has is not GONE and not has.body:
            # it came with a table that nobody here knows: without its hosts it would lose what works
            known_bad = self.verdicts.bad_parts(self.url, sent)
            return [host for host in sent.parts if host.version in known_bad]
        had = {host.version for host in has.parts} if has is not None else ()
        return [host for host in sent.parts if host.version not in had and not self._stands_in(sent, host)]

    def _stands_in(self, sent: Encoded, host: Encoded) -> bool:
        good = self.verdicts.good(self.url, sent.name, host.name)
        return good is not None and good.version == host.version

    @property
    def is_empty(self) -> bool:
        """Is everything sent."""
        return not (self.bad or self.skipped or self.later)

    def keeps_old(self, has: Encoded | None) -> bool:
        """Does the proxy have an older version of a host that it refused."""
        had = {host.name for host in has.parts} if has is not None else ()
        return any(one.host.name in had for one in self.bad.values())
