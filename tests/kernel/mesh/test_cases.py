"""The requests of tests/cases/mesh through a real Envoy: one sidecar and one gateway, told case after case."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kernel.mesh.rig import DEBUG, POD_IP, Arrival, Object, Rig, started
from tests.unit.mesh.cases import FILES, PROXY, read

CASES = [path for path in FILES if "requests" in read(path).said]
SHARE = 0.2
PROXIES = {
    "sidecar": ("client", "default", {"app": "client"}),
    "router": ("gateway", "istio-system", {"istio": "ingressgateway"}),
}
EXPECTED = {
    "status", "answered", "distinct", "path", "sees", "attempts", "reached", "headers", "body",
}  # fmt: skip


def pod(kind: str) -> Object:
    name, namespace, labels = PROXIES[kind]
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"podIP": POD_IP}}


@pytest.fixture(scope="module", params=sorted(PROXIES))
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    kind = request.param
    with started(tmp_path_factory.mktemp("cases"), [pod(kind)], kind=kind, proxy=PROXIES[kind][:2]) as made:
        yield made


def test_the_requests_of_all_cases(rig: Rig) -> None:
    """All that are for this proxy, one after the other: so changes from anything to anything are tried as well."""
    wrong, ran = [], 0
    for path in CASES:
        case = read(path)
        said = PROXY | case.said.get("proxy", {})
        if said["kind"] != rig.kind:
            continue
        assert (said["namespace"], said["labels"]) == PROXIES[rig.kind][1:], f"{path.name}: no such proxy here"
        ran += 1
        rig.replace([*case.objects, pod(rig.kind)])
        rig.serve(80)
        rig.settle()
        refused = refusals(rig)
        if refused:
            wrong.append(f"{path.stem}: NACK: {refused}")
            continue
        for step in case.said["requests"]:
            wrong += [f"{path.stem}: {step['send']}: {one}" for one in differences(rig, step["send"], step["expect"])]
    assert not wrong, "\n".join(wrong)
    assert ran


def refusals(rig: Rig) -> list[str]:
    """What Envoy did not take, in its own words."""
    [proxy] = json.loads(rig.get(DEBUG, "/debug/proxies")[1])["proxies"]
    return [f"{name} {of['why']}" for name, of in proxy["types"].items() if of["state"] == "ERROR"]


def differences(rig: Rig, send: dict[str, Any], expect: dict[str, Any]) -> list[str]:
    """In what the outcome is other than expected."""
    assert set(expect) <= EXPECTED, set(expect) - EXPECTED
    address, _, port = send["to"].rpartition(":")
    before = len(rig.workloads.arrived)
    answers = [
        rig.request(address, int(port), send["host"], send.get("path", "/"), send.get("headers"))
        for _ in range(send.get("repeat", 1))
    ]
    wanted = sum(expect.get("reached", {}).values())
    deadline = time.monotonic() + 5
    while len(rig.workloads.arrived) - before < wanted and time.monotonic() < deadline:
        time.sleep(0.02)  # mirrors are not waited for by anybody else
    arrived = rig.workloads.arrived[before:]
    return [
        f"{what} is {got!r}, {want!r} was expected"
        for what, want in expect.items()
        if not fits(want, got := observed(what, want, answers, arrived))
    ]


def observed(what: str, want: Any, answers: list[tuple[int, str, dict[str, str]]], arrived: list[Arrival]) -> Any:
    """What was seen of `what`, in the shape that `want` has."""
    names = [body.rpartition(" ")[0] for status, body, _ in answers if status == 200]
    if what == "status":
        found = sorted({status for status, _, _ in answers})
        return found[0] if len(found) == 1 else found
    if what == "answered":
        shares = {name: count / len(answers) for name, count in Counter(names).items()}
        return shares if isinstance(want, dict) else ", ".join(sorted(shares))
    if what == "distinct":
        return len(set(names))
    if what == "attempts":
        return len(arrived) / len(answers)
    if what == "reached":
        return {name: sum(one.workload == name for one in arrived) for name in want}
    if what == "body":
        return answers[-1][1]
    if what == "headers":
        return {name: answers[-1][2].get(name) for name in want}
    if not arrived:
        return None
    return arrived[-1].path if what == "path" else {name: arrived[-1].headers.get(name) for name in want}


def fits(want: Any, got: Any) -> bool:
    """Equal; of shares, near."""
    if isinstance(want, dict) and any(isinstance(value, float) for value in want.values()):
        return set(want) == set(got) and all(abs(want[name] - got[name]) <= SHARE for name in want)
    return bool(want == got)
