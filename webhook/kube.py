"""The webhook's few calls to the API server, made by the supervisor alone: the client library is as large as a worker.

Objects are plain mappings, through the library's dynamic client: its classes for the API's kinds, which nothing here
needs, would take another 25 MiB.
"""

from __future__ import annotations

import logging
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient, Resource
from kubernetes.dynamic.exceptions import api_exception
from kubernetes.watch import Watch
from urllib3.exceptions import HTTPError

from webhook.errors import KubernetesError

# The owner of the caBundle among a MutatingWebhookConfiguration's field managers.
FIELD_MANAGER: Final = "pyinject"
# An API server ends a watch after this; a connection that has died without a word is noticed a little later.
WATCH_SECONDS: Final = 300
CONNECT_SECONDS: Final = 5
ANSWER_SECONDS: Final = 30

# Written down, not discovered: every cluster has them, at these paths. The library's discovery asks for every group of
# the API, without a timeout, and leaves what it found in a file under /tmp, for whoever starts next to believe.
_ADMISSION, _WEBHOOKS = "admissionregistration.k8s.io", "MutatingWebhookConfiguration"
_RESOURCES: Final = {
    resource.kind: resource
    for resource in (
        Resource(prefix="api", api_version="v1", kind="ConfigMap", name="configmaps", namespaced=True),
        Resource(prefix="api", api_version="v1", kind="Namespace", name="namespaces"),
        Resource(prefix="api", api_version="v1", kind="Node", name="nodes"),
        Resource(prefix="api", api_version="v1", kind="Pod", name="pods", namespaced=True),
        Resource(prefix="api", api_version="v1", kind="Secret", name="secrets", namespaced=True),
        Resource(prefix="apis", group=_ADMISSION, api_version="v1", kind=_WEBHOOKS, name=f"{_WEBHOOKS.lower()}s"),
    )
}
_HINTS: Final = {
    403: "; the service account's role lacks it (deploy/chart/templates/rbac.yaml)",
    404: "; there is none of that name: is the chart installed in full?",
}

log = logging.getLogger(__name__)


