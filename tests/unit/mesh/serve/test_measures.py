"""What the control plane counts of itself: labels that are few, and times that follow from changes."""

from __future__ import annotations

import pytest

from mesh.serve.metrics import cause
from mesh.sources.intake import changed_at


@pytest.mark.parametrize(
    ("words", "of"),
    [
        ("route: unknown cluster 'outbound|9080||gone'", "unknown cluster"),
        ("Only unique values for domains are permitted. Duplicate entry of domain a", "duplicate"),
        ("no argument for repetition operator: *: invalid regex", "regex"),
        ("failed to create an expression: ...", "expression"),
        ("Failed to load certificate chain from <inline>", "secret"),
        ("Proto constraint validation failed (ClusterValidationError.Name)", "constraint"),
        ("x" * 10_000, "other"),
        ("", "other"),
    ],
)
def test_envoy_s_words_are_one_of_few_causes(words: str, of: str) -> None:
    assert cause(words) == of


@pytest.mark.parametrize(
    ("metadata", "at"),
    [
        ({"managedFields": [{"time": "2026-01-01T00:00:00Z"}, {"time": "2026-01-01T00:00:05Z"}]}, 1767225605),
        ({"annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:01Z"}}, 1767225601),
        ({"managedFields": [{"time": 7}, None, {}]}, 0),
        ({"managedFields": "x"}, 0),
        ({"managedFields": [{"time": "yesterday"}]}, 0),
        ({}, 0),
        (None, 0),
    ],
    ids=str,
)
def test_when_an_object_was_changed(metadata: object, at: float) -> None:
    assert changed_at({"metadata": metadata}) == at
