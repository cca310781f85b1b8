"""Annotations that cannot be meant: refused with the annotation, its value and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from webhook.errors import AnnotationError, InjectionError
from webhook.pod.annotations import check
from webhook.pod.inject import Request, inject
from webhook.pod.warn import ANNOTATIONS, LABELS
from webhook.settings import Settings

SETTINGS = Settings.load()


@pytest.mark.parametrize("name", ["proxyCPU", "proxyCPULimit", "proxyMemory", "proxyMemoryLimit"])
@pytest.mark.parametrize("value", ["", "x", "1 Gi", "-1", "1gi", "1e", "0x10", "1.2.3", "٣", "100m\n200m"])
def test_no_quantity(name: str, value: str) -> None:
    with pytest.raises(AnnotationError, match=f"annotation sidecar.istio.io/{name}: .* is not a quantity"):
        check({f"sidecar.istio.io/{name}": value})


@pytest.mark.parametrize("value", ["0", "1", "+1", "0.5", ".5", "1.", "100m", "128Mi", "2E", "1e3", "1E-3", " 1Gi "])
def test_quantities(value: str) -> None:
    check({"sidecar.istio.io/proxyMemory": value})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("x" * 300_000, "is not a mapping"),
        ("[" * 250_000, "nested deeper than 200"),
        ("{a: " * 250_000, "nested deeper than 200"),
        ("- " * 120_000, "nested deeper than 200"),
        ("a: &a [x, x]\nb: &b [*a, *a]\n", "an alias (*) is not taken here"),
        ("concurrency: two", "concurrency: 'two' is not a whole number"),
        ("!!python/object:os.system x", "not YAML"),
    ],
    ids=lambda text: text[:12],
)
def test_no_proxy_configuration(value: str, message: str) -> None:
    with pytest.raises(AnnotationError) as caught:
        check({"proxy.istio.io/config": value})
    said = str(caught.value)
    assert said.startswith("annotation proxy.istio.io/config: ")
    assert message in said
    assert len(said) < 1000


@pytest.mark.parametrize("value", ["", "nosuch", "sidecar,nosuch", ",", "n" * 100_000])
def test_no_template(value: str) -> None:
    pod = {"metadata": {"annotations": {"inject.istio.io/templates": value}}, "spec": {"containers": [{"name": "web"}]}}
    with pytest.raises(InjectionError, match=r"annotation inject\.istio\.io/templates: .* there are sidecar") as caught:
        inject(SETTINGS, Request(pod))
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("known", [ANNOTATIONS, LABELS], ids=["annotations", "labels"])
def test_each_is_documented(known: frozenset[str]) -> None:
    text = (Path(__file__).parents[4] / "docs" / "annotations.md").read_text()
    assert [name for name in sorted(known) if f"`{name}`" not in text] == []
