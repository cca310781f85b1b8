"""What every source does, over files and over an API server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh.world.events import Key, Listed, Upsert
from tests.unit.mesh.sources.rigs import KINDS, FileRig, Rig, ServerRig, Told

Thing = dict[str, Any]


def service(name: str, port: int = 80, **spec: Any) -> Thing:
    spec = {"clusterIP": "10.0.0.1", "ports": [{"name": "http", "port": port}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def rule(name: str, **spec: Any) -> Thing:
    metadata = {"name": name, "namespace": "default"}
    spec = {"hosts": ["a"], "http": [{"route": [{"destination": {"host": "a"}}]}], **spec}
    return {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata, "spec": spec}


def mesh(text: str) -> Thing:
    metadata = {"name": "istio", "namespace": "istio-system"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"mesh": text}}


@pytest.fixture(params=[FileRig, ServerRig])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    made: Rig = request.param(tmp_path)
    yield made
    made.close()


def watching(rig: Rig, story: Callable[[Told], Awaitable[None]]) -> Told:
    """Runs the source beside a story."""

    async def main() -> Told:
        told = Told()
        task = asyncio.create_task(rig.source.run(told))
        try:
            await told.until(lambda t: set(KINDS) <= set(t.listed))
            await story(told)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        return told

    return asyncio.run(main())


def test_what_is_there_is_told_before_listed(rig: Rig) -> None:
    for name in "abcde":
        rig.put(service(name))
    assert set(KINDS) <= set(rig.source.waiting)

    async def story(told: Told) -> None:
        assert told.names("Service") == set("abcde")
        assert not rig.source.waiting

    told = watching(rig, story)
    services = [event for event in told.events if event.kind == "Service"]
    assert [type(event) for event in services] == [Upsert] * 5 + [Listed]


def test_new_changed_and_removed(rig: Rig) -> None:
    rig.put(service("a"))

    async def story(told: Told) -> None:
        rig.put(service("b"))
        await told.until(lambda t: t.names("Service") == {"a", "b"})
        rig.put(service("a", 8080))
        await told.until(lambda t: t.objects["Service", Key("default", "a")].ports[0].number == 8080)
        rig.delete(service("a"))
        await told.until(lambda t: t.names("Service") == {"b"})

    watching(rig, story)


def test_a_wrong_object_is_told_and_the_others_go_on(rig: Rig) -> None:
    rig.put(rule("bad", http=[{"route": [{"destination": {"host": "a"}, "weight": "x"}]}]))
    rig.put(rule("good"))

    async def story(told: Told) -> None:
        assert told.objects["VirtualService", Key("default", "bad")] is None
        assert told.objects["VirtualService", Key("default", "good")] is not None
        (problem,) = next(e.problems for e in told.events if isinstance(e, Upsert) and e.key.name == "bad")
        assert problem.path == "spec.http[0].route[0].weight"
        rig.put(rule("bad"))
        await told.until(lambda t: t.objects["VirtualService", Key("default", "bad")] is not None)

    watching(rig, story)


def test_a_mistake_in_the_mesh_configuration_leaves_the_last(rig: Rig) -> None:
    rig.put(mesh("outboundTrafficPolicy: {mode: REGISTRY_ONLY}"))
    name = ("MeshConfig", Key("istio-system", "istio"))

    async def story(told: Told) -> None:
        before = len(told.events)
        rig.put(mesh("outboundTrafficPolicy: {mode: NOTHING}"))
        await told.until(lambda t: len(t.events) > before)
        assert told.objects[name].outbound_traffic_policy.mode == "REGISTRY_ONLY"
        event = told.events[-1]
        assert isinstance(event, Upsert)
        assert event.problems[0].path == "data.mesh.outboundTrafficPolicy.mode"
        rig.put(mesh("outboundTrafficPolicy: {mode: ALLOW_ANY}"))
        await told.until(lambda t: t.objects[name].outbound_traffic_policy.mode == "ALLOW_ANY")

    watching(rig, story)


def test_an_object_that_did_not_change_is_told_once(rig: Rig) -> None:
    rig.put(service("a"))

    async def story(told: Told) -> None:
        rig.put(service("b"))
        await told.until(lambda t: "b" in t.names("Service"))
        assert sum(isinstance(e, Upsert) and e.key.name == "a" for e in told.events) == 1

    watching(rig, story)
