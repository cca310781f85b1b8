"""The loop: a builder's fault costs whom it is about, is told, and ends with its cause; nothing is kept of who left."""

import asyncio
import logging

from mesh.build import hostroutes
from mesh.encode import seats, snapshot
from mesh.model.kinds import BY_KEY
from mesh.serve.metrics import Metrics
from mesh.serve.plane import Plane
from mesh.serve.status import Status
from mesh.world.events import Key, Listed, Remove
from tests.unit.mesh.objects import Object, event, service, sidecar

A, B = service("a", "10.96.0.1", ("http", 80)), service("b", "10.96.0.2", ("http", 80))


class Quiet:
    def __init__(self):
        self.waiting = {}

    async def run(self, deliver):
        del deliver


def run(test):
    async def running():
        plane = Plane(BY_KEY, Metrics())
        loop = asyncio.create_task(plane.run())
        try:
            await asyncio.wait_for(test(plane), 30)
            assert not loop.done()
        finally:
            loop.cancel()

    asyncio.run(running())


async def deliver(plane: Plane, *things: Object) -> None:
    builds = plane.builds
    plane.deliver([*(event(one) for one in things), *map(Listed, BY_KEY)])
    while plane.builds == builds:
        await asyncio.sleep(0.001)


def status_of(plane: Plane) -> Status:
    return Status("me", plane, Quiet(), plane.metrics)


def failures(plane: Plane) -> float:
    return plane.metrics.registry.get_sample_value("pymesh_build_failures_total")


def test_a_fault_of_a_builder_costs_whom_it_is_about(monkeypatch, caplog):
    seen = seats.state_of

    def wrong(world, seat, before=None):
        if seat.scope.namespace == "odd":
            raise KeyError("a fault")
        return seen(world, seat, before)

    async def test(plane):
        odd, even = (plane.connect(sidecar(namespace=name), lambda: None) for name in ("odd", "even"))
        await deliver(plane, A)
        before = odd.state
        assert before
        monkeypatch.setattr(seats, "state_of", wrong)
        with caplog.at_level(logging.ERROR):
            await deliver(plane, B)
            await deliver(plane, A, service("c", "10.96.0.3", ("http", 80)))
        assert odd.state is before
        assert even.state[snapshot.CLUSTERS].get("outbound|80||c.default.svc.cluster.local")
        told = [one for one in status_of(plane).problems() if one.code == "not-built"]
        assert [str(one.ref) for one in told] == ["Pod odd/client"]
        assert "KeyError: 'a fault'" in told[0].message
        assert failures(plane) == 2
        assert len([one for one in caplog.records if one.exc_info]) == 1  # said once
        monkeypatch.undo()
        await deliver(plane, A, service("d", "10.96.0.4", ("http", 80)))
        assert odd.state[snapshot.CLUSTERS].get("outbound|80||d.default.svc.cluster.local")
        assert status_of(plane).problems() == []

    run(test)


def test_a_fault_outside_of_any_proxy_does_not_end_the_loop(monkeypatch, caplog):
    async def test(plane):
        session = plane.connect(sidecar(), lambda: None)
        await deliver(plane, A)
        monkeypatch.setattr(plane.world, "collect", lambda: 1 / 0)
        await deliver(plane, B)
        monkeypatch.undo()
        await deliver(plane, service("c", "10.96.0.3", ("http", 80)))
        assert session.state[snapshot.CLUSTERS].get("outbound|80||c.default.svc.cluster.local")
        assert failures(plane) == 1
        assert "the build failed" in caplog.text

    run(test)


def test_what_is_left_out_is_told_in_status_log_and_metrics_until_it_is_mended(monkeypatch, caplog):
    right = hostroutes.default_route

    async def test(plane):
        plane.connect(sidecar(), lambda: None)
        with monkeypatch.context() as patch:
            patch.setattr(hostroutes, "default_route", lambda to, **more: right(to, **more) | {"match": {}})
            await deliver(plane, A)
        status = status_of(plane)
        (problem,) = status.problems()
        assert (problem.code, str(problem.ref)) == ("refused-by-envoy", "Service default/a")
        assert "a.default.svc.cluster.local:80 is left out" in caplog.text
        status.measure()
        labels = {"code": "refused-by-envoy", "severity": "error"}
        assert plane.metrics.registry.get_sample_value("pymesh_object_problems", labels) == 1
        plane.deliver([Remove("Service", Key("default", "a"))])
        await deliver(plane)
        assert status.problems() == []

    run(test)


def test_nothing_is_kept_of_who_left_while_others_were_built(monkeypatch):
    async def test(plane):
        first = plane.connect(sidecar(namespace="one"), lambda: None)
        second = plane.connect(sidecar(namespace="two"), lambda: None)
        steps = seats.steps

        def leaving(world, seat):
            for session in (first, second):
                if session.seat != seat:
                    session.close()
            yield from steps(world, seat)

        monkeypatch.setattr(seats, "steps", leaving)
        await deliver(plane, A)
        monkeypatch.undo()
        for session in list(plane.sessions):
            session.close()
        plane.world.collect()
        assert len(plane.world) == 0

    run(test)
