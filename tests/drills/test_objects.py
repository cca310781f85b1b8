"""Objects that are wrong, that Envoy refuses, and that are all gone."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from demo import bill
from demo.mesh import DEBUG
from mesh.model.kinds import KINDS
from tests.conftest import Tell
from tests.drills.rig import FIRST, SECOND, THIRD, Rig, greeting, rules, service, total


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


def odd(host: str) -> dict[str, Any]:
    """A VirtualService that passes all checks and that Envoy refuses; should it no longer, another is to be found."""
    _, route = rules((100, 0))
    route["metadata"]["name"], route["spec"]["hosts"] = host, [host]
    route["spec"]["http"][0]["headers"] = {"request": {"set": {"x-odd": "%FILTER_STATE(x:ODD)%"}}}
    return route


def test_what_envoy_refuses_harms_no_other_and_is_named(rig: Rig) -> None:
    good = rules((0, 100))
    rig.write("rules", *good)
    rig.write("other", *greeting("other-1", "first"))
    rig.serve()
    rig.proxy()
    with rig.load() as loads:
        rig.write("rules", good[0], odd("bill"))
        rig.until(lambda: rig.status()["types"]["RDS"]["state"] == "ERROR")
        # others' changes still arrive, those in the same table included
        rig.write("more", service("other-2", 2))
        rig.write("other", *greeting("other-1", "second"))
        rig.until(lambda: "second" in rig.routes() and "other-2.shop" in rig.routes())
        # and again, without its being tried again
        refused = rig.refused()
        rig.write("other", *greeting("other-1", "third"))
        rig.until(lambda: "third" in rig.routes())
        assert rig.refused() == refused
    assert total(loads) > 0
    assert rig.answers() == {SECOND}
    told = rig.run("-m", "mesh", "proxy-status", "--debug-address", DEBUG, "-o", "json")
    assert "Invalid filter state serialize type" in told
    assert "VirtualService shop/bill" in told
    assert f'"{bill.PORT}/bill.shop.svc.cluster.local:{bill.PORT}"' in told
    # a proxy that starts now has what was good last, and refuses nothing
    rig.envoy()
    rig.until(rig.is_synced)
    assert rig.answers() == {SECOND}
    assert rig.refused() == {}
    # mended, it is taken
    rig.write("rules", *rules((100, 0)))
    rig.until(lambda: rig.is_synced() and rig.answers() == {FIRST, THIRD})


def test_the_first_proxy_of_a_control_plane_finds_what_envoy_refuses(rig: Rig, tell: Tell) -> None:
    rig.write("rules", *rules((0, 100)))
    for number in range(100):
        rig.write(f"other-{number}", service(f"other-{number}", number))
    rig.write("odd", odd("other-41"), {**odd("other-67"), "metadata": {"name": "odd-too", "namespace": bill.NAMESPACE}})
    rig.serve()
    rig.proxy()
    rig.until(lambda: rig.status()["types"]["RDS"]["state"] == "ERROR" and rig.answers() == {SECOND})
    tell(f"two bad hosts among 101: found after {sum(rig.refused().values())} refusals")
    told = rig.status()["types"]["RDS"]
    assert told["refused"] == [f"{bill.PORT}/other-{one}.shop.svc.cluster.local:{bill.PORT}" for one in (41, 67)]
    assert "other-99.shop" in rig.routes()


def test_large_regular_expressions(rig: Rig) -> None:
    """What is larger than Envoy allows costs its own host alone; far smaller ones it refuses unless it is told."""
    rule, route = rules((0, 100))
    routed = route["spec"]["http"][0]["route"]
    large = "/(" + "|".join(f"user{number}/[a-z]+" for number in range(40)) + ")"
    route["spec"]["http"].insert(0, {"match": [{"uri": {"regex": large}}], "route": routed})
    rig.write("rules", rule, route)
    rig.write("other", *greeting("other-1", "hello"))
    rig.serve()
    rig.proxy()
    rig.until(rig.is_synced)
    assert "user39" in rig.routes()
    assert rig.refused() == {}
    other, larger = greeting("other-1", "hello")
    larger["spec"]["http"][0]["match"] = [{"uri": {"regex": ".{1,1000}" * 20}}]
    rig.write("other", other, larger)
    rig.until(lambda: "program size" in rig.status()["types"]["RDS"]["why"])
    rig.write("rules", *rules((100, 0)))
    rig.until(lambda: rig.answers() == {FIRST, THIRD})


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
