"""What one client may cost the others: half-open connections, endless headers, bodies that never end."""

from __future__ import annotations

import asyncio
import re
import resource
import socket
import ssl
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from tests.unit.webhook.serving.running import POD, Webhook, eventually
from tests.unit.webhook.serving.test_review import reviewed
from webhook.limits import Limits, flags
from webhook.pod.inject import Request, inject
from webhook.serving.server import Cluster, Reviewer
from webhook.settings import Settings

LIMITS = Limits()
BODY = reviewed(object=POD)
HEAD = b"POST /inject HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
GOOD = HEAD + b"content-length: %d\r\n\r\n" % len(BODY) + BODY


@pytest.fixture(scope="module", autouse=True)
def _descriptors() -> Iterator[None]:
    """This process plays some thousand clients."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, before[1]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture(scope="module")
def webhook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webhook]:
    running = Webhook(tmp_path_factory.mktemp("webhook"), "--limit-header-seconds=2", "--limit-body-seconds=5")
    try:
        eventually(running.ready)
        yield running
    finally:
        running.process.kill()
        running.process.wait()


class Client:
    """A connection that sends what it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, webhook: Webhook, *, tls: bool = True) -> Client:
        context = None
        if tls:
            context = ssl.create_default_context(cadata=webhook.authority.certificate.decode())
            context.check_hostname = False
        return cls(*await asyncio.open_connection("127.0.0.1", webhook.port, ssl=context))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()
        await asyncio.sleep(0)  # who never yields is never told that the connection was lost, and sends for ever

    async def status(self) -> int:
        """Of the answer, whose body is read; 0 where the connection is closed."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        await self.reader.readexactly(int(length[1]) if length else 0)
        return int(head.split()[1])

    async def closed(self) -> bool:
        try:
            return await self.reader.read(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.writer.transport.abort()


def told(test: Callable[[Client], Coroutine[Any, Any, Any]], webhook: Webhook) -> Any:
    """What one client sees."""

    async def go() -> Any:
        client = await Client.connect(webhook)
        try:
            async with asyncio.timeout(30):
                return await test(client)
        finally:
            client.close()

    return asyncio.run(go())


@pytest.mark.parametrize(
    ("head", "status"),
    [
        pytest.param(HEAD + b"x: " + b"a" * LIMITS.header_bytes + b"\r\n\r\n", 431, id="one long header"),
        pytest.param(b"POST /" + b"a" * LIMITS.header_bytes + b" HTTP/1.1\r\n\r\n", 431, id="a long path"),
        pytest.param(HEAD + b"x: a\r\n" * LIMITS.header_lines + b"\r\n", 431, id="many headers"),
        pytest.param(HEAD + b"content-length: 9999999\r\n\r\n", 413, id="a large body"),
        pytest.param(b"\x16\x03 no HTTP\r\n\r\n", 400, id="no HTTP"),
        pytest.param(GOOD, 200, id="a review"),
        pytest.param(HEAD + b"x: " + b"a" * (LIMITS.header_bytes - 500) + GOOD[len(HEAD) - 2 :], 200, id="just"),
    ],
)
def test_a_request_that_is_too_large_is_told_so(webhook: Webhook, head: bytes, status: int) -> None:
    async def send(client: Client) -> int:
        await client.send(head)
        return await client.status()

    assert told(send, webhook) == status


def test_half_a_head_and_half_a_body_are_not_waited_for(webhook: Webhook) -> None:
    async def half(client: Client, sent: bytes) -> int:
        await client.send(sent)
        return await client.status()

    assert told(lambda client: half(client, HEAD), webhook) == 408
    assert told(lambda client: half(client, HEAD + b"content-length: 9\r\n\r\n{"), webhook) == 408


def test_after_its_answer_a_connection_may_be_used_again(webhook: Webhook) -> None:
    async def twice(client: Client) -> list[int]:
        found = []
        for sent in (GOOD, GOOD[:60], GOOD[60:], GOOD + GOOD):
            await client.send(sent)
            if sent != GOOD[:60]:
                found.append(await client.status())
            await asyncio.sleep(0.01)
        return [*found, await client.status()]

    assert told(twice, webhook) == [200, 200, 200, 200]


def test_requests_are_not_taken_endlessly_ahead_of_their_answers(webhook: Webhook) -> None:
    async def ahead(client: Client) -> bytes:
        await client.send(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n" * 5000)
        try:
            return await client.reader.read()
        except ConnectionError:
            return b""

    assert told(ahead, webhook).count(b"HTTP/1.1 200") < 5000


def test_good_requests_are_answered_while_others_hold_what_they_can(webhook: Webhook) -> None:
    """1,000 half-open connections, 100 unfinished bodies and endless headers; memory stays within the chart's limit."""

    async def endless(stop: asyncio.Event) -> int:
        ended = 0
        while not stop.is_set():
            client = await Client.connect(webhook)
            try:
                await client.send(HEAD + b"x: ")
                while not stop.is_set():
                    await client.send(b"a" * 16384)
            except (ConnectionError, ssl.SSLError):
                ended += 1
            finally:
                client.close()
        return ended

    async def go() -> tuple[list[int], int, int, int]:
        stop, peak = asyncio.Event(), 0
        async with AsyncExitStack() as stack, asyncio.timeout(240):
            for number in range(1000):
                client = await Client.connect(webhook, tls=number % 2 == 0)
                stack.callback(client.close)
                if number % 4 == 0:
                    await client.send(HEAD)
            hoses = [asyncio.create_task(endless(stop)) for _ in range(4)]
            good = await Client.connect(webhook)
            stack.callback(good.close)
            statuses = []
            for number in range(300):
                if number % 3 == 0:
                    body = await Client.connect(webhook)
                    stack.callback(body.close)
                    body.writer.write(HEAD + b"content-length: 2000000\r\n\r\n" + b" " * 1_900_000)
                if number % 10 == 9:  # some come anew, others use what they have
                    good = await Client.connect(webhook)
                    stack.callback(good.close)
                await good.send(GOOD)
                statuses.append(await good.status())
                peak = max(peak, webhook.resident())
            stop.set()
            ended = sum(await asyncio.gather(*hoses))
        return statuses, ended, peak, int(webhook.metric("pyinject_connections"))

    statuses, ended, peak, connections = asyncio.run(go())
    assert statuses == [200] * 300
    assert ended >= 4  # each header that had no end was refused
    assert peak < 384
    assert connections <= 2 * LIMITS.connections
    assert webhook.metric('pyinject_connections_refused_total{reason="full"}') > 0
    eventually(lambda: webhook.metric("pyinject_requests_in_flight") == 0, 30)


