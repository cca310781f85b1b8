"""What a benchmark found: figures by name for bench.json, and tables for people."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

Figure = float | str

# What the project holds itself to: at least (>=) or at most (<=).
TARGETS: dict[str, tuple[str, float]] = {
    "webhook.plain.c8.ratio": (">=", 0.40),
    "webhook.plain.c1.p50_ratio": ("<=", 2.5),
    "webhook.plain.c8.p99_ratio": ("<=", 3.0),
    "webhook.env2000.c8.ratio": (">=", 0.25),
    "webhook.rss_mib": ("<=", 200),
    "init.apply.ratio": ("<=", 2.2),
    "init.again.ratio": ("<=", 1.5),
    "init.rss_mib": ("<=", 20),
    "mesh.sync.cpu_ratio": ("<=", 3.0),
    "mesh.endpoint.last_ratio": ("<=", 3.0),
    "mesh.endpoint.last_ms": ("<=", 50),
    "mesh.endpoint.cpu_ms": ("<=", 15),
    "mesh.route.last_ratio": ("<=", 3.0),
    "mesh.route.cpu_ms": ("<=", 300),
    "mesh.rss_mib": ("<=", 300),
    "mesh.restart.bytes_ratio": ("<=", 0.01),
}


@dataclass(frozen=True, slots=True)
class Table:
    """Text in columns; all but the first are numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(slots=True)
class Section:
    """What a part of the benchmark found."""

    figures: dict[str, float] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)


def machine() -> dict[str, Figure]:
    """What was measured on, and how busy it was with other things as the measurement began."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 1024**2
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("fastapi", "uvicorn", "uvloop", "orjson"))
    return {
        "machine.cpu": cpu,
        "machine.cores": os.cpu_count() or 0,
        "machine.memory_gib": round(memory, 1),
        "machine.kernel": platform.release(),
        "machine.python": platform.python_version(),
        "machine.packages": packages,
        "machine.load_before": round(os.getloadavg()[0], 2),
        "machine.time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def describe(figures: Mapping[str, Figure]) -> str:
    """The machine in a sentence."""
    return (
        "{cpu}, {cores} cores, {memory_gib} GiB; Linux {kernel}, Python {python}, {packages}; "
        "load {load_before}, {time}"
    ).format_map({name.partition(".")[2]: figure for name, figure in figures.items()})


def show(console: Console, table: Table) -> None:
    """Prints a table."""
    rich = RichTable(title=table.title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for number, column in enumerate(table.columns):
        rich.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in table.rows:
        rich.add_row(*row)
    console.print(rich)
    console.print()


def markdown(table: Table) -> str:
    """The table as it stands in the documentation."""
    lines = [
        f"**{table.title}**",
        "",
        f"| {' | '.join(table.columns)} |",
        f"|---|{'---:|' * (len(table.columns) - 1)}",
        *(f"| {' | '.join(row)} |" for row in table.rows),
    ]
    return "\n".join(lines) + "\n"


def targets(figures: Mapping[str, Figure]) -> Table:
    """The targets that these figures speak of, and whether they are met."""
    rows = []
    for name, (sign, bound) in TARGETS.items():
        figure = figures.get(name)
        if isinstance(figure, float):
            met = figure >= bound if sign == ">=" else figure <= bound
            rows.append((name, f"{figure:.2f}", f"{sign} {bound:g}", "met" if met else "missed"))
    return Table("Targets", ("figure", "is", "target", ""), rows)


def write(path: Path, figures: Mapping[str, Figure]) -> None:
    """Writes one flat JSON object."""
    rounded = {name: round(figure, 4) if isinstance(figure, float) else figure for name, figure in figures.items()}
    path.write_text(json.dumps(rounded, indent=2) + "\n")
