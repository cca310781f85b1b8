"""Settings: what they come from, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from common.errors import SettingsError
from webhook.errors import InjectionError
from webhook.merging import as_values
from webhook.pod.inject import Request, inject
from webhook.settings import Settings

VALUES = yaml.safe_load((Path(__file__).parents[1] / "golden_values.yaml").read_text())
POD: dict[str, Any] = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web"}]}}


def test_the_default_is_this_projects_own_profile() -> None:
    settings = Settings.load()
    assert settings.values["profile" if "profile" in settings.values else "global"]
    assert inject(settings, Request(POD)).decision.inject


def test_a_named_profile_fills_up_what_is_not_given() -> None:
    settings = Settings.load({"profile": "standalone", "global": {"hub": "example.com/mine"}})
    assert settings.values["global"]["hub"] == "example.com/mine"
    assert settings.values["global"]["proxy"] == Settings.load().values["global"]["proxy"]


def test_istios_own_templates_are_taken_from_here_and_others_of_go_cannot_be_used() -> None:
    settings = Settings.load(VALUES, None, {"templates": {"sidecar": "{{ .Values }}", "waypoint": "{{ .Values }}"}})
    assert inject(settings, Request(POD)).decision.inject
    asking = {**POD, "metadata": {"annotations": {"inject.istio.io/templates": "waypoint"}}}
    with pytest.raises(InjectionError, match="template waypoint is written in Go's template language"):
        inject(settings, Request(asking))


def test_files_are_injected_whatever_policy_and_selectors_say() -> None:
    settings = Settings.load(VALUES, None, {"policy": "disabled"})
    assert not inject(settings, Request(POD)).decision.inject
    assert inject(settings.for_files(), Request(POD)).decision.inject


def test_annotations_of_the_settings_go_on_every_injected_pod() -> None:
    settings = Settings.load(VALUES, None, {"injectedAnnotations": {"a": "b"}}, revision="canary")
    annotations = inject(settings, Request(POD)).pod["metadata"]["annotations"]
    assert annotations["a"] == "b"
    assert annotations["istio.io/rev"] == "canary"


@pytest.mark.parametrize(
    ("values", "mesh", "config", "message"),
    [
        ("a: 1\n}", None, None, "values is not YAML: line 2"),
        ("[1]", None, None, "values: '[1]' is not a mapping"),
        ("{}", None, None, "values: global.hub: None is not the registry"),
        ("profile: none", None, None, "values: profile: 'none' is not one of istio, standalone"),
        ({"global": 3}, None, None, "values: global.hub: 3 on the way to hub is not a mapping"),
        ({"global": {"proxy": {"holdApplicationUntilProxyStarts": "x"}}}, None, None, "'x' is not true or false"),
        ({"global": {"proxy": {"autoInject": "on"}}}, None, None, "policy: 'on' is not one of enabled, disabled"),
        (VALUES, "defaultConfig: [1]", None, "defaultConfig: [1] is not a mapping"),
        (VALUES, "defaultConfig: {drainDuration: 5}", None, "defaultConfig.drainDuration: 5 is not whole seconds"),
        (VALUES, "defaultConfig: &a {tracing: {b: *a}}", None, "an alias (*) of what it is in"),
        (VALUES, None, "policy: maybe", "policy: 'maybe' is not one of enabled, disabled"),
        (VALUES, None, "defaultTemplates: sidecar", "defaultTemplates: 'sidecar' is not a list"),
        (VALUES, None, "defaultTemplates: [mine]", "defaultTemplates: template 'mine' is not there; there are"),
        (VALUES, None, "{defaultTemplates: [mine], aliases: {mine: [other]}}", "template 'other' is not there"),
        (VALUES, None, "templates: {mine: {a: 1}}", "templates: mine is not a text"),
        (VALUES, None, "templates: {mine: 'a: ${b}'}", "template mine, line 1: b is not known here"),
        (VALUES, None, "injectedAnnotations: {a: 1}", "injectedAnnotations: {'a': 1} is not a mapping of strings"),
        (VALUES, None, "neverInjectSelector: [{matchLabels: {a: 1}}]", "neverInjectSelector[0].matchLabels"),
        (
            VALUES,
            None,
            "alwaysInjectSelector: [{matchExpressions: [{key: a, operator: Is}]}]",
            "matchExpressions[0].operator: 'Is' is not one of In, NotIn",
        ),
        (VALUES, None, "patches: [{name: a, sidecar: [{op: put, path: /a}]}]", "patches[0].sidecar: "),
        (VALUES, None, "patches: [{nam: a}]", "patches[0]: {'nam': 'a'} is not an object with name"),
    ],
)
def test_refused(values: Any, mesh: Any, config: Any, message: str) -> None:
    if isinstance(values, dict) and values is not VALUES:
        values = values if values["global"] == 3 else as_values(VALUES, values)
    with pytest.raises(SettingsError) as caught:
        Settings.load(values, mesh, config)
    assert message in str(caught.value)
