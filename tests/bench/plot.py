"""Time against the size of the pod, as an SVG that can be read on light and on dark pages."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

from tests.bench.report import Figure

Point = tuple[float, float]

_WIDTH, _HEIGHT = 720, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 130, 48, 56  # margins; on the right the lines' names stand

_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-size: 15px; font-weight: 600 }
  .grid { stroke: #d0d7de; stroke-width: 1 }
  .line { fill: none; stroke-width: 2.5 }
  .s0 { stroke: #0969da } .s1 { stroke: #9a6700 } .s2 { stroke: #1a7f37 } .s3 { stroke: #8250df }
  .d0 { fill: #0969da } .d1 { fill: #9a6700 } .d2 { fill: #1a7f37 } .d3 { fill: #8250df }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .grid { stroke: #3d444d }
    .s0 { stroke: #58a6ff } .s1 { stroke: #d29922 } .s2 { stroke: #3fb950 } .s3 { stroke: #a371f7 }
    .d0 { fill: #58a6ff } .d1 { fill: #d29922 } .d2 { fill: #3fb950 } .d3 { fill: #a371f7 }
  }
"""


def growth(figures: Mapping[str, Figure]) -> str:
    """The plot of the section `size`."""
    names = ("webhook", "bare handler", "injection alone")
    lines = [
        _points(figures, "size.env", suffix, scale)
        for suffix, scale in ((".webhook_ms", 1.0), (".bare_ms", 1.0), (".pipeline_us", 0.001))
    ]
    return _svg("Median time of a review (ms), one HTTPS connection", "environment variables of the pod", names, lines)


def mesh(figures: Mapping[str, Figure]) -> str:
    """The plot of the section `growth`: changes, by the number of proxies."""
    names = ("a route", "the same bytes", "an endpoint", "the same bytes")
    lines = [
        _points(figures, "mesh.growth.proxies", f".{key}_cpu_ms", 1.0)
        for key in ("route", "route_floor", "endpoint", "endpoint_floor")
    ]
    return _svg("Processor time of a change (ms), 1,000 Services", "proxies", names, lines)


def _points(figures: Mapping[str, Figure], prefix: str, suffix: str, scale: float) -> list[Point]:
    found = [
        (float(name.removeprefix(prefix).removesuffix(suffix)), figure * scale)
        for name, figure in figures.items()
        if name.startswith(prefix) and name.endswith(suffix) and isinstance(figure, float)
    ]
    return sorted(found)


def _svg(title: str, x_title: str, names: Sequence[str], lines: Sequence[Sequence[Point]]) -> str:
    x_step = _step(max(x for line in lines for x, _ in line))
    y_step = _step(max(y for line in lines for _, y in line))
    x_end = math.ceil(max(x for line in lines for x, _ in line) / x_step) * x_step
    y_end = math.ceil(max(y for line in lines for _, y in line) / y_step) * y_step
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def at(point: Point) -> Point:
        x, y = point
        return _LEFT + x / x_end * (right - _LEFT), bottom - y / y_end * (bottom - _TOP)

    parts = [f'<text class="title" x="{_LEFT}" y="24">{title}</text>']
    for number in range(round(y_end / y_step) + 1):
        _, y = at((0, number * y_step))
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number * y_step:g}</text>')
    for number in range(round(x_end / x_step) + 1):
        x, _ = at((number * x_step, 0))
        parts.append(f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{number * x_step:,g}</text>')
    parts.append(f'<text x="{(_LEFT + right) / 2}" y="{bottom + 44}" text-anchor="middle">{x_title}</text>')
    labels = _apart([at(line[-1])[1] for line in lines if line])
    for number, (name, line) in enumerate(zip(names, lines, strict=True)):
        if not line:
            continue
        points = [at(point) for point in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline class="line s{number}" points="{path}"/>')
        parts += [f'<circle class="d{number}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in points]
        parts.append(f'<text class="d{number}" x="{right + 10}" y="{labels.pop(0) + 4:.1f}">{name}</text>')
    body = "\n  ".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}">\n'
        f"  <style>{_STYLE}  </style>\n  {body}\n</svg>\n"
    )


def _step(largest: float) -> float:
    """The distance of grid lines, 1, 2 or 5 times a power of ten, of which about five span what is shown."""
    power = 10.0 ** math.floor(math.log10(largest / 5))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= largest / 5)


def _apart(heights: Sequence[float], distance: float = 16) -> list[float]:
    """The same heights, moved so that text there does not overlap."""
    moved = list(heights)
    order = sorted(range(len(moved)), key=lambda number: -moved[number])
    for below, above in itertools.pairwise(order):
        moved[above] = min(moved[above], moved[below] - distance)
    return moved
