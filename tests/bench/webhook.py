"""The webhook over HTTPS against a bare FastAPI handler: throughput, latency, processor time and memory."""

from __future__ import annotations

import base64
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import jsonpatch
import orjson

from tests.bench import pods, server
from tests.bench.errors import BenchError
from tests.bench.load import Load, post
from tests.bench.report import Section, Table
from tests.bench.server import Certificate, Server

CONNECTIONS = (1, 8, 64)


@dataclass(frozen=True, slots=True)
class Sample:
    """A run of wrk against a server, and the processor time that the server took for a request, in microseconds."""

    load: Load
    cpu: float


@dataclass(frozen=True, slots=True)
class Cell:
    """The rounds of one body at one number of connections."""

    bare: Sequence[Sample]
    webhook: Sequence[Sample]

    def ratio(self, of: Callable[[Sample], float]) -> float:
        """The median of the rounds' ratios, webhook to bare."""
        return statistics.median(of(a) / of(b) for a, b in zip(self.webhook, self.bare, strict=True))

    def figures(self, name: str) -> dict[str, float]:
        """For bench.json; `name` is body and connections."""
        found = {
            f"webhook.{name}.ratio": self.ratio(lambda s: s.load.rate),
            f"webhook.{name}.p50_ratio": self.ratio(lambda s: s.load.p50),
            f"webhook.{name}.p99_ratio": self.ratio(lambda s: s.load.p99),
        }
        for who, samples in (("webhook", self.webhook), ("bare", self.bare)):
            found |= {
                f"{who}.{name}.rate": statistics.median(s.load.rate for s in samples),
                f"{who}.{name}.p50_ms": statistics.median(s.load.p50 for s in samples),
                f"{who}.{name}.p99_ms": statistics.median(s.load.p99 for s in samples),
                f"{who}.{name}.cpu_us": statistics.median(s.cpu for s in samples),
            }
        return found


def run(folder: Path, rounds: int, seconds: int, connections: Sequence[int] = CONNECTIONS) -> Section:
    """Every body at every number of connections; memory after all bodies, and after those of 1 MB."""
    section = Section()
    rows = []
    bodies = {name: make() for name, make in pods.BODIES.items()}
    with servers(folder, bodies) as (webhook, bare, files):
        # the large bodies last: what they leave in the servers' heaps is told apart
        for name in sorted(files, key=lambda name: files[name].stat().st_size):
            for count in connections:
                cell = measure(webhook, bare, name, files[name], count, rounds, seconds)
                key = f"{name}.c{count}"
                section.figures |= cell.figures(key)
                rows.append(_row(pods.TITLES[name], count, key, section.figures))
            if name != "managed1m":
                section.figures |= _memory(webhook, bare)
        section.figures |= {f"{key}_after_1mb": value for key, value in _memory(webhook, bare).items()}
    columns = (
        "body",
        "conns",
        "req/s",
        "bare",
        "ratio",
        "p50 ms",
        "bare",
        "ratio",
        "p99 ms",
        "bare",
        "ratio",
        "CPU µs",
        "bare",
    )
    section.tables.append(Table("Webhook over HTTPS, two workers, against a bare FastAPI handler", columns, rows))
    section.tables.append(_memory_table(section.figures))
    return section


@contextmanager
def servers(folder: Path, bodies: Mapping[str, pods.Pod]) -> Iterator[tuple[Server, Server, dict[str, Path]]]:
    """The webhook; the bare handler, whose answers are as long as the webhook's; and the bodies in files."""
    reviews = {name: pods.review(pod) for name, pod in bodies.items()}
    certificate = Certificate.make(folder, "localhost")
    with server.webhook(folder, certificate) as webhook:
        answers = {name: webhook.post("/inject", review) for name, review in reviews.items()}
        if "plain" in bodies:
            reviews["injected"] = pods.review(_injected(bodies["plain"], answers["plain"]))
            answers["injected"] = webhook.post("/inject", reviews["injected"])
        for name, answer in answers.items():
            _check(name, answer)
        files = {name: folder / f"{name}.json" for name in reviews}
        for name, file in files.items():
            file.write_bytes(reviews[name])
        with server.bare(folder, certificate, {name: len(answer) for name, answer in answers.items()}) as bare:
            yield webhook, bare, files


def measure(webhook: Server, bare: Server, name: str, body: Path, connections: int, rounds: int, seconds: int) -> Cell:
    """Both servers in turns, the first to run alternating."""
    cell: dict[str, list[Sample]] = {"bare": [], "webhook": []}
    turns = [("bare", bare, f"/{name}"), ("webhook", webhook, "/inject")]
    for _ in range(rounds):
        for who, target, path in turns:
            before = target.cpu_seconds()
            load = post(target.url + path, body, connections, seconds)
            cell[who].append(Sample(load, (target.cpu_seconds() - before) / load.requests * 1e6))
        turns.reverse()
    return Cell(**cell)


def _injected(pod: pods.Pod, answer: bytes) -> pods.Pod:
    patch = orjson.loads(base64.b64decode(orjson.loads(answer)["response"]["patch"]))
    injected: pods.Pod = jsonpatch.apply_patch(pod, patch)
    return injected


def _check(name: str, answer: bytes) -> None:
    """A fast wrong answer is none: all pods are let in, and changed unless they are as they should be."""
    response = orjson.loads(answer)["response"]
    if not response["allowed"] or ("patch" in response) == (name in ("injected", "skipped")):
        raise BenchError(f"the webhook's answer for {pods.TITLES.get(name, name)} is not as expected: {answer[:500]!r}")


def _memory(webhook: Server, bare: Server) -> dict[str, float]:
    ours, theirs = webhook.memory(), bare.memory()
    return {
        "webhook.rss_mib": ours.rss,
        "webhook.pss_mib": ours.pss,
        "bare.rss_mib": theirs.rss,
        "bare.pss_mib": theirs.pss,
    }


def _row(title: str, count: int, key: str, figures: Mapping[str, float]) -> tuple[str, ...]:
    row = [title, str(count)]
    for measure, ratio, form in (
        ("rate", "ratio", ",.0f"),
        ("p50_ms", "p50_ratio", ".2f"),
        ("p99_ms", "p99_ratio", ".2f"),
    ):
        row += [format(figures[f"{who}.{key}.{measure}"], form) for who in ("webhook", "bare")]
        row.append(f"{figures[f'webhook.{key}.{ratio}']:.2f}")
    row += [f"{figures[f'{who}.{key}.cpu_us']:,.0f}" for who in ("webhook", "bare")]
    return tuple(row)


def _memory_table(figures: Mapping[str, float]) -> Table:
    rows = [
        (
            title,
            *(f"{figures[f'{who}.{kind}_mib{after}']:.0f}" for who in ("webhook", "bare") for kind in ("rss", "pss")),
        )
        for title, after in (("after all other bodies", ""), ("after 1 MB bodies", "_after_1mb"))
    ]
    columns = ("MiB, all processes", "webhook RSS", "PSS", "bare RSS", "PSS")
    return Table("Memory", columns, rows)
