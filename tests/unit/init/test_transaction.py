"""Steps that fail: what was done is taken back, the last first."""

import pytest

from init.backends import Step
from init.errors import RefusedError, RollbackError
from init.transaction import execute


class World:
    """A system in which steps leave a name, and some fail."""

    def __init__(self, fails: str = "", stays: str = "") -> None:
        self.fails, self.stays = fails, stays
        self.done: list[str] = []
        self.undone: list[str] = []

    def step(self, name: str) -> Step:
        def do() -> None:
            self.done.append(name)
            if name == self.fails:
                raise RefusedError(f"{name} refused")

        def undo() -> None:
            if name == self.stays:
                raise RefusedError(f"{name} stays")
            self.undone.append(name)

        return Step(name, "", do, undo)


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
