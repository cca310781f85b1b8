"""15017: what API servers are answered about routing objects."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest

from common import admission as common_admission
from common import tls
from mesh.model.kinds import kind_of
from mesh.serve import admission
from mesh.serve.admission import Answer, Reviewer
from mesh.serve.http import HttpPort
from mesh.serve.metrics import Metrics
from mesh.serve.trial import Trial
from mesh.world.events import Key
from mesh.world.world import World
from tests.unit.mesh.objects import Object, event, service, world_of

REVIEWS = service("reviews", "10.96.0.1", ("http", 9080))


def virtual_service(name: str = "reviews", **http: Any) -> Object:
    rule = {"route": [{"destination": {"host": "reviews"}}], **http}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"hosts": ["reviews"], "http": [rule]},
    }


def rule(*subsets: str) -> Object:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "reviews", "namespace": "default"},
        "spec": {"host": "reviews", "subsets": [{"name": name, "labels": {"version": name}} for name in subsets]},
    }


def to_subset(subset: str) -> list[Object]:
    return [{"destination": {"host": "reviews", "subset": subset}}]


def review(thing: Any, operation: str = "CREATE", **request: Any) -> bytes:
    return orjson.dumps({
        "apiVersion": common_admission.API_VERSION, "kind": "AdmissionReview",
        "request": {"uid": "u-1", "operation": operation, "object": thing, **request},
    })  # fmt: skip


class Asked:
    """A reviewer over a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.reviewer = Reviewer(lambda: world.tables)

    def answer(self, thing: Any, operation: str = "CREATE", **request: Any) -> Answer:
        return asyncio.run(self.reviewer.answer(review(thing, operation, **request)))

    def response(self, thing: Any, operation: str = "CREATE", **request: Any) -> dict[str, Any]:
        answer = self.answer(thing, operation, **request)
        assert answer.status == 200
        said: dict[str, Any] = json.loads(answer.body)
        assert (said["apiVersion"], said["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
        assert said["response"]["uid"] == "u-1"
        return said["response"]  # type: ignore[no-any-return]


@pytest.fixture
def asked() -> Iterator[Asked]:
    made = Asked(world_of(REVIEWS))
    yield made
    made.reviewer.close()


def test_what_is_right_is_let_in_without_a_word(asked: Asked) -> None:
    assert asked.response(virtual_service()) == {"uid": "u-1", "allowed": True}


def test_errors_are_refused_all_of_them_each_with_its_path(asked: Asked) -> None:
    response = asked.response(virtual_service(timeout="soon", retries={"attempts": "many"}))
    assert not response["allowed"]
    status = response["status"]
    assert (status["code"], status["reason"]) == (422, "Invalid")
    fields = [cause["field"] for cause in status["details"]["causes"]]
    assert sorted(fields) == ["spec.http[0].retries.attempts", "spec.http[0].timeout"]
    assert all(field in status["message"] for field in fields)
    assert status["details"]["name"] == "reviews"


def test_what_works_but_hardly_as_meant_is_told(asked: Asked) -> None:
    response = asked.response(virtual_service(timeOut="1s"))
    assert response["allowed"]
    [warning] = response["warnings"]
    assert warning.startswith("spec.http[0].timeOut: there is no such field")


def test_what_only_the_others_show_is_told(asked: Asked) -> None:
    [warning] = asked.response(virtual_service(route=to_subset("v2")))["warnings"]
    assert warning.startswith("spec.http[0].route[0].destination.subset: no DestinationRule has subset v2")
    asked.world.apply([event(rule("v2"))])
    assert "warnings" not in asked.response(virtual_service(route=to_subset("v2")))


def test_what_it_does_to_others_is_told_with_their_names(asked: Asked) -> None:
    asked.world.apply([event(rule("v1", "v2")), event(virtual_service(route=to_subset("v2")))])
    assert "warnings" not in asked.response(rule("v2"), "UPDATE", oldObject=rule("v1", "v2"))
    [warning] = asked.response(rule("v1"), "UPDATE", oldObject=rule("v1", "v2"))["warnings"]
    assert warning.startswith("VirtualService default/reviews: spec.http[0].route[0].destination.subset: ")


def test_a_trial_leaves_nothing_behind(asked: Asked) -> None:
    before = asked.world.tables
    asked.response(rule("v2"))
    assert "warnings" in asked.response(virtual_service(route=to_subset("v2")))
    assert asked.world.tables == before


def test_the_newer_of_two_for_one_host_is_the_one_that_is_made(asked: Asked) -> None:
    older = virtual_service("older")
    older["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    asked.world.apply([event(older)])
    [warning] = asked.response(virtual_service("newer"))["warnings"]
    assert "VirtualService default/older is older and rules reviews" in warning


def test_before_all_is_listed_only_the_object_itself_counts() -> None:
    reviewer = Reviewer(lambda: None)
    lost = virtual_service(route=to_subset("v2"))
    assert b"warnings" not in asyncio.run(reviewer.answer(review(lost))).body
    assert b"warnings" in asyncio.run(reviewer.answer(review(virtual_service(timeOut="1s")))).body
    reviewer.close()


def test_a_fault_that_is_there_already_does_not_hold_up_what_else_changes(asked: Asked) -> None:
    bad = virtual_service(timeout="soon")
    labelled = {**bad, "metadata": {**bad["metadata"], "labels": {"a": "b"}, "finalizers": []}}
    response = asked.response(labelled, "UPDATE", oldObject=bad)
    assert response["allowed"]
    assert response["warnings"][0].startswith("spec.http[0].timeout: ")
    assert not asked.response(virtual_service(timeout="later"), "UPDATE", oldObject=bad)["allowed"]


@pytest.mark.parametrize(
    "thing",
    [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": 1},
        {"apiVersion": "networking.istio.io/v9", "kind": "VirtualService", "metadata": {"name": "a"}},
        {"apiVersion": "networking.istio.io/v1", "kind": "EnvoyFilter", "metadata": {"name": "a"}},
        {},
    ],
)
def test_what_is_not_read_here_passes(asked: Asked, thing: Object) -> None:
    assert asked.response(thing) == {"uid": "u-1", "allowed": True}


def test_gateway_api_is_looked_at_too(asked: Asked) -> None:
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "a", "namespace": "default"},
        "spec": {"rules": [{"matches": [{"path": {"type": "Sideways", "value": "/"}}]}]},
    }
    response = asked.response(route)
    assert [cause["field"] for cause in response["status"]["details"]["causes"]] == [
        "spec.rules[0].matches[0].path.type"
    ]


def test_a_deletion_passes(asked: Asked) -> None:
    assert asked.response(None, "DELETE")["allowed"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"kind":"Pod"}', b"\xff", b"[" * 100_000])
def test_what_is_no_review_is_answered_so(asked: Asked, body: bytes) -> None:
    answer = asyncio.run(asked.reviewer.answer(body))
    assert (answer.status, answer.result) == (400, "malformed")
    assert not json.loads(asyncio.run(asked.reviewer.answer(review(3))).body)["response"]["allowed"]


def test_a_fault_of_ours_refuses_nobody(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(asked.reviewer._trial, "problems", broken)
    answer = asked.answer(virtual_service())
    assert answer.result == "failed"
    response = json.loads(answer.body)["response"]
    assert response["allowed"]
    assert "pymesh failed on this object" in response["warnings"][0]


def test_nobody_waits_long_for_the_whole(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    held = threading.Event()
    monkeypatch.setattr(asked.reviewer._trial, "problems", lambda *_: held.wait(60) and [])
    monkeypatch.setattr(admission, "TRIAL_SECONDS", 0.05)
    try:
        assert asked.response(virtual_service(route=to_subset("v2"))) == {"uid": "u-1", "allowed": True}
    finally:
        held.set()


def test_a_large_object_is_read_too(asked: Asked) -> None:
    large = virtual_service(match=[{"uri": {"exact": f"/{number}"}} for number in range(5_000)])
    assert len(review(large)) > admission.LARGE
    assert asked.response(large) == {"uid": "u-1", "allowed": True}


def test_there_are_never_more_warnings_than_are_read(asked: Asked) -> None:
    many = virtual_service(**{f"field{number}": 1 for number in range(100)}, **{"x" * 1000: 1})
    warnings = asked.response(many)["warnings"]
    assert len(warnings) == admission.WARNINGS
    assert warnings[-1].endswith("more; pymesh analyze tells them all")
    assert max(map(len, warnings)) <= admission.WARNING_LENGTH


def test_what_is_wrong_is_what_the_control_plane_itself_says(asked: Asked) -> None:
    bad = virtual_service(timeout="soon", route=[{"destination": {}}])
    kind = kind_of(bad)
    assert kind is not None
    own = [(one.path, one.message) for one in kind.parse(bad).problems if one.severity == "error"]
    causes = asked.response(bad)["status"]["details"]["causes"]
    assert own
    assert [(cause["field"], cause["message"]) for cause in causes] == own


def test_it_is_served_by_tls_and_the_next_certificate_without_a_restart(
    tmp_path: Any, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ssl

    from mesh.serve import http

    monkeypatch.setattr(http, "LOOK_SECONDS", 0.05)
    authority = tls.new_authority("test", tls.now())
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"

    def write() -> bytes:
        pair = tls.issue(authority, ["localhost"], tls.now())
        key.write_bytes(pair.key)
        certificate.write_bytes(pair.certificate)
        return pair.certificate

    first, metrics = write(), Metrics()

    async def talk() -> None:
        port = HttpPort(
            "--admission-address", "127.0.0.1:0", admission.application(asked.reviewer, metrics), certificate, key
        )
        await port.start()
        number = int(port.bound.rpartition(":")[2])

        def served() -> bytes:
            return ssl.get_server_certificate(("127.0.0.1", number)).encode()

        try:
            assert await asyncio.to_thread(served) in first
            trusting = ssl.create_default_context(cadata=authority.certificate.decode())
            async with httpx.AsyncClient(verify=trusting, base_url=f"https://localhost:{number}") as client:
                json_type = {"content-type": "application/json"}
                good = await client.post("/validate", content=review(virtual_service()), headers=json_type)
                assert good.json()["response"]["allowed"]
                assert (await client.post("/validate", content=b"{}")).status_code == 415
                large = b" " * (common_admission.MAX_BODY + 1)
                assert (await client.post("/validate", content=large, headers=json_type)).status_code == 413
                assert (await client.get("/validate")).status_code == 405
            second = write()
            for _ in range(400):
                if await asyncio.to_thread(served) in second:
                    break
                await asyncio.sleep(0.05)
            else:
                pytest.fail("the next certificate is not served")
        finally:
            await port.stop()

    asyncio.run(asyncio.wait_for(talk(), 60))
    counted = {sample.labels["result"]: sample.value for sample in next(iter(metrics.reviews.collect())).samples
               if sample.name.endswith("_total")}  # fmt: skip
    assert counted == {"allowed": 1, "malformed": 2}


def test_a_trial_costs_what_it_reaches_and_not_the_mesh() -> None:
    """Counted in queries: time would tell of the machine."""

    def computed(size: int) -> int:
        things: list[Object] = []
        for number in range(size):
            name = f"s{number}"
            things.append(service(name, f"10.96.{number // 250}.{number % 250}", ("http", 80)))
            other = virtual_service(name)
            other["spec"]["hosts"] = [name]
            other["spec"]["http"][0]["route"][0]["destination"]["host"] = name
            things.append(other)
        world, trial = world_of(*things), Trial()
        made = virtual_service("new")
        made["spec"]["hosts"] = ["s1"]
        value = event(made).value  # type: ignore[union-attr]
        trial.problems(world.tables, "VirtualService", Key("default", "new"), value)
        before = trial._world.computed
        trial.problems(world.tables, "VirtualService", Key("default", "new"), value)
        return trial._world.computed - before

    # who is first for each host is looked up again: one query an object, no more
    assert computed(200) - computed(100) <= 2 * 100
