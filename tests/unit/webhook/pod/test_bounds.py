"""What one pod may cost: bounds of webhook.limits, and work that grows no faster than the pod."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from webhook import limits
from webhook.errors import InjectionError
from webhook.pod import warn
from webhook.pod.inject import Request, inject
from webhook.settings import Settings

ANNOTATION = "sidecar.istio.io/init-containers-before-proxy"
SETTINGS = Settings.load()


def pod(annotations: dict[str, str], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "app", "image": "a"}], **spec}}


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ({"x": "a" * limits.ANNOTATIONS_BYTES}, "annotations: 262145 characters are more than the API server takes"),
        (
            {"proxy.istio.io/config": "x: [" + "a," * limits.PROXY_CONFIG_BYTES + "]"},
            "32773 characters are more than 16384",
        ),
        ({"inject.istio.io/templates": ",".join(["sidecar"] * 3000)}, "3000 templates are more than 32"),
    ],
    ids=["annotations", "proxy configuration", "templates"],
)
def test_more_than_a_pod_may_ask_for_is_refused(annotations: dict[str, str], message: str) -> None:
    with pytest.raises(InjectionError, match=message):
        inject(SETTINGS, Request(pod(annotations), "shop"))


def test_a_bootstrap_that_linux_would_not_take_as_an_argument_is_refused() -> None:
    def probed(count: int) -> dict[str, Any]:
        probe = {"httpGet": {"port": 80, "path": "/" + "a" * 100}}
        containers = [{"name": f"app-{n}", "image": "a", "livenessProbe": probe} for n in range(count)]
        return pod({}, containers=containers)

    assert inject(SETTINGS, Request(probed(120), "shop")).patch
    with pytest.raises(InjectionError, match=r"an argument of \d+ bytes, and Linux takes 131071; .* use fewer"):
        inject(SETTINGS, Request(probed(400), "shop"))


def compared(monkeypatch: pytest.MonkeyPatch, annotations: dict[str, str]) -> int:
    """How many names are compared with all that are known."""
    asked: list[str] = []
    monkeypatch.setattr(warn, "_nearest", lambda name, known: asked.append(name) or "")  # noqa: ARG005
    inject(SETTINGS, Request(pod(annotations), "shop"))
    return len(asked)


def test_near_misses_are_looked_for_in_a_few_names(monkeypatch: pytest.MonkeyPatch) -> None:
    many = {f"sidecar.istio.io/injec{n}": "" for n in range(4000)}
    assert compared(monkeypatch, many) == limits.MISSPELT
    assert compared(monkeypatch, {"istio" + "a" * 1000: ""}) == 0


def calls(done: Callable[[], object]) -> int:
    """How many calls of functions, Python's and C's, it takes: work, and not time."""
    found = 0

    def count(frame: object, event: str, argument: object) -> None:  # noqa: ARG001
        nonlocal found
        found += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        done()
    finally:
        sys.setprofile(None)
    return found


def test_init_containers_asked_for_before_the_proxy_are_gone_through_once() -> None:
    names = [f"i{n}" for n in range(3000)]
    inits = [{"name": name, "image": "a"} for name in names]

    def work(count: int) -> int:
        asked = pod({ANNOTATION: ",".join(reversed(names[:count]))}, initContainers=inits[:count])
        return calls(lambda: inject(SETTINGS, Request(asked, "shop", native_sidecars=True)))

    work(1)
    assert work(3000) - work(300) < 20 * (work(300) - work(30))
    injected = inject(
        SETTINGS, Request(pod({ANNOTATION: "i2,i0,none"}, initContainers=inits[:3]), "shop", native_sidecars=True)
    )
    assert [it["name"] for it in injected.pod["spec"]["initContainers"]] == [
        "istio-init",
        "i2",
        "i0",
        "istio-proxy",
        "i1",
    ]
