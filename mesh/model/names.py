"""Istio's names for what Envoy is told, written and parsed: users know them from `proxy-config` and from metrics."""

from __future__ import annotations

from typing import Literal, NamedTuple

PASSTHROUGH = "PassthroughCluster"
BLACK_HOLE = "BlackHoleCluster"
INBOUND_PASSTHROUGH = "InboundPassthroughCluster"
VIRTUAL_OUTBOUND, VIRTUAL_INBOUND = "virtualOutbound", "virtualInbound"
ALLOW_ANY, BLOCK_ALL = "allow_any", "block_all"

Direction = Literal["outbound", "inbound"]


class ClusterName(NamedTuple):
    """`outbound|9080|v2|reviews.default.svc.cluster.local`; an inbound one has no host: `inbound|9080||`."""

    direction: Direction
    port: int
    subset: str = ""
    host: str = ""

    def __str__(self) -> str:
        return f"{self.direction}|{self.port}|{self.subset}|{self.host}"


def cluster_name(text: str) -> ClusterName | None:
    """Reads such a name; None where it is another's (`PassthroughCluster`, `xds-grpc`)."""
    parts = text.split("|")
    if len(parts) != 4 or parts[0] not in ("outbound", "inbound") or not parts[1].isdecimal():
        return None
    return ClusterName("outbound" if parts[0] == "outbound" else "inbound", int(parts[1]), parts[2], parts[3])


def host_forms(hostname: str, namespace: str, domain: str) -> list[str]:
    """The names under which a Kubernetes Service answers to a client in `namespace`, the fullest first.

    resolv.conf(5)'s search list in a pod completes them: `a` in its own namespace, `a.NAMESPACE`, `a.NAMESPACE.svc`;
    an absolute name has a dot at its end. `hostname` is NAME.NAMESPACE.svc.DOMAIN, else it is the only form.
    """
    forms = [hostname]
    suffix = f".svc.{domain}"
    if hostname.endswith(suffix):
        short = hostname.removesuffix(suffix)
        name, _, its_namespace = short.partition(".")
        if name and its_namespace and "*" not in name:
            forms.append(f"{hostname}.")
            if its_namespace == namespace:
                forms.append(name)
            forms += [f"{short}.svc", short]
    return forms


def narrower(one: str, other: str) -> str:
    """What two hosts, each perhaps a wildcard (`*`, `*.example.com`), both mean: the narrower; empty for nothing."""
    one, other = one.lower(), other.lower()
    if one == other:
        return one
    for wide, narrow in ((one, other), (other, one)):
        if wide.startswith("*") and narrow.removeprefix("*").endswith(wide[1:]):
            return narrow
    return ""
