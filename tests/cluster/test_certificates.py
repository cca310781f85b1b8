"""The webhook's own authority against a real API server: Secret, caBundle, replicas that race, renewal."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from common import cabundle, tls
from common.errors import KubernetesError
from common.kube import Kubernetes
from common.tls import KeyPair
from tests.cluster.harness import Cluster
from webhook.serving import sources
from webhook.serving.handover import PAIR
from webhook.serving.sources import Source, Update

NAMES = tls.service_names("hook", "nowhere")
CONFIGURATION, SECRET = "test-hook", "test-hook-ca"


@pytest.fixture(scope="module")
def kubernetes(bare_cluster: Cluster) -> Kubernetes:
    """A client with the tests' own rights."""
    return Kubernetes(bare_cluster.kubeconfig)


@pytest.fixture
def namespace(bare_cluster: Cluster) -> Iterator[str]:
    """A namespace with an empty Secret, and a configuration of two webhooks that match nothing."""
    selector = {"matchLabels": {"no-namespace": "has-this"}}
    webhook = {
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "clientConfig": {"service": {"name": "hook", "namespace": "nowhere"}},
        "namespaceSelector": selector,
    }
    with bare_cluster.namespace() as name:
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET, "namespace": name}}
        configuration = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": CONFIGURATION},
            "webhooks": [webhook | {"name": f"{n}.test.hook"} for n in ("one", "two")],
        }
        bare_cluster.apply(secret, configuration)
        yield name
        bare_cluster.kubectl("delete", "mutatingwebhookconfiguration", CONFIGURATION)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "AUTHORITY_SECONDS", 0.0)
    monkeypatch.setattr(sources, "POLL_SECONDS", 0.1)


def own_certificate(kubernetes: Kubernetes, namespace: str) -> Source:
    return sources.own_certificate(kubernetes, namespace, SECRET, CONFIGURATION, NAMES)


def leaf(source: Source) -> Any:
    update = next(source)
    assert isinstance(update, Update)
    return KeyPair(update.files[PAIR], b"").leaf


def bundles(cluster: Cluster) -> set[bytes]:
    webhooks = cluster.get("mutatingwebhookconfiguration", CONFIGURATION)["webhooks"]
    return {b64decode(webhook["clientConfig"]["caBundle"]) for webhook in webhooks}


def test_replicas_share_one_authority_and_every_webhook_trusts_it(
    bare_cluster: Cluster, kubernetes: Kubernetes, namespace: str
) -> None:
    first, second = (leaf(own_certificate(kubernetes, namespace)) for _ in range(2))
    assert first.issuer == second.issuer
    assert first.serial_number != second.serial_number
    _, data = kubernetes.secret(namespace, SECRET)
    assert bundles(bare_cluster) == {data["ca.crt"]}
    first.verify_directly_issued_by(KeyPair(data["ca.crt"], b"").leaf)


def test_of_the_configuration_the_ca_bundle_alone_is_the_webhook_s(
    bare_cluster: Cluster, kubernetes: Kubernetes, namespace: str
) -> None:
    leaf(own_certificate(kubernetes, namespace))
    found = bare_cluster.kubectl(
        "get", "mutatingwebhookconfiguration", CONFIGURATION, "--show-managed-fields", "-o",
        f"jsonpath={{.metadata.managedFields[?(@.manager=='{sources.OWNER}')].fieldsV1.f:webhooks}}",
    )  # fmt: skip
    assert found.count("f:caBundle") == 2
    assert "f:service" not in found
    assert "f:rules" not in found
    assert "f:namespaceSelector" not in found


def test_an_authority_that_grows_old_is_renewed_without_a_moment_of_distrust(
    bare_cluster: Cluster, kubernetes: Kubernetes, namespace: str
) -> None:
    then = tls.now() - tls.AUTHORITY_LIFETIME * 0.7
    old = tls.new_authority("test CA", then)
    version, _ = kubernetes.secret(namespace, SECRET)
    assert kubernetes.update_secret(namespace, SECRET, version, {"ca.crt": old.certificate, "ca.key": old.key})

    source = own_certificate(kubernetes, namespace)
    served = leaf(source)
    _, data = kubernetes.secret(namespace, SECRET)
    assert data["previous.crt"] == old.certificate
    assert data["ca.crt"] != old.certificate
    # a replica that still serves a certificate of the old one is trusted too
    assert bundles(bare_cluster) == {data["ca.crt"] + old.certificate}
    served.verify_directly_issued_by(KeyPair(data["ca.crt"], b"").leaf)


def test_a_replica_that_serves_already_takes_the_new_authority_after_it_is_trusted(
    bare_cluster: Cluster, kubernetes: Kubernetes, namespace: str
) -> None:
    source = own_certificate(kubernetes, namespace)
    before = leaf(source)
    another = tls.new_authority("test CA", tls.now() + timedelta(minutes=1))
    version, data = kubernetes.secret(namespace, SECRET)
    entries = {"ca.crt": another.certificate, "ca.key": another.key, "previous.crt": data["ca.crt"]}
    assert kubernetes.update_secret(namespace, SECRET, version, entries)
    after = leaf(source)
    assert after.issuer == another.leaf.subject != before.issuer
    assert bundles(bare_cluster) == {another.certificate + data["ca.crt"]}


def test_the_slower_of_two_replicas_takes_what_the_other_has_made(kubernetes: Kubernetes, namespace: str) -> None:
    version, _ = kubernetes.secret(namespace, SECRET)
    assert kubernetes.update_secret(namespace, SECRET, version, {"ca.crt": b"quicker"})
    assert not kubernetes.update_secret(namespace, SECRET, version, {"ca.crt": b"slower"})
    assert kubernetes.secret(namespace, SECRET)[1] == {"ca.crt": b"quicker"}


def test_a_refusal_says_what_was_tried_and_what_to_look_at(kubernetes: Kubernetes, namespace: str) -> None:
    with pytest.raises(KubernetesError, match=rf"{namespace}/secrets/other: 404 .*is the chart installed") as caught:
        kubernetes.secret(namespace, "other")
    assert caught.value.status == 404


def test_a_configuration_that_calls_another_service_is_named(kubernetes: Kubernetes, namespace: str) -> None:
    del namespace
    with pytest.raises(
        KubernetesError, match=r"one\.test\.hook calls hook\.nowhere\.svc, but this is other\.here\.svc"
    ):
        cabundle.apply(kubernetes, cabundle.MUTATING, CONFIGURATION, b"", "other.here.svc", "test")


def test_an_api_server_that_is_away_is_no_answer(tmp_path: Path) -> None:
    away = {
        "clusters": [{"name": "away", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "me", "user": {"token": "any"}}],
        "contexts": [{"name": "away", "context": {"cluster": "away", "user": "me"}}],
        "current-context": "away",
    }
    (tmp_path / "config").write_text(json.dumps(away))
    with pytest.raises(KubernetesError, match="no answer from the API server to GET") as caught:
        Kubernetes(str(tmp_path / "config")).secret("default", "any")
    assert caught.value.status == 0


def test_namespaces_are_followed(bare_cluster: Cluster, kubernetes: Kubernetes) -> None:
    source = sources.namespaces(kubernetes)
    next(source)
    with bare_cluster.namespace({"followed": "yes"}) as name:
        for update in source:
            assert isinstance(update, Update)
            if name.encode() in update.files["namespaces.json"]:
                assert b'"followed":"yes"' in update.files["namespaces.json"]
                break
    for update in source:
        assert isinstance(update, Update)
        if name.encode() not in update.files["namespaces.json"]:
            break
