"""A proxy's first state once, in a world of one Service: what is looked up and compiled but once is then there."""

from __future__ import annotations

from typing import Any

from mesh.encode import seats
from mesh.encode.descriptors import message_class
from mesh.model.kinds import BY_KEY
from mesh.model.reading import DOMAIN
from mesh.sources.intake import Intake
from mesh.world.index import new_world
from mesh.world.proxy import Proxy
from mesh.xds import wire

_META = {"name": "a", "namespace": "a", "labels": {"kubernetes.io/service-name": "a"}}
_PORTS = [{"name": "http", "port": 80}, {"name": "tcp", "port": 81}, {"name": "any", "port": 82}]
_OBJECTS: dict[str, dict[str, Any]] = {
    "Service": {"apiVersion": "v1", "spec": {"clusterIP": "10.0.0.1", "ports": _PORTS}},
    "EndpointSlice": {
        "apiVersion": "discovery.k8s.io/v1",
        "addressType": "IPv4",
        "ports": _PORTS,
        "endpoints": [{"addresses": ["10.0.0.2"]}],
    },
}


def rehearse() -> None:
    """Some 0.1 s, which else the first proxies would wait for, all at once after a restart."""
    intake, world = Intake(DOMAIN), new_world()
    for kind, body in _OBJECTS.items():
        world.apply(intake.upsert(BY_KEY[kind], {"kind": kind, "metadata": _META, **body}))
    for proxy in (Proxy("sidecar", "a", "a", ("10.0.0.2",)), Proxy("router", "b", "a", ("10.0.0.3",))):
        seats.state_of(world, seats.seat_of(world, seats.guest_of(proxy)))
    for kind in (wire.DELTA, wire.WHOLE):
        message_class(kind)
