"""`python -m tests.bench`: runs sections, prints their tables, writes bench.json and the plot."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from tests.bench import cluster, growth, interception, pipeline, plot, report, webhook
from tests.bench.errors import BenchError
from tests.bench.mesh import control, scale, telemetry

SECTIONS = ("pipeline", "webhook", "size", "init", "mesh", "telemetry", "growth", "cluster", "mesh-api")


def main() -> int:
    """Exit status 0 when everything was measured, whatever the figures; 1 when something could not be."""
    options = _parse()
    console = Console(width=max(150, Console().width))
    figures: dict[str, report.Figure] = report.machine()
    console.print(report.describe(figures), highlight=False, style="bold")
    console.print()
    tables: list[report.Table] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        for section in _sections(options, Path(name)):
            try:
                found = section()
            except BenchError as error:
                console.print(f"bench: {error}", style="red", markup=False)
                return 1
            figures |= found.figures
            tables += found.tables
            for table in found.tables:
                report.show(console, table)
    if (targets := report.targets(figures)).rows:
        tables.append(targets)
        report.show(console, targets)
    report.write(options.json, figures)
    if "size" in options.sections:
        options.plot.write_text(plot.growth(figures))
    if "growth" in options.sections:
        options.plot.with_stem(f"{options.plot.stem}-mesh").write_text(plot.mesh(figures))
    if options.markdown:
        options.markdown.write_text("\n".join([f"{report.describe(figures)}\n", *map(report.markdown, tables)]))
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "sections",
        nargs="*",
        metavar="SECTION",
        help=f"any of {', '.join(SECTIONS)} (default: all but growth, cluster and mesh-api)",
    )
    parser.add_argument("--quick", action="store_true", help="few and short rounds: a first look, in about a minute")
    parser.add_argument("--rounds", type=int, help="how often everything is measured (default 7; quick: 2)")
    parser.add_argument("--seconds", type=int, default=1, help="how long each run of wrk takes (default %(default)s)")
    parser.add_argument(
        "--json", type=Path, default=Path("bench.json"), help="where the figures go (default %(default)s)"
    )
    parser.add_argument(
        "--plot", type=Path, default=Path("bench.svg"), help="where the plot goes (default %(default)s)"
    )
    parser.add_argument("--markdown", type=Path, help="write the tables to this file too, as they stand in the docs")
    options = parser.parse_args()
    options.sections = options.sections or list(SECTIONS[:-3])
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"{', '.join(sorted(unknown))}: sections are {', '.join(SECTIONS)}")
    options.rounds = options.rounds or (2 if options.quick else 7)
    return options


def _sections(options: argparse.Namespace, folder: Path) -> list[Callable[[], report.Section]]:
    rounds, seconds = options.rounds, options.seconds
    connections = (8,) if options.quick else webhook.CONNECTIONS
    runs: dict[str, Callable[[], report.Section]] = {
        "pipeline": lambda: pipeline.run(rounds),
        "webhook": lambda: webhook.run(folder, rounds, seconds, connections),
        "size": lambda: growth.run(folder, rounds, seconds),
        "init": lambda: interception.run(rounds * 4),
        "mesh": lambda: control.run(folder, rounds),
        "telemetry": lambda: telemetry.run(rounds, seconds, folder),
        "growth": lambda: scale.run(folder, rounds),
        "mesh-api": lambda: control.run_from_api_server(folder, rounds),
        "cluster": lambda: cluster.run(folder, rounds * 15),
    }
    return [runs[name] for name in options.sections]


if __name__ == "__main__":
    sys.exit(main())
