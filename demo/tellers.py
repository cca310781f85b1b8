"""The two readers of a story: a person at a terminal, and a program that wants JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TextIO

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table as RichTable
from rich.text import Text as RichText

from demo.story import Claim, Row, Shown, Step, Story, Teller, Text

PLAIN_WIDTH = 120


class Terminal(Teller):
    """Tells the story as it happens; without colours, and as wide as a page, where the output is no terminal."""

    def __init__(self, out: TextIO) -> None:
        width = None if out.isatty() else PLAIN_WIDTH
        self._console = Console(file=out, width=width, highlight=False)

    def step(self, number: int, step: Step) -> None:
        """A heading, and a sentence on what happens."""
        title = RichText.assemble((f" {number} ", "bold reverse"), " ", (step.title, "bold"))
        self._console.print()
        self._console.print(Rule(title, align="left", style="dim"))
        self._print(step.about)
        self._console.print()

    def show(self, shown: Shown) -> None:
        """A table, or lines verbatim."""
        self._print(RichText(shown.title, style="dim"))
        if isinstance(shown, Text):
            self._print(RichText("\n".join(shown.lines), style="cyan"), indent=5)
        else:
            self._print(_table(shown.columns, shown.rows))

    def claim(self, claim: Claim) -> None:
        """A tick or a cross, and what was seen."""
        mark = ("✔ ", "bold green") if claim.holds else ("✘ ", "bold red")
        self._print(RichText.assemble(mark, (claim.text, "" if claim.holds else "bold red")))
        self._print(RichText(claim.evidence, style="dim"), indent=5)

    def end(self, story: Story) -> None:
        """How it went."""
        claims, broken = sum(len(step.claims) for step in story.steps), len(story.broken)
        verdict = f"{broken} of {claims} claims do not hold." if broken else f"All {claims} claims hold."
        rest = f" It took {story.seconds:.1f} s; namespaces, rules and processes are gone again."
        self._console.print()
        self._console.print(Rule(style="dim"))
        self._print(RichText.assemble((verdict, "bold red" if broken else "bold green"), rest))

    def _print(self, what: RenderableType, indent: int = 3) -> None:
        self._console.print(Padding(what, (0, 0, 0, indent), expand=False))


class Json(Teller):
    """Prints the whole story at its end."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def end(self, story: Story) -> None:
        """One object."""
        print(json.dumps(story.data(), indent=2), file=self._out)


def _table(columns: Row, rows: Sequence[Row]) -> RichTable:
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for column in columns:
        in_short = column == "value"
        table.add_column(
            column,
            justify="right" if column == "seen" else "left",
            overflow="ellipsis" if in_short else "fold",
            no_wrap=in_short,
        )
    for row in rows:
        table.add_row(*(RichText(cell) for cell in row))
    return table
