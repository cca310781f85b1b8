"""The objects that the control plane is measured with: Services of ten endpoints each, in files or an API server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from tests.bench.cluster import Api

NAMESPACE = "load"
PORT = 80
ENDPOINTS = 10

Object = dict[str, Any]


class World(Protocol):
    """Where the objects are; `source` are the flags by which pymesh reads them there."""

    services: int
    source: tuple[str, ...]

    def change_endpoint(self, number: int, turn: int) -> None:
        """Another address for one of the endpoints of a Service."""

    def change_route(self, turn: int) -> None:
        """Another timeout in a VirtualService."""


class Folder:
    """The objects as files, as pymesh serve --files takes them; changed as editors do, by renaming."""

    def __init__(self, path: Path, services: int) -> None:
        self.path, self.services = path, services
        self.source = ("--files", str(path))
        path.mkdir()
        for number in range(services):
            self._write(f"svc-{number}", [_service(number), _slice(number, 0)])

    def change_endpoint(self, number: int, turn: int) -> None:
        """Another address for one of the endpoints of a Service."""
        self._write(f"svc-{number}", [_service(number), _slice(number, turn)])

    def change_route(self, turn: int) -> None:
        """Another timeout in a VirtualService."""
        self._write("route", [_route(turn)])

    def _write(self, name: str, objects: list[Object]) -> None:
        part = self.path / f".{name}"
        # JSON is YAML: what is measured is the control plane, and not a parser
        part.write_text("\n---\n".join(map(json.dumps, objects)))
        part.rename(self.path / f"{name}.yaml")


class ApiServer:
    """The objects in a real API server, in a namespace of their own; `close` takes them away."""

    def __init__(self, api: Api, kubeconfig: str, services: int) -> None:
        self._api, self.services = api, services
        self.source = (
            *("--kubeconfig", kubeconfig, "--namespace", NAMESPACE, "--ca-secret", "authority", "--no-conditions"),
            *("--xds-tls-address", "127.0.0.1:0", "--admission-address", ""),
        )
        api.call("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        api.call("POST", f"/api/v1/namespaces/{NAMESPACE}/secrets", {"metadata": {"name": "authority"}})
        for number in range(services):
            service = _service(number)
            del service["spec"]["clusterIP"]  # which the API server gives away itself
            api.call("POST", f"/api/v1/namespaces/{NAMESPACE}/services", service)
            api.call("POST", _SLICES, _slice(number, 0))
        self._has_route = False

    def change_endpoint(self, number: int, turn: int) -> None:
        """Another address for one of the endpoints of a Service."""
        made = _slice(number, turn)
        self._api.call("PATCH", f"{_SLICES}/{made['metadata']['name']}", {"endpoints": made["endpoints"]})

    def change_route(self, turn: int) -> None:
        """Another timeout in a VirtualService."""
        made = _route(turn)
        if self._has_route:
            self._api.call("PATCH", f"{_ROUTES}/{made['metadata']['name']}", {"spec": made["spec"]})
        else:
            self._api.call("POST", _ROUTES, made)
        self._has_route = True

    def close(self) -> None:
        """Takes the objects away."""
        self._api.call("DELETE", f"/api/v1/namespaces/{NAMESPACE}")


_SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"
_ROUTES = f"/apis/networking.istio.io/v1/namespaces/{NAMESPACE}/virtualservices"


def _route(turn: int) -> Object:
    host = f"svc-0.{NAMESPACE}.svc.cluster.local"
    http = {"timeout": f"{turn + 1}s", "route": [{"destination": {"host": host}}]}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "route", "namespace": NAMESPACE},
        "spec": {"hosts": [host], "http": [http]},
    }


def _service(number: int) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"svc-{number}", "namespace": NAMESPACE},
        "spec": {
            "clusterIP": f"10.96.{number // 250}.{number % 250 + 1}",
            "ports": [{"name": "http", "port": PORT, "targetPort": 8080}],
        },
    }


def _slice(number: int, turn: int) -> Object:
    addresses = [f"10.{100 + number // 200}.{number % 200}.{end + 1}" for end in range(ENDPOINTS)]
    addresses[-1] = f"10.{100 + number // 200}.{number % 200}.{100 + turn % 100}"
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"svc-{number}-a",
            "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": f"svc-{number}"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
    }
