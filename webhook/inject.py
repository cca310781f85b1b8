"""The pipeline as one function: a pod and the settings in, the injected pod and its JSON Patch out. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from webhook.decide import Decision as Decision
from webhook.settings import Settings
from webhook.workload import Workload


@dataclass(frozen=True, slots=True)
class Request:
    """A pod to inject, as decoded from JSON or YAML, and what its caller knows beside it.

    namespace           where the pod will run; may differ from its metadata, which a controller leaves without one
    namespace_metadata  metadata of that Namespace object, where it is known (OpenShift keeps its ranges of ids there)
    native_sidecars     whether the nodes run init containers with restartPolicy Always (Kubernetes 1.29; 1.33 by default)
    workload            what the pod belongs to; None: found out from its owner references
    proxy_env           variables that the webhook's URL sets in the proxy, e.g. {"ISTIO_META_NETWORK": "east"}
    """

    pod: dict[str, Any]
    namespace: str = ""
    namespace_metadata: Mapping[str, Any] | None = None
    native_sidecars: bool = False
    workload: Workload | None = None
    proxy_env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a request.

    pod       the injected pod; the request's own object where it is not injected
    patch     RFC 6902 operations that make the one from the other; empty where nothing changes
    warnings  sentences for who creates the pod
    """

    decision: Decision
    pod: dict[str, Any]
    patch: list[dict[str, Any]] = field(default_factory=list)
    warnings: tuple[str, ...] = ()


def inject(settings: Settings, request: Request) -> Result:
    """Inject the request's pod, or leave it, as the settings and the pod's own labels and annotations say.

    The pod is not changed: the result shares with it all that stays the same. Raises InjectionError for a pod that
    cannot be injected as it asks to be.
    """
    raise NotImplementedError
