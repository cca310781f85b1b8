"""Clients that are too many, too slow, or none at all; everybody else is served."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import h2.config
import h2.connection
import pytest

from demo.mesh import DEBUG, XDS
from mesh.encode.descriptors import message_class
from mesh.xds.types import CDS
from tests.bench.mesh.fleet import METHOD
from tests.bench.mesh.running import Fleet
from tests.conftest import Tell
from tests.drills.rig import FIRST, SECOND, THIRD, Rig, rules, service, total
from tests.kernel.netns import inside

GARBAGE_BYTES = 10 << 20


def host_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


@contextmanager
def garbage(rig: Rig, address: str) -> Iterator[list[int]]:
    """Sends it meanwhile, of three kinds one after the other; how many bytes each connection took."""
    noise, taken, ended = random.Random(1).randbytes(GARBAGE_BYTES), list[int](), threading.Event()

    def send() -> None:
        for head in itertools.cycle((b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\nx: ")):
            with inside(rig.netns):
                connection = socket.create_connection(host_port(address), timeout=10)
            size = 0
            with connection, contextlib.suppress(OSError):  # it is hung up on
                for at in range(0, GARBAGE_BYTES, 65536):
                    connection.sendall(head + noise[at : at + 65536])
                    size, head = size + 65536, b""
            taken.append(size)
            if ended.is_set() and len(taken) > 2:
                return

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield taken
    finally:
        ended.set()
        sender.join()


@pytest.mark.parametrize("address", [XDS, DEBUG])
def test_garbage_harms_nobody(rig: Rig, address: str, tell: Tell) -> None:
    rig.write("rules", *rules((0, 100)))
    rig.serve()
    rig.proxy()
    before, usual = rig.rss(), rig.reaction()
    with rig.load() as loads:
        alone = rig.reaction()
        with garbage(rig, address) as taken:
            beside = rig.reaction()
        rig.write("rules", *rules((100, 0)))
        rig.until(lambda: rig.answers() == {FIRST, THIRD}, 20)
    assert total(loads) > 0
    assert rig.is_synced()
    tell(
        f"{address}: {len(taken)} times {GARBAGE_BYTES >> 20} MiB, {sum(taken) >> 10} KiB of it taken; a change takes "
        f"{usual * 1000:.0f} ms, under load {alone * 1000:.0f}, beside garbage {beside * 1000:.0f}; "
        f"{before:.0f} MiB before, {rig.rss():.0f} after"
    )
    assert rig.rss() - before < 30


@contextmanager
def slow(rig: Rig) -> Iterator[None]:
    """A proxy that asks for all clusters and reads a byte a second."""
    request = message_class("envoy.service.discovery.v3.DeltaDiscoveryRequest")(type_url=CDS)
    request.node.id = "sidecar~10.1.2.3~slow.shop~shop.svc.cluster.local"
    body = request.SerializeToString()
    with inside(rig.netns):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.connect(host_port(XDS))
    talk = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    talk.initiate_connection()
    talk.increment_flow_control_window(1 << 30)
    heads = {":method": "POST", ":scheme": "http", ":authority": "a", ":path": METHOD, "te": "trailers"}
    talk.send_headers(1, [*heads.items(), ("content-type", "application/grpc")])
    talk.increment_flow_control_window(1 << 30, 1)
    talk.send_data(1, b"\0" + len(body).to_bytes(4, "big") + body)
    connection.sendall(talk.data_to_send())
    ended = threading.Event()

    def read() -> None:
        while not ended.wait(1) and connection.recv(1):
            pass

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield
    finally:
        ended.set()
        reader.join()
        connection.close()


def test_a_proxy_that_hardly_reads_costs_the_others_nothing(rig: Rig, seconds: float, tell: Tell) -> None:
    rig.write("rules", *rules((0, 100)))
    for number in range(200):
        rig.write(f"more-{number}", service(f"more-{number}", number))
    rig.serve()
    rig.proxy()
    before = rig.rss()
    with slow(rig), rig.load() as loads:
        rig.until(lambda: len(rig.proxies()) == 2)
        began = time.monotonic()
        turn = 0
        while time.monotonic() < began + seconds:
            turn += 1
            weights, who = ((100, 0), {FIRST, THIRD}) if turn % 2 else ((0, 100), {SECOND})
            # every cluster is other: what is kept for the slow one would pile up
            rig.write("workloads-more", *(service(f"more-{number}", number) for number in range(200, 200 + turn)))
            rig.write("rules", *rules(weights))
            rig.until(lambda who=who: rig.answers() == who, 20)  # type: ignore[misc]
    assert total(loads) > 0
    tell(f"{turn} changes beside a slow proxy: {before:.0f} MiB before, {rig.rss():.0f} after")
    assert rig.rss() - before < 40


def test_many_proxies_come_again_at_once(rig: Rig, seconds: float, tell: Tell) -> None:
    """With `--drill-seconds 100` two thousand."""
    proxies = min(2000, round(seconds * 20))
    rig.write("rules", *rules((0, 100)))
    rig.serve()
    rig.proxy()
    fleet = Fleet(["tests.bench.mesh.fleet", XDS, str(proxies), "1"], rig.logs / "fleet", rig.at(0))
    try:
        began = time.monotonic()
        first = fleet.synced()["at"] - began
        held, usual = rig.rss(), rig.reaction()
        with rig.load() as loads:
            rig.kill()
            rig.serve()
            began = time.monotonic()
            beside = rig.reaction(3)
            for _ in range(proxies):
                fleet.until(lambda event: "again" in event)
            rig.write("rules", *rules((100, 0)))
            waited = rig.until(lambda: rig.answers() == {FIRST, THIRD}, 300)
            rig.until(lambda: len(rig.proxies()) == proxies + 1, 300)
            again = time.monotonic() - began
        after, most = rig.rss(), rig.peak()
        tell(
            f"{proxies} proxies: the first time all in {first:.1f} s, again at once {again:.1f} s; a change takes "
            f"{usual * 1000:.0f} ms beside them, {beside * 1000:.0f} while they come, the one after {waited:.1f} s; "
            f"{held:.0f} MiB before, {after:.0f} after, {most:.0f} at most; {total(loads)} requests, none failed"
        )
        assert most < held * 1.5 + 100
    finally:
        fleet.kill()
