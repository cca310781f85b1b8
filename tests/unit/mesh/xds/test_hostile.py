"""Whatever is asked, in whatever order: an answer or nothing, never a fault, and never more than one at a time."""

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.xds import wire
from mesh.xds.machine import Machine
from mesh.xds.messages import ProtocolError, Request
from mesh.xds.paths import Paths
from mesh.xds.types import CDS, EDS, LDS, RDS, SDS
from tests.unit.mesh.xds.envoy import state

NAMES = st.lists(st.sampled_from(["a", "b", "80", "odd", "*", "", "ü", "x" * 300]), max_size=4).map(tuple)
URLS = st.sampled_from([CDS, EDS, LDS, RDS, SDS, "odd"])
ERRORS = st.sampled_from([None, None, "no", "a is wrong", "(a|b)*"])
WORLDS = st.sampled_from([
    {},
    {"cds": {"a": "1", "b": "1"}, "eds": {"a": "1"}, "lds": {"in": "1"}, "rds": {"80": "1 -> a"}},
    {"cds": {"b": "2"}, "eds": {"b": "1", "odd": "1"}, "lds": {"in": "2", "x" * 300: "1"}, "rds": {"80": "2 -> b"}},
])  # fmt: skip
# a nonce is often the newest: then what follows is an answer
NONCES = st.sampled_from(["newest", "newest", "", "odd", "1"])


@st.composite
def requests(draw, delta):
    url, nonce, error = draw(URLS), draw(NONCES), draw(ERRORS)
    if not delta:
        return Request(url, nonce, error, names=draw(NAMES))
    versions = draw(st.dictionaries(st.sampled_from(["a", "b", "odd"]), st.sampled_from(["", "1", "1.2", "."])))
    return Request(url, nonce, error, subscribe=draw(NAMES), unsubscribe=draw(NAMES), versions=versions)


@settings(deadline=None)
@given(st.booleans().flatmap(lambda delta: st.tuples(st.just(delta), st.lists(st.one_of(requests(delta), WORLDS)))))
def test_a_machine_bears_anything(played):
    delta, steps = played
    machine, nonces, now = Machine(delta=delta, paths=Paths()), {}, 0.0
    for step in steps:
        now += 1
        if isinstance(step, dict):
            machine.on_state(state(**step))
        else:
            nonce = nonces.get(step.type_url, "") if step.nonce == "newest" else step.nonce
            machine.on_request(replace(step, nonce=nonce), now)
        waiting = {url for url, ledger in machine.ledgers.items() if ledger.flight is not None}
        for response in machine.next(now):
            assert response.type_url not in waiting
            waiting.add(response.type_url)
            nonces[response.type_url] = response.nonce
            assert wire.write(response, delta=delta)
            names = [one.resource.name for one in response.resources]
            assert len(set(names)) == len(names)
            assert all(machine.ledgers[response.type_url].asked.wants(name) for name in [*names, *response.removed])
        assert machine.next(now) == []
    machine.close()


@given(st.binary(max_size=200), st.booleans())
def test_bytes_are_a_request_or_an_error(body, delta):
    with suppress(ProtocolError):
        request, _ = wire.read(body, delta=delta)
        Machine(delta=delta, paths=Paths()).on_request(request, 0)


@pytest.mark.parametrize("delta", [True, False])
def test_words_that_look_like_an_expression_blame_nobody(delta):
    machine = Machine(delta=delta, paths=Paths())
    machine.on_state(state(cds={"a": "1", "b": "1"}))
    names = {} if delta else {"names": ()}
    machine.on_request(Request(CDS, **names), 0)
    (response,) = machine.next(0)
    outcome = machine.on_request(Request(CDS, nonce=response.nonce, error="(c|d)*", **names), 0)
    assert outcome.refused == ()
