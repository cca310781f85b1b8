"""Steps that fail: what was done is taken back, the last first."""

import errno
import os
from pathlib import Path

import pytest

from init.backends import Step
from init.errors import RefusedError, RollbackError
from init.transaction import Guardian, execute


class World:
    """A system in which steps leave a name, and some fail."""

    def __init__(self, fails: str = "", stays: str = "") -> None:
        self.fails, self.stays = fails, stays
        self.done: list[str] = []
        self.undone: list[str] = []

    def step(self, name: str, *, direct: bool = False) -> Step:
        def do() -> None:
            self.done.append(name)
            if name == self.fails:
                raise RefusedError(f"{name} refused")

        def undo() -> None:
            if name == self.stays:
                raise RefusedError(f"{name} stays")
            self.undone.append(name)

        return Step(name, "", do, undo, direct=direct)


def test_all_steps_are_done_and_told() -> None:
    world, told = World(), list[str]()
    execute([world.step(n) for n in "abc"], told.append)
    assert (world.done, world.undone, told) == (["a", "b", "c"], [], ["a", "b", "c"])


def test_a_failure_takes_back_what_was_begun() -> None:
    world = World(fails="b")
    with pytest.raises(RefusedError, match="b refused"):
        execute([world.step(n) for n in "abc"], lambda _: None)
    assert (world.done, world.undone) == (["a", "b"], ["b", "a"])


def test_what_cannot_be_taken_back_is_told_and_the_rest_is_taken_back() -> None:
    world = World(fails="c", stays="b")
    with pytest.raises(RollbackError, match=r"c refused\n.*\nb: b stays"):
        execute([world.step(n) for n in "abc"], lambda _: None)
    assert world.undone == ["c", "a"]


def test_what_the_kernel_refused_was_not_done_and_is_not_taken_back() -> None:
    """What is there in its place is somebody else's."""
    world = World(fails="b")
    with pytest.raises(RefusedError, match="b refused"):
        execute([world.step("a"), world.step("b", direct=True), world.step("c")], lambda _: None)
    assert (world.done, world.undone) == (["a", "b"], ["a"])


@pytest.mark.parametrize(
    ("told", "taken_back"),
    [(b"", ""), (b"+", "a"), (b"++", "ba"), (b"++-", "a"), (b"+++.", ""), (b"+-.", "")],
)
def test_a_guardian_takes_back_what_was_begun_and_not_refused(tmp_path: Path, told: bytes, taken_back: str) -> None:
    def step(name: str) -> Step:
        def undo() -> None:
            with (tmp_path / "undone").open("a") as file:
                file.write(name)

        return Step(name, "", undo, undo)

    (tmp_path / "undone").touch()
    guardian = Guardian([step(n) for n in "abc"])
    guardian.tell(told)
    os.close(guardian._alive)  # as when this process dies
    assert os.waitpid(guardian._child, 0)[1] == 0
    assert (tmp_path / "undone").read_text() == taken_back


def test_a_guardian_that_died_changes_nothing() -> None:
    world = World()

    def kill_the_guardian(what: str) -> None:
        if what == "b":
            (child,) = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()[-1:]
            os.kill(int(child), 9)

    execute([world.step(n) for n in "abc"], kill_the_guardian)
    assert (world.done, world.undone) == (["a", "b", "c"], [])


@pytest.mark.parametrize("call", ["pipe", "fork"])
def test_no_room_for_a_guardian_is_no_fault_of_ours(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def refuse() -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    world = World()
    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(RefusedError, match="cannot start a process: Resource temporarily unavailable"):
        execute([world.step(n) for n in "ab"], lambda _: None)
    assert world.done == []
