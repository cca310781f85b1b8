"""How far a stream is: the ledgers of all types, and what each waits for.

Streams that are equally far share one position, so nothing in it is of one stream alone: no nonce and no time. Who goes
on takes a copy (`mesh.xds.paths`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping

from mesh.encode.resource import Encoded, Snapshot, State
from mesh.xds.ledger import Ledger
from mesh.xds.messages import Content, Outcome, Request, Sent, TooMuchError
from mesh.xds.order import LAST_URLS, STEPS, URLS, What
from mesh.xds.types import CDS, EDS, GONE, TYPES, type_of
from mesh.xds.verdicts import Verdicts

MAX_NAMES = 50_000  # asked for on one stream; Envoy asks for each cluster's endpoints and each listener's table
MAX_NAME_BYTES = 2_048
MAX_TYPES = 32
RESPONSE_BYTES = 1_000_000  # about: larger ones are sent in several, one after the other's answer

NOTHING = Snapshot()
AFTER = {(step.url, step.what): step.after for step in STEPS}


class Position:
    """See above. What changes it changes it in place; `delta` tells the variant of the protocol."""

    def __init__(self, *, delta: bool, verdicts: Verdicts) -> None:
        self.delta = delta
        self.ledgers: dict[str, Ledger] = {}
        self.state: State = {}
        self.is_shared = True
        """Whether others may be here too: then it is not to be changed any more."""
        self.moved = False
        """Whether it has become another than that it was copied from."""
        self._verdicts = verdicts
        # clusters that were sent and whose endpoints the proxy has not accepted since
        self._owed: set[str] = set()
        self._own: set[str] = set()

    def copy(self) -> Position:
        """The same for one stream alone; a ledger is copied when it is to be changed."""
        made = Position.__new__(Position)
        made.__dict__ |= self.__dict__
        made.ledgers, made._owed, made._own = dict(self.ledgers), set(self._owed), set()
        made.is_shared = made.moved = False
        return made

    def _mine(self, url: str) -> Ledger:
        if url not in self._own:
            self._own.add(url)
            self.ledgers[url] = self.ledgers[url].copy()
        return self.ledgers[url]

    def _looked(self, url: str) -> Ledger:
        # what is found out may have to be noted
        return self.ledgers[url] if self.ledgers[url].is_looked_at else self._mine(url)

    @property
    def is_plain(self) -> bool:
        """Can others be here: nothing is refused, for what Envoy says against it is said to one stream."""
        return all(ledger.is_plain for ledger in self.ledgers.values())

    @property
    def key(self) -> Hashable:
        """Equal for equal positions where all is done; None elsewhere."""
        if self._owed or not all(ledger.is_settled for ledger in self.ledgers.values()):
            return None
        asked = ((url, one.asked.started, one.asked.everything, one.asked.names) for url, one in self.ledgers.items())
        return id(self.state), self.delta, frozenset(asked)

    def has(self, type_url: str, name: str) -> Encoded | None:
        """What the proxy accepted last of a resource that it asks for."""
        ledger = self.ledgers.get(type_url)
        return ledger.has(name) if ledger is not None and ledger.asked.wants(name) else None

    # requests

    def take(self, request: Request, now: float, *, answers: bool, counts: bool) -> Outcome | None:
        """Takes a request; `answers` tells whether it is the answer to what is on its way, `counts` whether what it
        asks for counts. Returns what it says of a response. Raises ProtocolError."""
        self.moved = True
        ledger = self._asked(request.type_url)
        outcome = None
        if answers and ledger.flight is not None:
            outcome = self._on_answer(ledger, request, now)
        if request.names is None:
            self._on_subscribe(ledger, request)
        elif counts:
            self._on_names(ledger, request.names)
        if ledger.kind.url == EDS and request.unsubscribe:
            self._owed -= {name for name in request.unsubscribe if not ledger.asked.wants(name)}
        return outcome

    def _asked(self, url: str) -> Ledger:
        if url in self.ledgers:
            return self._mine(url)
        if len(self.ledgers) >= MAX_TYPES:
            raise TooMuchError(f"{url}: a stream can ask for {MAX_TYPES} types of resources")
        ledger = self.ledgers[url] = Ledger(type_of(url), self._verdicts)
        self._own.add(url)
        ledger.unanswered = url not in TYPES
        ledger.on_state(self.state.get(url, NOTHING))
        return ledger

    def _on_answer(self, ledger: Ledger, request: Request, now: float) -> Outcome:
        assert ledger.flight is not None
        sent = ledger.flight
        outcome = ledger.accept(now) if request.error is None else ledger.refuse(request.error, now)
        if ledger.kind.url == EDS:
            self._owed.difference_update(sent if request.error is None else ())
        if ledger.kind.url in (CDS, EDS):
            self._owed.difference_update(one.name for one in outcome.refused)
        if ledger.kind.url == CDS and request.error is not None:
            # it does not wait for endpoints of what it does not have
            self._owed.difference_update([name for name in sent if ledger.has(name) in (None, GONE)])
        return outcome

    def _on_names(self, ledger: Ledger, names: tuple[str, ...]) -> None:
        self._bound(ledger, names, kept=False)
        had_everything = ledger.asked.everything
        added, dropped, began = ledger.asked.replace(names, whole=ledger.kind.whole)
        if began:
            ledger.ask_everything({})
        elif had_everything and not ledger.asked.everything:
            ledger.forget_everything()
        ledger.ask(added, {})
        ledger.forget(dropped)

    def _on_subscribe(self, ledger: Ledger, request: Request) -> None:
        self._bound(ledger, (*request.subscribe, *request.versions), kept=True)
        dropped, ended = ledger.asked.drop(request.unsubscribe)
        if ended:
            ledger.forget_everything()
        ledger.forget(dropped)
        first = not ledger.asked.started
        added, began = ledger.asked.add(request.subscribe, whole=ledger.kind.whole)
        versions = self._known(ledger, request.versions) if first else {}
        if began:
            ledger.ask_everything(versions)
        ledger.ask(added, versions)

    def _known(self, ledger: Ledger, versions: Mapping[str, str]) -> Mapping[str, str]:
        """What a proxy that comes again still has. Endpoints count only where they came after the cluster that it has:
        else that cluster may wait for them, and would for ever."""
        if ledger.kind.url != EDS:
            return versions
        known = {}
        for name, told in versions.items():
            version, _, cluster = told.partition(".")
            if cluster == self._cluster(name):
                known[name] = version
        return known

    def _cluster(self, name: str) -> str:
        # the version of a cluster that the proxy has, or is about to have
        clusters = self.ledgers.get(CDS)
        newest = clusters.newest(name) if clusters is not None else None
        return newest.version[:8] if newest is not None else ""

    def _bound(self, ledger: Ledger, names: tuple[str, ...], *, kept: bool) -> None:
        others = sum(len(one.asked.names) for one in self.ledgers.values() if kept or one is not ledger)
        if others + len(names) > MAX_NAMES:
            raise TooMuchError(f"{ledger.kind.url}: a stream can ask for {MAX_NAMES} names")
        for name in names:
            if len(name) > MAX_NAME_BYTES:
                raise TooMuchError(f"{ledger.kind.url}: a name of {len(name)} bytes; {MAX_NAME_BYTES} are allowed")

    # states

    def tell(self, state: State) -> None:
        """What the proxy is to have now; as a whole, and never a part of it."""
        self.state, self.moved = state, True
        for url, ledger in list(self.ledgers.items()):
            if (now := state.get(url, NOTHING)) is not ledger.base:
                self._mine(url).on_state(now)
        if self._owed:
            clusters = state.get(CDS, NOTHING)
            self._owed = {name for name in self._owed if clusters.get(name) is not None}

    # responses

    def advance(self, patient: frozenset[str]) -> tuple[tuple[Content, ...], tuple[tuple[str, bool], ...]]:
        """What is to be sent, in this order; each is taken for sent. And of the types that could be,
        which are held until others are done; not those of which the patience ran out."""
        if not self.state:
            return (), ()  # not built yet: nothing is not the same as empty
        held: list[tuple[str, bool]] = []
        return tuple(self._responses(patient, held)), tuple(held)

    def _responses(self, patient: frozenset[str], held: list[tuple[str, bool]]) -> Iterator[Content]:
        others = [url for url in self.ledgers if url not in URLS and url not in LAST_URLS]
        for url in (*URLS, *others, *LAST_URLS):
            ledger = self.ledgers.get(url)
            if ledger is None or ledger.flight is not None:
                continue
            pending = self._looked(url).pending()
            may_put = not (pending.puts or ledger.unanswered) or url in patient or self._is_after(url, What.PUT)
            held.append((url, not may_put))
            chosen = dict(pending.puts) if may_put else {}
            if pending.removes and self._is_after(url, What.REMOVE):
                chosen.update(pending.removes)
            if chosen or (ledger.unanswered and may_put):
                yield self._send(self._mine(url), chosen)

    def _is_after(self, url: str, what: What) -> bool:
        return all(self._is_done(*waited) for waited in AFTER.get((url, what), ()))

    def _is_done(self, url: str, what: What) -> bool:
        if what is What.OWED:
            return not self._owed
        ledger = self.ledgers.get(url)
        if ledger is None:
            return True
        if what is What.OLD:
            return not ledger.keeps_old
        pending = self._looked(url).pending()
        return ledger.flight is None and not (pending.puts if what is What.PUT else pending.removes)

    def _send(self, ledger: Ledger, chosen: dict[str, Encoded]) -> Content:
        self.moved, url = True, ledger.kind.url
        whole = ledger.kind.whole and not self.delta
        if not whole:
            chosen = _first(chosen)
        resources: list[Encoded]
        if whole:
            resources = [found for name in ledger.everything() if (found := _shown(ledger, name, chosen)) is not None]
        else:
            resources = [one for one in chosen.values() if one is not GONE]
        ledger.send(chosen)
        if url == CDS:
            self._on_clusters_sent(chosen)
        return Content(
            url,
            tuple(Sent(one, self._version(url, one)) for one in resources),
            tuple(name for name, one in chosen.items() if one is GONE) if self.delta else (),
        )

    def _version(self, url: str, resource: Encoded) -> str:
        # see `_known`
        if url == EDS and self.delta and (cluster := self._cluster(resource.name)):
            return f"{resource.version}.{cluster}"
        return resource.version

    def _on_clusters_sent(self, chosen: Mapping[str, Encoded]) -> None:
        """A cluster that is new or changed warms until it has been sent its endpoints, even if these did not change."""
        endpoints, asked = self.state.get(EDS, NOTHING), None
        if EDS in self.ledgers:
            asked = self._mine(EDS)
        for name, cluster in chosen.items():
            if cluster is GONE:
                self._owed.discard(name)
                continue
            if asked is not None:
                asked.again(name)
            # by Istio's names an assignment has its cluster's
            if endpoints.get(name) is not None:
                self._owed.add(name)

    def has_pending(self, url: str) -> bool:
        """Is anything of a type to be sent, and was not."""
        pending = self._looked(url).pending()
        return bool(pending.puts or pending.removes)

    def waits_for(self, url: str) -> tuple[tuple[str, What], ...]:
        """What is not done of that which a type's next response waits for."""
        what = What.PUT if self._looked(url).pending().puts else What.REMOVE
        return tuple(waited for waited in AFTER.get((url, what), ()) if not self._is_done(*waited))

    @property
    def is_at_rest(self) -> bool:
        """Nothing waits for an answer of the proxy's."""
        if self._owed:
            return False
        for ledger in self.ledgers.values():  # noqa: SIM110, asked for each answer of each proxy
            if ledger.flight is not None:
                return False
        return True


def _first(chosen: dict[str, Encoded]) -> dict[str, Encoded]:
    size = 0
    taken: dict[str, Encoded] = {}
    for name, resource in chosen.items():
        size += len(resource.body)
        if taken and size > RESPONSE_BYTES:
            break
        taken[name] = resource
    return taken


def _shown(ledger: Ledger, name: str, chosen: Mapping[str, Encoded]) -> Encoded | None:
    found = chosen[name] if name in chosen else ledger.has(name)
    return None if found is None or found is GONE else found
