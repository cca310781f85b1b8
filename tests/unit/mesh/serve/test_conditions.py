"""What Istio's objects are told of themselves: what it says, when it is written, and when not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from common.errors import KubernetesError
from mesh.build.verdict import LONGEST, MOST, verdict
from mesh.model.kinds import kind_of
from mesh.model.meta import Meta, ObjectRef
from mesh.model.problem import Problem
from mesh.serve import conditions
from mesh.serve.conditions import Conditions
from mesh.serve.plane import Plane
from mesh.world.events import Key, Remove, Upsert

NOW = "2026-01-01T00:00:00Z"
REF = ObjectRef("VirtualService", "default", "bill")
META = Meta(REF, generation=3)


def short(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one["reason"]) for one in status["conditions"]}


def test_all_is_well() -> None:
    made = verdict((), META, NOW, {})
    assert short(made) == {"PassedAnalysis": ("True", "NoProblems"), "Reconciled": ("True", "Reconciled")}
    assert (made["observedGeneration"], made["validationMessages"]) == (3, [])
    assert {one["observedGeneration"] for one in made["conditions"]} == {3}


@pytest.mark.parametrize(
    ("code", "severity", "reason", "message"),
    [
        ("wrong-type", "error", ("False", "Invalid"), ("ERROR", "SchemaValidationError", "IST0106")),
        ("two-for-one-host", "warning", ("False", "Superseded"),
         ("WARNING", "ConflictingMeshGatewayVirtualServiceHosts", "IST0109")),
        ("refused-by-envoy", "error", ("False", "RefusedByEnvoy"), ("ERROR", "RefusedByEnvoy", "")),
        ("no-host", "warning", ("True", "Reconciled"), ("WARNING", "ReferencedResourceNotFound", "IST0101")),
        ("weights", "warning", ("True", "Reconciled"), ("WARNING", "Weights", "")),
    ],
)  # fmt: skip
def test_what_is_wrong(code: str, severity: Any, reason: tuple[str, str], message: tuple[str, str, str]) -> None:
    made = verdict([Problem(code, REF, "spec.hosts[0]", "told", severity)], META, NOW, {})
    assert short(made) == {"PassedAnalysis": ("False", "ProblemsFound"), "Reconciled": reason}
    assert "spec.hosts[0]: told" in made["conditions"][0]["message"]
    [said] = made["validationMessages"]
    assert (said["level"], said["type"]["name"], said["type"]["code"]) == message
    assert said.get("documentationUrl", "").endswith(f"/{message[2].lower()}/" if message[2] else "")


def test_others_conditions_stay_and_times_too() -> None:
    theirs = {"type": "Theirs", "status": "True"}
    before = verdict((), META, NOW, {"conditions": [theirs]})
    after = verdict((), META, "2026-02-02T00:00:00Z", before)
    assert after == before
    assert theirs in after["conditions"]
    lost = verdict([Problem("wrong-type", REF, "", "x")], META, "2026-02-02T00:00:00Z", before)
    assert [one["lastTransitionTime"] for one in lost["conditions"][:2]] == ["2026-02-02T00:00:00Z"] * 2


def test_it_is_bounded() -> None:
    many = [Problem(f"code-{number}", REF, f"spec.http[{number}]", "é" * 500) for number in range(500)]
    made = verdict(many, META, NOW, {})
    assert len(made["validationMessages"]) == MOST
    assert max(len(one["message"]) for one in made["conditions"]) <= LONGEST


# --- when it is written ----------------------------------------------------------------------------------------------


class Api:
    """The API server with its objects; what was patched, and how often it conflicts."""

    def __init__(self) -> None:
        self.things: dict[str, dict[str, Any]] = {}
        self.patches: list[str] = []
        self.failing: list[int] = []

    def patch_status(self, path: str, version: str, status: dict[str, Any]) -> dict[str, Any]:
        self.patches.append(path)
        if self.failing:
            raise KubernetesError("PATCH", status=self.failing.pop())
        name = path.rpartition("/")[2]
        thing = self.things[name]
        assert version == thing["metadata"]["resourceVersion"]
        self.things[name] = changed(thing, status=status)
        return self.things[name]


def changed(thing: dict[str, Any], **fields: Any) -> dict[str, Any]:
    metadata = thing["metadata"]
    spec = {"generation": metadata["generation"] + 1} if "spec" in fields else {}
    return (
        thing | fields | {"metadata": metadata | spec | {"resourceVersion": str(int(metadata["resourceVersion"]) + 1)}}
    )


class Nobody:
    held = True

    def connections(self) -> list[Any]:
        return []


class Rig:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(conditions.time, "monotonic", lambda: self.now)
        self.api, self.plane = Api(), Plane(())
        self.plane.is_settled = True
        self.conditions: Any = Conditions(self.api, Nobody(), self.plane, Nobody())  # type: ignore[arg-type]

    def add(self, name: str, spec: Any = None, version: str = "1") -> None:
        self.tell(
            {
                "apiVersion": "networking.istio.io/v1",
                "kind": "VirtualService",
                "metadata": {"name": name, "namespace": "default", "generation": 1, "resourceVersion": version,
                             "creationTimestamp": f"2026-01-01T00:00:0{version}Z"},
                "spec": spec or {"hosts": ["bill.example.com"], "http": [{"directResponse": {"status": 200}}]},
            }
        )  # fmt: skip

    def tell(self, thing: dict[str, Any]) -> None:
        name = thing["metadata"]["name"]
        self.api.things[name] = thing
        kind = kind_of(thing)
        assert kind is not None
        parsed = kind.parse(thing)
        event = Upsert("VirtualService", Key("default", name), parsed.value, parsed.problems, raw=thing)
        self.conditions.observe([event])
        self.plane.world.apply([event])
        self.plane.builds += 1

    def rounds(self, count: int = 1, seconds: float = 1.0) -> int:
        """How much was written in so many rounds."""
        before = len(self.api.patches)

        async def run() -> None:
            for _ in range(count):
                self.now += seconds
                await self.conditions._round()

        asyncio.run(run())
        return len(self.api.patches) - before

    def said(self, name: str) -> dict[str, tuple[str, str]]:
        return short(self.api.things[name]["status"])


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(monkeypatch)


def test_each_is_told_once_and_the_loser_why(rig: Rig) -> None:
    rig.add("old", version="1")
    rig.add("young", version="2")
    assert rig.rounds(3) == 2
    assert rig.said("old")["Reconciled"] == ("True", "Reconciled")
    assert rig.said("young")["Reconciled"] == ("False", "Superseded")
    assert rig.rounds(200) == 0
    # what others write that is not ours changes nothing
    thing = rig.api.things["old"]
    rig.tell(changed(thing, status=thing["status"] | {"other": 1}))
    assert rig.rounds(10) == 0


def test_an_object_that_is_left_out_is_told(rig: Rig) -> None:
    rig.add("bad", {"hosts": 3})
    assert rig.rounds(3) == 1
    assert rig.said("bad")["Reconciled"] == ("False", "Invalid")
    rig.tell(changed(rig.api.things["bad"], spec={"hosts": ["a.com"], "http": [{"directResponse": {"status": 200}}]}))
    assert rig.rounds(10) == 1
    assert rig.said("bad")["Reconciled"] == ("True", "Reconciled")


def test_who_changes_again_and_again_is_written_ever_more_seldom(rig: Rig) -> None:
    rig.add("bill")
    rig.rounds(3)
    written = 0
    for number in range(600):
        thing = rig.api.things["bill"]
        rig.tell(changed(thing, spec=thing["spec"] | {"exportTo": ["~"] if number % 2 else ["*"]}))
        written += rig.rounds(2)
    assert 3 <= written <= 12
    assert rig.rounds(400) <= 1  # the last word is said in the end
    assert rig.api.things["bill"]["status"]["observedGeneration"] == rig.api.things["bill"]["metadata"]["generation"]


def test_many_are_written_a_few_at_once(rig: Rig) -> None:
    for number in range(65):
        rig.add(f"bill-{number}", {"hosts": [f"h{number}.com"], "http": [{"directResponse": {"status": 200}}]})
    assert [rig.rounds() for _ in range(6)] == [0, 20, 20, 20, 5, 0]


def test_a_refusal_of_the_api_server_is_tried_again_later(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.add("bill")
    rig.api.failing = [500, 409]
    assert rig.rounds(60) == 3
    assert rig.said("bill")["Reconciled"] == ("True", "Reconciled")
    assert len([one for one in caplog.records if "cannot be written" in one.message]) == 1


def test_one_that_is_gone_is_forgotten(rig: Rig) -> None:
    rig.add("bill")
    event = Remove("VirtualService", Key("default", "bill"))
    rig.conditions.observe([event])
    rig.plane.world.apply([event])
    rig.plane.builds += 1
    assert rig.rounds(3) == 0
    assert not rig.conditions._held


def test_what_envoy_refused_is_told(rig: Rig) -> None:
    rig.add("bill")
    rig.plane.problems = (Problem("refused-by-envoy", REF, "", "no such thing"),)
    rig.rounds(3)
    assert rig.said("bill")["Reconciled"] == ("False", "RefusedByEnvoy")
