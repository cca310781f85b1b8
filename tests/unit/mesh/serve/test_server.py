"""Streams over real gRPC: who is let in, what is sent, how each wrong one ends, and that others notice nothing."""

import asyncio

import grpc
import pytest

from common.errors import UsageError
from mesh.encode.descriptors import message_class
from mesh.serve import connection, server
from mesh.serve.server import Port, Server
from mesh.xds import position
from mesh.xds.types import CDS, EDS, LDS
from mesh.xds.wire import DELTA
from tests.unit.mesh.serve.streams import NODE_ID, HandMade, client, serving
from tests.unit.mesh.xds.envoy import state

WORLD = {"cds": {"a": "1"}, "eds": {"a": "1"}, "lds": {"in": "1"}}


def run(test):
    asyncio.run(asyncio.wait_for(test(), 30))


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "whole"])
def test_a_change_reaches_the_stream(delta):
    async def talk():
        mesh = HandMade()
        async with serving(mesh) as served, client(served, delta=delta) as envoy:
            await envoy.ask(CDS)
            mesh.change(state(**WORLD))
            first = await envoy.answer()
            assert (first.type_url, len(first.resources)) == (CDS, 1)
            await envoy.ask(CDS, response_nonce=first.nonce, node=None)
            mesh.change(state(**WORLD | {"cds": {"a": "1", "b": "1"}}))
            second = await envoy.answer()
            assert [one.name for one in second.resources] == ["b"] if delta else len(second.resources) == 2
            (live,) = served.connections
            assert (live.proxy.name, live.delta, live.requests) == ("web-1.shop", delta, 2)
        assert served.connections == set()
        assert mesh.sessions == []

    run(talk)


ODD = {
    "no bytes of a request": (b"\xff\xff\xff", "INVALID_ARGUMENT", "no discovery request"),
    "no type": (b"", "INVALID_ARGUMENT", "a type_url of 0 bytes"),
    "a long type": (b"\x22\xac\x02" + b"x" * 300, "INVALID_ARGUMENT", "a type_url of 300 bytes"),
    "no node": (b"\x22\x01x", "INVALID_ARGUMENT", "no node"),
}


@pytest.mark.parametrize(("body", "code", "words"), ODD.values(), ids=ODD)
def test_what_is_no_first_request_ends_its_stream_alone(body, code, words):
    async def talk():
        mesh = HandMade(state(**WORLD))
        async with serving(mesh) as served, client(served, delta=False) as odd, client(served) as good:
            await good.ask(CDS)
            assert await good.answer()
            await odd.call.write(body)
            ended, said = await odd.ends()
            assert (ended.name, words in said) == (code, True), said
            assert len(served.connections) == 1

    run(talk)


@pytest.mark.parametrize("node", ["odd", "x~1.2.3.4~a.b~c", "sidecar~nowhere~a.b~c", "sidecar~1.2.3.4~ab~c"])
def test_a_node_that_does_not_say_who_it_is(node):
    async def talk():
        async with serving(HandMade()) as served, client(served) as odd:
            await odd.ask(CDS, node=node)
            ended, said = await odd.ends()
            assert ended is grpc.StatusCode.INVALID_ARGUMENT
            assert node in said

    run(talk)


def test_garbage_later_ends_the_stream_too():
    async def talk():
        async with serving(HandMade(state(**WORLD))) as served, client(served) as odd:
            await odd.ask(CDS)
            await odd.answer()
            await odd.call.write(b"\xff\xff")
            ended, _ = await odd.ends()
            assert ended is grpc.StatusCode.INVALID_ARGUMENT
            assert served.connections == set()

    run(talk)


def test_ten_thousand_names_are_answered_and_too_many_end_the_stream():
    async def talk():
        async with serving(HandMade(state(**WORLD))) as served, client(served) as many:
            await many.ask(EDS, resource_names_subscribe=[f"n{number}" for number in range(10_000)])
            answer = await many.answer()
            assert len(answer.resources) == 10_000
            await many.ask(EDS, resource_names_subscribe=[f"m{number}" for number in range(45_000)])
            ended, said = await many.ends()
            assert (ended, "50000 names" in said) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)

    run(talk)


def test_requests_without_end_wait_in_the_proxy(monkeypatch):
    monkeypatch.setattr(connection, "BURST_REQUESTS", 10.0)
    monkeypatch.setattr(connection, "REQUESTS_PER_SECOND", 1.0)

    async def talk():
        async with serving(HandMade(state(**WORLD))) as served, client(served) as flood, client(served) as good:
            await flood.ask(CDS)
            assert await flood.answer()
            (live,) = served.connections
            for _ in range(40):
                await flood.ask(EDS, resource_names_subscribe=["a"], node=None)
            await good.ask(CDS)
            assert await good.answer()
            await asyncio.sleep(0.3)
            assert 5 < live.requests < 30

    run(talk)


def test_a_stream_that_is_refused_at_once_leaves_no_timer(monkeypatch):
    monkeypatch.setattr(position, "MAX_NAMES", 3)

    async def talk():
        async with serving(HandMade(state(**WORLD))) as served, client(served) as greedy:
            await greedy.ask(EDS, resource_names_subscribe=["a", "b", "c", "d"])
            ended, _ = await greedy.ends()
            assert ended is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert not served.connections
            timers = asyncio.get_running_loop()._scheduled
            assert [one for one in timers if not one.cancelled() and "_watch" in repr(one)] == []

    run(talk)


