"""When to build: at once after a pause, together while changes keep coming."""

from __future__ import annotations

# Changes that come so soon after one another belong together: `kubectl apply` of a folder, a rollout.
QUIET_SECONDS = 0.01
# …but nobody waits longer than this for what came first.
LONGEST_SECONDS = 0.5


def wait(now: float, first: float, last: float, built: float, *, urgent: bool) -> float:
    """How many seconds to wait before building, 0 for at once.

    `first` and `last` are when the first and the last of the waiting changes came, `built` when the last build ended;
    `urgent` are changes of endpoints, which never wait: an endpoint that is gone costs requests.
    """
    if urgent or first - built >= LONGEST_SECONDS:
        return 0
    return max(0.0, min(last + QUIET_SECONDS, first + LONGEST_SECONDS) - now)
