"""The JSON Patch, checked with the library jsonpatch, and that it says no more than what was edited."""

from __future__ import annotations

import json
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.pod.patch import patch

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("a~/0", max_size=3), inner, max_size=4),
    max_leaves=20,
)
NAMED = st.lists(st.fixed_dictionaries({"name": st.sampled_from("abcdef")}, optional={"value": JSON}), max_size=6)
OBJECTS = st.dictionaries(st.sampled_from(["x", "y/z", "~"]), NAMED | JSON, max_size=3)


@given(before=OBJECTS, after=OBJECTS)
def test_applied_it_makes_the_one_from_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    made = jsonpatch.apply_patch(before, json.loads(json.dumps(patch(before, after))))
    # in JSON true is not 1, though in Python they are equal
    assert json.dumps(made, sort_keys=True) == json.dumps(after, sort_keys=True)


A, B, C = ({"name": name} for name in "abc")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([A], [A], []),
        ([A, B], [C, A, B], [{"op": "add", "path": "/l/0", "value": C}]),
        ([A, B, C], [A, C], [{"op": "remove", "path": "/l/1"}]),
        ([A], [{**A, "x": 1}], [{"op": "add", "path": "/l/0/x", "value": 1}]),
        ([A, B, C], [C, A, B], [{"op": "remove", "path": "/l/2"}, {"op": "add", "path": "/l/0", "value": C}]),
        ([{"p": 1}, {"p": 2}], [{"p": 1}, {"p": 3}], [{"op": "replace", "path": "/l/1/p", "value": 3}]),
        (["a", "b"], ["a", "c"], [{"op": "replace", "path": "/l", "value": ["a", "c"]}]),
        ([1], [True], [{"op": "replace", "path": "/l", "value": [True]}]),
    ],
)
def test_says_what_was_edited_and_no_more(before: list[Any], after: list[Any], expected: list[Any]) -> None:
    assert patch({"l": before}, {"l": after}) == expected
