"""What runs a Gateway: a Deployment of proxies, the Service before them, the ServiceAccount by which they are known.

How the pods look is the installation's affair (the chart's ConfigMap pymesh-gateway); here it is made the Gateway's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from common.envoy.settings import envoy_bootstrap
from mesh.build.servers import PROTOCOLS
from mesh.model.gatewayapi import KubernetesGateway, Listener
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


def asked_addresses(gateway: KubernetesGateway) -> list[str]:
    """The IP addresses that the Gateway asks for."""
    return [one.value for one in gateway.addresses if one.type == "IPAddress" and one.value]


def unknown_address(gateway: KubernetesGateway) -> str:
    """A type of address that there is not; empty if all are known."""
    return next((one.type for one in gateway.addresses if one.type not in ("IPAddress", "Hostname")), "")


def is_makeable(gateway: KubernetesGateway) -> bool:
    """Whether there can be a Service with the addresses asked for: it has one of each family, from its beginning."""
    asked = asked_addresses(gateway)
    return not unknown_address(gateway) and len({":" in one for one in asked}) == len(asked)


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


def objects(
    gateway: KubernetesGateway, listeners: Iterable[Listener], template: Mapping[str, Any]
) -> tuple[dict[str, Any], ...]:
    """The objects as they are to be. `template` is what the chart gives: deployment and service, each a spec, and what
    the proxies are to know: proxy, with xdsAddress.
    """
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
    pods = spec.pop("template", {})
    pod = dict(pods.get("spec") or {}) | {"serviceAccountName": name}
    if address := (template.get("proxy") or {}).get("xdsAddress"):
        containers: list[dict[str, Any]] = list(pod.get("containers") or ({},))
        told = ["--config-yaml", _bootstrap(name, own, str(address))]
        pod["containers"] = [{**containers[0], "args": [*told, *(containers[0].get("args") or ())]}, *containers[1:]]
    head = {"labels": {**labels, "app": name, "sidecar.istio.io/inject": "false"}}
    head["annotations"] = {**((pods.get("metadata") or {}).get("annotations") or {}), **annotations}
    deployment = {**spec, "selector": {"matchLabels": own}, "template": {"metadata": head, "spec": pod}}
    service = {**(template.get("service") or {}), "selector": own, "ports": _ports(listeners)}
    if asked := asked_addresses(gateway):
        inside = service.get("type", "ClusterIP") == "ClusterIP"
        service |= {"clusterIP": asked[0], "clusterIPs": asked} if inside else {"loadBalancerIP": asked[0]}
    return (
        {"kind": "ServiceAccount", "metadata": metadata},
        {"kind": "Service", "metadata": metadata, "spec": service},
        {"kind": "Deployment", "metadata": metadata, "spec": deployment},
    )


def _bootstrap(name: str, labels: Mapping[str, str], address: str) -> str:
    """What Envoy starts with; kubelet puts the pod's name and address in."""
    return envoy_bootstrap(
        mode="NONE",
        router=True,
        status_port=0,
        service_cluster=f"{name}.$(POD_NAMESPACE)",
        workload=name,
        discovery=address,
        labels={**labels, "app": name},
        service_account=name,
    )


def _ports(listeners: Iterable[Listener]) -> list[dict[str, Any]]:
    """The listeners' ports, as they are: the pod may listen at any (ip_unprivileged_port_start)."""
    found = {STATUS_PORT: "status-port"}
    for one in listeners:
        if one.protocol in PROTOCOLS:
            found[one.port] = f"{one.protocol.lower()}-{one.port}"
    return [{"name": name, "port": port, "protocol": "TCP", "targetPort": port} for port, name in sorted(found.items())]
