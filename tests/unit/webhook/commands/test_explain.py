"""`pyinject explain`: the decision with its steps, and what had which effect."""

import json
from pathlib import Path
from typing import Any

import pytest

from webhook.commands.cli import run
from webhook.pod.decide import Reason

INPUTS = Path(__file__).parent.parent / "inputs"


def explained(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert run(["explain", "-o", "json", *arguments]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize(
    ("pod", "reason", "inject", "asked"),
    [
        ("spec: {hostNetwork: true, containers: []}", Reason.HOST_NETWORK, False, 0),
        ("metadata: {namespace: kube-system}\nspec: {containers: []}", Reason.IGNORED_NAMESPACE, False, 1),
        ("metadata: {labels: {sidecar.istio.io/inject: 'false'}}\nspec: {containers: []}", Reason.LABEL, False, 2),
        (
            "metadata: {annotations: {sidecar.istio.io/inject: 'true'}}\nspec: {containers: []}",
            Reason.ANNOTATION,
            True,
            3,
        ),
        ("metadata: {labels: {sidecar.istio.io/inject: 'y'}}\nspec: {containers: []}", Reason.POLICY, False, 6),
        ("metadata: {labels: {skip: me}}\nspec: {containers: []}", Reason.NEVER_SELECTOR, False, 4),
        ("metadata: {labels: {take: me}}\nspec: {containers: []}", Reason.ALWAYS_SELECTOR, True, 5),
        ("spec: {containers: []}", Reason.POLICY, False, 6),
    ],
)
def test_steps_lead_to_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pod: str, reason: Reason, inject: bool, asked: int
) -> None:
    path, config = tmp_path / "pod.yaml", tmp_path / "config.yaml"
    path.write_text(f"kind: Pod\n{pod}\n")
    config.write_text(
        "policy: disabled\n"
        "neverInjectSelector: [{matchLabels: {skip: me}}]\n"
        "alwaysInjectSelector: [{matchLabels: {take: me}}]\n"
    )
    (told,) = explained(capsys, "-f", str(path), "--injectConfigFile", str(config))
    assert told["decision"]["reason"] == reason
    assert told["decision"]["inject"] is inject
    assert len(told["decision"]["steps"]) == asked


def test_effects_name_what_they_are_on(capsys: pytest.CaptureFixture[str]) -> None:
    (told,) = explained(capsys, "-f", str(INPUTS / "customised.yaml"))
    assert told["templates"] == ["sidecar"]
    assert told["effects"]["annotation sidecar.istio.io/logLevel=debug"] == ["spec.containers[istio-proxy].args[5]"]


def test_an_injected_pod_is_explained_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    injected = tmp_path / "injected.yaml"
    assert run(["kube-inject", "-f", str(INPUTS / "customised.yaml"), "-o", str(injected)]) == 0
    capsys.readouterr()
    (before,) = explained(capsys, "-f", str(INPUTS / "customised.yaml"))
    (after,) = explained(capsys, "-f", str(injected))
    assert {**after, "where": None} == {**before, "where": None}


def test_text_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "-f", str(INPUTS / "list.yaml")]) == 0
    out = capsys.readouterr().out
    assert "Pod/one" in out
    assert "Rollout/two" in out
    assert "✓ injected: the policy is enabled  [policy]" in out
    assert "templates: sidecar" in out


def test_a_pod_or_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain"]) == 2
    assert run(["explain", "web", "-f", "a.yaml"]) == 2
    assert "name either a POD or a file" in capsys.readouterr().err
