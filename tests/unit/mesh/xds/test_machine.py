"""Single rules of the protocol, each between a machine and the fake Envoy."""

import sys

import pytest

from mesh.xds.ledger import Ledger
from mesh.xds.machine import Machine
from mesh.xds.messages import Request, TooMuchError
from mesh.xds.order import PATIENCE_SECONDS
from mesh.xds.paths import Paths
from mesh.xds.types import CDS, EDS, LDS, RDS
from tests.unit.mesh.xds.envoy import FakeEnvoy, Pair, state

WORLD = {
    "cds": {"a": "1", "b": "1", "local": "1"},
    "eds": {"a": "10.0.0.1", "b": "10.0.0.2"},
    "lds": {"in": "1", "out": "1 -> 80"},
    "rds": {"80": "1 -> a b"},
}
VARIANTS = pytest.mark.parametrize("delta", [True, False], ids=["delta", "whole"])


def pair(delta=True, paths=None, **envoy):
    made = Pair(FakeEnvoy(delta=delta, **envoy), Machine(delta=delta, paths=paths or Paths()))
    made.envoy.connect()
    return made


def change(made, **world):
    made.machine.on_state(state(**world))
    made.envoy.log.clear()
    made.until_quiet()
    return made.envoy.log


def settled(delta=True, **more):
    made = pair(delta, **more)
    made.machine.on_state(state(**WORLD))
    made.until_quiet()
    assert made.envoy.is_quiet()
    return made


@VARIANTS
def test_clusters_come_first_then_their_endpoints_then_listeners_then_routes(delta):
    log = [entry.split()[0] for entry in settled(delta).envoy.log]
    assert log == ["Cluster", "ClusterLoadAssignment", "Listener", "RouteConfiguration"]


@VARIANTS
def test_nothing_is_sent_before_there_is_a_state(delta):
    made = pair(delta)
    made.until_quiet()
    assert made.envoy.log == []


@VARIANTS
def test_an_empty_world_is_told(delta):
    made = pair(delta)
    assert change(made) == ["Cluster + -", "Listener + -"]


@VARIANTS
def test_a_change_of_routes_alone_goes_out_at_once(delta):
    made = settled(delta)
    made.machine.on_state(state(**WORLD | {"rds": {"80": "2 -> b"}}))
    assert [one.type_url for one in made.machine.next(0)] == [RDS]


@VARIANTS
def test_endpoints_do_not_wait_for_anything(delta):
    made = settled(delta)
    made.machine.on_state(state(**WORLD | {"cds": {**WORLD["cds"], "new": "1"}, "rds": {"80": "1 -> a b new"}}))
    assert [one.type_url for one in made.machine.next(0)] == [CDS]
    made.machine.on_state(state(**WORLD | {"eds": {"a": "10.0.0.9", "b": "10.0.0.2"}}))
    assert [one.type_url for one in made.machine.next(0)] == [EDS]


@VARIANTS
def test_a_changed_cluster_is_sent_its_endpoints_again(delta):
    made = settled(delta)
    log = change(made, **WORLD | {"cds": {**WORLD["cds"], "a": "2"}})
    assert log[-1] == "ClusterLoadAssignment +a -"
    assert made.envoy.is_quiet()


@VARIANTS
def test_a_cluster_goes_after_what_names_it(delta):
    made = settled(delta)
    log = change(made, cds={"a": "1", "local": "1"}, eds={"a": "10.0.0.1"}, lds=WORLD["lds"], rds={"80": "2 -> a"})
    assert [entry.split()[0] for entry in log] == ["RouteConfiguration", "Cluster"]
    assert set(made.envoy.accepted[CDS]) == {"a", "local"}


@VARIANTS
def test_a_replaced_cluster_comes_before_the_routes_and_the_old_one_goes_after_them(delta):
    made = settled(delta)
    log = change(
        made,
        cds={"a": "1", "c": "1", "local": "1"},
        eds={"a": "10.0.0.1", "c": "10.0.0.3"},
        lds=WORLD["lds"],
        rds={"80": "2 -> a c"},
    )
    kinds = [entry.split()[0] for entry in log]
    assert kinds == ["Cluster", "ClusterLoadAssignment", "RouteConfiguration", "Cluster"]
    assert set(made.envoy.accepted[CDS]) == {"a", "c", "local"}


@VARIANTS
def test_names_that_nobody_has_are_answered(delta):
    made = pair(delta)
    world = {"cds": {"a": "1"}, "lds": {"out": "1 -> nobody"}}
    made.envoy.asked = {EDS: {"a", "odd"}, RDS: {"nobody"}}
    made.envoy.connect()
    change(made, **world)
    assert made.envoy.accepted[EDS].keys() >= {"a"}
    assert made.envoy.accepted[RDS].keys() == {"nobody"}


