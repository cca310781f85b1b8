"""Objects for tests, as short as they can be written."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from common import tls
from common.tls import KeyPair
from mesh.model.kinds import kind_of
from mesh.world.events import Event, Key, Upsert
from mesh.world.index import new_world
from mesh.world.proxy import Proxy
from mesh.world.world import World

Object = dict[str, Any]


def service(name: str, ip: str, *ports: tuple[str, int], namespace: str = "default", **spec: Any) -> Object:
    """A Service that selects app=NAME."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "clusterIP": ip,
            "selector": {"app": name},
            "ports": [{"name": called, "port": number, "protocol": "TCP"} for called, number in ports],
            **spec,
        },
    }


@cache
def authority() -> KeyPair:
    """Who signs the certificates here."""
    return tls.new_authority("tests", datetime(2026, 1, 1, tzinfo=UTC))


@cache
def pair() -> KeyPair:
    """A certificate with its key."""
    return tls.issue(authority(), ["a.example.com"], datetime(2026, 1, 1, tzinfo=UTC))


def certificate(name: str, namespace: str = "default", **data: bytes) -> Object:
    """A Secret with a certificate and its key; `crt` and `key` are others than those that belong together."""
    made = {"tls.crt": data.get("crt", pair().certificate), "tls.key": data.get("key", pair().key)}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": name, "namespace": namespace},
        "data": {key: b64encode(value).decode() for key, value in made.items()},
    }


def authorities(name: str, namespace: str = "default", pem: bytes | None = None) -> Object:
    """A ConfigMap with authorities."""
    data = {"ca.crt": (authority().certificate if pem is None else pem).decode()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


def endpoints(
    name: str,
    *ips: str,
    ports: Iterable[tuple[str, int]] = (("http", 80),),
    namespace: str = "default",
    conditions: Mapping[str, bool] | None = None,
    number: int = 1,
) -> Object:
    """An EndpointSlice of the Service, each address a pod NAME-IP."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-{number}",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv6" if any(":" in ip for ip in ips) else "IPv4",
        "ports": [{"name": called, "port": port, "protocol": "TCP"} for called, port in ports],
        "endpoints": [
            {
                "addresses": [ip],
                "conditions": dict(conditions or {"ready": True}),
                "targetRef": {"kind": "Pod", "name": f"{name}-{ip}", "namespace": namespace},
            }
            for ip in ips
        ],
    }


def pod(name: str, ip: str, namespace: str = "default", **labels: str) -> Object:
    """A Pod with these labels."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"containers": [{"name": "app"}]},
        "status": {"podIP": ip},
    }


def istio(kind: str, name: str, namespace: str = "default", **spec: Any) -> Object:
    """An object of networking.istio.io."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


def event(thing: Object) -> Event:
    """The object as a source delivers it; it must be right."""
    kind = kind_of(thing)
    assert kind is not None, thing
    parsed = kind.parse(thing)
    assert parsed.value is not None, parsed.problems
    return Upsert(kind.key, Key(parsed.ref.namespace, parsed.ref.name), parsed.value)


def world_of(*things: Object) -> World:
    """A world with these objects."""
    world = new_world()
    world.apply(event(one) for one in things)
    return world


def sidecar(pod: str = "client", namespace: str = "default", ip: str = "10.0.0.1", **labels: str) -> Proxy:
    """A sidecar's proxy."""
    return Proxy("sidecar", pod, namespace, (ip,), labels=labels)
