"""What tells two lists apart: right for any lists, and in time that grows with their length."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from init.difference import changes

LINES = st.lists(st.sampled_from("abcd"), max_size=12)


def applied(there: list[str], told: list[str], want: list[str]) -> None:
    """Walk both lists by what was told; what is not told of must be equal."""
    old, new, told = there[::-1], want[::-1], told[::-1]
    while old or new:
        if old and new and old[-1] == new[-1]:
            assert old.pop() == new.pop()
        else:
            sign, line = told.pop().split(" ", 1)
            assert (old if sign == "-" else new).pop() == line
    assert not told


@given(LINES, LINES)
def test_changes_make_the_one_of_the_other(there: list[str], want: list[str]) -> None:
    applied(there, list(changes(there, want)), want)


@pytest.mark.parametrize(
    ("there", "want", "told"),
    [
        ("abc", "abc", ""),
        ("abc", "axc", "-b+x"),
        ("abc", "bc", "-a"),
        ("bc", "abc", "+a"),
        ("abc", "bca", "-a+a"),
        ("", "ab", "+a+b"),
        ("aa", "a", "-a"),
    ],
)
def test_changes_are_few(there: str, want: str, told: str) -> None:
    assert "".join(changes(there, want)).replace(" ", "") == told


class Counted(str):
    """A line that counts how often it is compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def compared(size: int) -> int:
    """How many comparisons two lists of this size take, of which every second line differs."""

    def lines(kind: str) -> Iterator[Counted]:
        return (Counted(f"{n}" if n % 2 else f"{kind}{n}") for n in range(size))

    Counted.compared = 0
    list(changes(list(lines("a")), list(lines("b"))))
    return Counted.compared


def test_the_work_grows_with_the_lines() -> None:
    assert compared(4000) < 12 * compared(400)
