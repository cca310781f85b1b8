"""The objects that the tests create: an app that tells who asked, in the shapes of workload that matter here."""

from __future__ import annotations

from typing import Any

from tests.cluster.harness import HERE, Cluster

Object = dict[str, Any]


def code() -> Object:
    """The app's source, mounted by `pod_spec`."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "app"},
        "data": {"app.py": (HERE / "app.py").read_text()},
    }


def pod_spec(cluster: Cluster, command: list[str] | None = None, **container: Any) -> Object:
    """One container `app`, without privileges, as uid 1000."""
    return {
        "terminationGracePeriodSeconds": 2,
        "containers": [
            {
                "name": "app",
                "image": cluster.image("webhook"),
                "command": command or ["python", "/app/app.py"],
                "securityContext": {"runAsUser": 1000},
                "volumeMounts": [{"name": "app", "mountPath": "/app"}],
                **container,
            }
        ],
        "volumes": [{"name": "app", "configMap": {"name": "app"}}],
    }


def pod(
    name: str, spec: Object, labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None
) -> Object:
    """A pod."""
    metadata = {"name": name, "labels": {"app": name} | (labels or {}), "annotations": annotations or {}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def deployment(
    name: str, spec: Object, labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None
) -> Object:
    """A Deployment of one pod."""
    metadata = {"labels": {"app": name} | (labels or {}), "annotations": annotations or {}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": {"metadata": metadata, "spec": spec}},
    }


def service(name: str, port: int = 80, target: int = 8080) -> Object:
    """A Service for the pods labelled app=`name`."""
    spec = {"selector": {"app": name}, "ports": [{"name": "http", "port": port, "targetPort": target}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def containers(pod: Object) -> list[str]:
    """Names of a pod's containers, the init containers first."""
    spec = pod["spec"]
    return [container["name"] for container in [*spec.get("initContainers", []), *spec["containers"]]]
