"""Annotations that cannot be meant: refused with the annotation, its value and what is allowed."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from webhook.errors import AnnotationError, InjectionError
from webhook.pod.annotations import ANNOTATIONS, LABELS, check
from webhook.pod.inject import Request, inject
from webhook.settings import Settings
from webhook.settings.proxyconfig import parse

SETTINGS = Settings.load()
ROOT = Path(__file__).parents[4]


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
        ("x" * 10_000, "is not a mapping"),
        ("[" * 15_000, "nested deeper than 200"),
        ("{a: " * 3_000, "nested deeper than 200"),
        ("- " * 7_000, "nested deeper than 200"),
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


def documented(heading: str) -> list[list[str]]:
    """The cells of each row of the table of docs/annotations.md that begins with `heading`."""
    text = (ROOT / "docs" / "annotations.md").read_text()
    table = text.split(f"| {heading} |", 1)[1].split("\n\n", 1)[0]
    return [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| `")]


def names_in(cell: str) -> list[str]:
    return re.findall("`([^`]+)`", cell)


def test_the_documentation_has_each_annotation_once_with_the_value_that_is_allowed() -> None:
    told = [(name, row[1].replace("`", "")) for row in documented("annotation") for name in names_in(row[0])]
    assert sorted(told) == sorted((name, value.allowed) for name, value in ANNOTATIONS.items())


def test_the_documentation_has_each_label_once() -> None:
    assert sorted(name for row in documented("label") for name in names_in(row[0])) == sorted(LABELS)


def test_names_stand_in_the_table_alone() -> None:
    """In the code: a name that is written out elsewhere is one that the table can come to differ from."""
    written = []
    for path in sorted((ROOT / "webhook").rglob("*.py")):
        tree = ast.parse(path.read_text())
        texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in texts:
                written += [(path.name, name) for name in {*ANNOTATIONS, *LABELS} if name in node.value]
    assert {file for file, _ in written} == {"annotations.py"}


def test_templates_read_and_write_what_the_table_has() -> None:
    templates = (ROOT / "webhook" / "templates").glob("*.yaml")
    texts = "".join(path.read_text() for path in templates if not path.match("*-values.yaml"))
    used = set(re.findall(r"[a-z0-9.]+\.(?:io|com)/[A-Za-z-]+", re.sub("#.*", "", texts)))
    used -= {"app.kubernetes.io/name", "app.kubernetes.io/version"}  # the author's labels, for canonical-name
    assert len(used) > 30
    assert sorted(used - {*ANNOTATIONS, *LABELS}) == []


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("terminationDrainDuration: 500ms", {"terminationDrainDuration": "0.500s"}),
        ("terminationDrainDuration: 1m30s", {"terminationDrainDuration": "90s"}),
        ("concurrency: 3.0", {"concurrency": 3}),
        ('concurrency: "2"', {"concurrency": 2}),
        ("proxyMetadata: {A: null, B: b}", {"proxyMetadata": {"A": "", "B": "b"}}),
        ("gatewayTopology: {numTrustedProxies: 2}", {"gatewayTopology": {"numTrustedProxies": 2}}),
        ("discoveryAddress: '[::1]:15012'", {"discoveryAddress": "[::1]:15012"}),
    ],
)
def test_a_proxy_configuration_is_read_as_istio_reads_it(given: str, read: dict[str, object]) -> None:
    assert parse(given) == read


@pytest.mark.parametrize(
    "given",
    [
        "drainDuration: 0s",
        "drainDuration: 1500ms",
        "terminationDrainDuration: 5",
        "discoveryAddress: istiod",
        "discoveryAddress: istiod:0",
        "gatewayTopology: {numTrustedProxies: -1}",
        "concurrency: 2.5",
        "concurrency: true",
        "concurrency: .inf",
        "proxyMetadata: {A: 1}",
    ],
)
def test_a_proxy_configuration_that_istio_refuses_is_refused(given: str) -> None:
    name = given.partition(":")[0]
    with pytest.raises(AnnotationError, match=rf"proxy configuration\.{name}: .* is not "):
        check({"proxy.istio.io/config": given})
