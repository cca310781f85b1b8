"""The other half of the protocol: asks, warms, takes, refuses and comes again as Envoy does.

It checks by itself what must never happen: a reference to a cluster that is not there, a thing sent twice, a second
response of a type while the first is unanswered. Bodies are
`NAME: any words -> names`, where a table names its clusters and a listener its tables.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mesh.encode.descriptors import message_class
from mesh.encode.resource import Part, Snapshot, State, encoded
from mesh.xds import wire
from mesh.xds.machine import Machine
from mesh.xds.messages import Outcome
from mesh.xds.types import CDS, EDS, LDS, RDS

WHOLE = (CDS, LDS)
CHILD = {CDS: EDS, LDS: RDS}


def state(**of_type: dict[str, str]) -> State:
    """`state(cds={"a": "1"}, eds={"a": "10.0.0.1"}, …)` ──▶ what a machine is told."""
    urls = {"cds": CDS, "eds": EDS, "lds": LDS, "rds": RDS}
    return {
        url: Snapshot(
            (Part({name: encoded(name, f"{name}: {text}".encode()) for name, text in of_type.get(key, {}).items()}),)
        )
        for key, url in urls.items()
    }


def refers(body: str) -> tuple[str, ...]:
    """The names that a body refers to."""
    return tuple(body.partition("-> ")[2].split())


@dataclass
class FakeEnvoy:
    """A proxy and its stream to `machine`. `refuses` holds pieces of bodies that it does not take."""

    delta: bool = True
    names_who: bool = True
    refuses: set[str] = field(default_factory=set)
    accepted: dict[str, dict[str, str]] = field(default_factory=lambda: {url: {} for url in (CDS, EDS, LDS, RDS)})
    versions: dict[str, dict[str, str]] = field(default_factory=lambda: {url: {} for url in (CDS, EDS, LDS, RDS)})
    asked: dict[str, set[str]] = field(default_factory=lambda: {EDS: set(), RDS: set()})
    warming: set[str] = field(default_factory=set)
    fresh: set[str] = field(default_factory=set)
    ever_refused: set[tuple[str, str, str]] = field(default_factory=set)
    bad_clusters: set[str] = field(default_factory=set)
    stands_in: bool = False  # may be sent older tables than its clusters
    log: list[str] = field(default_factory=list)
    sent_bytes: int = 0

    def __post_init__(self) -> None:
        self.inbox: list[bytes] = []
        self.outbox: list[bytes] = []
        self.last_nonce: dict[str, str] = {}
        self.received: set[tuple[str, str, str]] = set()
        self.wait: dict[str, list[str]] = {}

    # the stream

    def connect(self) -> None:
        """A new stream: what it asks first."""
        self.inbox, self.outbox, self.last_nonce = [], [], {}
        self.received, self.wait = set(), {}
        for url in (CDS, EDS, LDS, RDS):
            if url in WHOLE:
                self._request(url, versions=self.versions[url])
            elif self.asked[url]:
                self._request(url, subscribe=sorted(self.asked[url]), versions=self.versions[url])

    def _request(self, url, *, subscribe=(), unsubscribe=(), versions=None, nonce="", error=None) -> None:
        if self.delta:
            made = message_class(wire.DELTA)(
                type_url=url,
                response_nonce=nonce,
                resource_names_subscribe=subscribe,
                resource_names_unsubscribe=unsubscribe,
                initial_resource_versions={
                    name: version
                    for name, version in (versions or {}).items()
                    if url in WHOLE or name in self.asked[url]
                },
            )
        else:
            made = message_class(wire.WHOLE)(
                type_url=url,
                response_nonce=nonce or self.last_nonce.get(url, ""),
                resource_names=sorted(self.asked.get(url, ())),
            )
        if error is not None:
            made.error_detail.code, made.error_detail.message = 13, error
        self.outbox.append(made.SerializeToString())

    # responses

    def take(self, body: bytes) -> None:
        """One response."""
        self.sent_bytes += len(body)
        kind = "envoy.service.discovery.v3.DeltaDiscoveryResponse" if self.delta else (
            "envoy.service.discovery.v3.DiscoveryResponse"
        )  # fmt: skip
        raw = message_class(kind).FromString(body)
        assert raw.type_url not in self.wait, f"a second response of {raw.type_url} before the first was answered"
        if self.delta:
            got = {one.name: (one.version, one.resource.value.decode()) for one in raw.resources}
            removed = set(raw.removed_resources)
        else:
            got = {name: (raw.version_info, text) for name, text in map(_named, raw.resources)}
            whole = raw.type_url in WHOLE
            removed = set(self.accepted[raw.type_url]) - set(got) if whole else set()
        self.last_nonce[raw.type_url] = raw.nonce
        self._apply(raw.type_url, raw.nonce, got, removed)

    def _apply(self, url, nonce, got, removed) -> None:
        short = url.rpartition(".")[2]
        self.log.append(f"{short} +{','.join(sorted(got))} -{','.join(sorted(removed))}")
        bad = sorted(name for name, (_, text) in got.items() if any(piece in text for piece in self.refuses))
        if self.delta:
            for name, (version, _) in got.items():
                assert (url, name, version) not in self.ever_refused, f"{short} {name} was refused, and comes again"
        if bad:
            if url == CDS:
                self.bad_clusters |= set(bad)
                self._forget_endpoints(got)
            if len(got) == 1 or self.names_who:
                self.ever_refused |= {(url, name, got[name][0]) for name in bad}
            words = f"Error adding/updating {', '.join(bad)}: no" if self.names_who else "Proto constraint validation"
            self._request(url, nonce=nonce, error=words)
            return
        if self.delta:
            for name, (version, _) in got.items():
                twice = (url, name, version)
                fresh = url == EDS and name in self.warming
                assert twice not in self.received or fresh, f"{short} {name} {version} came twice"
                self.received = {one for one in self.received if one[:2] != twice[:2]} | {twice}
        self.received -= {one for one in self.received if one[0] == url and one[1] in removed}
        if url == CDS:
            self._forget_endpoints(got)
        for name, (version, text) in got.items():
            if url == CDS and self.accepted[CDS].get(name) != text:
                self.warming.add(name)
                self.fresh |= {name} - set(self.accepted[CDS])
            if url == EDS:
                self.warming.discard(name)
                self.fresh.discard(name)
            self.accepted[url][name], self.versions[url][name] = text, version
        for name in removed:
            self.accepted[url].pop(name, None)
            self.versions[url].pop(name, None)
            if url == CDS:
                self.warming.discard(name)
                self.fresh.discard(name)
        if not self.stands_in:
            self.check(url)
        self._subscribe(url, nonce)

    def _forget_endpoints(self, clusters) -> None:
        # a cluster that is sent, or sent again, brings its endpoints along
        self.received = {one for one in self.received if one[0] != EDS or one[1] not in clusters}

    def _subscribe(self, url, nonce) -> None:
        child = CHILD.get(url)
        if child is None:
            self._request(url, nonce=nonce)
            return
        wanted = set(self.accepted[CDS]) if url == CDS else {
            name for text in self.accepted[LDS].values() for name in refers(text)
        }  # fmt: skip
        added, dropped = sorted(wanted - self.asked[child]), sorted(self.asked[child] - wanted)
        self.asked[child] = wanted
        self._request(url, nonce=nonce)
        for name in dropped:
            self.accepted[child].pop(name, None)
            self.versions[child].pop(name, None)
            self.received -= {one for one in self.received if one[:2] == (child, name)}
        if added or dropped:
            self._request(child, subscribe=added, unsubscribe=dropped)

    # what must hold

    def check(self, url: str) -> None:
        """No table names a cluster that is not there or warming, unless that cluster was refused."""
        for table, text in self.accepted[RDS].items():
            for cluster in refers(text):
                there = cluster in self.accepted[CDS] and cluster not in self.fresh
                assert there or cluster in self.bad_clusters, f"after {url}: {table} names {cluster}"

    def is_quiet(self) -> bool:
        """It waits for nothing."""
        named = {name for text in self.accepted[LDS].values() for name in refers(text)}
        return not self.warming and named <= set(self.accepted[RDS])


def _named(any_of) -> tuple[str, str]:
    # in the state of the world the name is in the resource; here the bodies of tests begin with it
    text = any_of.value.decode()
    if text.startswith("\x0a"):
        return text[2 : 2 + ord(text[1])], text
    return text.partition(": ")[0], text


class Pair:
    """A machine and a fake Envoy, joined."""

    def __init__(self, envoy: FakeEnvoy, machine: Machine) -> None:
        self.envoy, self.machine, self.now = envoy, machine, 0.0
        self.outcomes: list[Outcome] = []

    def requests(self) -> bool:
        """Envoy's requests reach the machine."""
        moved = bool(self.envoy.outbox)
        sent, self.envoy.outbox = self.envoy.outbox, []
        for body in sent:
            request, _ = wire.read(body, delta=self.machine.delta)
            outcome = self.machine.on_request(request, self.now)
            if outcome is not None:
                self.outcomes.append(outcome)
        return moved

    def responses(self) -> bool:
        """The machine's responses are on their way to Envoy."""
        made = self.machine.next(self.now)
        self.envoy.inbox += [wire.write(one, delta=self.machine.delta) for one in made]
        return bool(made)

    def arrive(self) -> bool:
        """Envoy takes one response."""
        if not self.envoy.inbox:
            return False
        self.envoy.take(self.envoy.inbox.pop(0))
        return True

    def until_quiet(self, rounds: int = 60) -> int:
        """Runs both until nothing moves; returns how many rounds that took."""
        for done in range(rounds):
            moved = self.requests() | self.responses()
            while self.arrive():
                moved = True
            if not moved:
                return done
        raise AssertionError(f"not quiet after {rounds} rounds: {self.envoy.log[-6:]}")
