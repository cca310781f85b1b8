"""Whether a pod is injected, and what decided it."""

from __future__ import annotations

from typing import Any

import pytest

from common.selectors import Selector, parse
from webhook.pod.annotations import INJECT
from webhook.pod.decide import Reason, decide
from webhook.settings.policy import Policy

BLUE = parse({"matchLabels": {"colour": "blue"}}, "test")
OLD = parse({"matchExpressions": [{"key": "age", "operator": "NotIn", "values": ["new"]}]}, "test")
EMPTY = parse({}, "test")


def decided(
    policy: Policy | None = None,
    *,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    namespace: str = "shop",
    **spec: Any,
) -> tuple[bool, Reason]:
    decision = decide(policy or Policy(), spec, namespace, labels or {}, annotations or {})
    assert decision.message.startswith("injected: " if decision.inject else "not injected: ")
    return decision.inject, decision.reason


def test_true_and_false_decide() -> None:
    assert decided(Policy(enabled=False), labels={INJECT: "true"}) == (True, Reason.LABEL)
    assert decided(Policy(enabled=False), annotations={INJECT: "true"}) == (True, Reason.ANNOTATION)
    assert decided(labels={INJECT: "false"}) == (False, Reason.LABEL)
    assert decided(annotations={INJECT: "false"}) == (False, Reason.ANNOTATION)


@pytest.mark.parametrize("value", ["yes", "Y", "on", "True", "FALSE", "no", "1", "maybe", "x" * 100_000])
def test_anything_else_is_left_to_selectors_and_policy_with_a_warning(value: str) -> None:
    """As Istio does: "no" does not keep a pod out, nor "yes" bring it in; who wrote it has to hear of that."""
    for enabled in (True, False):
        for where in ("labels", "annotations"):
            given = {"labels": {}, "annotations": {}} | {where: {INJECT: value}}
            decision = decide(Policy(enabled=enabled), {}, "shop", **given)
            assert (decision.inject, decision.reason) == (enabled, Reason.POLICY)
            assert f"{where.removesuffix('s')} {INJECT}" in decision.warning
            assert decision.message in decision.warning
            assert len(decision.warning) <= 256
    assert decided(Policy(never=(BLUE,)), labels={INJECT: value, "colour": "blue"}) == (False, Reason.NEVER_SELECTOR)


@pytest.mark.parametrize("value", ["true", "false", ""])
def test_what_is_understood_has_no_warning(value: str) -> None:
    assert decide(Policy(), {}, "shop", {INJECT: value}, {}).warning == ""


def test_an_empty_label_leaves_it_to_the_policy_and_hides_the_annotation() -> None:
    assert decided(labels={INJECT: ""}, annotations={INJECT: "false"}) == (True, Reason.POLICY)


@pytest.mark.parametrize(
    ("never", "always", "labels", "expected"),
    [
        ((BLUE,), (), {"colour": "blue"}, (False, Reason.NEVER_SELECTOR)),
        ((BLUE,), (BLUE,), {"colour": "blue"}, (False, Reason.NEVER_SELECTOR)),
        ((), (BLUE,), {"colour": "blue"}, (True, Reason.ALWAYS_SELECTOR)),
        ((OLD,), (), {}, (False, Reason.NEVER_SELECTOR)),
        ((OLD,), (), {"age": "new"}, (False, Reason.POLICY)),
        ((EMPTY,), (EMPTY,), {}, (False, Reason.POLICY)),
        ((BLUE,), (), {"colour": "blue", INJECT: "true"}, (True, Reason.LABEL)),
    ],
)
def test_selectors_decide_for_pods_that_say_nothing(
    never: tuple[Selector, ...], always: tuple[Selector, ...], labels: dict[str, str], expected: tuple[bool, Reason]
) -> None:
    assert decided(Policy(enabled=False, never=never, always=always), labels=labels) == expected


def test_what_must_not_be_injected_is_not_even_when_asked_for() -> None:
    yes = {INJECT: "true"}
    assert decided(labels=yes, hostNetwork=True) == (False, Reason.HOST_NETWORK)
    assert decided(labels=yes, namespace="kube-system") == (False, Reason.IGNORED_NAMESPACE)
