"""The protocol with a real Envoy: order, warming, refusals, and coming again."""

import asyncio

import pytest

from mesh.serve.server import Port
from mesh.xds.types import CDS, LDS
from tests.kernel.mesh.streams_envoy import (
    assignment,
    backend,
    cluster,
    envoy_of,
    free_port,
    get,
    listener,
    state,
    table,
    until,
)
from tests.unit.mesh.serve.streams import HandMade, serving

VARIANTS = pytest.mark.parametrize("delta", [True, False], ids=["delta", "whole"])


def run(talk):
    asyncio.run(asyncio.wait_for(talk, 100))


def refused(served):
    """Envoy's words, by name."""
    return {
        name: refusal.words
        for live in served.connections
        for ledger in live.machine.ledgers.values()
        for name, refusal in ledger.refused.items()
    }


@VARIANTS
def test_clusters_change_and_are_swapped_under_load_without_a_failure(delta, tmp_path):
    async def talk():
        port, mesh = free_port(), HandMade()
        async with (
            backend("v1") as one,
            backend("v2") as two,
            serving(mesh) as served,
            envoy_of(served.bound[0], tmp_path / "log", delta=delta) as proxy,
        ):
            first = {"cds": [cluster("a")], "eds": [assignment("a", one)], "lds": [listener(port)]}
            mesh.change(state(**first, rds=[table("a")]))
            await until(lambda: answers(port, "v1"))
            # a changed cluster with the same endpoints does not stay warming
            first["cds"] = [cluster("a", "7s")]
            mesh.change(state(**first, rds=[table("a")]))
            await until(lambda: timeout_is(proxy, "a", "7s"))
            # from one cluster to another and back, under load: the new one comes first, the old one goes last
            answered = []
            load = [asyncio.create_task(asking(port, answered)) for _ in range(4)]
            for turn in range(40):
                name, to = (f"c{turn}", two) if turn % 2 == 0 else (f"c{turn}", one)
                mesh.change(
                    state(cds=[cluster(name)], eds=[assignment(name, to)], lds=[listener(port)], rds=[table(name)])
                )
                before = len(answered)
                await until(lambda name=name, before=before: len(answered) > before + 50 and only(proxy, name))
            for task in load:
                task.cancel()
            await asyncio.gather(*load, return_exceptions=True)
            assert {status for status, _ in answered} == {200}, [one for one in answered if one[0] != 200]
            assert {body for _, body in answered} == {"v1", "v2"}
            assert refused(served) == {}

    run(talk())


async def answers(port, body):
    return await get(port) == (200, body)


async def timeout_is(proxy, name, timeout):
    found = (await proxy.dump())["ClustersConfigDump"].get("dynamic_active_clusters", [])
    return [one["cluster"]["connect_timeout"] for one in found if one["cluster"]["name"] == name] == [timeout]


async def only(proxy, name):
    found = (await proxy.dump())["ClustersConfigDump"].get("dynamic_active_clusters", [])
    return [one["cluster"]["name"] for one in found] == [name]


async def asking(port, answered):
    """Asks over one connection until it is cancelled; adds what was answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while True:
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0] or 0)
            answered.append((int(head.split()[1]), (await reader.readexactly(length)).decode()))
    finally:
        writer.close()


@VARIANTS
def test_what_envoy_refuses_is_told_in_its_words_and_the_rest_is_served(delta, tmp_path):
    async def talk():
        port, other, mesh = free_port(), free_port(), HandMade()
        good = {"cds": [cluster("a")], "rds": [table("a")]}
        async with (
            backend("v1") as one,
            serving(mesh) as served,
            envoy_of(served.bound[0], tmp_path / "log", delta=delta),
        ):
            bad = listener(other, "bad", listener_filters=[{"name": "nobody.knows.me"}])
            world = {**good, "eds": [assignment("a", one)]}
            mesh.change(state(**world, lds=[listener(port), bad]))
            await until(lambda: answers(port, "v1"))
            await until(lambda: "bad" in refused(served))
            assert set(refused(served)) == {"bad"}
            assert "nobody.knows.me" in refused(served)["bad"]
            assert await get(other) == (0, "")
            (live,) = served.connections
            nonce = live.machine.told[LDS].nonce
            # nothing is sent again for it, but for what is new
            mesh.change(state(**world | {"cds": [cluster("a", "6s")]}, lds=[listener(port), bad]))
            await until(lambda: live.machine.is_at_rest and live.machine.told[CDS].nonce > "1")
            assert live.machine.told[LDS].nonce == nonce
            # mended
            mesh.change(state(**world, lds=[listener(port), listener(other, "bad")]))
            await until(lambda: answers(other, "v1"))
            assert refused(served) == {}

    run(talk())


def test_an_envoy_that_comes_again_is_sent_only_what_changed(tmp_path):
    async def talk():
        port, at, mesh = free_port(), Port(f"127.0.0.1:{free_port()}"), HandMade()
        async with backend("v1") as one, envoy_of(at.address, tmp_path / "log", delta=True) as proxy:
            world = {"eds": [assignment("a", one)], "lds": [listener(port)], "rds": [table("a")]}
            mesh.change(state(cds=[cluster("a")], **world))
            async with serving(mesh, at):
                await until(lambda: answers(port, "v1"))
            assert await get(port) == (200, "v1")  # it goes on without
            async with serving(mesh, at) as served:
                await until(lambda: len(served.connections) == 1)
                (live,) = served.connections
                await until(lambda: len(live.machine.ledgers) == 4)
                assert [told.nonce for told in live.machine.told.values()] == [""] * 4
            mesh.change(state(cds=[cluster("a", "8s")], **world))  # while the server was away
            async with serving(mesh, at) as served:
                await until(lambda: timeout_is(proxy, "a", "8s"))
                assert await get(port) == (200, "v1")
                assert refused(served) == {}

    run(talk())


@VARIANTS
def test_endpoints_that_nobody_has_leave_nothing_waiting(delta, tmp_path):
    async def talk():
        port, mesh = free_port(), HandMade()
        async with serving(mesh) as served, envoy_of(served.bound[0], tmp_path / "log", delta=delta) as proxy:
            mesh.change(state(cds=[cluster("a")], lds=[listener(port, table="none")]))
            await until(lambda: answered_with(port, 404))
            assert await proxy.clusters() == {"a": "5s"}
            mesh.change(state(cds=[cluster("a")], lds=[listener(port, table="none")], rds=[table("a", "none")]))
            await until(lambda: answered_with(port, 503))
            assert refused(served) == {}

    run(talk())


async def answered_with(port, status):
    return (await get(port))[0] == status
