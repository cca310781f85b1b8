"""Editing: what changes is written, what does not stays byte for byte."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from webhook.documents import dialect, edit

DEPLOYMENT = """\
# the shop's front end
apiVersion: apps/v1
kind: Deployment   # stays
metadata: {name: web}
spec:
    selector:
        matchLabels: &labels
            app: "web"
    template:
        metadata:
            labels: *labels
        spec:
            containers:
              # the app
              - name:  app
                image: 'web:1'
                env: []   # none yet
                # command: [sh]
              # the other
              - {name: log, image: log}
            # after the containers
            volumes:
              - name: data
                emptyDir: {}
"""


def value(text: str) -> Any:
    node = dialect.compose(text)
    return None if node is None else dialect.construct(node)


def changed(text: str, change: Any) -> str:
    before = value(text)
    after = json.loads(json.dumps(before))
    change(after)
    rewritten, anew = edit.rewrite(text, before, after)
    assert anew == ""
    assert value(rewritten) == after
    return rewritten


def lines_of(text: str) -> set[str]:
    return set(text.splitlines())


def test_new_item_goes_before_the_comment_of_what_follows() -> None:
    def change(deployment: Any) -> None:
        deployment["spec"]["template"]["spec"]["containers"].append({"name": "proxy", "args": ["-p", "15001"]})

    text = changed(DEPLOYMENT, change)
    assert lines_of(DEPLOYMENT) <= lines_of(text)
    assert text.endswith("""\
              - {name: log, image: log}
              - name: proxy
                args:
                  - -p
                  - "15001"
            # after the containers
            volumes:
              - name: data
                emptyDir: {}
