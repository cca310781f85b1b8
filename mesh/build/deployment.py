"""What runs a Gateway: a Deployment of proxies, the Service before them, the ServiceAccount by which they are known.

How the pods look is the installation's affair (the chart's ConfigMap pymesh-gateway); here it is made the Gateway's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mesh.build.servers import PROTOCOLS
from mesh.model.gatewayapi import KubernetesGateway
from mesh.model.service import Service
from mesh.world.proxy import GATEWAY_NAME
from mesh.world.world import World

MANAGED = "app.kubernetes.io/managed-by"
STATUS_PORT = 15021
# a Service's name and a label's value are no longer
LONGEST = 63


def is_manual(gateway: KubernetesGateway) -> bool:
    """Whether the Gateway names the Service of proxies that somebody else runs."""
    return any(one.type == "Hostname" for one in gateway.addresses)


def name_of(gateway: KubernetesGateway) -> str:
    """The name of the Gateway's objects: GATEWAY-CLASS, as Istio has it."""
    return f"{gateway.meta.name}-{gateway.gateway_class_name}"


def service_of(world: World, gateway: KubernetesGateway) -> Service | None:
    """The Service before the Gateway's proxies."""
    if not is_manual(gateway):
        found: Service | None = world.get("Service", gateway.meta.namespace, name_of(gateway))
        return found if found is not None and found.meta.labels.get(GATEWAY_NAME) == gateway.meta.name else None
    for one in gateway.addresses:
        name, _, rest = one.value.partition(".")
        if one.type == "Hostname":
            named: Service | None = world.get("Service", rest.partition(".")[0] or gateway.meta.namespace, name)
            return named
    return None


def hindrance(world: World, gateway: KubernetesGateway) -> str:
    """Why nothing can run the Gateway; empty if nothing is in the way."""
    name = name_of(gateway)
    if len(name) > LONGEST:
        return f"the Service's name would be {name}, longer than {LONGEST} characters"
    found: Service | None = world.get("Service", gateway.meta.namespace, name)
    if found is not None and found.meta.labels.get(GATEWAY_NAME) != gateway.meta.name:
        return f"there is a Service {name} already that is not this Gateway's"
    return ""


def objects(gateway: KubernetesGateway, template: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """The objects as they are to be. `template` is what the chart gives: deployment and service, each a spec."""
    name, own = name_of(gateway), {GATEWAY_NAME: gateway.meta.name}
    more = gateway.infrastructure
    labels = {**(more.labels if more else {}), **own, MANAGED: "pymesh"}
    annotations = dict(more.annotations) if more else {}
    metadata = {
        "name": name,
        "namespace": gateway.meta.namespace,
        "labels": labels,
        "annotations": annotations,
        "ownerReferences": [
            {
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "Gateway",
                "name": gateway.meta.name,
                "uid": gateway.meta.uid,
            }
        ],
    }
    spec = dict(template.get("deployment") or {})
    pod = dict(spec.pop("template", {}).get("spec") or {}) | {"serviceAccountName": name}
    head = {"labels": {**labels, "app": name, "sidecar.istio.io/inject": "false"}, "annotations": annotations}
    deployment = {**spec, "selector": {"matchLabels": own}, "template": {"metadata": head, "spec": pod}}
    service = {**(template.get("service") or {}), "selector": own, "ports": _ports(gateway)}
    return (
        {"kind": "ServiceAccount", "metadata": metadata},
        {"kind": "Service", "metadata": metadata, "spec": service},
        {"kind": "Deployment", "metadata": metadata, "spec": deployment},
    )


def _ports(gateway: KubernetesGateway) -> list[dict[str, Any]]:
    """The listeners' ports, as they are: the pod may listen at any (ip_unprivileged_port_start)."""
    found = {STATUS_PORT: "status-port"}
    for one in gateway.listeners:
        if one.protocol in PROTOCOLS:
            found[one.port] = f"{one.protocol.lower()}-{one.port}"
    return [{"name": name, "port": port, "protocol": "TCP", "targetPort": port} for port, name in sorted(found.items())]
