"""What istioctl's passage through Go's types does to a workload."""

from typing import Any

import pytest

from webhook.documents.typed import passed_through, without_zeros


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"kind": "ReplicaSet", "spec": {}}, {"kind": "ReplicaSet", "spec": {}, "status": {"replicas": 0}}),
        (
            {"kind": "StatefulSet", "spec": {}, "status": {"replicas": 3}},
            {"kind": "StatefulSet", "spec": {}, "status": {"availableReplicas": 0, "replicas": 3}},
        ),
        (
            {"kind": "Deployment", "spec": {"paused": False, "replicas": 0}},
            {"kind": "Deployment", "spec": {"replicas": 0}},
        ),
        ({"kind": "Deployment", "spec": {"paused": True}}, {"kind": "Deployment", "spec": {"paused": True}}),
        ({"kind": "Rollout", "spec": {"paused": False}}, {"kind": "Rollout", "spec": {"paused": False}}),
        ({"kind": "DaemonSet", "spec": None}, {"kind": "DaemonSet", "spec": None}),
    ],
)
def test_zeros_come_and_go(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert passed_through(before) == after
    assert passed_through(after) is after


def test_a_deployment_config_has_all_of_it() -> None:
    passed = passed_through({"kind": "DeploymentConfig", "spec": {"minReadySeconds": 0, "test": True}})
    assert passed["spec"] == {"test": True}
    assert set(passed["status"].values()) == {0}
    passed = passed_through({"kind": "DeploymentConfig", "spec": {"replicas": 1}})
    assert passed["spec"] == {"replicas": 1, "test": False}
    assert without_zeros(passed) == {"kind": "DeploymentConfig", "spec": {"replicas": 1}}


def test_a_real_status_stays() -> None:
    workload = {"kind": "ReplicaSet", "spec": {}, "status": {"replicas": 3}}
    assert without_zeros(workload) is workload
