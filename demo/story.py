"""What the demo tells, as values: steps, each with what is shown and what is claimed. `tellers` print them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Row = Sequence[str]


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that must hold: whether it does, and what was seen."""

    name: str
    text: str
    holds: bool
    evidence: str


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings; `name` is for the data, `title` for people."""

    name: str
    title: str
    columns: Row
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Text:
    """Something verbatim: a command line, a log line."""

    name: str
    title: str
    lines: Row


Shown = Table | Text


@dataclass(slots=True)
class Step:
    """A step of the story."""

    name: str
    title: str
    about: str
    shown: list[Shown] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)


class Teller:
    """Reads the story while it happens."""

    def step(self, number: int, step: Step) -> None:
        """A step begins."""

    def show(self, shown: Shown) -> None:
        """Something is shown in it."""

    def claim(self, claim: Claim) -> None:
        """Something is claimed in it."""

    def end(self, story: Story) -> None:
        """That was all."""


class Story:
    """The story so far."""

    def __init__(self, teller: Teller) -> None:
        self.steps: list[Step] = []
        self.seconds = 0.0
        self._teller = teller

    def step(self, name: str, title: str, about: str) -> None:
        """Begins the next step."""
        self.steps.append(Step(name, title, about))
        self._teller.step(len(self.steps), self.steps[-1])

    def show(self, shown: Shown) -> None:
        """Shows something in this step."""
        self.steps[-1].shown.append(shown)
        self._teller.show(shown)

    def claim(self, name: str, holds: bool, text: str, evidence: object) -> None:
        """Claims something in this step, whether it holds or not."""
        claim = Claim(name, text, holds, str(evidence))
        self.steps[-1].claims.append(claim)
        self._teller.claim(claim)

    def end(self, seconds: float) -> None:
        """The end, after this time."""
        self.seconds = seconds
        self._teller.end(self)

    @property
    def broken(self) -> list[Claim]:
        """The claims that did not hold."""
        return [claim for step in self.steps for claim in step.claims if not claim.holds]

    def data(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        return {
            "ok": not self.broken,
            "seconds": round(self.seconds, 2),
            "steps": [
                {
                    "name": step.name,
                    "title": step.title,
                    "claims": {
                        claim.name: {"holds": claim.holds, "text": claim.text, "evidence": claim.evidence}
                        for claim in step.claims
                    },
                    "shown": {
                        shown.name: list(shown.lines)
                        if isinstance(shown, Text)
                        else [dict(zip(shown.columns, row, strict=True)) for row in shown.rows]
                        for shown in step.shown
                    },
                }
                for step in self.steps
            ],
        }
