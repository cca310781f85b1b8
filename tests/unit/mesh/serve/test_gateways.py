"""When statuses are written, and when not: faults that a real API server shows too seldom to wait for."""

from __future__ import annotations

import asyncio
from typing import Any

from common.errors import KubernetesError
from mesh.model.kinds import kind_of
from mesh.model.meta import ObjectRef
from mesh.serve.gateways import Gateways, Setup
from mesh.serve.plane import Plane
from mesh.world.events import Key, Upsert

REF = ObjectRef("GatewayClass", "", "pymesh")
PATH = "/apis/gateway.networking.k8s.io/v1/gatewayclasses/pymesh"


class Api:
    """Keeps one GatewayClass; `conflicts` are the patches that are refused with 409."""

    def __init__(self) -> None:
        self.thing: dict[str, Any] = {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "GatewayClass",
            "metadata": {"name": "pymesh", "resourceVersion": "1", "generation": 1},
            "spec": {"controllerName": "pysidecar.io/gateway-controller"},
        }
        self.patches: list[str] = []
        self.conflicts = 0

    def patch_status(self, path: str, version: str, status: dict[str, Any]) -> dict[str, Any]:
        self.patches.append(path)
        if self.conflicts:
            self.conflicts -= 1
            raise KubernetesError("PATCH: 409", status=409)
        assert version == self.thing["metadata"]["resourceVersion"]
        self.change(status=status)
        return self.thing

    def change(self, **fields: Any) -> None:
        version = str(int(self.thing["metadata"]["resourceVersion"]) + 1)
        self.thing = self.thing | fields | {"metadata": self.thing["metadata"] | {"resourceVersion": version}}


class Nobody:
    """No proxy is connected."""

    held = True

    def standings(self) -> dict[ObjectRef, Any]:
        return {}


class Rig:
    def __init__(self) -> None:
        self.api, self.plane = Api(), Plane(())
        self.gateways: Any = Gateways(self.api, Nobody(), self.plane, Nobody(), Setup())  # type: ignore[arg-type]
        self.tell()
        self.plane.is_settled = True
        self.pause = 0.0

    def tell(self) -> None:
        """The watch tells the object as it is."""
        kind = kind_of(self.api.thing)
        assert kind is not None
        event = Upsert("GatewayClass", Key("", "pymesh"), kind.parse(self.api.thing).value, raw=self.api.thing)
        self.gateways.observe([event])
        self.plane.world.apply([event])

    def rounds(self, count: int = 3) -> list[str]:
        """The patches of so many rounds."""
        before = len(self.api.patches)

        async def run() -> None:
            for _ in range(count):
                self.pause = self.gateways._round()
                await asyncio.gather(*self.gateways._tasks)

        asyncio.run(run())
        return self.api.patches[before:]


def test_a_status_is_written_once_and_what_was_written_changes_nothing() -> None:
    rig = Rig()
    assert rig.rounds() == [PATH]
    rig.tell()
    assert rig.rounds() == []
    [condition] = rig.api.thing["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["observedGeneration"]) == ("Accepted", "True", 1)


def test_a_conflict_waits_for_what_the_other_wrote() -> None:
    rig = Rig()
    rig.api.conflicts = 1
    assert rig.rounds(1) == [PATH]
    rig.gateways._seen[REF].not_before += 60.0
    rig.api.change()
    rig.tell()
    assert rig.rounds(5) == []
    assert rig.pause <= 30.0  # it is looked at again though nothing happens
    rig.gateways._seen[REF].not_before = 0.0
    assert rig.rounds(1) == [PATH]
    assert rig.api.thing["status"]["conditions"]


def test_who_writes_the_same_field_meets_no_storm() -> None:
    rig = Rig()
    rig.rounds()
    for _ in range(20):
        rig.api.change(status={})
        rig.tell()
        rig.rounds(1)
    assert len(rig.api.patches) <= 7  # 21 without any patience; the pauses are 1, 1, 2, 4 s
    assert rig.gateways._seen[REF].written
