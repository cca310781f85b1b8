"""One stream, without I/O: requests and states in, responses out.

    on_request(request, now) ──▶ Outcome | None      what the proxy made of what it was sent
    on_state(state)                                  the world changed
    next(now) ──▶ responses                          what to send now; nothing where nothing is to be told
    deadline ──▶ seconds | None                      when `next` may have more to say though nothing happened

Of each type at most one response is without an answer, so nothing queues: what changes meanwhile is seen when it comes.
`now` is seconds of a clock that never goes back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count

from mesh.encode.resource import Encoded, Snapshot, State
from mesh.xds.ledger import Ledger
from mesh.xds.messages import Outcome, Request, Response, Sent, TooMuchError
from mesh.xds.order import LAST_URLS, PATIENCE_SECONDS, STEPS, URLS, What
from mesh.xds.types import CDS, EDS, GONE, TYPES, type_of
from mesh.xds.verdicts import Verdicts

MAX_NAMES = 50_000  # asked for on one stream; Envoy asks for each cluster's endpoints and each listener's table
MAX_NAME_BYTES = 2_048
MAX_TYPES = 32
RESPONSE_BYTES = 1_000_000  # about: larger ones are sent in several, one after the other's answer

NOTHING = Snapshot()
AFTER = {(step.url, step.what): step.after for step in STEPS}


class Machine:
    """See above. `delta` tells the variant of the protocol; `verdicts` are those of the proxy's class."""

    def __init__(self, *, delta: bool, verdicts: Verdicts) -> None:
        self.delta = delta
        self.ledgers: dict[str, Ledger] = {}
        self._verdicts = verdicts
        verdicts.members.add(self)
        self._state: State = {}
        self._nonces = (format(number, "x") for number in count(1))
        # clusters that were sent and whose endpoints the proxy has not accepted since
        self._owed: set[str] = set()
        self._held_since: dict[str, float] = {}

    def close(self) -> None:
        """The stream ended."""
        self._verdicts.members.discard(self)

    def has(self, type_url: str, name: str) -> Encoded | None:
        """What the proxy accepted last of a resource that it asks for."""
        ledger = self.ledgers.get(type_url)
        return ledger.has(name) if ledger is not None and ledger.asked.wants(name) else None

    # requests

    def on_request(self, request: Request, now: float) -> Outcome | None:
        """Takes a request; returns what it says of a response, if it answers one. Raises ProtocolError."""
        ledger = self._ledger(request.type_url)
        outcome = None
        flight = ledger.flight
        if flight is not None and request.nonce == flight.nonce:
            outcome = self._on_answer(ledger, request, now)
        if request.names is not None:
            # of the state of the world, what is said before the newest response was seen does not count
            if request.nonce in ("", ledger.nonce):
                self._on_names(ledger, request.names)
        else:
            self._on_subscribe(ledger, request)
        if ledger.kind.url == EDS:
            self._owed -= {name for name in request.unsubscribe if not ledger.asked.wants(name)}
        return outcome

    def _ledger(self, url: str) -> Ledger:
        ledger = self.ledgers.get(url)
        if ledger is None:
            if len(self.ledgers) >= MAX_TYPES:
                raise TooMuchError(f"{url}: a stream can ask for {MAX_TYPES} types of resources")
            ledger = self.ledgers[url] = Ledger(type_of(url), self._verdicts)
            ledger.unanswered = url not in TYPES
            ledger.on_state(self._state.get(url, NOTHING))
        return ledger

    def _on_answer(self, ledger: Ledger, request: Request, now: float) -> Outcome:
        assert ledger.flight is not None
        sent = ledger.flight.resources
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

    def on_state(self, state: State) -> None:
        """What the proxy is to have now; as a whole, and never a part of it."""
        self._state = state
        for url, ledger in self.ledgers.items():
            ledger.on_state(state.get(url, NOTHING))
        if self._owed:
            clusters = state.get(CDS, NOTHING)
            self._owed = {name for name in self._owed if clusters.get(name) is not None}

    # responses

    def next(self, now: float) -> list[Response]:
        """What is to be sent now, in this order. Each is taken for sent."""
        if not self._state:
            return []  # not built yet: nothing is not the same as empty
        return list(self._responses(now))

    def _responses(self, now: float) -> Iterator[Response]:
        others = [url for url in self.ledgers if url not in URLS and url not in LAST_URLS]
        for url in (*URLS, *others, *LAST_URLS):
            ledger = self.ledgers.get(url)
            if ledger is None or ledger.flight is not None:
                continue
            pending = ledger.pending()
            may_put = not (pending.puts or ledger.unanswered) or self._may_put(url, now)
            if may_put:
                self._held_since.pop(url, None)
            else:
                self._held_since.setdefault(url, now)
            chosen = dict(pending.puts) if may_put else {}
            if pending.removes and self._is_after(url, What.REMOVE):
                chosen.update(pending.removes)
            if chosen or (ledger.unanswered and may_put):
                yield self._send(ledger, chosen, now)

    def _may_put(self, url: str, now: float) -> bool:
        held = self._held_since.get(url)
        return self._is_after(url, What.PUT) or (held is not None and now - held >= PATIENCE_SECONDS)

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
        pending = ledger.pending()
        return ledger.flight is None and not (pending.puts if what is What.PUT else pending.removes)

    def _send(self, ledger: Ledger, chosen: dict[str, Encoded], now: float) -> Response:
        url, nonce = ledger.kind.url, next(self._nonces)
        whole = ledger.kind.whole and not self.delta
        if not whole:
            chosen = _first(chosen)
        resources: list[Encoded]
        if whole:
            resources = [found for name in ledger.everything() if (found := _shown(ledger, name, chosen)) is not None]
        else:
            resources = [one for one in chosen.values() if one is not GONE]
        ledger.send(nonce, chosen, now)
        if url == CDS:
            self._on_clusters_sent(chosen)
        return Response(
            url,
            nonce,
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
        endpoints, asked = self._state.get(EDS, NOTHING), self.ledgers.get(EDS)
        for name, cluster in chosen.items():
            if cluster is GONE:
                self._owed.discard(name)
                continue
            if asked is not None:
                asked.again(name)
            # by Istio's names an assignment has its cluster's
            if endpoints.get(name) is not None:
                self._owed.add(name)

    def was_told(self, state: State) -> bool:
        """Is this the state that it was told last."""
        return self._state is state

    @property
    def is_built(self) -> bool:
        """Is there a state at all."""
        return bool(self._state)

    def held_since(self, url: str) -> float | None:
        """Since when something of a type waits for other types."""
        return self._held_since.get(url)

    def waits_for(self, url: str) -> tuple[tuple[str, What], ...]:
        """What is not done of that which a type's next response waits for."""
        what = What.PUT if self.ledgers[url].pending().puts else What.REMOVE
        return tuple(waited for waited in AFTER.get((url, what), ()) if not self._is_done(*waited))

    @property
    def is_at_rest(self) -> bool:
        """Nothing waits for an answer of the proxy's."""
        return not self._owed and all(ledger.flight is None for ledger in self.ledgers.values())

    @property
    def is_done(self) -> bool:
        """The proxy has all that it asks for and is to have."""
        return self.is_at_rest and not any(
            pending.puts or pending.removes for ledger in self.ledgers.values() if (pending := ledger.pending())
        )

    @property
    def deadline(self) -> float | None:
        """When something that waits will wait no longer."""
        return min(self._held_since.values()) + PATIENCE_SECONDS if self._held_since else None


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
