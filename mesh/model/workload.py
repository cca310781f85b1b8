"""What runs: Namespace, Node, Pod (core/v1) and WorkloadEntry (networking.istio.io)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mesh.model import fields as f
from mesh.model.meta import Meta
from mesh.model.reading import Reading
from mesh.model.shape import flag, map_of, port, shape_of, subs, text, text_map, whole


class Locality(NamedTuple):
    """Where something runs (core.v3.Locality); what is not known is empty."""

    region: str = ""
    zone: str = ""
    subzone: str = ""

    def __str__(self) -> str:
        return "/".join(self).rstrip("/")

    @classmethod
    def parse(cls, text: str) -> Locality:
        """From `region/zone/subzone`, the latter two optional; with `.` where there is no `/`, as in a label."""
        return cls(*(text if "/" in text else text.replace(".", "/")).split("/", 2))


NOWHERE = Locality()
# The label by which a pod or a WorkloadEntry says where it runs, instead of its node (Istio's).
LOCALITY = "istio-locality"


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace: its labels."""

    meta: Meta


@dataclass(frozen=True, slots=True)
class Node:
    """A node: where it stands, by its labels."""

    meta: Meta

    @property
    def locality(self) -> Locality:
        """From topology.kubernetes.io/region and /zone (or their beta names) and topology.istio.io/subzone."""
        labels = self.meta.labels
        return Locality(
            labels.get("topology.kubernetes.io/region") or labels.get("failure-domain.beta.kubernetes.io/region", ""),
            labels.get("topology.kubernetes.io/zone") or labels.get("failure-domain.beta.kubernetes.io/zone", ""),
            labels.get("topology.istio.io/subzone", ""),
        )


@dataclass(frozen=True, slots=True)
class ContainerPort:
    """A port that a container names (core/v1 ContainerPort)."""

    ALSO = ("*",)

    name: str = text()
    container_port: int = port(0)
    protocol: str = text(default="TCP")


@dataclass(frozen=True, slots=True)
class Container:
    """A container, as far as routing cares."""

    ALSO = ("*",)

    name: str = text()
    ports: tuple[ContainerPort, ...] = subs(ContainerPort)


@dataclass(frozen=True, slots=True)
class _PodSpec:
    ALSO = ("*",)

    node_name: str = text()
    service_account_name: str = text()
    hostname: str = text()
    subdomain: str = text()
    host_network: bool = flag()
    containers: tuple[Container, ...] = subs(Container)
    init_containers: tuple[Container, ...] = subs(Container)


@dataclass(frozen=True, slots=True)
class _Ip:
    ALSO = ("*",)

    ip: str = text(f.address)


@dataclass(frozen=True, slots=True)
class _Condition:
    ALSO = ("*",)

    type: str = text()
    status: str = text()


@dataclass(frozen=True, slots=True)
class _PodStatus:
    ALSO = ("*",)

    phase: str = text()
    pod_ip: str = text(f.address, name="podIP")
    pod_ips: tuple[_Ip, ...] = subs(_Ip, name="podIPs")
    conditions: tuple[_Condition, ...] = subs(_Condition)


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod: its addresses, the main one first, and what selectors and policies ask of it."""

    meta: Meta
    ips: tuple[str, ...] = ()
    node_name: str = ""
    service_account: str = "default"
    phase: str = ""
    ready: bool = False
    host_network: bool = False
    hostname: str = ""
    subdomain: str = ""
    terminating: bool = False
    containers: tuple[Container, ...] = ()
    workload: str = ""
    """What made it, by name: a Deployment's."""

    @property
    def locality(self) -> str:
        """Where it says itself that it runs, as `region.zone.subzone`; empty where its node's counts."""
        return self.meta.labels.get(LOCALITY, "")

    @property
    def ip(self) -> str:
        """Its main address, or empty."""
        return self.ips[0] if self.ips else ""

    def port_named(self, name: str, protocol: str = "TCP") -> int | None:
        """The number of a container's port of this name."""
        for container in self.containers:
            for one in container.ports:
                if one.name == name and one.protocol == protocol:
                    return one.container_port
        return None


