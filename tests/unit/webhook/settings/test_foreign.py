"""Templates in Go's language: ours stand for Istio's own, and a changed one is told by name when settings load."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import yaml

from webhook.serving.handover import CONFIG, VALUES
from webhook.serving.sources import settings_files
from webhook.settings import Settings, foreign

ISTIO = yaml.safe_load((Path(__file__).parents[1] / "golden_values.yaml").read_text())

# In the manner of Istio's: names that its template has, all that differs by pod or settings in actions.
PLAIN = """\
{{- $containers := list }}
metadata:
  annotations: {
    istio.io/rev: {{ .Revision | default "default" | quote }},
    sidecar.istio.io/interceptionMode: "{{ annotation .ObjectMeta `sidecar.istio.io/interceptionMode` }}",
  }
spec:
  initContainers:
  - name: istio-init
    image: "{{ .ProxyImage }}"
  containers:
  - name: istio-proxy
  {{- if contains "/" .Values.global.proxy.image }}
    image: "{{ annotation .ObjectMeta `sidecar.istio.io/proxyImage` .Values.global.proxy.image }}"
  {{- end }}
    env:
    - name: POD_NAME
      valueFrom: {fieldRef: {fieldPath: metadata.name}}
    {{- range $key, $value := fromJSON (index .ObjectMeta.Annotations `apm.datadoghq.com/env`) }}
    - name: {{ $key }}
      value: "{{ $value }}"
    {{- end }}
    # image: not/in:use
    {{/* name: nor-this
    image: nor/this */}}
  volumes:
  - name: istio-envoy
"""


def loaded(template: str, name: str = "sidecar", **values: object) -> Settings:
    return Settings.load({**ISTIO, **values}, None, {"templates": {name: template}})


@pytest.mark.parametrize("name", ["sidecar", "gateway", "grpc-agent", "grpc-simple"])
def test_istios_own_is_noted_and_works(name: str) -> None:
    settings = loaded("{{ .Values }}", name)
    assert settings.warnings == ()
    assert settings.notes == (
        f"injection configuration: template {name} is in Go's template language: pyinject's own {name} stands for it",
    )
    assert loaded(PLAIN).warnings == ()


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ('"{{ .ProxyImage }}"', "my.company/proxy:patched", "image my.company/proxy:patched (line 10)"),
        ('"{{ .ProxyImage }}"', "'proxy:patched'", "image proxy:patched (line 10)"),
        ("- name: POD_NAME", "- name: HTTP_PROXY_OF_OURS", "name HTTP_PROXY_OF_OURS (line 17)"),
        ("- name: istio-envoy", "- name: our-secrets", "name our-secrets (line 27)"),
        ("istio.io/rev:", "acme.example/team: x,\n    istio.io/rev:", "annotation acme.example/team (line 4)"),
    ],
)
def test_a_changed_one_is_told_by_name_and_line_with_the_way_out(before: str, after: str, found: str) -> None:
    settings = loaded(PLAIN.replace(before, after, 1))
    (warning,) = settings.warnings
    assert settings.notes == ()
    assert warning.startswith("injection configuration: template sidecar is in Go's template language and not as Istio")
    assert found in warning
    assert "way out: patches, or a template of your own" in warning


def test_what_istios_chart_was_given_as_a_value_is_changed_whatever_it_says() -> None:
    own = {"templates": {"sidecar": "{{ x }}"}}
    (warning,) = loaded(PLAIN, sidecarInjectorWebhook=own).warnings
    assert "the values have it: sidecarInjectorWebhook.templates" in warning


def test_what_istiod_deploys_itself_is_not_worth_a_word() -> None:
    settings = loaded("{{ .Values }}", "waypoint")
    assert (settings.notes, settings.warnings) == ((), ())


def test_one_that_nothing_stands_for_is_told_too() -> None:
    settings = loaded("{{ .Values }}", "ours")
    (warning,) = settings.warnings
    assert "template ours is in Go's template language: pods that ask for it are refused" in warning


def test_the_server_logs_it_when_settings_load(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    values, config = tmp_path / "values", tmp_path / "config"
    values.write_text(yaml.safe_dump(ISTIO))
    config.write_text(
        yaml.safe_dump({"templates": {"sidecar": "image: my.company/x:1\n{{ x }}", "gateway": "{{ x }}"}})
    )
    with caplog.at_level(logging.INFO):
        next(settings_files({VALUES: values, CONFIG: config}, ""))
    levels = {record.levelname: record.getMessage() for record in caplog.records}
    assert "template gateway" in levels["INFO"]
    assert "image my.company/x:1 (line 1)" in levels["WARNING"]


def test_what_is_known_is_what_ours_says() -> None:
    assert foreign.additions("- name: a\n- name: b\n", "name: b") == ["name a (line 1)"]
