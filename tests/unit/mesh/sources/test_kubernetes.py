"""What only an API server does: versions that are too old, definitions that are not there, lists that are not true."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.sources.kubernetes import Kubernetes
from mesh.sources.pauses import Pause
from mesh.world.events import Key, Remove
from tests.unit.mesh.sources.rigs import KINDS, ServerRig, Told
from tests.unit.mesh.sources.test_sources import rule, service, watching

SERVICES = "/api/v1/services"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[ServerRig]:
    made = ServerRig(tmp_path)
    yield made
    made.close()


def test_a_watch_that_ends_is_taken_up_where_it_was(rig: ServerRig) -> None:
    for name in "abc":
        rig.put(service(name))

    async def story(told: Told) -> None:
        rig.server.end_watches()
        rig.put(service("d"))
        await told.until(lambda t: "d" in t.names("Service"))
        assert not [event for event in told.events if isinstance(event, Remove)]

    watching(rig, story)
    lists = [query for path, query in rig.server.requests if path == SERVICES and "watch" not in query]
    assert len(lists) == 2  # two pages, once


def test_a_version_that_is_too_old_is_listed_again_and_what_went_is_told(rig: ServerRig) -> None:
    for name in "abcd":
        rig.put(service(name))

    async def story(told: Told) -> None:
        rig.server.delete(SERVICES, "default", "b", silently=True)
        rig.server.end_watches(compact=True)
        await told.until(lambda t: t.names("Service") == {"a", "c", "d"})
        rig.put(service("e"))
        await told.until(lambda t: "e" in t.names("Service"))

    told = watching(rig, story)
    assert [event.key.name for event in told.events if isinstance(event, Remove)] == ["b"]


def test_errors_are_waited_out_and_remove_nothing(rig: ServerRig, caplog: pytest.LogCaptureFixture) -> None:
    rig.put(service("a"))

    async def story(told: Told) -> None:
        rig.server.failing = [500, 503, 429, 403, 500]
        rig.server.end_watches()
        rig.put(service("b"))
        await told.until(lambda t: "b" in t.names("Service"))
        assert not [event for event in told.events if isinstance(event, Remove)]

    with caplog.at_level(logging.WARNING):
        watching(rig, story)
    assert "next try in" in caplog.text


def test_a_list_that_is_suddenly_empty_must_be_confirmed(rig: ServerRig, caplog: pytest.LogCaptureFixture) -> None:
    for name in "abcd":
        rig.put(service(name))

    async def story(told: Told) -> None:
        rig.server.empty = {SERVICES: 1}
        rig.server.end_watches(compact=True)
        rig.put(service("e"))
        await told.until(lambda t: "e" in t.names("Service"))
        assert not [event for event in told.events if isinstance(event, Remove)]

    with caplog.at_level(logging.ERROR):
        watching(rig, story)
    assert "4 of 4 services are gone at once" in caplog.text


def test_all_gone_is_taken_when_the_second_list_says_so(rig: ServerRig, caplog: pytest.LogCaptureFixture) -> None:
    for name in "abcd":
        rig.put(service(name))

    async def story(told: Told) -> None:
        for name in "abcd":
            rig.server.delete(SERVICES, "default", name, silently=True)
        rig.server.end_watches(compact=True)
        await told.until(lambda t: not t.names("Service"))

    with caplog.at_level(logging.ERROR):
        watching(rig, story)
    assert "4 of 4 services are gone at once" in caplog.text
    assert "the second list says so too" in caplog.text


def test_a_kind_without_definition_is_listed_and_found_later(tmp_path: Path) -> None:
    rig = ServerRig(tmp_path)
    path = "/apis/networking.istio.io/v1/virtualservices"
    kind = rig.server.paths.pop(path)

    async def story(told: Told) -> None:
        assert "VirtualService" in told.listed
        rig.server.paths[path] = kind
        rig.put(rule("a"))
        await told.until(lambda t: "a" in t.names("VirtualService"))

    watching(rig, story)
    rig.close()


def test_an_older_version_does_where_the_newest_is_not_served(tmp_path: Path) -> None:
    rig = ServerRig(tmp_path)
    new, old = (f"/apis/networking.istio.io/{version}/virtualservices" for version in ("v1", "v1beta1"))
    rig.server.paths[old] = rig.server.paths.pop(new)
    rig.server.objects[old] = {}
    rig.server.put(old, {**rule("a"), "apiVersion": "networking.istio.io/v1beta1"})

    async def story(told: Told) -> None:
        assert told.objects["VirtualService", Key("default", "a")].hosts == ("a",)
        rig.server.put(old, {**rule("b"), "apiVersion": "networking.istio.io/v1beta1"})
        await told.until(lambda t: "b" in t.names("VirtualService"))

    watching(rig, story)
    rig.close()


class Uneven(Pause):
    """One tries again soon and the others would in an hour."""

    def after(self, failures: int) -> float:  # noqa: ARG002, the same for all
        return 0.1 if threading.current_thread().name == "watch-services" else 3600.0


def test_the_first_who_reaches_the_server_again_tells_the_others(tmp_path: Path) -> None:
    rig = ServerRig(tmp_path)
    rig.source = Kubernetes(rig.client, kinds=KINDS, pause=Uneven())

    async def story(told: Told) -> None:
        async with asyncio.timeout(20):
            while sum("watch" in query for _, query in rig.server.requests) < len(rig.server.paths):
                await asyncio.sleep(0.01)
        before = len(rig.server.requests)
        rig.server.go_away()
        async with asyncio.timeout(20):
            while {path for path, _ in rig.server.requests[before:]} != set(rig.server.paths):
                await asyncio.sleep(0.01)
        rig.server.away = False
        rig.put(rule("b"))
        await told.until(lambda t: t.names("VirtualService") == {"b"})
        rig.put(service("c"))
        await told.until(lambda t: t.names("Service") == {"c"})

    watching(rig, story)
    rig.close()


def test_a_server_that_starts_says_itself_when_to_come_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pause, "after", lambda *_: 3600.0)
    caplog.set_level(logging.WARNING)
    rig = ServerRig(tmp_path)
    rig.put(service("a"))
    rig.server.failing = [503, 429] * 10
    told = watching(rig, _nothing)
    assert told.names("Service") == {"a"}
    assert caplog.text.count("next try in 0.0 s") == 20


async def _nothing(_: Told) -> None:
    """No story."""


def test_a_server_that_answers_and_breaks_off_has_nobody_wake_the_others_again_and_again(tmp_path: Path) -> None:
    rig = ServerRig(tmp_path)
    rig.source = Kubernetes(rig.client, kinds=KINDS, pause=Uneven())
    rig.put(service("a"))

    async def story(told: Told) -> None:
        rig.server.breaks_off = True
        rig.server.end_watches()
        rig.put(service("b"))  # a line, and then no more
        await told.until(lambda t: "b" in t.names("Service"))
        before = len(rig.server.requests)
        for name in "cdefgh":
            rig.put(service(name))
            await told.until(lambda t, name=name: name in t.names("Service"))  # type: ignore[misc]
        others = [path for path, _ in rig.server.requests[before:] if path != SERVICES]
        assert len(others) <= 2 * len(rig.server.paths)

    watching(rig, story)
    rig.close()


def test_while_nothing_can_be_listed_it_says_for_what_it_waits(tmp_path: Path) -> None:
    rig = ServerRig(tmp_path)
    rig.server.failing = [403] * 8
    reasons: list[str] = []

    async def main() -> None:
        task = asyncio.create_task(rig.source.run(lambda _events: None))
        for _ in range(2000):
            reasons.extend(rig.source.waiting.values())
            if not rig.source.waiting:
                break
            await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(main())
    rig.close()
    assert any("403" in reason for reason in reasons)
