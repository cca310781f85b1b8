"""Strategic merge, against what Kubernetes' API machinery does with the same."""

from __future__ import annotations

from typing import Any

import pytest

from webhook.errors import PodError
from webhook.merging import as_message, as_values, strategic


def containers(*names: str) -> list[dict[str, Any]]:
    return [{"name": name} for name in names]


@pytest.mark.parametrize(
    ("target", "overlay", "expected"),
    [
        ("ab", "x", "xab"),  # new entries come first …
        ("ab", "ba", "ba"),  # … in the overlay's order …
        ("abc", "bx", "abxc"),  # … and others go where they were among those that are on both sides
        ("abcd", "cx", "abcxd"),
        ("ab", "", "ab"),
        ("", "xy", "xy"),
    ],
)
def test_order_of_keyed_lists(target: str, overlay: str, expected: str) -> None:
    merged = strategic({"spec": {"containers": containers(*target)}}, {"spec": {"containers": containers(*overlay)}})
    assert [entry["name"] for entry in merged["spec"]["containers"]] == list(expected)


def test_entries_with_the_same_key_merge() -> None:
    target = {
        "spec": {"containers": [{"name": "a", "image": "i", "env": [{"name": "X", "value": "1"}], "args": ["1", "2"]}]}
    }
    overlay = {
        "spec": {"containers": [{"name": "a", "env": [{"name": "X", "value": "2"}, {"name": "Y"}], "args": ["3"]}]}
    }
    [container] = strategic(target, overlay)["spec"]["containers"]
    assert container == {
        "name": "a",
        "image": "i",
        "env": [{"name": "X", "value": "2"}, {"name": "Y"}],
        "args": ["3"],
    }


def test_null_deletes_and_objects_merge() -> None:
    assert strategic({"a": {"b": 1, "c": 2}}, {"a": {"b": None, "d": 3}}) == {"a": {"c": 2, "d": 3}}


def test_nothing_is_changed_in_place_and_the_rest_is_shared() -> None:
    target: dict[str, Any] = {"spec": {"containers": containers("a", "b"), "volumes": [{"name": "v"}]}}
    merged = strategic(target, {"spec": {"containers": [{"name": "a", "image": "i"}]}})
    assert target["spec"]["containers"] == containers("a", "b")
    assert merged["spec"]["volumes"] is target["spec"]["volumes"]
    assert merged["spec"]["containers"][1] is target["spec"]["containers"][1]


@pytest.mark.parametrize("env", [1, [1], [{"name": ["a"]}]])
def test_what_is_no_list_of_objects_is_refused(env: object) -> None:
    target = {"spec": {"containers": [{"name": "a", "env": env}]}}
    with pytest.raises(PodError, match=r"^pod\.spec\.containers\[0\]\.env"):
        strategic(target, {"spec": {"containers": [{"name": "a", "env": [{"name": "X"}]}]}})


def test_as_helm_does() -> None:
    base = {"a": {"b": 1, "c": [1]}, "d": 2}
    assert as_values(base, {"a": {"c": [2], "e": None}, "d": {}}) == {"a": {"b": 1, "c": [2], "e": None}, "d": {}}
    assert base == {"a": {"b": 1, "c": [1]}, "d": 2}


def test_as_protobuf_does() -> None:
    base = {"tracing": {"zipkin": {"address": "z"}, "tags": ["a"]}, "n": 1}
    over = {"tracing": {"datadog": {"address": "d"}, "tags": ["b"]}, "n": 2}
    either = [frozenset({"zipkin", "datadog"})]
    assert as_message(base, over, either) == {"tracing": {"datadog": {"address": "d"}, "tags": ["a", "b"]}, "n": 2}
