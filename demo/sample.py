"""The sample: a pod as a user writes it, in the AdmissionReview that an API server would send for it."""

from __future__ import annotations

from typing import Any

APP_PORT = 8080
SERVER_PORT, EXCLUDED_PORT = 80, 9000
APP_UID, PROXY_UID = 1000, 1337

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "web",
        "namespace": "shop",
        "labels": {"app": "web"},
        "annotations": {"traffic.sidecar.istio.io/excludeOutboundPorts": str(EXCLUDED_PORT)},
    },
    "spec": {
        "containers": [
            {
                "name": "web",
                "image": "sample-app",
                "ports": [{"name": "http", "containerPort": APP_PORT}],
                "securityContext": {"runAsUser": APP_UID},
                "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http"}},
                "readinessProbe": {"tcpSocket": {"port": APP_PORT}},
            }
        ]
    },
}


def admission_review(pod: dict[str, Any]) -> dict[str, Any]:
    """AdmissionReview v1 (admission.k8s.io) for the creation of this pod."""
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "0d6b2a1e-5f0c-4b7e-9c1a-3d8e1f2a4b5c",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "name": pod["metadata"]["name"],
            "namespace": pod["metadata"]["namespace"],
            "operation": "CREATE",
            "userInfo": {"username": "demo"},
            "object": pod,
            "oldObject": None,
            "dryRun": False,
        },
    }
