"""When to build: at once after a pause, together while changes keep coming, never later than half a second."""

from __future__ import annotations

import pytest

from mesh.world.gather import LONGEST_SECONDS, QUIET_SECONDS, wait


def test_the_first_change_after_a_pause_is_built_at_once() -> None:
    assert wait(now=10, first=10, last=10, built=10 - LONGEST_SECONDS, urgent=False) == 0


def test_endpoints_never_wait() -> None:
    assert wait(now=10, first=10, last=10, built=9.99, urgent=True) == 0


def test_more_changes_are_waited_for_until_it_is_quiet() -> None:
    assert wait(now=10, first=10, last=10, built=9.9, urgent=False) == pytest.approx(QUIET_SECONDS)
    assert wait(now=10 + 2 * QUIET_SECONDS, first=10, last=10, built=9.9, urgent=False) == 0


def test_nobody_waits_for_longer_than_the_longest() -> None:
    last = now = 10 + LONGEST_SECONDS
    assert wait(now=now, first=10, last=last, built=9.9, urgent=False) == 0
