"""The control plane's debug port (15014), of every replica: in a cluster by port-forward, or of a process here."""

from __future__ import annotations

import argparse
import http.client
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from common.errors import NotReadyError
from mesh.commands import admin, options

PORT = 15014
SELECTOR = {"app.kubernetes.io/name": "pymesh"}


def add_source(parser: argparse.ArgumentParser) -> None:
    """Which control plane."""
    group = parser.add_argument_group("the control plane", "default: all pymesh pods of the cluster")
    group.add_argument("--debug-address", metavar="HOST:PORT", help="of a pymesh serve here, like 127.0.0.1:15014")
    group.add_argument(
        "-i", "--mesh-namespace", metavar="NAME", default="pysidecar-system", help="where pymesh is (%(default)s)"
    )
    options.add_cluster(group)


def ask(args: argparse.Namespace, path: str, *, missing: bool = False) -> Iterator[Any]:
    """What each replica answers; with `missing`, those are passed over that do not know what is asked about (404).

    Raises NotReadyError, also where there is no replica at all.
    """
    for whom, get in finder(args)():
        try:
            yield get(path)
        except admin.RefusedError as error:
            if not (missing and error.status == 404):
                raise NotReadyError(f"{whom}: {error}") from error


def finder(args: argparse.Namespace) -> Callable[[], list[tuple[str, admin.Get]]]:
    """What looks for the replicas whenever it is called: each one's name, and what asks it.

    Raises UsageError, KubernetesError; the function NotReadyError where there is no replica.
    """
    if args.debug_address:
        host, port = options.host_port("--debug-address", args.debug_address, "127.0.0.1:15014")
        where = args.debug_address

        def ask(path: str) -> Any:
            return admin.get(http.client.HTTPConnection(host, port, timeout=30), path, where)

        return lambda: [(where, ask)]

    from common.kube import Kubernetes

    kubernetes = Kubernetes(args.kubeconfig, args.context)

    def find() -> list[tuple[str, admin.Get]]:
        found = kubernetes.get("Pod", namespace=args.mesh_namespace)["items"]
        pods = [one["metadata"]["name"] for one in found if is_ready(one) and _is_ours(one)]
        if not pods:
            raise NotReadyError(f"no pymesh is ready in namespace {args.mesh_namespace} (-i names another one)")
        return [
            (pod, admin.forwarded(kubernetes, args.mesh_namespace, pod, PORT, f"pod {args.mesh_namespace}/{pod}"))
            for pod in pods
        ]

    return find


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether a Pod gets requests."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _is_ours(pod: Mapping[str, Any]) -> bool:
    return SELECTOR.items() <= (pod["metadata"].get("labels") or {}).items()