@VARIANTS
@pytest.mark.parametrize("url", ["type.googleapis.com/envoy.service.runtime.v3.Runtime", "odd"])
def test_a_type_that_is_not_served_is_answered_as_empty(delta, url):
    machine = Machine(delta=delta, paths=Paths())
    machine.on_state(state(**WORLD))
    names = {"subscribe": ("x",)} if delta else {"names": ("x",)}
    machine.on_request(Request(url, **names), 0)
    (response,) = machine.next(0)
    assert (response.type_url, response.resources, response.removed) == (url, (), ("x",) if delta else ())
    assert machine.next(0) == []


@VARIANTS
def test_a_stale_nonce_says_nothing(delta):
    made = settled(delta)
    made.machine.on_state(state(**WORLD | {"rds": {"80": "2 -> b"}}))
    (response,) = made.machine.next(0)
    names = {} if delta else {"names": ("80",)}
    assert made.machine.on_request(Request(RDS, nonce="odd", **names), 0) is None
    assert made.machine.on_request(Request(RDS, nonce="odd", error="no", **names), 0) is None
    assert made.machine.ledgers[RDS].flight is not None
    assert made.machine.on_request(Request(RDS, nonce=response.nonce, **names), 0).accepted
    assert made.machine.on_request(Request(RDS, nonce=response.nonce, error="late", **names), 0) is None
    assert made.machine.next(0) == []


@VARIANTS
def test_what_was_refused_is_not_sent_again_and_the_rest_is(delta):
    made = settled(delta)
    made.envoy.refuses = {"bad"}
    change(made, **WORLD | {"cds": {"a": "2", "b": "bad", "local": "2"}})
    assert made.envoy.accepted[CDS] == {"a": "a: 2", "b": "b: 1", "local": "local: 2"}
    (refused,) = [one for outcome in made.outcomes for one in outcome.refused]
    assert refused.name == "b"
    assert made.machine.ledgers[CDS].refused["b"].words == "Error adding/updating b: no"
    log = change(made, **WORLD | {"cds": {"a": "2", "b": "3", "local": "2"}})
    assert "b" in log[0]
    assert made.envoy.accepted[CDS]["b"] == "b: 3"
    assert made.machine.ledgers[CDS].refused == {}


@VARIANTS
def test_where_envoy_does_not_say_who_is_to_blame_it_is_found(delta):
    made = settled(delta, names_who=False)
    made.envoy.refuses = {"bad"}
    clusters = {f"c{number}": "bad" if number == 11 else "1" for number in range(20)}
    made.machine.on_state(state(**WORLD | {"cds": {**WORLD["cds"], **clusters}}))
    made.until_quiet()
    assert set(made.envoy.accepted[CDS]) == {*WORLD["cds"], *clusters} - {"c11"}
    assert [one.name for outcome in made.outcomes for one in outcome.refused] == ["c11"]


def test_a_name_within_another_is_not_to_blame():
    made = settled()
    made.envoy.refuses = {"bad"}
    clusters = {"x": "1", "x.y": "bad", "v|x": "1"}
    change(made, **WORLD | {"cds": {**WORLD["cds"], **clusters}})
    assert [one.name for outcome in made.outcomes for one in outcome.refused] == ["x.y"]


@VARIANTS
def test_a_new_proxy_is_sent_what_was_accepted_last(delta):
    paths = Paths()
    first = settled(delta, paths=paths)
    first.envoy.refuses = {"bad"}
    world = WORLD | {"rds": {"80": "bad -> b"}}
    change(first, **world)
    second = pair(delta, paths, refuses={"bad"})
    change(second, **world)
    assert second.envoy.accepted[RDS] == {"80": "80: 1 -> a b"}
    assert not any(outcome.refused for outcome in second.outcomes)
    for made in (first, second):
        change(made, **WORLD | {"rds": {"80": "3 -> b"}})
        assert made.envoy.accepted[RDS] == {"80": "80: 3 -> b"}


@VARIANTS
def test_one_that_refuses_everything_harms_itself_alone(delta):
    paths = Paths()
    odd, good = settled(delta, paths=paths), settled(delta, paths=paths)
    odd.envoy.refuses = {"2"}
    for made in (odd, good):
        change(made, **WORLD | {"rds": {"80": "2 -> b"}})
    new = pair(delta, paths)
    change(new, **WORLD | {"rds": {"80": "2 -> b"}})
    for made in (good, new):
        assert made.envoy.accepted[RDS] == {"80": "80: 2 -> b"}


def test_a_proxy_that_comes_again_with_what_it_has_is_sent_nothing():
    made = settled()
    again = Pair(made.envoy, Machine(delta=True, paths=Paths()))
    again.envoy.connect()
    assert change(again, **WORLD) == []


