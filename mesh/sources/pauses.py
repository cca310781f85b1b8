"""How long a source waits before it asks again: longer each time, and never in step with others."""

from __future__ import annotations

import random
from dataclasses import dataclass

ABSENT = 10.0  # a resource that the API server does not have is looked for again
CONFIRM = 1.0  # between the two lists that must agree


@dataclass(frozen=True, slots=True)
class Pause:
    """Seconds between tries: doubled from `first` to `longest`, each by chance half as long or half as long again.

    `scale` is for tests, which have no time.
    """

    first: float = 0.5
    longest: float = (
        5.0  # after an outage of a minute the last watch is back within some seconds, and not half a minute
    )
    scale: float = 1.0

    def after(self, failures: int) -> float:
        """Before the next try, after so many failures before this one."""
        return self.of(min(self.first * 2.0 ** min(failures, 16), self.longest))

    def of(self, seconds: float) -> float:
        """This long, more or less."""
        return seconds * self.scale * random.uniform(0.5, 1.5)


RETRY = Pause()
