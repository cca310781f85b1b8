"""A bound on the processor time of one review: a worker answers one at a time, so a slow one holds up all others."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from webhook.errors import InjectionError


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Raise InjectionError when the block has taken so much of this process's processor time; 0: never.

    Processor time, not the clock's: on a busy machine a pod in good order waits, and is not refused. For the main
    thread alone (setitimer(2), SIGPROF).
    """
    if not seconds:
        yield
        return

    def late(*_: object) -> None:
        raise InjectionError(f"the review has taken more than {seconds:g} s of processor time; make the pod smaller")

    signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
