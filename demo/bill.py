"""The second story's objects: a bill service in two versions, and what is said of it, as a user writes them."""

from __future__ import annotations

from typing import Any

from demo.network import address

Object = dict[str, Any]

NAMESPACE = "shop"
HOST = f"bill.{NAMESPACE}.svc.cluster.local"
SERVICE_IP, PORT = "10.96.0.10", 9080
VERSIONS = ("v1", "v2")


def addresses() -> dict[str, str]:
    """Where each version runs."""
    first = address("server")
    network, _, last = first.rpartition(".")
    return {version: f"{network}.{int(last) + number}" for number, version in enumerate(VERSIONS)}


def _object(api_version: str, kind: str, name: str, labels: dict[str, str] | None = None, **fields: Any) -> Object:
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels or {}}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}


def pod(name: str, ip: str, labels: dict[str, str]) -> Object:
    """A Pod that runs at this address."""
    spec = {"containers": [{"name": "app", "ports": [{"containerPort": PORT}]}]}
    return _object("v1", "Pod", name, labels, spec=spec, status={"podIP": ip, "phase": "Running"})


def workloads() -> list[Object]:
    """What is there before any rule: a client, the two versions, and a Service for both."""
    endpoints = [
        {
            "addresses": [ip],
            "conditions": {"ready": True},
            "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": f"bill-{version}"},
        }
        for version, ip in addresses().items()
    ]
    ports = [{"name": "http", "port": PORT, "protocol": "TCP"}]
    return [
        pod("client", address("pod"), {"app": "client"}),
        *(pod(f"bill-{version}", ip, {"app": "bill", "version": version}) for version, ip in addresses().items()),
        _object("v1", "Service", "bill", spec={"clusterIP": SERVICE_IP, "selector": {"app": "bill"}, "ports": ports}),
        _object(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            "bill-1",
            {"kubernetes.io/service-name": "bill"},
            addressType="IPv4",
            ports=ports,
            endpoints=endpoints,
        ),
    ]


def rules(weights: tuple[int, int]) -> list[Object]:
    """The subsets, and how requests are shared between them."""
    route = [
        {"destination": {"host": "bill", "subset": version}, "weight": weight}
        for version, weight in zip(VERSIONS, weights, strict=True)
    ]
    subsets = [{"name": version, "labels": {"version": version}} for version in VERSIONS]
    return [
        _object("networking.istio.io/v1", "DestinationRule", "bill", spec={"host": "bill", "subsets": subsets}),
        _object(
            "networking.istio.io/v1", "VirtualService", "bill", spec={"hosts": ["bill"], "http": [{"route": route}]}
        ),
    ]
