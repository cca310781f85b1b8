"""Who made a pod: the Deployment, CronJob, Rollout … whose name the proxy reports as its workload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload's name, namespace, kind and apiVersion; empty where it is not known."""

    name: str = ""
    namespace: str = ""
    kind: str = "Pod"
    api_version: str = "v1"


def of_pod(metadata: Mapping[str, Any], labels: Mapping[str, str], namespace: str) -> Workload:
    """The workload of a pod, from its metadata alone: no API call is made for the owner's owner.

    A pod whose name was generated belongs to the owner that is its controller. What stands behind that one is told by
    the names that the controllers give: a ReplicaSet is called as its Deployment, with the hash of the pod template
    after it.
    """
    name, kind, api_version = metadata.get("name") or "", "Pod", "v1"
    controller = _controller(metadata) if metadata.get("generateName") else None
    if controller is not None:
        name = controller.get("name") or name
        kind, api_version = controller.get("kind") or "", controller.get("apiVersion") or ""
        template_hash = labels.get("pod-template-hash", "")
        rollout_hash = labels.get("rollouts-pod-template-hash", "")
        if kind == "ReplicaSet" and template_hash and name.endswith(template_hash):
            name, kind = name.removesuffix(f"-{template_hash}"), "Deployment"
        elif kind == "ReplicaSet" and rollout_hash and name.endswith(rollout_hash):
            name, kind, api_version = name.removesuffix(f"-{rollout_hash}"), "Rollout", "v1alpha1"
        elif kind == "ReplicationController" and labels.get("deploymentconfig"):
            name, kind = labels["deploymentconfig"], "DeploymentConfig"
        elif kind == "Job":
            cron_job, dash, scheduled = name.rpartition("-")
            if cron_job and dash and scheduled.isdecimal() and scheduled.isascii() and 8 <= len(scheduled) <= 10:
                name, kind, api_version = cron_job, "CronJob", "batch/v1"
    return Workload(name, namespace, kind, api_version)


def _controller(metadata: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller"):
            found: Mapping[str, Any] = owner
            return found
    return None
