"""What proxy-status says of a proxy, moment by moment."""

from dataclasses import replace

from mesh.encode.resource import Part, Snapshot
from mesh.model.meta import ObjectRef
from mesh.serve.progress import progress
from mesh.xds.machine import Machine
from mesh.xds.paths import Paths
from mesh.xds.types import CDS, RDS
from tests.unit.mesh.xds.envoy import FakeEnvoy, Pair, state

WORLD = {"cds": {"a": "1"}, "eds": {"a": "1"}, "lds": {"in": "1 -> 80"}, "rds": {"80": "1 -> a"}}
OWNER = ObjectRef("VirtualService", "shop", "reviews")


def stages(pair):
    return {kind: one.stage for kind, one in progress(pair.machine).items()}


def joined():
    pair = Pair(FakeEnvoy(refuses={"bad"}), Machine(delta=True, paths=Paths()))
    pair.envoy.connect()
    return pair


def test_not_sent_then_stale_then_synced():
    pair = joined()
    pair.requests()
    assert {one.why for one in progress(pair.machine).values()} == {"not built yet"}
    assert stages(pair) == {"CDS": "NOT SENT", "LDS": "NOT SENT"}
    pair.machine.on_state(state(**WORLD))
    pair.now = 7.0
    pair.responses()
    clusters, listeners = progress(pair.machine).values()
    assert clusters[:4] == ("STALE", 7.0, "no answer to what was sent", 1)
    assert listeners[:3] == (
        "NOT SENT",
        None,
        "held until these are accepted: CDS (new and changed), EDS (endpoints of clusters that are new or changed)",
    )
    pair.now = 9.0
    pair.until_quiet()
    assert stages(pair) == {"CDS": "SYNCED", "LDS": "SYNCED", "EDS": "SYNCED", "RDS": "SYNCED"}
    synced = progress(pair.machine)["RDS"]
    assert (synced.since, synced.resources, synced.sent == synced.acked != "") == (9.0, 1, True)


def test_held_by_another_type_and_since_when():
    pair = joined()
    pair.machine.on_state(state(**WORLD))
    pair.until_quiet()
    pair.now = 20.0
    pair.machine.on_state(state(**WORLD | {"cds": {"a": "1", "b": "1"}, "rds": {"80": "2 -> a b"}}))
    pair.responses()
    held = progress(pair.machine)["RDS"]
    assert (held.stage, held.since) == ("STALE", 20.0)
    assert held.why.startswith("held until these are accepted: CDS")


def test_what_envoy_refused_in_its_words_with_the_object_to_blame_until_it_is_mended():
    pair = joined()
    pair.machine.on_state(state(**WORLD))
    pair.until_quiet()
    bad = state(**WORLD | {"rds": {"80": "bad -> a"}})
    resource = replace(bad[RDS].get("80"), origins=(OWNER,))
    pair.now = 30.0
    pair.machine.on_state({**bad, RDS: Snapshot((Part({"80": resource}),))})
    pair.until_quiet()
    refused = progress(pair.machine)["RDS"]
    assert (refused.stage, refused.since, refused.why) == ("ERROR", 30.0, "Error adding/updating 80: no")
    assert (refused.refused, refused.origins) == (("80",), (OWNER,))
    pair.machine.on_state(state(**WORLD))  # as it was before
    pair.until_quiet()
    assert stages(pair)["RDS"] == "SYNCED"


def test_a_type_that_is_not_served_has_its_url():
    pair = joined()
    pair.envoy._request("odd/type", subscribe=["x"])
    pair.machine.on_state(state(**WORLD))
    pair.requests()
    assert "odd/type" in progress(pair.machine)
    assert CDS not in progress(pair.machine)


def test_a_proxy_that_comes_again_with_all_there_is_is_in_sync():
    pair = joined()
    pair.machine.on_state(state(**WORLD))
    pair.until_quiet()
    again = Pair(pair.envoy, Machine(delta=True, paths=Paths()))
    again.envoy.connect()
    again.machine.on_state(state(**WORLD))
    again.until_quiet()
    assert stages(again) == {"CDS": "SYNCED", "LDS": "SYNCED", "EDS": "SYNCED", "RDS": "SYNCED"}
    assert {one.sent for one in progress(again.machine).values()} == {""}