def test_who_connects_and_says_nothing_makes_room_before_who_has_asked(tmp_path: Path) -> None:
    running = Webhook(tmp_path, "--workers=1", "--limit-connections=8")

    async def go() -> None:
        good = await Client.connect(running)
        await good.send(GOOD)
        assert await good.status() == 200
        silent = [await Client.connect(running) for _ in range(20)]
        await good.send(GOOD)
        assert await good.status() == 200
        assert await silent[0].closed()
        for client in (good, *silent):
            client.close()

    try:
        eventually(running.ready)
        asyncio.run(go())
    finally:
        running.stop()


def test_a_review_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(settings: Settings, request: Request) -> Any:
        while True:
            inject(settings, request)

    monkeypatch.setattr("webhook.serving.server.inject", endless)
    answer = Reviewer(Settings.load(), Cluster(), 0.05).answer(BODY, {})
    assert (answer.status, answer.result) == (200, "refused")
    assert "0.05 s of processor time" in answer.message
    monkeypatch.undo()
    assert Reviewer(Settings.load(), Cluster(), 0.05).answer(BODY, {}).result == "injected"


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--limit-connections=0", "--limit-connections 0: more than 0 is needed"),
        ("--limit-bodies-bytes=1", "--limit-bodies-bytes 1: less than --limit-body-bytes, so none would fit"),
    ],
)
def test_a_bound_that_lets_nothing_through_is_refused(tmp_path: Path, flag: str, message: str) -> None:
    running = Webhook(tmp_path, flag)
    assert running.process.wait(20) == 2
    assert running.logged(message)


def test_every_bound_is_documented() -> None:
    text = (Path(__file__).parents[4] / "docs" / "webhook.md").read_text()
    rows = dict(re.findall(r"^\| `(--limit-[a-z-]+)` \| ([\d,.]+) \|", text, re.MULTILINE))
    assert {flag: float(value.replace(",", "")) for flag, value in rows.items()} == {
        flag: float(default) for flag, default, _ in flags()
    }
    assert len(rows) == len(fields(Limits))


def test_a_socket_is_there_for_whoever_is_left(webhook: Webhook) -> None:
    with socket.create_connection(("127.0.0.1", webhook.port)):
        assert webhook.review()["allowed"]
