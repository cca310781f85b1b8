"""All or nothing: steps are done in order, and whatever fails or dies, what was done is taken back.

A failure is taken back by this process. Its death, SIGKILL included, is taken back by a guardian: a child forked before
the first step, in a session of its own, that reads from a pipe which steps were begun. The programs that a step starts
hold the pipe as well, so it ends, and the guardian acts, only when none of them is still writing. One atomic step needs
no guardian.
"""

import os

from init.errors import PyinitError, RefusedError, RollbackError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from init.backends import Step

_BEGUN, _REFUSED, _RELEASED = b"+", b"-", b"."  # told to the guardian


def execute(steps: "Sequence[Step]", log: "Callable[[str], None]") -> None:
    """Do all steps, or none. Raises what the failed step raised, or RollbackError."""
    guardian = Guardian(steps) if len(steps) > 1 or not all(s.atomic for s in steps) else None
    begun: list[Step] = []
    try:
        for step in steps:
            if guardian:
                guardian.tell(_BEGUN)
            begun.append(step)
            log(step.what)
            step.do()
    except BaseException as e:
        if isinstance(e, PyinitError) and begun and begun[-1].direct:
            begun.pop()
            if guardian:
                guardian.tell(_REFUSED)
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
        except (PyinitError, OSError) as e:
            failures.append(f"{step.what}: {e}")
    return failures


class Guardian:
    """A child that takes the steps that were begun back when this process dies before `release`."""

    def __init__(self, steps: "Sequence[Step]") -> None:
        try:
            wait, self._alive = os.pipe()
            self._child = os.fork()
        except OSError as e:
            raise RefusedError(
                f"cannot start a process: {e.strerror}; nothing was changed. Limits of processes, open files or memory "
                "may be reached"
            ) from e
        if self._child == 0:
            self._guard(wait, steps)
        os.close(wait)
        os.set_inheritable(self._alive, True)

    def _guard(self, wait: int, steps: "Sequence[Step]") -> None:
        """Be the child; does not return."""
        failures = []
        try:
            os.setsid()
            os.close(self._alive)
            told = b""
            while more := os.read(wait, 4096):
                told += more
            if _RELEASED not in told:
                failures = take_back(steps[: told.count(_BEGUN) - told.count(_REFUSED)])
            if failures:
                os.write(2, ("pyinit was killed, and taking back failed: " + "; ".join(failures) + "\n").encode())
        finally:
            os._exit(bool(failures))

    def tell(self, what: bytes) -> None:
        """Let the guardian know. That it is gone is no reason to stop."""
        try:
            os.write(self._alive, what)
        except OSError:
            return

    def release(self) -> None:
        """All is well, or has been taken back: the guardian goes. Does not raise."""
        self.tell(_RELEASED)
        os.close(self._alive)
        try:
            os.waitpid(self._child, 0)
        except OSError:
            return  # it was waited for by somebody else