""")


def test_only_the_lines_of_a_changed_scalar_change() -> None:
    def change(deployment: Any) -> None:
        deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "web:2"

    text = changed(DEPLOYMENT, change)
    assert lines_of(DEPLOYMENT) - lines_of(text) == {"                image: 'web:1'"}


def test_an_alias_is_written_out_and_its_anchor_stays() -> None:
    def change(deployment: Any) -> None:
        deployment["spec"]["template"]["metadata"]["labels"]["tier"] = "front"

    text = changed(DEPLOYMENT, change)
    assert 'matchLabels: &labels\n            app: "web"\n' in text
    assert "labels:\n              app: web\n              tier: front\n" in text


def test_where_an_anchor_changes_but_not_its_alias_the_document_is_written_anew() -> None:
    before = value("a: &x\n  k: 1\nb: *x\n")
    text, anew = edit.rewrite("a: &x\n  k: 1\nb: *x\n", before, {"a": {"k": 1, "l": 2}, "b": {"k": 1}})
    assert "an anchor (&)" in anew
    assert value(text) == {"a": {"k": 1, "l": 2}, "b": {"k": 1}}


@pytest.mark.parametrize(
    ("text", "after", "why"),
    [
        ("{a: 1}\n", {"a": 2}, "line 1 is in flow style"),
        ("", {"a": 2}, "it was empty"),
        ("x: &x {a: 1}\n", {"b": 1}, "none of its keys stays"),
        ("--- {a: 1}\n", {"a": 2}, "line 1 is in flow style"),
        ("? a\n: 1\nb: 2\n", {"b": 2}, "in line 1 something stands before the key"),
        ("- - 1\n", [[2], 3], ""),
    ],
)
def test_each_cause_of_writing_anew_is_told_as_it_is(text: str, after: Any, why: str) -> None:
    rewritten, anew = edit.rewrite(text, value(text) if text else None, after)
    assert value(rewritten) == after
    assert anew.startswith(why)
    assert bool(anew) == bool(why)


@pytest.mark.parametrize("text", ["a: 1", "a: {b: 1}", "a:\n- b"])
def test_a_last_line_without_an_end_stays_one(text: str) -> None:
    before = value(text)
    more, anew = edit.rewrite(text, before, {**before, "z": 1})
    assert anew == ""
    assert more.endswith("z: 1")
    assert edit.rewrite(more, {**before, "z": 1}, before) == (text, "")


def test_removing_what_was_added_gives_the_text_back() -> None:
    before = value(DEPLOYMENT)
    after = json.loads(json.dumps(before))
    spec = after["spec"]["template"]["spec"]
    spec["initContainers"] = [{"name": "init", "command": ["a\nb\n", "", "yes", "0x1f"]}]
    spec["containers"].insert(0, {"name": "proxy"})
    spec["volumes"].append({"name": "envoy", "emptyDir": {"medium": "Memory"}})
    text, _ = edit.rewrite(DEPLOYMENT, before, after)
    assert edit.rewrite(text, after, before) == (DEPLOYMENT, "")


@pytest.mark.parametrize(
    ("text", "after", "rewritten"),
    [
        ("a: {b: 1, c: x}  # why\n", {"a": {"c": "x", "b": 2}}, "a: {b: 2, c: x}  # why\n"),
        ("a:\n- {name: b}\n- 2\n", {"a": [{"name": "b", "c": "x,y"}, 2]}, 'a:\n- {name: b, c: "x,y"}\n- 2\n'),
        ("a: [1]\n", {"a": [1, "long" * 20]}, f"a:\n- 1\n- {'long' * 20}\n"),
        ("a: {b: 1,\n  c: 2}\n", {"a": {"b": 1}}, "a:\n  b: 1\n"),
    ],
)
def test_flow_style_stays_while_it_is_short(text: str, after: Any, rewritten: str) -> None:
    assert edit.rewrite(text, value(text), after) == (rewritten, "")


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("a:\n", {"a": {"b": 1}}),
        ("a: {}\n", {"a": {"b": 1}}),
        ("a: {b: {c: 1}}", {"a": {"b": {"c": 2}}}),
        ("a: |\n  one\n\nb: 1\n", {"a": {"x": "y"}, "b": 1}),
        ("a: |+\n  one\n\n\n", {"a": "one\n\n\n", "b": 1}),
        ("a:\n- - 1\n  - 2\n- 3\n", {"a": [[1, 2, 4], 3]}),
        ("a:\n-\n  b: 1\n-\n", {"a": [{"b": 1, "c": 2}, None, 5]}),
        ("- a\n- b\n", ["b", "a"]),
        ("- a: 1\n  b: 2\n", [{"b": 2}]),
        ("a: 1", {"b": 2}),
        ("--- {a: 1}\n", {"a": 2}),
        ("---\na: 1\n...\n", {"a": 1, "b": 2}),
        ("<<: {a: 1}\nb: 2\n", {"a": 3, "b": 2}),
        ("x: &x {a: 1}\ny:\n  <<: *x\n  b: 2\n", {"x": {"a": 1}, "y": {"b": 2}}),
        ('"a b": 1\n? c\n: 2\n', {"a b": 5, "c": 3}),
        ("a: é # ü\nb: 😀\n", {"a": "é", "b": "ß", "c": "😀\u0085"}),
        ("text: >\n  folded\n  lines\nlast: [1,\n  2]\n", {"text": "folded lines\n", "last": [1, 2], "new": [1]}),
    ],
)
def test_shapes_of_yaml(text: str, after: Any) -> None:
    rewritten, _ = edit.rewrite(text, value(text), after)
    assert edit.same(value(rewritten), after)
    assert yaml.safe_load(rewritten) == after


STRINGS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    [
        "yes",
        "0644",
        "1e3",
        "1_000",
        "22:22",
        "2020-01-01",
        "~",
        "- a",
        "a: b",
        "a #b",
        "|\n",
        " a\nb",
        "a\n\n",
        "=",
        "<<",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | STRINGS
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(STRINGS.filter(lambda key: key != "<<"), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES, VALUES, st.sampled_from([0, 2]))
def test_any_value_becomes_any_other(before: Any, after: Any, offset: int) -> None:
    nested = {"kind": "Pod", "list": [{"name": "a", "value": before}, before], "value": before}
    text = "".join(f"{line}\n" for line in dialect.block(nested, 0, offset))
    assert edit.same(value(text), nested)
    changed = {**nested, "list": [{"name": "b"}, {"name": "a", "value": after}, before], "value": after}
    rewritten, _ = edit.rewrite(text, nested, changed)
    assert edit.same(value(rewritten), changed)
    assert edit.same(value(edit.rewrite(rewritten, changed, nested)[0]), nested)
