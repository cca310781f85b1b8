"""The caBundle of a webhook configuration: which authority API servers trust when they call the webhook."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Final

from common.errors import KubernetesError

if TYPE_CHECKING:
    from common.kube import Kubernetes

MUTATING: Final = "MutatingWebhookConfiguration"
VALIDATING: Final = "ValidatingWebhookConfiguration"


def read(kubernetes: Kubernetes, kind: str, name: str) -> bytes:
    """The bundle (PEM) that the first webhook of a configuration trusts; empty for none. Raises KubernetesError."""
    for webhook in kubernetes.get(kind, name).get("webhooks") or []:
        return b64decode(webhook["clientConfig"].get("caBundle") or "")
    return b""


def apply(kubernetes: Kubernetes, kind: str, name: str, bundle: bytes, server_name: str, owner: str) -> bool:
    """Make every webhook of a configuration (`kind`: MUTATING or VALIDATING) trust `bundle`; tells whether something
    changed. `owner` is who has the caBundle among the object's field managers.

    Applied on the server, so that of the whole object the caBundle alone is ours, and neither Helm nor a GitOps tool
    sees a difference in what is theirs. Raises KubernetesError, also where a webhook of it calls another Service than
    `server_name`, whose certificate would not be for that.
    """
    webhooks = kubernetes.get(kind, name).get("webhooks") or []
    for webhook in webhooks:
        service = webhook["clientConfig"].get("service") or {}
        called = f"{service.get('name')}.{service.get('namespace')}.svc"
        if service and called != server_name:
            what = f"{kind} {name}: webhook {webhook['name']} calls {called}"
            raise KubernetesError(f"{what}, but this is {server_name} (--service, --namespace)")
    encoded = b64encode(bundle).decode()
    if all(webhook["clientConfig"].get("caBundle") == encoded for webhook in webhooks):
        return False
    trusting = [{"name": webhook["name"], "clientConfig": {"caBundle": encoded}} for webhook in webhooks]
    kubernetes.apply(kind, name, {"webhooks": trusting}, owner)
    return True
