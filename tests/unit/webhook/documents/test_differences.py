"""Differences that still apply to what somebody has edited meanwhile, or not, each by itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webhook.documents import differences
from webhook.documents.edit import same

SCALARS = st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["", "a", "b"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
        | st.lists(
            st.fixed_dictionaries({"name": st.sampled_from("xyz"), "v": inner}),
            max_size=3,
            unique_by=lambda e: e["name"],
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(VALUES, VALUES)
def test_they_make_the_one_of_the_other(before: Any, after: Any) -> None:
    result, misfits = differences.apply(before, differences.between(before, after))
    assert same(result, after)
    assert misfits == []


@settings(deadline=None)
@given(VALUES, VALUES)
def test_applied_twice_is_once(before: Any, after: Any) -> None:
    """What is there already is no misfit, but for entries of lists that were taken out or put in order."""
    found = differences.between(before, after)
    if all("value" in difference for difference in found):
        assert differences.apply(after, found) == (after, [])


@settings(deadline=None)
@given(VALUES, VALUES, VALUES)
def test_on_any_other_value_they_fit_or_are_told(before: Any, after: Any, other: Any) -> None:
    found = differences.between(before, after)
    result, misfits = differences.apply(other, found)
    assert len(misfits) <= len(found)
    if len(misfits) == len(found):
        assert same(result, other)


WEB, DB = {"name": "web", "port": 1}, {"name": "db", "port": 2}


@pytest.mark.parametrize(
    ("before", "after", "edited", "expected"),
    [
        ([WEB], [{**WEB, "port": 9}], [DB, WEB], [DB, {**WEB, "port": 9}]),
        ([WEB, DB], [DB, WEB], [WEB, {"name": "new"}, DB], [DB, {"name": "new"}, WEB]),
        ([WEB, DB], [DB], [{"name": "new"}, WEB, DB], [{"name": "new"}, DB]),
        ([WEB], [WEB, DB], [{"name": "new"}, WEB], [{"name": "new"}, WEB, DB]),
    ],
)
def test_entries_go_by_their_names(before: Any, after: Any, edited: Any, expected: Any) -> None:
    assert differences.apply(edited, differences.between(before, after)) == (expected, [])


@pytest.mark.parametrize(
    "broken", [1, {}, {"at": 1}, {"at": ["a", 0]}, {"at": [None]}, {"at": ["a"], "was": 1}, {"at": []}]
)
def test_what_is_no_difference_is_told(broken: Any) -> None:
    value, misfits = differences.apply({"a": {"b": 1}}, [broken])
    assert value == {"a": {"b": 1}}
    assert len(misfits) == 1
