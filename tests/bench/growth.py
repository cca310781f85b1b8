"""How the time of a review grows with the pod: over HTTPS on one connection, and of the injection alone."""

from __future__ import annotations

import statistics
from pathlib import Path

from tests.bench import pods
from tests.bench.pipeline import freeze, microseconds
from tests.bench.report import Section, Table
from tests.bench.webhook import measure, servers
from webhook.serving.server import Cluster, Reviewer
from webhook.settings import Settings

VARIABLES = (0, 250, 500, 1000, 1500, 2000)


def run(folder: Path, rounds: int, seconds: int) -> Section:
    """Medians, by the number of variables that the pod has."""
    section = Section()
    rows = []
    reviewer = Reviewer(Settings.load(), Cluster())
    freeze()
    bodies = {f"env{count}": pods.with_variables(count) for count in VARIABLES}
    with servers(folder, bodies) as (webhook, bare, files):
        for count, name in zip(VARIABLES, bodies, strict=True):
            cell = measure(webhook, bare, name, files[name], 1, rounds, seconds)
            webhook_ms, bare_ms = (statistics.median(s.load.p50 for s in side) for side in (cell.webhook, cell.bare))
            pipeline_us = microseconds(reviewer, files[name].read_bytes(), rounds)
            kilobytes = files[name].stat().st_size / 1000
            section.figures |= {
                f"size.{name}.kb": kilobytes,
                f"size.{name}.webhook_ms": webhook_ms,
                f"size.{name}.bare_ms": bare_ms,
                f"size.{name}.pipeline_us": pipeline_us,
            }
            milliseconds = (f"{value:.2f}" for value in (webhook_ms, bare_ms, pipeline_us / 1000))
            rows.append((f"{count:,}", f"{kilobytes:.0f} kB", *milliseconds))
    columns = ("variables", "body", "webhook ms", "bare ms", "injection alone ms")
    section.tables.append(Table("Median time by size of the pod, one connection", columns, rows))
    return section
