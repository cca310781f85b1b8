"""What the control plane knows of its proxies, for people and tools: who is there, how far each is, and why."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from mesh import __version__
from mesh.build.statuses import Standing
from mesh.encode.messages import decode
from mesh.encode.redact import redact
from mesh.model.meta import ObjectRef
from mesh.model.problem import Problem
from mesh.serve.connection import Connection, log_outcome
from mesh.serve.metrics import Metrics, cause
from mesh.serve.plane import Plane, Session
from mesh.serve.progress import progress
from mesh.serve.server import Server
from mesh.serve.standings import standings
from mesh.sources import Source
from mesh.xds.messages import Outcome
from mesh.xds.types import SHORT

OTHER = "other"


class Status:
    """Reads the running parts; changes none of them."""

    def __init__(self, name: str, plane: Plane, source: Source, metrics: Metrics) -> None:
        self._name, self._plane, self._source, self._metrics = name, plane, source, metrics
        self.server: Server | None = None

    def on_outcome(self, connection: Connection, outcome: Outcome) -> None:
        """A proxy accepted or refused something."""
        log_outcome(connection, outcome)
        if connection.proxy.kind == "router":
            self._plane.news.set()  # a Gateway may be Programmed by now
        # a proxy may ask for any type; what is none of ours is one label
        short = SHORT.get(outcome.type_url, OTHER)
        refused = bool(outcome.words) and not outcome.accepted
        self._metrics.push(short, "refused" if refused else "accepted").inc()
        if outcome.refused:
            self._metrics.rejects.labels(short, cause(outcome.words)).inc(len(outcome.refused))
        session = connection.session
        if outcome.accepted and isinstance(session, Session) and session.changed_at:
            self._metrics.convergence(short).observe(time.monotonic() - session.changed_at)
            if connection.machine.is_done:
                # what it asks for later follows from no change
                session.changed_at = 0.0

    @property
    def waits_for(self) -> dict[str, str]:
        """What has to come before anything is served, each with the reason."""
        waiting = dict(self._source.waiting)
        return waiting or ({} if self._plane.ready.is_set() else {"build": "the first is under way"})

    def connections(self) -> list[Connection]:
        """The streams, by the proxies' names."""
        found = self.server.connections if self.server else ()
        return sorted(found, key=lambda one: (one.proxy.namespace, one.proxy.pod, one.since))

    def standings(self) -> dict[ObjectRef, Standing]:
        """How far the proxies connected here are with each Gateway."""
        return standings(self._plane, self.connections())

    def proxies(self) -> dict[str, Any]:
        """All proxies and how far each is with each type."""
        waits_for = self.waits_for
        return {
            "control_plane": self._name,
            "version": __version__,
            "ready": not waits_for,
            "waits_for": [f"{what}: {why}" for what, why in waits_for.items()],
            "proxies": [self._proxy(one) for one in self.connections()],
        }

    def _proxy(self, one: Connection) -> dict[str, Any]:
        proxy = one.proxy
        return {
            "name": proxy.name,
            "id": one.node_id,
            "kind": proxy.kind,
            "pod": proxy.pod,
            "namespace": proxy.namespace,
            "workload": str(proxy.metadata.get("WORKLOAD_NAME") or ""),
            "cluster_id": str(proxy.metadata.get("CLUSTER_ID") or ""),
            "address": proxy.addresses[0] if proxy.addresses else "",
            "envoy": proxy.version,
            "protocol": "delta" if one.delta else "sotw",
            "connected": _moment(one.since),
            "types": {
                name: {
                    "state": of.stage,
                    "since": _moment(time.time() - time.monotonic() + of.since) if of.since is not None else "",
                    "resources": of.resources,
                    "sent": of.sent,
                    "acked": of.acked,
                    "why": of.why,
                    "object": ", ".join(map(str, of.origins)),
                    "refused": list(of.refused),
                }
                for name, of in progress(one.machine).items()
            },
        }

    def config(self, name: str) -> dict[str, Any] | None:
        """What a proxy is to have now, as Envoy's JSON; None if it is not connected here. Secrets are left out."""
        for one in self.connections():
            if one.proxy.name == name:
                return {
                    "proxy": name,
                    "types": {
                        SHORT[url]: {
                            resource: _shown(url, found.body)
                            for resource in snapshot.names()
                            if (found := snapshot.get(resource)) is not None
                        }
                        for url, snapshot in one.session.state.items()
                    },
                }
        return None

    def problems(self) -> list[Problem]:
        """What is wrong in the objects, what the proxies are without for it, and what Envoy refused."""
        found = [problem for of_object in self._plane.world.problems.values() for problem in of_object]
        found += self._plane.problems
        found += self._refused()
        return sorted(found, key=lambda one: (one.severity, one.ref, one.path))

    def _refused(self) -> Iterable[Problem]:
        refusals = (
            (ref, refusal.words)
            for one in self.connections()
            for ledger in one.machine.ledgers.values()
            for refusal in ledger.refusals.values()
            for ref in refusal.origins
        )
        return [Problem("refused-by-envoy", ref, "", words) for ref, words in dict.fromkeys(refusals)]

    def measure(self) -> None:
        """Brings the gauges up to date, before they are read."""
        counts: dict[tuple[str, str], int] = {}
        for one in self.connections():
            stages = {of.stage for of in progress(one.machine).values()}
            worst = next((stage for stage in ("ERROR", "STALE", "NOT SENT") if stage in stages), "SYNCED")
            counts[one.proxy.kind, worst] = counts.get((one.proxy.kind, worst), 0) + 1
        for gauge, values in (
            (self._metrics.proxies, counts),
            (self._metrics.problems, _by_code(self.problems())),
        ):
            gauge.clear()
            for labels, count in values.items():
                gauge.labels(*labels).set(count)
        self._metrics.ready.set(not self.waits_for)


def _by_code(problems: list[Problem]) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for one in problems:
        found[one.code, one.severity] = found.get((one.code, one.severity), 0) + 1
    return found


def _shown(type_url: str, body: bytes) -> dict[str, Any]:
    kind = type_url.rpartition("/")[2]
    return redact(kind, decode(kind, body))


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
