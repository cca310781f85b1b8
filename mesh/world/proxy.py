"""Who asks: a proxy as its xDS node tells, and what can tell it from other proxies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Literal, NamedTuple

from mesh.model.workload import NOWHERE, Locality

Kind = Literal["sidecar", "router"]
KINDS: tuple[Kind, ...] = ("sidecar", "router")
# The label of pods that serve a Gateway of Gateway API: its name (GEP-1762)
GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name"


@dataclass(frozen=True, slots=True)
class Proxy:
    """A sidecar, or a gateway (which Istio calls a router).

    `labels` are the pod's. `metadata` is the node's, as it came; what it says of the proxy is not trusted further than
    what it is served. `addresses` are the pod's IP addresses.
    """

    kind: Kind
    pod: str
    namespace: str
    addresses: tuple[str, ...]
    domain: str = "cluster.local"
    labels: Mapping[str, str] = field(default_factory=dict)
    service_account: str = ""
    locality: Locality = NOWHERE
    metadata: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""
    """Envoy's, as 1.40.0."""

    @property
    def name(self) -> str:
        """POD.NAMESPACE, as `proxy-status` shows it."""
        return f"{self.pod}.{self.namespace}"


class NodeError(ValueError):
    """The node of a request does not say who it is."""


def proxy_of(node: Mapping[str, Any]) -> Proxy:
    """The proxy of an xDS node (core.v3.Node as a dict, its metadata plain).

    The id is Istio's: KIND~IP~POD.NAMESPACE~DOMAIN with KIND sidecar or router. Raises NodeError.
    """
    node_id = str(node.get("id") or "")
    parts = node_id.split("~")
    if len(parts) != 4 or parts[0] not in KINDS:
        raise NodeError(f"node id {node_id!r}: wanted is KIND~IP~POD.NAMESPACE~DOMAIN, KIND one of {', '.join(KINDS)}")
    kind, address, name, dns = parts
    pod, dot, namespace = name.rpartition(".")
    if not dot or not pod or not namespace:
        raise NodeError(f"node id {node_id!r}: {name!r} is no POD.NAMESPACE")
    metadata: Mapping[str, Any] = node.get("metadata") or {}
    listed = [address, *str(metadata.get("INSTANCE_IPS") or "").split(",")]
    try:
        addresses = tuple(dict.fromkeys(str(ip_address(one.strip())) for one in listed if one.strip()))
    except ValueError as error:
        raise NodeError(f"node id {node_id!r}, INSTANCE_IPS {metadata.get('INSTANCE_IPS')!r}: {error}") from None
    labels = metadata.get("LABELS")
    where = node.get("locality") or {}
    return Proxy(
        kind="router" if kind == "router" else "sidecar",
        pod=pod,
        namespace=namespace,
        addresses=addresses,
        domain=dns.partition(".svc.")[2] or "cluster.local",
        labels={str(k): str(v) for k, v in labels.items()} if isinstance(labels, Mapping) else {},
        service_account=str(metadata.get("SERVICE_ACCOUNT") or ""),
        locality=Locality(*(str(where.get(part) or "") for part in ("region", "zone", "sub_zone"))),
        metadata=metadata,
        version=_version(node.get("user_agent_build_version") or {}),
    )


def _version(build: Mapping[str, Any]) -> str:
    numbers = build.get("version") or {}
    parts = (numbers.get(part, 0) for part in ("major_number", "minor_number", "patch"))
    return ".".join(map(str, parts)) if numbers else ""


class Scope(NamedTuple):
    """What can tell proxies apart in what they see of others: all proxies of one scope are sent the same.

    `labels` holds only those keys that some selector in the world mentions, and `locality` and `node` are empty unless
    something is decided by them: so the pods of many Deployments share a scope, and with it all that is built for it.
    """

    kind: Kind
    namespace: str
    labels: tuple[tuple[str, str], ...] = ()
    locality: Locality = NOWHERE
    domain: str = "cluster.local"
    node: str = ""

    def matches(self, selector: Mapping[str, str]) -> bool:
        """All of the selector's labels are the proxy's; an empty selector takes every proxy."""
        return set(selector.items()) <= set(self.labels)
