"""One way to change objects, whatever the source."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import yaml

from common.kube import Kubernetes as Client
from mesh.model.kinds import BY_KEY, kind_of
from mesh.sources import Source
from mesh.sources.files import Files
from mesh.sources.kubernetes import Kubernetes
from mesh.sources.pauses import Pause
from mesh.world.events import Event, Key, Listed, Remove, Upsert
from tests.unit.mesh.sources.apiserver import ApiServer

log = logging.getLogger(__name__)

Thing = dict[str, Any]
KINDS = ("Namespace", "Service", "VirtualService", "MeshConfig", "ConfigMap")


class Rig(Protocol):
    source: Source

    def put(self, thing: Thing) -> None: ...

    def delete(self, thing: Thing) -> None: ...

    def close(self) -> None: ...


class FileRig:
    """A file for each object, written as an editor does: beside it, then renamed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "objects"
        self.folder.mkdir()
        self.source: Source = Files(self.folder)

    def _path(self, thing: Thing) -> Path:
        metadata = thing["metadata"]
        return self.folder / f"{thing['kind']}-{metadata.get('namespace', '')}-{metadata['name']}.yaml"

    def put(self, thing: Thing) -> None:
        beside = self.folder / ".new"
        beside.write_text(yaml.safe_dump(thing))
        beside.rename(self._path(thing))

    def delete(self, thing: Thing) -> None:
        self._path(thing).unlink()

    def close(self) -> None:
        pass


class ServerRig:
    """An API server, over HTTP."""

    def __init__(self, folder: Path, kinds: Sequence[str] = KINDS) -> None:
        self.server = ApiServer({BY_KEY[kind].path(): BY_KEY[kind].name for kind in kinds})
        self.client = Client(self.server.kubeconfig(folder), connections=8)
        self.source: Source = Kubernetes(self.client, kinds=kinds, pause=Pause(scale=0.02))

    def put(self, thing: Thing) -> None:
        kind = kind_of(thing)
        assert kind is not None
        self.server.put(kind.path(), thing)

    def delete(self, thing: Thing) -> None:
        kind = kind_of(thing)
        assert kind is not None
        self.server.delete(kind.path(), thing["metadata"].get("namespace", ""), thing["metadata"]["name"])

    def close(self) -> None:
        self.server.close()


class Told:
    """What a source has told, and waiting for more."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.objects: dict[tuple[str, Key], Any] = {}
        self.listed: list[str] = []
        self._more = asyncio.Event()

    def __call__(self, events: Sequence[Event]) -> None:
        self.events += events
        for event in events:
            if isinstance(event, Upsert):
                self.objects[event.kind, event.key] = event.value
            elif isinstance(event, Remove):
                del self.objects[event.kind, event.key]  # a Remove of what is not there is a fault
            elif isinstance(event, Listed):
                self.listed.append(event.kind)
        self._more.set()

    async def until(self, holds: Callable[[Told], bool], seconds: float = 20) -> None:
        """Waits for it, and fails with what was told where it does not come."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not holds(self):
            left = end - loop.time()
            assert left > 0, f"it never held; told: {self.events}"
            self._more.clear()
            try:
                await asyncio.wait_for(self._more.wait(), left)
            except TimeoutError:
                log.info("no more came")

    def names(self, kind: str) -> set[str]:
        return {key.name for (one, key) in self.objects if one == kind}
