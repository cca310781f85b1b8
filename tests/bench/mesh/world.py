"""The objects that the control plane is measured with: Services of ten endpoints each, a file for each Service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NAMESPACE = "load"
PORT = 80
ENDPOINTS = 10

Object = dict[str, Any]


class Folder:
    """The objects as files, as pymesh serve --files takes them; changed as editors do, by renaming."""

    def __init__(self, path: Path, services: int) -> None:
        self.path, self.services = path, services
        path.mkdir()
        for number in range(services):
            self._write(f"svc-{number}", [_service(number), _slice(number, 0)])

    def change_endpoint(self, number: int, turn: int) -> None:
        """Another address for one of the endpoints of a Service."""
        self._write(f"svc-{number}", [_service(number), _slice(number, turn)])

    def change_route(self, turn: int) -> None:
        """Another timeout in a VirtualService."""
        host = f"svc-0.{NAMESPACE}.svc.cluster.local"
        http = {"timeout": f"{turn + 1}s", "route": [{"destination": {"host": host}}]}
        self._write(
            "route",
            [
                {
                    "apiVersion": "networking.istio.io/v1",
                    "kind": "VirtualService",
                    "metadata": {"name": "route", "namespace": NAMESPACE},
                    "spec": {"hosts": [host], "http": [http]},
                }
            ],
        )

    def _write(self, name: str, objects: list[Object]) -> None:
        part = self.path / f".{name}"
        # JSON is YAML: what is measured is the control plane, and not a parser
        part.write_text("\n---\n".join(map(json.dumps, objects)))
        part.rename(self.path / f"{name}.yaml")


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