class Kubernetes:
    """A connection to the API server, by the pod's service account or, outside a cluster, by $KUBECONFIG.

    `kubeconfig` and `context` choose another file and another of its contexts.
    """

    def __init__(self, kubeconfig: str | None = None, context: str | None = None) -> None:
        chosen = {"config_file": kubeconfig, "context": context}
        try:
            config.load_config(**{key: value for key, value in chosen.items() if value})
        except config.ConfigException as error:
            raise KubernetesError(
                f"no cluster to talk to: neither a service account nor KUBECONFIG: {error}"
            ) from error
        configuration = client.Configuration.get_default_copy()
        configuration.retries = False  # the sources try again, after a pause and with a word in the log
        self._client: Any = DynamicClient(client.ApiClient(configuration), discoverer=lambda *_: None)

    def get(self, kind: str, name: str | None = None, namespace: str | None = None) -> dict[str, Any]:
        """An object or, without a name, the list of all. Raises KubernetesError."""
        return self._call("get", kind, name, namespace)

    def secret(self, namespace: str, name: str) -> tuple[str, dict[str, bytes]]:
        """A Secret's resourceVersion and data. Raises KubernetesError."""
        found = self.get("Secret", name, namespace)
        data = {key: b64decode(value) for key, value in (found.get("data") or {}).items()}
        return found["metadata"]["resourceVersion"], data

    def update_secret(self, namespace: str, name: str, version: str, data: Mapping[str, bytes]) -> bool:
        """Set a Secret's data if it still has this resourceVersion; tells whether it had. Raises KubernetesError."""
        encoded = {key: b64encode(value).decode() for key, value in data.items()}
        body = {"metadata": {"resourceVersion": version}, "data": encoded}
        try:
            self._call("patch", "Secret", name, namespace, body=body, content_type="application/merge-patch+json")
        except KubernetesError as error:
            if error.status == 409:
                return False
            raise
        return True

    def apply_ca_bundle(self, name: str, bundle: bytes, server_name: str) -> bool:
        """Make every webhook of a MutatingWebhookConfiguration trust `bundle`; tells whether something changed.

        Applied on the server (server-side apply), so that of the whole object the caBundle alone is ours, and neither
        Helm nor a GitOps tool sees a difference in what is theirs. Raises KubernetesError, also where a webhook of it
        calls another Service than `server_name`, whose certificate would not be for that.
        """
        webhooks = self.get(_WEBHOOKS, name).get("webhooks") or []
        for webhook in webhooks:
            service = webhook["clientConfig"].get("service") or {}
            called = f"{service.get('name')}.{service.get('namespace')}.svc"
            if service and called != server_name:
                what = f"{_WEBHOOKS} {name}: webhook {webhook['name']} calls {called}"
                raise KubernetesError(f"{what}, but this is {server_name} (--service, --namespace)")
        encoded = b64encode(bundle).decode()
        if all(webhook["clientConfig"].get("caBundle") == encoded for webhook in webhooks):
            return False
        body = {
            "apiVersion": f"{_ADMISSION}/v1",
            "kind": _WEBHOOKS,
            "metadata": {"name": name},
            "webhooks": [{"name": webhook["name"], "clientConfig": {"caBundle": encoded}} for webhook in webhooks],
        }
        self._call("server_side_apply", _WEBHOOKS, name, body=body, field_manager=FIELD_MANAGER, force_conflicts=True)
        return True

    def follow(self, kind: str) -> Iterator[dict[str, dict[str, Any]]]:
        """All objects of a kind by name, whenever one has changed; for ever.

        Lists, then watches from there; lists again when the watch can tell no more (410 Gone) or the server was away:
        https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
        """
        # not the library's informer: it needs the generated classes, has no timeouts and tries again without a pause
        pause = 1.0
        while True:
            try:
                found = self.get(kind)
                objects = {item["metadata"]["name"]: item for item in found["items"]}
                yield objects
                pause = 1.0
                version = found["metadata"]["resourceVersion"]
                while True:
                    for event in self._watch(kind, version):
                        item = event["object"]
                        version = item["metadata"]["resourceVersion"]
                        if event["type"] == "BOOKMARK":
                            continue
                        if event["type"] == "DELETED":
                            objects.pop(item["metadata"]["name"], None)
                        else:
                            objects[item["metadata"]["name"]] = item
                        yield objects
            except KubernetesError as error:
                log.warning("%s; next try in %g s", error, pause)
                time.sleep(pause)
                pause = min(pause * 2, 60)

    def _watch(self, kind: str, version: str) -> Iterator[dict[str, Any]]:
        """What happens after resourceVersion `version`, until the server ends the watch. Raises KubernetesError."""
        resource = _RESOURCES[kind]
        with _explained(f"GET {resource.path()}?watch"):
            yield from Watch().stream(
                self._client.get,
                resource,
                resource_version=version,
                timeout_seconds=WATCH_SECONDS,
                allow_watch_bookmarks=True,
                serialize=False,  # the answer's lines, not the whole of it
                _request_timeout=(CONNECT_SECONDS, WATCH_SECONDS + ANSWER_SECONDS),
            )

    def _call(
        self, verb: str, kind: str, name: str | None, namespace: str | None = None, **arguments: Any
    ) -> dict[str, Any]:
        """The object that answers a method of the dynamic client, as it came. Raises KubernetesError."""
        resource = _RESOURCES[kind]
        arguments |= {"serializer": lambda _, found: found, "_request_timeout": (CONNECT_SECONDS, ANSWER_SECONDS)}
        with _explained(f"{'GET' if verb == 'get' else 'PATCH'} {resource.path(name, namespace)}"):
            answer: dict[str, Any] = getattr(self._client, verb)(resource, name=name, namespace=namespace, **arguments)
        return answer


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Raises the library's errors as KubernetesError: what was tried, and what to look at."""
    try:
        yield
    except HTTPError as error:
        raise KubernetesError(f"no answer from the API server to {what}: {error}") from error
    except ApiException as error:
        if not error.status:  # the library's way to tell of a certificate that does not fit
            reason = error.reason.replace("\n", ": ")
            raise KubernetesError(f"no answer from the API server to {what}: {reason}") from error
        said = api_exception(error).summary() if error.body else error.reason
        message = f"{what}: {error.status} {said}{_HINTS.get(error.status, '')}"
        raise KubernetesError(message, status=error.status) from error
