"""All or nothing: steps are done in order, and whatever fails or dies, what was done is taken back.

A failure is taken back by this process. Its death, SIGKILL included, is taken back by a guardian: a child forked before
the first step, in a session of its own, that waits on a pipe. The programs that a step starts hold the pipe as well, so
the guardian wakes only when none of them is still writing. One atomic step needs no guardian.
"""

import os

from init.errors import PyinitError, RollbackError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from init.backends import Step


def execute(steps: "Sequence[Step]", log: "Callable[[str], None]") -> None:
    """Do all steps, or none. Raises what the failed step raised, or RollbackError."""
    guardian = Guardian(steps) if len(steps) > 1 or not all(s.atomic for s in steps) else None
    begun: list[Step] = []
    try:
        for step in steps:
            begun.append(step)
            log(step.what)
            step.do()
    except BaseException as e:
        failures = take_back(begun)
        if failures:
            raise RollbackError("\n".join((str(e), "and taking back what was done failed too:", *failures))) from e
        raise
    finally:
        if guardian:
            guardian.release()


def take_back(steps: "Sequence[Step]") -> "list[str]":
    """Undo steps, the last first; return what failed."""
    failures = []
    for step in reversed(steps):
        try:
            step.undo()
        except PyinitError as e:
            failures.append(f"{step.what}: {e}")
    return failures


class Guardian:
    """A child that takes all steps back when this process dies before `release`."""

    def __init__(self, steps: "Sequence[Step]") -> None:
        wait, self._alive = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.setsid()
            os.close(self._alive)
            released = os.read(wait, 1)
            failures = [] if released else take_back(steps)
            if failures:
                os.write(2, ("pyinit was killed, and taking back failed: " + "; ".join(failures) + "\n").encode())
            os._exit(bool(failures))
        os.close(wait)
        os.set_inheritable(self._alive, True)

    def release(self) -> None:
        """All is well, or has been taken back: the guardian goes."""
        os.write(self._alive, b".")
        os.close(self._alive)
        os.waitpid(self._child, 0)
