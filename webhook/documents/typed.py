"""What istioctl's passage through Go's types does to a workload beside its pod.

istioctl decodes a workload into the types of k8s.io/api and openshift/api and encodes it again. A field that is no
pointer and not marked omitempty then appears with its zero, and one that is marked so disappears when it is zero. To
the API server it is all the same; who replaces istioctl where files are compared wants the same result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# The counters of each kind's status that are always written.
_STATUS: Final = {
    "DaemonSet": ("currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady"),
    "DeploymentConfig": (
        "availableReplicas",
        "latestVersion",
        "observedGeneration",
        "replicas",
        "unavailableReplicas",
        "updatedReplicas",
    ),
    "ReplicaSet": ("replicas",),
    "ReplicationController": ("replicas",),
    "StatefulSet": ("availableReplicas", "replicas"),
}
_OMITTED_ZEROS: Final = {"minReadySeconds": 0, "paused": False}
_KINDS: Final = frozenset({*_STATUS, "Deployment"})


def passed_through(workload: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object as istioctl would write it, its pod aside; the same object where that makes no difference."""
    kind, spec, status = workload.get("kind"), workload.get("spec"), workload.get("status") or {}
    if not isinstance(kind, str) or kind not in _KINDS or not isinstance(spec, dict) or not isinstance(status, dict):
        return workload
    zeros = dict.fromkeys(_STATUS.get(kind, ()), 0)
    if any(name not in status for name in zeros):
        workload = {**workload, "status": {**zeros, **status}}
    omitted = [name for name, zero in _OMITTED_ZEROS.items() if name in spec and spec[name] == zero]
    always = {"test": False} if kind == "DeploymentConfig" and "test" not in spec else {}
    if omitted or always:
        kept = {name: value for name, value in spec.items() if name not in omitted}
        workload = {**workload, "spec": kept | always}
    return workload


def without_zeros(workload: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object without what `passed_through` adds."""
    status = workload.get("status")
    if status and status == dict.fromkeys(_STATUS.get(str(workload.get("kind")), ()), 0):
        workload = {name: value for name, value in workload.items() if name != "status"}
    spec = workload.get("spec")
    if workload.get("kind") == "DeploymentConfig" and isinstance(spec, dict) and spec.get("test") is False:
        return {**workload, "spec": {name: value for name, value in spec.items() if name != "test"}}
    return workload
