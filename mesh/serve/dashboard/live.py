"""The control plane's own source: what it serves, asked beside the loop, and what it knows of its proxies."""

from __future__ import annotations

from typing import Any

from fastapi import HTTPException

from mesh.build.describe import of_host
from mesh.build.overview import entrances, overviews
from mesh.model.problem import Problem
from mesh.routing import analysis
from mesh.serve.dashboard import shown
from mesh.serve.follow import Aside
from mesh.serve.plane import Plane
from mesh.serve.status import Status
from mesh.world.world import World

NO_PROMETHEUS = (
    "the control plane itself asks no Prometheus; open the page with pymesh dashboard, which does so with your rights"
)


class Live:
    """Answers for one control plane."""

    def __init__(self, plane: Plane, status: Status, domain: str) -> None:
        self._status, self._domain = status, domain
        self._aside = Aside(
            lambda: plane.world.tables if plane.ready.is_set() else None,
            (overviews, (domain,)),
            (entrances, (domain,)),
            (analysis.problems, ()),
        )

    def close(self) -> None:
        """Ends its thread."""
        self._aside.close()

    async def proxies(self) -> Any:
        """As `/debug/proxies`, each proxy with its control plane."""
        found = self._status.proxies()
        proxies = [{**one, "control_plane": found["control_plane"]} for one in found.pop("proxies")]
        return {"control_planes": [{"name": found.pop("control_plane"), **found, "error": ""}], "proxies": proxies}

    async def services(self) -> Any:
        """All hosts."""

        def asked(world: World) -> Any:
            return {
                "services": [shown.overview(one) for one in overviews(world, self._domain)],
                "entrances": [shown.entrance(one) for one in entrances(world, self._domain)],
            }

        return self._known(await self._aside.ask(asked))

    async def service(self, host: str) -> Any:
        """One host."""

        refused = [one for one in self._status.problems() if one.code == "refused-by-envoy"]

        def asked(world: World) -> Any:
            found = of_host(world, host, self._domain)
            return [shown.description(found, refused) if found else None]

        [found] = self._known(await self._aside.ask(asked))
        return found

    async def problems(self) -> Any:
        """Those of `/debug/problems`, and what only all objects together show."""
        found: tuple[Problem, ...] | None = await self._aside.ask(analysis.problems)
        known = dict.fromkeys((*self._status.problems(), *(found or ())))
        return [shown.problem(one) for one in sorted(known, key=lambda one: (one.severity, one.ref, one.path))]

    async def traffic(self, seconds: int) -> Any:
        """None: see `NO_PROMETHEUS`."""
        return {"seconds": seconds, "prometheus": "", "why": NO_PROMETHEUS, "edges": []}

    def _known(self, found: Any) -> Any:
        if found is None:
            waits_for = "; ".join(f"{what}: {why}" for what, why in self._status.waits_for.items())
            raise HTTPException(503, f"the control plane is not ready, it waits for {waits_for}")
        return found
