"""A table that Envoy refuses for one of its virtual hosts: all others' changes arrive."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.encode.messages import route_configuration, with_hosts
from mesh.encode.resource import Part, Snapshot, encoded
from mesh.model.meta import ObjectRef
from mesh.serve.progress import progress
from mesh.xds.machine import Machine
from mesh.xds.paths import Paths
from mesh.xds.types import RDS
from tests.unit.mesh.xds.envoy import FakeEnvoy, Pair, state

VARIANTS = pytest.mark.parametrize("delta", [True, False], ids=["delta", "whole"])
REST = {"validate_clusters": False}


def table(hosts, name="80"):
    parts = [
        encoded(host, f"[{host} {text}]".encode(), (ObjectRef("VirtualService", host.partition(".")[2], host),))
        for host, text in hosts.items()
    ]
    return encoded(name, route_configuration({"name": name, **REST}, (one.body for one in parts)), (), tuple(parts))


def world(hosts):
    return {**state(cds={}, lds={"out": "1 -> 80"}), RDS: Snapshot((Part({"80": table(hosts)}),))}


def pair(delta=True, paths=None, **envoy):
    made = Pair(FakeEnvoy(delta=delta, refuses={"bad"}, **envoy), Machine(delta=delta, paths=paths or Paths()))
    made.envoy.connect()
    return made


def tell(made, hosts):
    """Returns how often Envoy was sent a table."""
    made.machine.on_state(world(hosts))
    made.envoy.log.clear()
    made.envoy.ever_refused.clear()  # what was refused may come again in another world, and not in this one
    made.until_quiet(200)
    return sum(entry.startswith("RouteConfiguration") for entry in made.envoy.log)


def has(made):
    """What the hosts are in the table that Envoy accepted."""
    ledger = made.machine.ledgers[RDS]
    found = {one.name: one.body.decode()[1:-1].split()[1] for one in ledger.has("80").parts}
    assert made.envoy.accepted[RDS]["80"] == table(found).body.decode()
    return found


def refused(made):
    return {name: one.origins[0].name for name, one in made.machine.ledgers[RDS].refusals.items()}


def test_a_table_with_other_hosts_is_the_one_that_is_built_of_them():
    hosts = {f"h{number}": "x" * number for number in range(300)}
    some = dict(list(hosts.items())[::2])
    made = with_hosts(table(hosts), table(some).parts)
    assert made == table(some)
    assert with_hosts(table(hosts), ()) == table({})
    assert with_hosts(table({}), table(hosts).parts) == table(hosts)
    assert with_hosts(table(hosts), table(some).parts) is made  # shared, as long as somebody has it


@VARIANTS
def test_one_bad_host_is_refused_once_and_holds_up_no_other(delta):
    made = pair(delta)
    tell(made, {"a": "1", "b": "1", "c": "1"})
    assert tell(made, {"a": "1", "b": "bad", "c": "1"}) == 1
    assert tell(made, {"a": "2", "b": "bad", "c": "1", "d": "1"}) == 1
    assert has(made) == {"a": "2", "b": "1", "c": "1", "d": "1"}
    assert refused(made) == {"80/b": "b"}
    (told,) = [one for outcome in made.outcomes for one in outcome.refused]
    assert (told.name, told.origins) == ("80/b", (ObjectRef("VirtualService", "", "b"),))
    assert progress(made.machine)["RDS"].stage == "ERROR"
    # mended, it is as if nothing had been
    assert tell(made, {"a": "2", "b": "3", "c": "1", "d": "1"}) == 1
    assert has(made) == {"a": "2", "b": "3", "c": "1", "d": "1"}
    assert refused(made) == {}
    assert progress(made.machine)["RDS"].stage == "SYNCED"


@VARIANTS
def test_what_changes_together_with_a_bad_host_arrives(delta):
    made = pair(delta)
    tell(made, {"a": "1", "b": "1", "c": "1"})
    tell(made, {"a": "2", "b": "bad", "d": "2"})
    assert has(made) == {"a": "2", "b": "1", "d": "2"}


@VARIANTS
def test_the_first_proxy_finds_a_bad_one_among_a_thousand(delta):
    made = pair(delta)
    hosts = {f"h{number:03}": "1" for number in range(1000)}
    sent = tell(made, hosts | {"h421": "bad", "h777": "bad"})
    assert {**hosts} == has(made) | {"h421": "1", "h777": "1"}
    assert refused(made) == {"80/h421": "h421", "80/h777": "h777"}
    assert sent < 50


@VARIANTS
def test_a_proxy_that_starts_has_the_last_good_host(delta):
    paths = Paths()
    first = pair(delta, paths)
    tell(first, {"a": "1", "b": "1"})
    tell(first, {"a": "2", "b": "bad"})
    second = pair(delta, paths)
    assert tell(second, {"a": "2", "b": "bad"}) == 1
    assert has(second) == {"a": "2", "b": "1"}
    assert refused(second) == {}
    for one in (first, second):
        tell(one, {"a": "2", "b": "3"})
        assert has(one) == {"a": "2", "b": "3"}


def test_many_hosts_that_nobody_else_refuses_are_one_proxys_own_trouble():
    paths = Paths()
    odd, good = pair(paths=paths), pair(paths=paths)
    hosts = {f"h{number}": "1" for number in range(500)}
    for one in (odd, good):
        tell(one, hosts)
    odd.envoy.refuses = {"2"}
    new = dict.fromkeys(hosts, "2")
    assert tell(odd, new) < 60  # and not one by one
    tell(good, new)
    assert has(good) == new
    assert progress(odd.machine)["RDS"].stage == "ERROR"
    assert has(odd) == hosts
    third = pair(paths=paths)
    tell(third, new)
    assert has(third) == new
    odd.envoy.refuses = set()
    tell(odd, {**new, "h0": "3"})
    assert has(odd)["h0"] == "3"


def test_who_writes_many_bad_hosts_harms_himself_alone():
    made = pair()
    good = {f"g{number}.good": "1" for number in range(200)}
    his = {f"b{number}.evil": "1" for number in range(200)}
    tell(made, good | his)
    assert tell(made, dict.fromkeys(good, "2") | dict.fromkeys(his, "bad")) < 100
    assert has(made) == dict.fromkeys(good, "2") | his
    assert len(refused(made)) == 200
    assert tell(made, dict.fromkeys(good, "3") | dict.fromkeys(his, "bad")) == 1
    assert has(made) == dict.fromkeys(good, "3") | his
    # and his own good ones come, as soon as not so many are bad
    tell(made, dict.fromkeys(good, "3") | dict.fromkeys(his, "4") | {"b7.evil": "bad"})
    assert has(made) == dict.fromkeys(good, "3") | dict.fromkeys(his, "4") | {"b7.evil": "1"}


def test_a_table_that_came_along_from_before_loses_no_host():
    made = pair()
    tell(made, {"a": "1", "b": "1", "c": "1"})
    paths = Paths()
    again = Pair(made.envoy, Machine(delta=True, paths=paths))
    again.envoy.connect()
    before = made.envoy.accepted[RDS]["80"]
    tell(again, {"a": "2", "b": "bad", "c": "1"})
    assert made.envoy.accepted[RDS]["80"] == before
    assert list(refused(again)) == ["80"]
    # what another found helps it
    other = pair(paths=paths)
    tell(other, {"a": "3", "b": "bad", "c": "1"})
    tell(again, {"a": "4", "b": "bad", "c": "1"})
    assert has(again) == {"a": "4", "c": "1"}
    assert list(refused(again)) == ["80/b"]


def test_clusters_that_an_older_host_names_stay():
    made = pair()
    tell(made, {"a": "1", "b": "1"})
    tell(made, {"a": "1", "b": "bad"})
    assert made.machine.ledgers[RDS].keeps_old
    tell(made, {"a": "1"})
    assert not made.machine.ledgers[RDS].keeps_old


def test_a_table_that_goes_takes_its_refusals_along():
    made = pair()
    tell(made, {"a": "1", "b": "bad"})
    made.machine.on_state(state(cds={}, lds={"out": "1 -> 80"}))
    made.until_quiet()
    assert refused(made) == {}


HOSTS = st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from(["1", "2", "bad1", "bad2"]), min_size=1)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.lists(HOSTS, min_size=1, max_size=5), min_size=1, max_size=3), st.booleans())
def test_whatever_changes_good_hosts_come_and_bad_ones_stay_as_they_were(proxies, delta):
    paths = Paths()
    for worlds in proxies:
        made = pair(delta, paths)
        for hosts in worlds:
            tell(made, hosts)
        got = has(made)
        assert {name: text for name, text in worlds[-1].items() if "bad" not in text}.items() <= got.items()
        assert not any("bad" in text for text in got.values())
        assert got.keys() <= worlds[-1].keys()
