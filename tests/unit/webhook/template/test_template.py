"""The template language: what each part of it makes, and how mistakes are told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from webhook.errors import RenderError, TemplateError
from webhook.template import Template

NAMES = frozenset({"annotations", "labels", "items", "native"})


def compiled(source: str, **constants: Any) -> Template:
    return Template.compile("t", source, {"values": constants}, NAMES)


def rendered(source: str, *, pod: dict[str, Any] | None = None, **constants: Any) -> Any:
    context = {"annotations": {}, "labels": {}, "items": [], "native": False, **(pod or {})}
    return compiled(source, **constants).render(SimpleNamespace(**context))


@pytest.mark.parametrize(
    ("source", "pod", "expected"),
    [
        ("a: ${values.n}", {}, {"a": 3}),
        ("a: n=${values.n} ${values.yes} ${values.missing}.", {}, {"a": "n=3 true ."}),
        ("a: ${labels.app or 'none'}", {"labels": {"app": "web"}}, {"a": "web"}),
        ("a: ${labels.app.deeper}", {}, {}),
        ("a: $${HOME}", {}, {"a": "${HOME}"}),
        ("a: null\nb: ${None}", {}, {"a": None}),
        ("a: {$if: native, b: 1}", {}, {}),
        ("a: {$if: native, b: 1}", {"native": True}, {"a": {"b": 1}}),
        ("a: {$if: native, $value: [1]}", {"native": True}, {"a": [1]}),
        ("a: {$choose: [{$if: native, x: 1}, {y: 2}]}", {}, {"a": {"y": 2}}),
        ("a: {$choose: [{$value: '${labels.app}'}, {$value: other}]}", {}, {"a": "other"}),
        ("a: [{$if: native, $value: x}, z, '${None}']", {}, {"a": ["z"]}),
        ("a: [{$for: i in items, name: '${i}'}]", {"items": ["p", "q"]}, {"a": [{"name": "p"}, {"name": "q"}]}),
        ("a: [{$for: i in items, $if: i != 'p', $value: '${i}'}]", {"items": ["p", "q"]}, {"a": ["q"]}),
        ("a: [{$for: 'k, v in labels.items()', k: '${k}=${v}'}]", {"labels": {"x": "1"}}, {"a": [{"k": "x=1"}]}),
        ("a: [{$for: i in values.list, n: '${i}', native: '${native}'}]", {}, {"a": [{"n": 1, "native": False}]}),
        ("a: {$merge: labels, b: 1}", {"labels": {"c": "2"}}, {"a": {"c": "2", "b": 1}}),
        ("$define: {env: [1, 2]}\na: [0, {$use: env}, 3]", {}, {"a": [0, 1, 2, 3]}),
        ("$define: {env: [1, 2]}\na: [{$if: native, $use: env}]", {}, {"a": []}),
        ("$define: {r: {cpu: 1}}\na: {$use: r}", {}, {"a": {"cpu": 1}}),
        ("$let: {x: labels.app, y: x + '!'}\na: ${y}", {"labels": {"app": "web"}}, {"a": "web!"}),
        ("a: ${annotation('n', values.n)}", {}, {"a": "3"}),
        ("a: ${annotation('n', values.n)}", {"annotations": {"n": ""}}, {"a": ""}),
        ("a: ${[i.upper() for i in items if i != 'x']}", {"items": ["x", "y"]}, {"a": ["Y"]}),
        ("a: \"${'}'}${{'k': 1}['k']}\"", {}, {"a": "}1"}),
    ],
)  # fmt: skip
def test_makes(source: str, pod: dict[str, Any], expected: Any) -> None:
    assert rendered(source, pod=pod, n=3, yes=True, list=[1]) == expected


def test_what_depends_on_settings_alone_is_built_once_and_shared() -> None:
    template = compiled("spec: {ports: [{port: '${values.port}'}], native: '${native}'}", port=80)
    one, other = (template.render(SimpleNamespace(native=native)) for native in (True, False))
    assert one["spec"]["ports"] == [{"port": 80}]
    assert one["spec"]["ports"] is other["spec"]["ports"]
    assert template.names == {"native"}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a: [", "not YAML"),
        ("- a", "line 1: not a mapping"),
        ("a: 1\nb: ${1 +}", "line 2: ${1 +} is not an expression"),
        ("a: ${x", "line 1: '${x' has no closing brace"),
        ("a: ${unknown}", "line 1: unknown is not known here; there are annotations"),
        ("a: ${open('/etc/passwd')}", "open() is not one of"),
        ("a: ${values.__class__}", "names do not begin with an underscore"),
        ("a: ${labels.format('x')}", "method format() is not one of"),
        ("a: '${(lambda: 1)()}'", "is not one of"),
        ("a: ${1 ** 9}", "Pow is not part of the template language"),
        ("a: ${values['n'] / 0}", "Div is not part of the template language"),
        ("a: ${1 // 0}", "ZeroDivisionError"),
        ("a: {$iff: native}", "$iff is not one of $if"),
        ("a: {$use: nothing}", "$use: 'nothing' is not in $define"),
        ("$define: {a: {b: {$use: a}}}\nc: {$use: a}", "$use: a uses itself"),
        ("a: {$for: i in items}", "$for stands only in an item of a list"),
        ("a: [{$for: items, x: 1}]", "$for takes"),
        ("a: [{$for: labels in items, x: 1}]", "labels has a meaning already"),
        ("a: {$use: x, b: 1}", "$use stands alone"),
        ("a: 1\na: 2", "a is there twice"),
        ("$let: {_x: '1'}", "_x is no name"),
    ],
)
def test_mistakes_name_the_line(source: str, message: str) -> None:
    with pytest.raises(TemplateError, match=r"^template t, line ") as caught:
        compiled(source)
    assert message in str(caught.value)


def test_failure_on_a_pod_names_the_line() -> None:
    with pytest.raises(RenderError, match=r"^template t, line 3: ValueError: invalid literal for int"):
        rendered("a: 1\nb:\n  c: ${int(annotation('n', 'x'))}\n")
