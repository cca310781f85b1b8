"""The cases of tests/cases/mesh, for those who read them: builders, the protocol's other half, a real Envoy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mesh.encode import seats
from mesh.encode.resource import State
from mesh.model.kinds import kind_of
from mesh.routing.analysis import problems
from mesh.world.events import Event, Key, Upsert
from mesh.world.index import new_world
from mesh.world.proxy import Proxy
from mesh.world.world import World
from tests.unit.mesh.objects import Object

FOLDER = Path(__file__).parents[2] / "cases" / "mesh"
FILES = sorted(FOLDER.glob("*.yaml"))
KEYS = {"proxy", "services", "objects", "problems", "show", "requests"}
PROXY = {"kind": "sidecar", "namespace": "default", "labels": {"app": "client"}}


@dataclass(frozen=True)
class Case:
    """One file."""

    path: Path
    said: dict[str, Any]

    @property
    def proxy(self) -> Proxy:
        """Who asks."""
        said = PROXY | self.said.get("proxy", {})
        kind = "router" if said["kind"] == "router" else "sidecar"
        return Proxy(kind, "me", said["namespace"], ("10.9.9.9",), labels=said["labels"])

    @property
    def objects(self) -> list[Object]:
        """All of them, those that `services` is short for first."""
        made = [one for name, said in self.said.get("services", {}).items() for one in _service(name, said)]
        return made + list(self.said.get("objects", ()))

    def events(self) -> list[Event]:
        """The objects as a source delivers them."""
        events: list[Event] = []
        for thing in self.objects:
            kind = kind_of(thing)
            assert kind is not None, thing
            parsed = kind.parse(thing)
            key = Key(parsed.ref.namespace, parsed.ref.name)
            events.append(Upsert(kind.key, key, parsed.value, parsed.problems))
        return events

    def world(self) -> World:
        """The world with all of them."""
        world = new_world()
        world.apply(self.events())
        return world


def read(path: Path) -> Case:
    """The case in a file, which must be one."""
    text = path.read_text()
    assert text.startswith("# "), f"{path.name} begins with a sentence that says what it shows"
    said = yaml.safe_load(text)
    assert set(said) <= KEYS, f"{path.name}: {set(said) - KEYS} is no part of a case"
    return Case(path, said)


def told(world: World) -> list[str]:
    """All that is wrong in the objects, each by itself and together: object, path, code."""
    own = [one for many in world.problems.values() for one in many]
    return sorted({f"{one.ref} {one.path} {one.code}" for one in [*own, *problems(world)]})


def state_of(world: World, me: Proxy) -> State:
    """All that the proxy is to have."""
    return seats.state_of(world, seats.seat_of(world, seats.guest_of(me)))


def _service(name: str, said: dict[str, Any]) -> list[Object]:
    namespace = said.get("namespace", "default")
    meta = {"name": name, "namespace": namespace}
    spec = {"clusterIP": said["address"], "selector": {"app": name}}
    ports = [{"name": called, "port": number} for called, number in said["ports"].items()]
    pods = {f"{name}-{version}": ip for version, ip in said.get("pods", {}).items()}
    endpoints = [
        {"addresses": [ip], "targetRef": {"kind": "Pod", "name": pod, "namespace": namespace}}
        for pod, ip in pods.items()
    ]
    label = {"kubernetes.io/service-name": name}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {**spec, "ports": ports}},
        {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": f"{name}-1", "namespace": namespace, "labels": label},
            "ports": ports, "endpoints": endpoints,
        },
        *(
            {
                "apiVersion": "v1", "kind": "Pod", "status": {"podIP": ip},
                "metadata": {"name": pod, "namespace": namespace,
                             "labels": {"app": name, "version": pod.removeprefix(f"{name}-")}},
            }
            for pod, ip in pods.items()
        ),
    ]  # fmt: skip