def test_a_proxy_that_comes_again_is_told_what_is_gone_and_what_changed():
    made = settled()
    again = Pair(made.envoy, Machine(delta=True, paths=Paths()))
    again.envoy.connect()
    change(again, **WORLD | {"cds": {"a": "2", "b": "1"}})
    assert made.envoy.accepted[CDS] == {"a": "a: 2", "b": "b: 1"}
    assert made.envoy.is_quiet()


def test_endpoints_older_than_their_cluster_are_sent_again_to_one_that_comes_again():
    made = settled()
    made.machine.on_state(state(**WORLD | {"cds": {**WORLD["cds"], "a": "2"}}))
    made.responses()
    made.arrive()  # the cluster came, its endpoints did not
    assert made.envoy.warming == {"a"}
    again = Pair(made.envoy, Machine(delta=True, paths=Paths()))
    again.envoy.connect()
    log = change(again, **WORLD | {"cds": {**WORLD["cds"], "a": "2"}})
    assert log == ["ClusterLoadAssignment +a -"]
    assert made.envoy.is_quiet()


def test_routes_wait_no_longer_than_patience_for_a_proxy_that_does_not_answer():
    made = settled()
    made.machine.on_state(state(**WORLD | {"cds": {**WORLD["cds"], "n": "1"}, "rds": {"80": "2 -> a b n"}}))
    assert [one.type_url for one in made.machine.next(100)] == [CDS]
    assert made.machine.deadline == 100 + PATIENCE_SECONDS
    assert made.machine.next(made.machine.deadline - 0.1) == []
    assert [one.type_url for one in made.machine.next(made.machine.deadline)] == [RDS]
    assert made.machine.deadline is None


def test_large_changes_go_out_in_several_responses():
    made = pair()
    clusters = {f"c{number}": "x" * 300_000 for number in range(8)}
    change(made, cds=clusters)
    assert len([entry for entry in made.envoy.log if entry.startswith("Cluster ")]) == 3
    assert set(made.envoy.accepted[CDS]) == set(clusters)


@VARIANTS
def test_more_names_than_a_stream_may_ask_for(delta):
    machine = Machine(delta=delta, paths=Paths())
    few, many = tuple(f"n{n}" for n in range(10_000)), tuple(f"n{n}" for n in range(60_000))
    machine.on_request(Request(EDS, **({"subscribe": few} if delta else {"names": few})), 0)
    with pytest.raises(TooMuchError, match="50000 names"):
        machine.on_request(Request(EDS, **({"subscribe": many} if delta else {"names": many})), 0)
    with pytest.raises(TooMuchError, match="name of 5000 bytes"):
        machine.on_request(Request(RDS, **({"subscribe": ("x" * 5000,)} if delta else {"names": ("x" * 5000,)})), 0)


def test_more_types_than_a_stream_may_ask_for():
    machine = Machine(delta=True, paths=Paths())
    for number in range(32):
        machine.on_request(Request(f"odd/{number}"), 0)
    with pytest.raises(TooMuchError, match="32 types"):
        machine.on_request(Request("odd/32"), 0)


def test_a_change_costs_what_changed_and_not_what_there_is(monkeypatch):
    """Counted in names looked at, so that it holds on any machine."""
    made = pair()
    clusters = {f"c{number}": "1" for number in range(500)}
    change(made, cds=clusters, lds=WORLD["lds"], rds={"80": "1"})
    looked, has = [], Ledger.has
    monkeypatch.setattr(Ledger, "has", lambda self, name: looked.append(name) or has(self, name))
    change(made, cds=clusters | {"c7": "2"}, lds=WORLD["lds"], rds={"80": "1"})
    assert made.envoy.accepted[CDS]["c7"] == "c7: 2"
    assert 0 < len(looked) < 20


def test_listeners_asked_for_by_name_are_those_alone():
    machine = Machine(delta=False, paths=Paths())
    machine.on_state(state(**WORLD))
    machine.on_request(Request(LDS, names=("out", "odd")), 0)
    (response,) = machine.next(0)
    assert [one.resource.name for one in response.resources] == ["out"]
    machine.on_request(Request(LDS, nonce=response.nonce, names=("out", "odd")), 0)
    assert machine.next(0) == []


@VARIANTS
def test_a_stream_at_rest_keeps_no_room_for_what_it_was_sent(delta):
    def room(count):
        names = [f"c{number}" for number in range(count)]
        made = pair(delta)
        made.machine.on_state(state(cds=dict.fromkeys(names, "1"), eds=dict.fromkeys(names, "1"), lds={"in": "1"}))
        made.until_quiet()
        assert made.envoy.is_quiet()
        assert made.machine.next(made.now) == []
        return [sys.getsizeof(one._odd) + sys.getsizeof(one._dirty) for one in made.machine.ledgers.values()]

    assert room(1000) == room(1)
