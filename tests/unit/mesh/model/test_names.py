"""Names that users know from Envoy."""

from __future__ import annotations

import pytest

from mesh.model.names import narrower


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("a.example.com", "a.example.com", "a.example.com"),
        ("a.example.com", "A.example.com", "a.example.com"),
        ("*", "a.example.com", "a.example.com"),
        ("*", "*", "*"),
        ("*.example.com", "a.example.com", "a.example.com"),
        ("*.example.com", "a.b.example.com", "a.b.example.com"),
        ("*.example.com", "*.b.example.com", "*.b.example.com"),
        ("*.example.com", "example.com", ""),
        ("*.example.com", "*.example.org", ""),
        ("a.example.com", "b.example.com", ""),
    ],
)
def test_what_two_hosts_both_mean(one: str, other: str, both: str) -> None:
    assert narrower(one, other) == narrower(other, one) == both
