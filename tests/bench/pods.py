"""The pods whose admission is measured, as AdmissionReviews: what an API server sends for a pod of a Deployment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

Pod = dict[str, Any]

UID = "6c2c5c5e-9b34-4e0b-8f6c-3a3a4a1f1d10"


def plain() -> Pod:
    """One container behind one port, as the ReplicaSet controller creates it and the API server completes it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "checkout-7c9d8b6f5d-",
            "namespace": "shop",
            "creationTimestamp": None,
            "labels": {"app": "checkout", "version": "v3", "pod-template-hash": "7c9d8b6f5d"},
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "name": "checkout-7c9d8b6f5d",
                    "uid": "0a6d3f0e-8a0e-4f0e-9d5e-51d9c1d2a001",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "containers": [
                {
                    "name": "checkout",
                    "image": "registry.example/shop/checkout:3.4.1",
                    "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                    "env": [{"name": "LOG_LEVEL", "value": "info"}],
                    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
                    "volumeMounts": [
                        {
                            "name": "kube-api-access-x2k4p",
                            "readOnly": True,
                            "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                        }
                    ],
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File",
                    "imagePullPolicy": "IfNotPresent",
                }
            ],
            "volumes": [
                {
                    "name": "kube-api-access-x2k4p",
                    "projected": {
                        "defaultMode": 420,
                        "sources": [
                            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                        ],
                    },
                }
            ],
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "serviceAccountName": "checkout",
            "serviceAccount": "checkout",
            "securityContext": {},
            "schedulerName": "default-scheduler",
            "tolerations": [
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
                for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
            ],
            "priority": 0,
            "enableServiceLinks": True,
            "preemptionPolicy": "PreemptLowerPriority",
        },
        "status": {},
    }


def native_with_probes() -> Pod:
    """The sidecar as an init container that stays (native sidecar), and a probe of each kind to rewrite."""
    pod = plain()
    pod["metadata"]["annotations"] = {"sidecar.istio.io/nativeSidecar": "true"}
    container = pod["spec"]["containers"][0]
    container["startupProbe"] = {"tcpSocket": {"port": 8080}, "failureThreshold": 30}
    container["readinessProbe"] = {"httpGet": {"path": "/ready", "port": "http", "scheme": "HTTP"}, "periodSeconds": 5}
    container["livenessProbe"] = {"grpc": {"port": 9000}, "periodSeconds": 10}
    container["lifecycle"] = {"preStop": {"httpGet": {"path": "/drain", "port": 8080, "scheme": "HTTP"}}}
    return pod


def with_variables(count: int) -> Pod:
    """A container with many environment variables: the pod that takes istiod seconds (istio#34799)."""
    pod = plain()
    pod["spec"]["containers"][0]["env"] = [
        {"name": f"SETTING_{number:04}", "value": f"value of setting {number}"} for number in range(count)
    ]
    return pod


def with_managed_fields(size: int) -> Pod:
    """About `size` bytes that no injector reads: fields that server-side apply keeps for each field manager."""
    pod = plain()
    entry = {
        "manager": "argocd-controller",
        "operation": "Apply",
        "apiVersion": "v1",
        "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {
            "f:spec": {f'k:{{"name":"SETTING_{number:04}"}}': {".": {}, "f:value": {}} for number in range(250)}
        },
    }
    copies = size // len(orjson.dumps(entry))
    pod["metadata"]["managedFields"] = [{**entry, "manager": f"manager-{number}"} for number in range(copies)]
    return pod


def not_to_be_injected() -> Pod:
    """A pod that asks to be left alone."""
    pod = plain()
    pod["metadata"]["labels"]["sidecar.istio.io/inject"] = "false"
    return pod


# Those of the webhook's table. `injected` is made of `plain` by the webhook itself, when it is running.
BODIES: dict[str, Callable[[], Pod]] = {
    "plain": plain,
    "native": native_with_probes,
    "env2000": lambda: with_variables(2000),
    "managed1m": lambda: with_managed_fields(1024 * 1024),
    "skipped": not_to_be_injected,
}

TITLES = {
    "plain": "plain pod",
    "native": "native sidecar, probes",
    "env2000": "2,000 variables",
    "managed1m": "1 MB of managedFields",
    "injected": "already injected",
    "skipped": "not to be injected",
}


def review(pod: Pod) -> bytes:
    """The AdmissionReview v1 of a pod's creation, as the API server posts it."""
    kind = {"group": "", "version": "v1", "kind": "Pod"}
    resource = {"group": "", "version": "v1", "resource": "pods"}
    return orjson.dumps(
        {
            "kind": "AdmissionReview",
            "apiVersion": "admission.k8s.io/v1",
            "request": {
                "uid": UID,
                "kind": kind,
                "resource": resource,
                "requestKind": kind,
                "requestResource": resource,
                "namespace": "shop",
                "operation": "CREATE",
                "userInfo": {
                    "username": "system:serviceaccount:kube-system:replicaset-controller",
                    "uid": "c0b1f6a5-4f7e-4a40-8b4e-2f6b8f0c7d11",
                    "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"],
                },
                "object": pod,
                "oldObject": None,
                "dryRun": False,
                "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
            },
        }
    )
