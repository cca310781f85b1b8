"""Objects that are wrong, that Envoy refuses, and that are all gone."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from demo import bill
from demo.mesh import DEBUG
from mesh.model.kinds import KINDS
from tests.drills.rig import FIRST, SECOND, THIRD, Rig, rules, total


def bad_objects() -> list[dict[str, Any]]:
    """Of each kind one that cannot be read."""
    return [
        {
            "apiVersion": f"{kind.group}/{kind.versions[0]}" if kind.group else kind.versions[0],
            "kind": kind.name,
            "metadata": {"name": f"bad-{number}", "namespace": bill.NAMESPACE, "labels": [7]},
            "spec": 7,
            "data": "x",
            "endpoints": 7,
        }
        for number, kind in enumerate(KINDS.values())
    ]


def test_a_bad_object_of_each_kind_harms_no_other(rig: Rig) -> None:
    rig.write("rules", *rules((50, 50)))
    rig.serve()
    rig.proxy()
    with rig.load() as loads:
        rig.write("bad", *bad_objects())
        rig.write("rules", *rules((0, 100)))
        rig.until(lambda: rig.answers() == {SECOND}, 20)
    assert total(loads) > 0
    problems = json.loads(rig.get(f"http://{DEBUG}/debug/problems"))
    told = {re.split("[ /]", one["object"])[-1] for one in problems if one["severity"] == "error"}
    assert {one["metadata"]["name"] for one in bad_objects()} <= told
    # a control plane that starts among them serves the others, too
    rig.kill()
    rig.serve()
    rig.until(rig.is_synced)
    assert rig.answers() == {SECOND}
    assert rig.refused() == {}


def test_what_envoy_refuses_harms_no_other_and_is_named(rig: Rig) -> None:
    good = rules((0, 100))
    rig.write("rules", *good)
    rig.serve()
    rig.proxy()
    _, refused = rules((100, 0))
    # an object that passes all checks; should it no longer, another is to be found
    refused["spec"]["http"][0]["headers"] = {"request": {"set": {"x-odd": "%FILTER_STATE(x:ODD)%"}}}
    with rig.load() as loads:
        rig.write("rules", good[0], refused)
        rig.until(lambda: rig.status()["types"]["RDS"]["state"] == "ERROR")
        # others' changes still arrive
        rig.write("other", other := {**bill.workloads()[3], "metadata": {"name": "other", "namespace": bill.NAMESPACE}})
        rig.until(lambda: any("other.shop" in name for name in rig.stats()))
    assert other["kind"] == "Service"
    assert total(loads) > 0
    assert rig.answers() == {SECOND}
    told = rig.run("-m", "mesh", "proxy-status", "--debug-address", DEBUG, "-o", "json")
    assert "Invalid filter state serialize type" in told
    assert "VirtualService shop/bill" in told
    # mended, it is taken
    rig.write("rules", *rules((100, 0)))
    rig.until(lambda: rig.is_synced() and rig.answers() == {FIRST, THIRD})


@pytest.mark.parametrize("how", ["files", "folder"])
def test_an_empty_world_is_not_believed(rig: Rig, how: str) -> None:
    rig.write("rules", *rules((0, 100)))
    rig.serve()
    rig.proxy()
    away = rig.objects.with_name("away")
    with rig.load() as loads:
        if how == "folder":
            rig.objects.rename(away)
        else:
            away.mkdir()
            for file in sorted(rig.objects.iterdir()):
                file.rename(away / file.name)
        rig.until(lambda: "counts on" in (rig.logs / "pymesh").read_text())
        assert rig.answers() == {SECOND}
        # back again, changed
        if how == "folder":
            away.rename(rig.objects)
        else:
            for file in sorted(away.iterdir()):
                file.rename(rig.objects / file.name)
        rig.write("rules", *rules((100, 0)))
        rig.until(lambda: rig.is_synced() and rig.answers() == {FIRST, THIRD}, 20)
    assert total(loads) > 0
