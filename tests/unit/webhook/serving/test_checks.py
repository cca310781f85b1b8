"""`pyinject check`: each thing that can be wrong is found, and nothing where all is right."""

from __future__ import annotations

import socket
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest

from common import tls
from tests.unit.webhook.serving.running import POD, Webhook, eventually
from webhook.pod.inject import Request, inject
from webhook.serving import checks
from webhook.settings import Settings


@pytest.fixture(scope="module")
def webhook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webhook]:
    running = Webhook(tmp_path_factory.mktemp("webhook"), "--workers=1")
    try:
        eventually(running.ready)
        yield running
    finally:
        running.process.kill()
        running.process.wait()


class FakeCluster:
    """Stands for an API server; a forwarded port leads to a webhook that runs here."""

    def __init__(self, port: int, *, ready: bool = True) -> None:
        self._port = port
        status = {"conditions": [{"type": "Ready", "status": str(ready)}]}
        self._pod = {"metadata": {"name": "p", "labels": {"app": "pyinject"}}, "status": status}

    def get(self, kind: str, name: str | None = None, namespace: str | None = None) -> dict[str, Any]:  # noqa: ARG002
        return {"spec": {"selector": {"app": "pyinject"}}} if kind == "Service" else {"items": [self._pod]}

    def forward(self, namespace: str, pod: str, port: int) -> socket.socket:  # noqa: ARG002
        return socket.create_connection(("127.0.0.1", self._port))


def configuration(
    name: str = "pyinject", bundle: bytes = b"", labels: dict[str, str] | None = None, service: str = "pyinject"
) -> dict[str, Any]:
    client = {"service": {"name": service, "namespace": "mesh"}, "caBundle": b64encode(bundle).decode()}
    rules = [{"operations": ["CREATE"], "resources": ["pods"]}]
    selector = {"matchLabels": labels or {"istio-injection": "enabled"}}
    webhook = {"name": "a", "clientConfig": client, "rules": rules, "namespaceSelector": selector}
    return {"metadata": {"name": name}, "webhooks": [webhook]}


def levels(webhook: Webhook, given: dict[str, Any], **options: Any) -> list[tuple[str, str]]:
    cluster = FakeCluster(webhook.port, **options)
    found = checks.of_replicas(cluster, given)  # type: ignore[arg-type]
    return [(finding.level, finding.message) for finding in found]


def test_a_replica_is_called_as_an_api_server_calls_it(webhook: Webhook) -> None:
    trusted = webhook.authority.certificate
    assert levels(webhook, configuration(bundle=trusted))[0][0] == checks.OK
    ((level, message),) = levels(webhook, configuration(bundle=tls.new_authority("other", tls.now()).certificate))
    assert (level, "does not fit the caBundle" in message) == (checks.ERROR, True)
    ((level, message),) = levels(webhook, configuration(bundle=trusted, service="other"))
    assert (level, "the name other.mesh.svc" in message) == (checks.ERROR, True)
    assert levels(webhook, configuration(), ready=False) == [(checks.ERROR, "no replica is ready")]


def test_a_configuration_without_a_bundle_is_an_error() -> None:
    assert not list(checks.of_configuration("pyinject", configuration(bundle=b"x")))
    assert [it.level for it in checks.of_configuration("pyinject", configuration())] == [checks.ERROR]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"istio-injection": "enabled"}, ""),
        ({}, ""),
        (
            {"istio-injection": "enabled", "istio.io/rev": "b"},
            "its pods go to pyinject and also to istio-sidecar-injector-b",
        ),
        ({"istio.io/rev": "b"}, ""),
        ({"istio.io/rev": "c"}, "is labelled istio.io/rev=c, and no injector serves that"),
    ],
)
def test_each_namespace_has_one_injector(labels: dict[str, str], message: str) -> None:
    others = [
        configuration("istio-sidecar-injector-b", labels={"istio.io/rev": "b"}),
        configuration("policy", labels={"x": "y"}),
    ]
    namespace = {"metadata": {"name": "shop", "labels": labels}}
    found = list(checks.of_selectors("pyinject", [configuration(), *others], [namespace]))
    assert [finding.message for finding in found] == ([message] if message else [])
    assert all(finding.remedy for finding in found)


def test_pods_with_settings_of_before_are_named() -> None:
    before, now = Settings.load(), Settings.load("{profile: standalone, global: {hub: example.test}}")
    pod = {**POD, "metadata": {"name": "web", "namespace": "shop"}}
    injected = inject(before, Request(pod, "shop")).pod
    assert not list(checks.of_pods(before, [pod, injected], {}, native=False))
    (finding,) = checks.of_pods(now, [pod, injected], {}, native=False)
    assert finding.about == "Pod shop/web"
    assert finding.message == "runs with settings of before: image of istio-proxy, image of istio-init"