def pod(thing: Mapping[str, Any], meta: Meta, r: Reading) -> Pod:
    """A Pod from core/v1's; one without an address yet is a value as well."""
    spec: _PodSpec = part(_PodSpec, thing, "spec", r)
    status: _PodStatus = part(_PodStatus, thing, "status", r)
    ips = [status.pod_ip] if status.pod_ip else []
    ips += [one.ip for one in status.pod_ips if one.ip and one.ip not in ips]
    metadata = thing.get("metadata")
    return Pod(
        meta=meta,
        ips=tuple(ips),
        node_name=spec.node_name,
        service_account=spec.service_account_name or "default",
        phase=status.phase,
        ready=any(one.type == "Ready" and one.status == "True" for one in status.conditions),
        host_network=spec.host_network,
        hostname=spec.hostname,
        subdomain=spec.subdomain,
        terminating=isinstance(metadata, Mapping) and bool(metadata.get("deletionTimestamp")),
        containers=(*spec.containers, *spec.init_containers),
        workload=workload_name(thing),
    )


def workload_name(thing: Mapping[str, Any]) -> str:
    """The name of what made a pod: a Deployment's, whose ReplicaSet's name has the template's hash at its end."""
    metadata = thing.get("metadata")
    if not isinstance(metadata, Mapping):
        return ""
    owners = metadata.get("ownerReferences")
    owners = [one for one in owners if isinstance(one, Mapping)] if isinstance(owners, (list, tuple)) else []
    owner = next((one for one in owners if one.get("controller")), None)
    if not owner:
        return str(metadata.get("name") or "")
    labels = metadata.get("labels")
    hash_ = labels.get("pod-template-hash") if isinstance(labels, Mapping) else None
    name = str(owner.get("name") or metadata.get("name") or "")
    return name.removesuffix(f"-{hash_}") if owner.get("kind") == "ReplicaSet" and hash_ else name


def part(cls: Any, thing: Mapping[str, Any], key: str, r: Reading) -> Any:
    """The message at `key` of an object, empty if it is not there. After an error it is empty as well."""
    value = thing.get(key)
    if value is None:
        return cls()
    r.path.append(key)
    made = shape_of(cls).read(value, r)
    r.path.pop()
    return made if isinstance(made, cls) else cls()


@dataclass(frozen=True, slots=True)
class Workload:
    """An endpoint that no Pod is: a VM, or an address outside (networking.istio.io WorkloadEntry).

    `address` is an IP address, a DNS name, or a path `unix:///…`; empty only with `network`.
    """

    address: str = text()
    ports: Mapping[str, int] = map_of(f.Whole(1, 65535))
    labels: Mapping[str, str] = text_map()
    network: str = text()
    locality: str = text()
    weight: int = whole(default=0)
    service_account: str = text()

    def check(self, r: Reading) -> None:
        """Its address, as Istio's ValidateWorkloadEntry wants it."""
        if self.address.startswith("unix://"):
            if self.ports:
                r.error("conflict", "a unix domain socket has no ports", "ports")
            if not self.address.startswith(("unix:///", "unix://@")):
                r.error("not-allowed", "want an absolute path: unix:///path", "address")
        elif not self.address:
            if not self.network:
                r.error("missing", "address is needed where network is not set", "address")
        elif not f.is_address(self.address) and f.fqdn(self.address):
            r.error(
                "not-allowed", f'"{self.address}" is neither an IP address nor a DNS name nor unix:///path', "address"
            )

    @property
    def is_ip(self) -> bool:
        """Whether the address is an IP address."""
        return f.is_address(self.address)


@dataclass(frozen=True, slots=True)
class WorkloadEntry(Workload):
    """A Workload that stands by itself, found by a ServiceEntry's workloadSelector."""

    meta: Meta = field(kw_only=True)
