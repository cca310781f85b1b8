"""How the figures grow: with Services at 100 proxies, and with proxies at 1,000 Services."""

from __future__ import annotations

import statistics
from pathlib import Path

from tests.bench.mesh.control import PROXIES, SERVICES, Run, Sample, files, one
from tests.bench.report import Section, Table

BY_SERVICES = (100, 1000, 5000)
BY_PROXIES = (10, 100, 500)


def run(folder: Path, changes: int) -> Section:
    """A start of everything for each size; the middle one counts for both."""
    section = Section()
    sizes = {f"services{count}": (count, PROXIES) for count in BY_SERVICES}
    sizes |= {f"proxies{count}": (SERVICES, count) for count in BY_PROXIES}
    runs: dict[tuple[int, int], Run] = {}
    rows = []
    for name, size in sizes.items():
        services, proxies = size
        told = size in runs
        made = runs[size] = runs.get(size) or one(
            folder / f"growth-{name}", files(services), proxies, changes, restart=False
        )
        assert made.sync is not None
        figures = {
            "start_seconds": made.start_seconds,
            "sync_seconds": made.sync[0].last,
            "sync_cpu_seconds": made.sync[0].cpu,
            "sync_floor_cpu_seconds": made.sync[1].cpu,
            "endpoint_cpu_ms": _cpu(made.endpoint, 0),
            "endpoint_floor_cpu_ms": _cpu(made.endpoint, 1),
            "route_cpu_ms": _cpu(made.route, 0),
            "route_floor_cpu_ms": _cpu(made.route, 1),
            "rss_mib": made.rss,
        }
        section.figures |= {f"mesh.growth.{name}.{key}": value for key, value in figures.items()}
        cells = [f"{made.start_seconds:.1f}", *(f"{sample.last:.1f}" for sample in made.sync)]
        cells += [f"{sample.cpu:.2f}" for sample in made.sync]
        cells += [f"{_cpu(pairs, side):.0f}" for pairs in (made.endpoint, made.route) for side in (0, 1)]
        if told:
            continue
        rows.append((f"{services:,} Services, {proxies} proxies", *cells, f"{made.rss:.0f}"))
    columns = (
        "",
        "start s",
        "sync s",
        "bare",
        "CPU s",
        "bare",
        "endpoint CPU ms",
        "bare",
        "route CPU ms",
        "bare",
        "MiB",
    )
    section.tables.append(Table("How the control plane grows", columns, rows))
    return section


def _cpu(pairs: list[tuple[Sample, Sample]], side: int) -> float:
    return statistics.median(pair[side].cpu for pair in pairs) * 1000