def test_an_envoy_that_names_its_extensions_is_read_without_them():
    async def talk():
        async with serving(HandMade(state(**WORLD))) as served, client(served) as real:
            request = message_class(DELTA)(type_url=CDS)
            request.node.id = NODE_ID
            request.node.metadata.update({"LABELS": {"app": "web"}})
            for number in range(500):
                request.node.extensions.add(name=f"envoy.filters.http.x{number}", category="envoy.filters.http")
            await real.call.write(request.SerializeToString())
            assert await real.answer()
            (live,) = served.connections
            assert (live.node_id, live.proxy.labels) == (NODE_ID, {"app": "web"})

    run(talk)


def test_a_request_that_is_too_large_ends_the_stream():
    async def talk():
        async with serving(HandMade(state(**WORLD))) as served, client(served) as odd:
            await odd.call.write(b"\x1a" + b"\x80\x80\x80\x08" + b"x" * (16 << 20))
            ended, _ = await odd.ends()
            assert ended is grpc.StatusCode.RESOURCE_EXHAUSTED

    run(talk)


def test_a_stream_that_asks_nothing_ends(monkeypatch):
    monkeypatch.setattr(server, "FIRST_REQUEST_SECONDS", 0.1)

    async def talk():
        async with serving(HandMade()) as served, client(served) as silent:
            ended, said = await silent.ends()
            assert (ended.name, said) == ("INVALID_ARGUMENT", "no request within 0 s")

    run(talk)


def test_a_stream_that_reads_nothing_ends_and_others_are_served_meanwhile(monkeypatch):
    monkeypatch.setattr(connection, "WRITE_SECONDS", 0.5)
    large = {"cds": {f"c{number}": "x" * 900_000 for number in range(20)}, "lds": {"in": "1"}}

    async def talk():
        mesh = HandMade(state(**large))
        window = [("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0)]
        async with serving(mesh) as served, client(served, options=window, delta=False) as slow, client(served) as good:
            await slow.ask(CDS)
            await good.ask(LDS)
            assert await good.answer()
            while len(served.connections) > 1:
                await asyncio.sleep(0.05)
            (left,) = served.connections
            assert left.delta

    run(talk)


def test_more_streams_than_are_served(monkeypatch):
    monkeypatch.setattr(server, "MAX_STREAMS", 1)

    async def talk():
        async with serving(HandMade(state(**WORLD))) as served, client(served) as first:
            await first.ask(CDS)
            assert await first.answer()
            async with client(served) as second:  # which need not have asked for anything
                ended, _ = await second.ends()
                assert ended is grpc.StatusCode.RESOURCE_EXHAUSTED

    run(talk)


def test_a_stream_ends_by_itself_once_nothing_is_under_way(monkeypatch):
    monkeypatch.setattr(server, "STREAM_SECONDS", 0.1)

    async def talk():
        async with serving(HandMade(state(**WORLD))) as served, client(served) as envoy:
            await envoy.ask(CDS)
            answer = await envoy.answer()
            await asyncio.sleep(0.3)
            assert len(served.connections) == 1  # the answer to its answer is not there yet
            await envoy.ask(EDS, resource_names_subscribe=["a"])
            endpoints = await envoy.answer()
            await envoy.ask(CDS, response_nonce=answer.nonce)
            await envoy.ask(EDS, response_nonce=endpoints.nonce)
            ended, _ = await envoy.ends()
            assert ended is grpc.StatusCode.OK

    run(talk)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.org:1"])
def test_without_tokens_only_this_machine_is_served(address):
    with pytest.raises(UsageError, match="only an address of this machine alone is allowed"):
        run(lambda: Server(HandMade(), None).start(Port(address)))


def test_an_address_that_is_in_use():
    async def talk():
        async with serving(HandMade()) as served:
            with pytest.raises(UsageError, match=served.bound[0]):
                await Server(HandMade(), None).start(Port(served.bound[0]))

    run(talk)


def test_the_node_is_read_whole():
    async def talk():
        mesh = HandMade(state(**WORLD))
        async with serving(mesh) as served, client(served) as envoy:
            await envoy.ask(CDS, node=NODE_ID)
            await envoy.answer()
            (session,) = mesh.sessions
            assert (session.proxy.pod, session.proxy.namespace, session.proxy.addresses) == (
                "web-1",
                "shop",
                ("10.0.0.7",),
            )

    run(talk)


def test_a_proxy_may_ask_whether_the_connection_lives():
    """HTTP/2 PINGs (RFC 9113, 6.7) as Envoy sends them while nothing changes: no GOAWAY for too many of them."""

    def frame(kind, payload=b""):
        return len(payload).to_bytes(3, "big") + bytes([kind, 0, 0, 0, 0, 0]) + payload

    async def talk():
        async with serving(HandMade()) as served:
            host, _, port = served.bound[0].rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4))
            acked = 0
            for number in range(5):
                await asyncio.sleep(server.PING_SECONDS + 0.2)
                writer.write(frame(6, number.to_bytes(8, "big")))
                while acked <= number:
                    head = await reader.readexactly(9)
                    payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
                    assert head[3] != 7, f"GOAWAY: {payload[8:]!r}"
                    acked += head[3] == 6 and head[4] == 1
            writer.close()

    run(talk)
