"""The control plane against its floor: the first synchronisation, changes, memory, a restart."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.cluster import CLUSTER, Api, cluster_at_hand
from tests.bench.mesh import running
from tests.bench.mesh.running import Fleet, Process
from tests.bench.mesh.world import ApiServer, Folder, World
from tests.bench.report import Section, Table

SERVICES, PROXIES = 1000, 100
# A change is over when nothing more is to come; what the server does afterwards (collecting, metrics) counts too.
SETTLE_SECONDS = 0.2


@dataclass(slots=True)
class Sample:
    """A change or a synchronisation: until the last proxy had it, and the server's processor time, in seconds."""

    last: float
    cpu: float
    bytes: int = 0


@dataclass(slots=True)
class Run:
    """What one start of the control plane, with the floor beside it, gave."""

    start_seconds: float = 0.0
    start_cpu: float = 0.0
    sync: tuple[Sample, Sample] | None = None
    """The control plane's and the floor's."""
    endpoint: list[tuple[Sample, Sample]] = field(default_factory=list)
    route: list[tuple[Sample, Sample]] = field(default_factory=list)
    rss: float = 0.0
    rss_floor: float = 0.0
    restart_bytes: int = 0
    restart_seconds: float = 0.0


def run(folder: Path, rounds: int) -> Section:
    """From files, as the documentation defines the keys."""
    runs = [
        one(folder / f"mesh{turn}", files(SERVICES), PROXIES, changes=rounds * 2) for turn in range(max(1, rounds // 2))
    ]
    return _section("mesh", "from files", runs)


def run_from_api_server(folder: Path, rounds: int) -> Section:
    """The same from a real API server, whose own work on the same processors counts as time until a proxy has it."""
    with cluster_at_hand() as kubeconfig, ExitStack() as stack:
        _install_kinds(kubeconfig)
        world = ApiServer(Api(kubeconfig), kubeconfig, SERVICES)
        stack.callback(world.close)
        runs = [one(folder / "mesh-api", lambda _: world, PROXIES, changes=rounds * 2)]
    return _section("mesh.api", "from an API server", runs)


def _install_kinds(kubeconfig: str) -> None:
    kinds = Path(__file__).parents[3] / "deploy" / "crds"
    command = [CLUSTER, "kubectl", "--kubeconfig", kubeconfig, "apply", "--server-side", "-f", kinds]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def files(services: int) -> Callable[[Path], World]:
    """So many Services as files below a folder."""
    return lambda folder: Folder(folder / "objects", services)


def _section(prefix: str, source: str, runs: list[Run]) -> Section:
    section = Section()
    syncs = [made.sync for made in runs if made.sync is not None]
    endpoints = [pair for made in runs for pair in made.endpoint]
    routes = [pair for made in runs for pair in made.route]
    section.figures |= {
        f"{prefix}.start.seconds": statistics.median(made.start_seconds for made in runs),
        f"{prefix}.start.cpu_seconds": statistics.median(made.start_cpu for made in runs),
        f"{prefix}.sync.cpu_seconds": statistics.median(ours.cpu for ours, _ in syncs),
        f"{prefix}.sync.cpu_ratio": _ratio(syncs, lambda sample: sample.cpu),
        f"{prefix}.sync.seconds": statistics.median(ours.last for ours, _ in syncs),
        f"{prefix}.sync.floor_seconds": statistics.median(bare.last for _, bare in syncs),
        f"{prefix}.sync.mb": syncs[0][0].bytes / 1e6,
        **_change(f"{prefix}.endpoint", endpoints),
        **_change(f"{prefix}.route", routes),
        f"{prefix}.rss_mib": max(made.rss for made in runs),
        f"{prefix}.rss_floor_mib": max(made.rss_floor for made in runs),
        f"{prefix}.restart.bytes_ratio": statistics.median(
            made.restart_bytes / made.sync[0].bytes for made in runs if made.sync
        ),
        f"{prefix}.restart.seconds": statistics.median(made.restart_seconds for made in runs),
    }
    rows = [
        _row("first synchronisation", syncs),
        _row("an endpoint's change", endpoints),
        _row("a VirtualService's change", routes),
    ]
    columns = ("", "last ms", "bare", "ratio", "CPU ms", "bare", "ratio", "MB")
    world = f"{SERVICES:,} Services {source}, {PROXIES} proxies by delta"
    title = f"Control plane, {world}, beside a server that sends the same"
    section.tables.append(Table(title, columns, rows))
    return section


def one(folder: Path, made_in: Callable[[Path], World], proxies: int, changes: int, *, restart: bool = True) -> Run:
    """One start of everything."""
    folder.mkdir()
    objects, record = made_in(folder), folder / "record"
    services = objects.services
    record.mkdir()
    made = Run()
    with ExitStack() as stack:
        port = running.free_port()
        plane, made.start_seconds = running.control_plane(objects.source, port, folder)
        stack.enter_context(running.ended(plane))
        made.start_cpu = plane.cpu_seconds()
        ours = running.fleet(port, proxies, services, folder, record)
        stack.enter_context(running.ended(ours))
        mine = _synced(plane, ours, made.start_cpu)
        bare, bare_port = running.floor(record, folder)
        stack.enter_context(running.ended(bare))
        before = bare.cpu_seconds()
        theirs = running.fleet(bare_port, proxies, services, folder)
        stack.enter_context(running.ended(theirs))
        made.sync = mine, _synced(bare, theirs, before)

        def pair(kind: str, change: Callable[[], None]) -> tuple[Sample, Sample]:
            changed = _changed(plane, ours, kind, proxies, change)
            newest = max(file.name for file in record.iterdir() if file.name.endswith(kind))
            return changed, _changed(bare, theirs, kind, proxies, lambda: bare.say(newest))

        pair("RDS", lambda: objects.change_route(0))  # the first makes the VirtualService
        for turn in range(1, changes + 1):
            made.endpoint.append(pair("EDS", lambda turn=turn: objects.change_endpoint(turn % services, turn)))  # type: ignore[misc]
            if turn % 2 == 0:
                made.route.append(pair("RDS", lambda turn=turn: objects.change_route(turn)))  # type: ignore[misc]
        made.rss, made.rss_floor = plane.rss(), bare.rss()
        if restart:
            plane.kill()
            began = time.monotonic()
            again, _ = running.control_plane(objects.source, port, folder)
            stack.enter_context(running.ended(again))
            for _ in range(proxies):
                ours.until(lambda event: "again" in event)
            # who is sent a change has been served
            objects.change_endpoint(0, changes + 1)
            last, made.restart_bytes = ours.last("EDS", proxies)
            made.restart_seconds = last - began
    return made


def _synced(server: Process, fleet: Fleet, cpu: float) -> Sample:
    # the fleet's own start is none of the server's
    began = fleet.until(lambda event: "begun" in event)["at"]
    event = fleet.synced()
    time.sleep(SETTLE_SECONDS)
    return Sample(event["at"] - began, server.cpu_seconds() - cpu, event["synced"])


def _changed(server: Process, fleet: Fleet, kind: str, proxies: int, change: Callable[[], None]) -> Sample:
    cpu, began = server.cpu_seconds(), time.monotonic()
    change()
    last, size = fleet.last(kind, proxies)
    time.sleep(SETTLE_SECONDS)
    return Sample(last - began, server.cpu_seconds() - cpu, size)


def _ratio(pairs: list[tuple[Sample, Sample]], of: Callable[[Sample], float]) -> float:
    return statistics.median(of(ours) / of(bare) for ours, bare in pairs)


def _change(name: str, pairs: list[tuple[Sample, Sample]]) -> dict[str, float]:
    return {
        f"{name}.last_ms": statistics.median(ours.last for ours, _ in pairs) * 1000,
        f"{name}.last_ratio": _ratio(pairs, lambda sample: sample.last),
        f"{name}.cpu_ms": statistics.median(ours.cpu for ours, _ in pairs) * 1000,
        f"{name}.cpu_ratio": _ratio(pairs, lambda sample: sample.cpu),
    }


def _row(title: str, pairs: list[tuple[Sample, Sample]]) -> tuple[str, ...]:
    cells = [title]
    for of in (lambda sample: sample.last * 1000, lambda sample: sample.cpu * 1000):
        cells += [f"{statistics.median(of(pair[side]) for pair in pairs):,.0f}" for side in (0, 1)]
        cells.append(f"{_ratio(pairs, of):.2f}")
    return (*cells, f"{statistics.median(ours.bytes for ours, _ in pairs) / 1e6:.2f}")
