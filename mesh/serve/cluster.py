"""The parts that only a cluster has: the API server as source and as judge of tokens, and what is written there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from common.kube import Kubernetes
from mesh.serve.app import Settings, serve
from mesh.serve.auth import Tokens, reviewed_by
from mesh.serve.conditions import Conditions
from mesh.serve.gateways import Gateways, Setup
from mesh.serve.lease import Lease
from mesh.serve.plane import Plane
from mesh.serve.server import Port
from mesh.serve.status import Status
from mesh.serve.trust import keep
from mesh.sources.kubernetes import Kubernetes as Source

# One for each kind that is watched, and some for what is asked.
CONNECTIONS = 40


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where we run: the Service that proxies call, its namespace, and the Secret of the authority.

    `webhook_configuration` is whose caBundle is written; empty where that is another's affair.
    """

    namespace: str
    service: str
    ca_secret: str
    tls_address: str
    admission_address: str = ""
    webhook_configuration: str = ""
    gateway_class: str = ""
    template: Mapping[str, Any] = field(default_factory=dict)
    """How Gateways' pods look (mesh.build.deployment); without any none are run."""
    conditions: bool = True
    """Whether Istio's objects are told in their status what is wrong with them."""


async def serve_cluster(
    kubernetes: Kubernetes, cluster: Cluster, settings: Settings, folder: Path, domain: str
) -> None:
    """Serves a cluster. `folder` is ours alone, for the private key. Raises as `serve`, and KubernetesError."""
    certificate, key = await asyncio.to_thread(
        keep, kubernetes, cluster.namespace, cluster.ca_secret, cluster.service, folder, cluster.webhook_configuration
    )
    lease = Lease(kubernetes, cluster.namespace, cluster.service, settings.name)

    port = settings.debug_address.rpartition(":")[2]
    setup = Setup(
        cluster.gateway_class,
        cluster.template,
        cluster.namespace,
        cluster.service,
        settings.name,
        int(port) if port.isdecimal() else 0,
    )

    def beside(plane: Plane, status: Status) -> Iterable[Awaitable[None]]:
        yield lease.run()
        yield Gateways(kubernetes, lease, plane, status, setup).run()
        if cluster.conditions:
            yield Conditions(kubernetes, lease, plane, status).run()

    with_tls = replace(
        settings,
        ports=(*settings.ports, Port(cluster.tls_address, certificate, key)),
        admission=Port(cluster.admission_address, certificate, key) if cluster.admission_address else None,
        domain=domain,
    )
    await serve(Source(kubernetes, domain), with_tls, Tokens(reviewed_by(kubernetes), time.time), beside)
