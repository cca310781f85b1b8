"""Pods made hostile: a sane one, of whose values some are replaced, moved, doubled or taken away."""

from __future__ import annotations

import copy
from random import Random
from typing import Any

SEED: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "web",
        "namespace": "shop",
        "generateName": "web-",
        "labels": {"app": "web", "version": "v1", "pod-template-hash": "5d9f"},
        "annotations": {
            "sidecar.istio.io/interceptionMode": "REDIRECT",
            "sidecar.istio.io/userVolume": '{"mine":{"emptyDir":{}}}',
            "status.sidecar.istio.io/port": "15020",
            "traffic.sidecar.istio.io/excludeInboundPorts": "80,90",
            "traffic.sidecar.istio.io/includeOutboundIPRanges": "10.0.0.0/8",
            "proxy.istio.io/config": "concurrency: 2\nholdApplicationUntilProxyStarts: true\n",
            "inject.istio.io/templates": "sidecar",
            "prometheus.io/scrape": "true",
            "prometheus.io/port": "9090",
        },
        "ownerReferences": [{"kind": "ReplicaSet", "name": "web-5d9f", "apiVersion": "apps/v1", "controller": True}],
    },
    "spec": {
        "containers": [
            {
                "name": "web",
                "image": "web",
                "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}],
                "readinessProbe": {"httpGet": {"path": "/", "port": "http", "scheme": "HTTPS"}, "timeoutSeconds": 1},
                "livenessProbe": {"tcpSocket": {"port": 8080}},
                "startupProbe": {"grpc": {"port": 9000, "service": "x"}},
                "lifecycle": {"preStop": {"httpGet": {"port": 8080}}, "postStart": {"exec": {"command": ["x"]}}},
                "securityContext": {"runAsUser": 1337, "capabilities": {"add": ["NET_ADMIN"]}},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            },
            {"name": "istio-proxy", "image": "auto", "resources": {"limits": {"cpu": "1"}}},
        ],
        "initContainers": [{"name": "migrate", "image": "x", "restartPolicy": "Always"}],
        "volumes": [{"name": "data", "emptyDir": {}}],
        "imagePullSecrets": [{"name": "secret"}],
        "securityContext": {"runAsUser": 1},
        "dnsConfig": {"searches": ["x"]},
        "hostNetwork": False,
        "restartPolicy": "OnFailure",
    },
}

HOSTILE: list[Any] = [
    None, True, False, 0, -1, 1.5, 65536, 2**63, 2**70, "", " ", "0", "true", "auto", "istio-proxy", "istio-init", "*",
    "80,,90", "$(X)", "${x}", "{{x}}", "\u0000", "é\n", "---\n", "#", "a" * 300, "[[[[", '{"a":', "{}", "[]", "null",
    [], {}, [None], [[]], {"": None}, {"name": None}, {"name": []}, [{"name": "web"}, {"name": "web"}], {"a/b~c": 1},
    [{"name": "istio-proxy"}], [{"name": "istio-init", "args": []}], {"httpGet": {}}, {"httpGet": None},
    {"tcpSocket": {"port": "http"}}, {"grpc": {"port": 0}}, '{"containers":["web"]}', '{"initContainers":[1]}',
]  # fmt: skip
KEYS = ["name", "labels", "annotations", "containers", "sidecar.istio.io/status", "spec", "template", "items", "kind"]


def mutated(pod: Any, random: Random) -> Any:
    """A copy with one to four of its values changed, and now and then as a workload's template or in a List."""
    pod = copy.deepcopy(pod)
    for _ in range(random.randint(1, 4)):
        holder, key = _place(pod, random)
        if holder is None:
            break
        _change(holder, key, random)
    shape = random.random()
    if shape < 0.1:
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": pod}}
    if shape < 0.15:
        job = {"spec": {"template": pod}}
        return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": None, "spec": {"jobTemplate": job}}
    return {"kind": "List", "items": [pod, pod]} if shape < 0.2 else pod


def _place(value: Any, random: Random) -> tuple[Any, Any]:
    """A container in the tree and a key of it, at any depth."""
    holder, key = None, None
    while isinstance(value, (dict, list)) and value:
        holder, key = value, random.choice(list(value)) if isinstance(value, dict) else random.randrange(len(value))
        value = value[key]
        if random.random() < 0.15:
            break
    return holder, key


def _change(holder: Any, key: Any, random: Random) -> None:
    action = random.randrange(6)
    if action == 0:
        del holder[key]
    elif action == 1 and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    elif action == 2 and isinstance(holder, dict):
        holder[random.choice(KEYS)] = copy.deepcopy(random.choice(HOSTILE))
    elif action == 3 and isinstance(holder, list):
        random.shuffle(holder)
    else:
        holder[key] = copy.deepcopy(random.choice(HOSTILE))
