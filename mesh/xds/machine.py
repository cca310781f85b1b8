"""One stream, without I/O: requests and states in, responses out.

    on_request(request, now) ──▶ Outcome | None      what the proxy made of what it was sent
    on_state(state)                                  the world changed
    next(now) ──▶ responses                          what to send now; nothing where nothing is to be told
    deadline ──▶ seconds | None                      when `next` may have more to say though nothing happened

Of each type at most one response is without an answer, so nothing queues: what changes meanwhile is seen when it comes.
`now` is seconds of a clock that never goes back. A machine has its nonces and its times; all else is in its position,
which it shares with streams that are equally far.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

from mesh.encode.resource import Encoded, State
from mesh.xds.ledger import Ledger
from mesh.xds.messages import Content, Outcome, Request, Response
from mesh.xds.order import PATIENCE_SECONDS
from mesh.xds.paths import Paths
from mesh.xds.position import Position

NOBODY: frozenset[str] = frozenset()


@dataclass(slots=True)
class Told:
    """When what of a type was sent and accepted: nonces, and seconds of the machine's clock."""

    nonce: str = ""
    sent_at: float | None = None
    is_open: bool = False
    """It was sent, and not answered."""
    acked_nonce: str = ""
    acked_at: float | None = None


class Machine:
    """See above. `delta` tells the variant of the protocol; `paths` are those of the proxy's class."""

    def __init__(self, *, delta: bool, paths: Paths) -> None:
        self.delta = delta
        self.position = paths.start(delta=delta)
        self.told: dict[str, Told] = {}
        self._paths = paths
        self._nonces = (format(number, "x") for number in count(1))
        self._held_since: dict[str, float] = {}
        self._quiet: Position | None = None  # where there was nothing to be sent
        self._quiet_at = 0
        paths.verdicts.members.add(self)

    def close(self) -> None:
        """The stream ended."""
        self._paths.verdicts.members.discard(self)

    @property
    def ledgers(self) -> dict[str, Ledger]:
        """What was asked for, and how far that is."""
        return self.position.ledgers

    def has(self, type_url: str, name: str) -> Encoded | None:
        """What the proxy accepted last of a resource that it asks for."""
        return self.position.has(type_url, name)

    def on_request(self, request: Request, now: float) -> Outcome | None:
        """Takes a request; returns what it says of a response, if it answers one. Raises ProtocolError."""
        told = self.told.get(request.type_url) or Told()
        answers = told.is_open and request.nonce == told.nonce
        # of the state of the world, what is said before the newest response was seen does not count
        counts = request.nonce in ("", told.nonce)
        # what one proxy says against a response no other says
        key = None if answers and request.error is not None else (answers, counts, *request.asks)
        outcome, self.position = self._paths.step(
            self.position,
            key,
            lambda here: here.take(request, now, answers=answers, counts=counts),
            1 + len(request.subscribe) + len(request.names or ()) + len(request.versions),
        )
        self.told[request.type_url] = told
        if answers:
            told.is_open = False
            if request.error is None:
                told.acked_nonce, told.acked_at = told.nonce, now
        return outcome

    def on_state(self, state: State) -> None:
        """What the proxy is to have now, as a whole and never a part of it; empty while that is not known."""
        if state and state is not self.position.state:
            _, self.position = self._paths.step(self.position, id(state), lambda here: here.tell(state))

    def next(self, now: float) -> list[Response]:
        """What is to be sent now, in this order. Each is taken for sent."""
        if self._is_known_quiet:
            return []
        here, revision = self.position, self._paths.verdicts.revision
        patient = NOBODY
        if self._held_since:
            patient = frozenset(url for url, since in self._held_since.items() if now - since >= PATIENCE_SECONDS)
        (contents, held), self.position = self._paths.step(here, patient, lambda here: here.advance(patient))
        for url, waits in held:
            if waits:
                self._held_since.setdefault(url, now)
            else:
                self._held_since.pop(url, None)
        if not contents and self.position.is_shared:
            self._quiet, self._quiet_at = self.position, revision
        return [self._sent(content, now) for content in contents]

    @property
    def _is_known_quiet(self) -> bool:
        here, revision = self.position, self._paths.verdicts.revision
        return self._quiet is here and self._quiet_at == revision and not self._held_since

    @property
    def is_quiet(self) -> bool:
        """Is nothing to be sent, nor anything waited for but the proxy: then `next` need not be asked."""
        if self._is_known_quiet:
            return True
        if self._held_since or not self.position.is_shared:
            return False
        revision = self._paths.verdicts.revision
        (contents, held), there = self._paths.step(self.position, NOBODY, lambda here: here.advance(NOBODY))
        if contents or any(waits for _, waits in held):
            return False
        self.position = self._quiet = there
        self._quiet_at = revision
        return True

    def _sent(self, content: Content, now: float) -> Response:
        told = self.told[content.type_url]
        told.nonce, told.sent_at, told.is_open = next(self._nonces), now, True
        return Response(content, told.nonce)

    def was_told(self, state: State) -> bool:
        """Is this the state that it was told last."""
        return self.position.state is state

    @property
    def is_built(self) -> bool:
        """Is there a state at all."""
        return bool(self.position.state)

    def held_since(self, url: str) -> float | None:
        """Since when something of a type waits for other types."""
        return self._held_since.get(url)

    @property
    def is_at_rest(self) -> bool:
        """Nothing waits for an answer of the proxy's."""
        return self.position.is_at_rest

    @property
    def is_done(self) -> bool:
        """The proxy has all that it asks for and is to have."""
        if not self.is_at_rest or self.is_quiet:
            return self.is_at_rest
        here = self.aside()
        return not any(here.has_pending(url) for url in self.ledgers)

    def aside(self) -> Position:
        """Where the stream is, to be looked at: what is looked at may be noted, and others may be at the same place."""
        return self.position.copy() if self.position.is_shared else self.position

    @property
    def deadline(self) -> float | None:
        """When something that waits will wait no longer."""
        return min(self._held_since.values()) + PATIENCE_SECONDS if self._held_since else None
