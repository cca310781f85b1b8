"""How long a source waits before it asks again: longer each time, and never in step with others."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass

ABSENT = 10.0  # a resource that the API server does not have is looked for again
CONFIRM = 1.0  # between the two lists that must agree


@dataclass(frozen=True, slots=True)
class Pause:
    """Seconds between tries: doubled from `first` to `longest`, each by chance half as long or half as long again.

    `scale` is for tests, which have no time.
    """

    first: float = 0.5
    longest: float = 5.0
    scale: float = 1.0

    def after(self, failures: int) -> float:
        """Before the next try, after so many failures before this one."""
        return self.of(min(self.first * 2.0 ** min(failures, 16), self.longest))

    def asked(self, seconds: float) -> float:
        """As long as a server asks for, but no longer than it would ever be."""
        return self.of(min(seconds, self.longest))

    def of(self, seconds: float) -> float:
        """This long, more or less."""
        return seconds * self.scale * random.uniform(0.5, 1.5)


class Contact:
    """With a server that many ask: the first who is answered again wakes those who wait after a failure.

    So all are back as soon as the soonest try finds it, and no one need try often.
    """

    def __init__(self) -> None:
        self._lock, self._waiting = threading.Lock(), set[threading.Event]()

    def wait(self, woken: threading.Event, seconds: float) -> bool:
        """Waits until contact is made, `woken` is set, or so long; tells whether something happened before."""
        with self._lock:
            self._waiting.add(woken)
        happened = woken.wait(seconds)
        with self._lock:
            self._waiting.discard(woken)
            woken.clear()
        return happened

    def made(self) -> None:
        """Somebody who had failed was answered."""
        with self._lock:
            for woken in self._waiting:
                woken.set()


RETRY = Pause()
