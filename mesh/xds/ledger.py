"""One type on one stream: what is wanted, what was sent, what the proxy accepted, what it refused.

Most of it is not written down. What the proxy has is what the state says, but for the names in `odd`; so a stream that
is at rest costs its names alone, and a change costs what it changes. `dirty` holds the names to look at. Nothing here
is of one stream alone: streams that are equally far share a ledger, and who goes on takes a copy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from mesh.encode.resource import Encoded, Snapshot
from mesh.xds.messages import Outcome
from mesh.xds.sieve import Refusal, Sieve
from mesh.xds.subscription import Subscription
from mesh.xds.types import GONE, XdsType, empty
from mesh.xds.verdicts import Verdicts


@dataclass(slots=True)
class Pending:
    """What is to be sent: resources by name, and removals of what the proxy has."""

    puts: dict[str, Encoded] = field(default_factory=dict)
    removes: dict[str, Encoded] = field(default_factory=dict)


class Ledger:
    """See above. Nothing here knows other types, nor the order among them."""

    def __init__(self, kind: XdsType, verdicts: Verdicts) -> None:
        self.kind = kind
        self.asked = Subscription()
        self.base = Snapshot()
        # the one response without an answer: its resources by name, GONE for removals
        self.flight: dict[str, Encoded] | None = None
        self.unanswered = False  # a request waits for its first response, even if there is nothing to be told
        self.refused: dict[str, Refusal] = {}
        # what the proxy has, where that is not what `base` says: None if it waits to be told anything
        self._odd: dict[str, Encoded | None] = {}
        self._dirty: set[str] = set()
        # groups to send one by one, after a refusal that did not say which resource is to blame
        self._groups: list[list[str]] = []
        self._sieves: dict[str, Sieve] = {}  # tables that were refused, or would be, for some of their hosts
        self._instead: dict[str, str] = {}  # name ──▶ the version that others refused, and that was not tried here
        self._verdicts, self._verdicts_seen = verdicts, verdicts.revision
        self._pending: Pending | None = None  # kept until something happens

    def copy(self) -> Ledger:
        """One that can be changed without this one; only where nothing is refused, for sieves are not copied."""
        made = Ledger.__new__(Ledger)
        made.__dict__ |= self.__dict__
        made.asked = self.asked.copy()
        made.flight = None if self.flight is None else dict(self.flight)
        made.refused, made._sieves, made._instead, made._groups = {}, {}, {}, []
        made._odd, made._dirty = dict(self._odd), set(self._dirty)
        return made

    @property
    def is_plain(self) -> bool:
        """Is nothing refused, nor anything kept from the proxy because others refused it."""
        return not (self.refused or self._sieves or self._instead or self._groups)

    @property
    def is_settled(self) -> bool:
        """Does the proxy have all that it is to have, so that nothing else tells this stream from others."""
        return self.is_plain and self.flight is None and not (self.unanswered or self._odd or self._dirty)

    # what there is

    def has(self, name: str) -> Encoded | None:
        """What the proxy accepted last of a name it asks for: GONE if it knows that there is none, None if nothing."""
        return self._odd[name] if name in self._odd else self._at_rest(name, self.base)

    def newest(self, name: str) -> Encoded | None:
        """What the proxy will have, if it accepts what is on its way."""
        if self.flight is not None and (sent := self.flight.get(name)) is not None:
            return sent
        return self.has(name) if self.asked.wants(name) else None

    def _at_rest(self, name: str, state: Snapshot) -> Encoded:
        return state.get(name) or (empty(name) if self.kind.named else GONE)

    def _target(self, name: str, has: Encoded | None, found: Encoded | None) -> Encoded:
        if found is None:
            self._sieves.pop(name, None)
            if self.kind.lasts and has is not None and has is not GONE:
                return has
            return self._at_rest(name, self.base)
        if found.parts or name in self._sieves:
            found = self._sifted(name, has, found)
        if (mine := self.refused.get(name)) is not None and mine.version != found.version:
            del self.refused[name]  # it is not to have that any more
        if has is not None and has.version == found.version:
            return found
        if self._was_refused(name, found):
            return has if has is not None else self._stand_in(name)
        if not self._verdicts.is_bad(self.kind.url, found):
            return found
        if has is None or has is GONE:
            self._instead[name] = found.version
            return self._stand_in(name)
        # a proxy that has had an older version tries the new one for itself
        return has if self._instead.get(name) == found.version else found

    def _sifted(self, name: str, has: Encoded | None, found: Encoded) -> Encoded:
        sieve = self._sieves.get(name)
        if sieve is None:
            if not self._verdicts.bad_parts(self.kind.url, found):
                return found
            sieve = self._sieves[name] = Sieve(self.kind.url, self._verdicts)
        found = sieve.sift(found, has)
        if sieve.is_empty:
            del self._sieves[name]
        return found

    def _stand_in(self, name: str) -> Encoded:
        good = self._verdicts.good(self.kind.url, name)
        return self._at_rest(name, Snapshot()) if good is None or self._was_refused(name, good) else good

    def pending(self) -> Pending:
        """What the proxy does not have and is to have."""
        if self._verdicts_seen != self._verdicts.revision:
            self._verdicts_seen, self._pending = self._verdicts.revision, None
            self._dirty.update(self._odd)
        if self._pending is None:
            self._pending = self._look()
        return self._pending

    @property
    def is_looked_at(self) -> bool:
        """Is it known what is to be sent."""
        return self._pending is not None and self._verdicts_seen == self._verdicts.revision

    def _look(self) -> Pending:
        found = Pending()
        for name in sorted(self._dirty):
            has, found_now = self.has(name), self.base.get(name)
            target = self._target(name, has, found_now)
            if has is not None and (has.version == target.version or self._was_refused(name, target)):
                self._dirty.discard(name)
                self._settle(name, has)
            elif has is not None and has is not GONE and found_now is None:
                found.removes[name] = target
            else:
                found.puts[name] = target
        # emptied, a set or dict keeps the room of all names that ever were in it, and there are thousands of streams
        if not self._dirty:
            self._dirty = set()
        if not self._odd:
            self._odd = {}
        while self._groups and not any(name in found.puts or name in found.removes for name in self._groups[0]):
            self._groups.pop(0)
        if self._groups:
            group = self._groups[0]
            found.puts = {name: found.puts[name] for name in group if name in found.puts}
            found.removes = {name: found.removes[name] for name in group if name in found.removes}
        return found

    def _was_refused(self, name: str, target: Encoded) -> bool:
        mine = self.refused.get(name)
        return mine is not None and mine.version == target.version

    def _settle(self, name: str, has: Encoded) -> None:
        if self._at_rest(name, self.base).version == has.version:
            self._odd.pop(name, None)
            self.refused.pop(name, None)
        else:
            self._odd[name] = has

    def everything(self) -> Iterable[str]:
        """All names that the proxy asks for and that there are, or that it has."""
        return sorted({*self.base.names(), *self._odd} if self.asked.everything else self.asked.names)

    @property
    def size(self) -> int:
        """How many resources the proxy is to have."""
        return (
            self.base.size
            if self.asked.everything
            else sum(self.base.get(name) is not None for name in self.asked.names)
        )

    @property
    def refusals(self) -> dict[str, Refusal]:
        """What the proxy refused, by name; a table's virtual host as TABLE/HOST."""
        hosts = {
            f"{table}/{one.host.name}": one.refusal
            for table, sieve in self._sieves.items()
            for one in sieve.bad.values()
        }
        return self.refused | hosts

    @property
    def keeps_old(self) -> bool:
        """Does the proxy have older versions of what it refused; one with nothing in it names nothing."""
        kept = ((name, self.has(name)) for name in self.refused)
        return any(
            has is not None and has.version not in (GONE.version, empty(name).version) for name, has in kept
        ) or any(sieve.keeps_old(self.has(name)) for name, sieve in self._sieves.items())

    # what happens

    def on_state(self, state: Snapshot) -> None:
        """The world changed."""
        if state is self.base:
            return
        before, self.base, self._pending = self.base, state, None
        for name in state.changes_since(before):
            if not self.asked.wants(name):
                continue
            if name not in self._odd:
                self._odd[name] = self._at_rest(name, before)
            self._dirty.add(name)

    def ask(self, names: Iterable[str], versions: Mapping[str, str]) -> None:
        """The proxy asks for these, and is answered even if it had them; unless it says which version it has."""
        self._ask(names, versions, None)

    def ask_everything(self, versions: Mapping[str, str]) -> None:
        """The proxy asks for all there is: of what is not among `versions` it takes for granted that there is none."""
        self.unanswered = not versions
        self._ask({*self.base.names(), *versions}, versions, GONE)

    def _ask(self, names: Iterable[str], versions: Mapping[str, str], default: Encoded | None) -> None:
        self._pending = None
        for name in names:
            version = versions.get(name)
            self._odd[name] = default if version is None else Encoded(name, version, b"")
            self._dirty.add(name)
            self._call_back(name)

    def again(self, name: str) -> None:
        """The proxy needs it once more, changed or not."""
        if self.asked.wants(name):
            self.ask((name,), {})

    def forget(self, names: Iterable[str]) -> None:
        """The proxy no longer asks for these."""
        self._pending = None
        for name in names:
            if not self.asked.wants(name):
                self._odd.pop(name, None)
                self._dirty.discard(name)
                self.refused.pop(name, None)
                self._instead.pop(name, None)
                self._sieves.pop(name, None)
                self._call_back(name)

    def forget_everything(self) -> None:
        """The proxy no longer asks for all there is, only for what it names."""
        self.forget({*self.base.names(), *self._odd})

    def _call_back(self, name: str) -> None:
        # what is on its way does not count any more
        if self.flight is not None:
            self.flight.pop(name, None)

    def send(self, resources: dict[str, Encoded]) -> None:
        """These are on their way."""
        self.flight, self.unanswered, self._pending = resources, False, None
        self._dirty.difference_update(resources)

    def accept(self, now: float) -> Outcome:
        """The proxy took what was on its way."""
        assert self.flight is not None
        resources, self.flight, self._pending = self.flight, None, None
        refused, words = [], ""
        for name, resource in resources.items():
            self._settle(name, resource)
            self._dirty.add(name)
            if resource is GONE:
                self._verdicts.removed(self.kind.url, name)
            else:
                self._verdicts.accepted(self.kind.url, resource)
            for host, said in self._left_over(name, now):
                refused.append(host)
                words = said
        accepted = tuple(one for one in resources.values() if one is not GONE)
        return Outcome(self.kind.url, accepted, tuple(refused), words)

    def _left_over(self, name: str, now: float) -> Iterator[tuple[Encoded, str]]:
        """The hosts that are to blame for what was refused before, now that the rest of the table was taken."""
        table = self.base.get(name)
        while table is not None and (sieve := self._sieves.get(name)) is not None:
            next_ = self._sifted(name, self.has(name), table)
            if (words := sieve.tried.get(next_.version)) is None or self._was_refused(name, next_):
                return
            if (host := self._refused(name, next_, words, now)) is not None:
                yield host, words

    def refuse(self, words: str, now: float) -> Outcome:
        """The proxy refused what was on its way. Who is to blame is not sent again; the rest is."""
        assert self.flight is not None
        resources, self.flight, self._pending = self.flight, None, None
        self._dirty.update(resources)
        # nothing is wrong in a removal, unless there is nothing else
        names = [name for name, resource in resources.items() if resource is not GONE] or list(resources)
        blamed = names if len(names) == 1 else [name for name in names if _names(words, name)]
        if not blamed:
            half = (len(names) + 1) // 2
            self._groups[:1] = [group for group in (names[:half], names[half:]) if group]
            return Outcome(self.kind.url, words=words)
        refused = [one for name in blamed if (one := self._refused(name, resources[name], words, now)) is not None]
        return Outcome(self.kind.url, refused=tuple(refused), words=words)

    def _refused(self, name: str, resource: Encoded, words: str, now: float) -> Encoded | None:
        """A resource was refused, or, where it can be told, only a part of it; None where that is still looked for."""
        has = self.has(name)
        if resource.parts:
            sieve = self._sieves.setdefault(name, Sieve(self.kind.url, self._verdicts))
            with suppress(LookupError):
                host = sieve.refuse(resource, has, self.base.get(name), words, now)
                return replace(host, name=f"{name}/{host.name}") if host is not None else None
        if resource is not GONE:
            resource = replace(resource, origins=resource.blamed(has))
            self._verdicts.refused(self.kind.url, resource)
        self.refused[name] = Refusal(resource.version, words, now, resource.origins)
        return resource


def _names(words: str, name: str) -> bool:
    """Do Envoy's words name this resource, and not only one whose name holds this one's."""
    return re.search(rf"(?<![\w|.-]){re.escape(name)}(?![\w|-]|\.\w)", words) is not None
