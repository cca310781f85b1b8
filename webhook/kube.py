"""The webhook's few calls to the API server, made by the supervisor alone: the client library is as large as a worker.

The library finds the server and the credentials (and renews them); the requests are plain ones, and so are the objects.
Its classes for the API's groups and kinds, which nothing here needs, would take another 25 MiB.
"""

from __future__ import annotations

import logging
import time
from base64 import b64decode, b64encode
from collections.abc import Generator, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import orjson
import urllib3
from kubernetes import client, config

from webhook.errors import KubernetesError

# The owner of the caBundle among a MutatingWebhookConfiguration's field managers.
FIELD_MANAGER: Final = "pyinject"
# An API server ends a watch after this; a connection that has died without a word is noticed a little later.
WATCH_SECONDS: Final = 300
CONNECT_SECONDS: Final = 5
ANSWER_SECONDS: Final = 30

_HINTS = {
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
            config.load_config(**{key: value for key, value in chosen.items() if value})  # type: ignore[no-untyped-call]
        except config.ConfigException as error:
            raise KubernetesError(
                f"no cluster to talk to: neither a service account nor KUBECONFIG: {error}"
            ) from error
        self._configuration: Any = client.Configuration.get_default_copy()
        self._pool = urllib3.PoolManager(
            cert_reqs="CERT_REQUIRED" if self._configuration.verify_ssl else "CERT_NONE",
            ca_certs=self._configuration.ssl_ca_cert,
            cert_file=self._configuration.cert_file,
            key_file=self._configuration.key_file,
        )

    def get(self, path: str) -> dict[str, Any]:
        """An object or a list of them. Raises KubernetesError."""
        return self._call("GET", path)

    def secret(self, namespace: str, name: str) -> tuple[str, dict[str, bytes]]:
        """A Secret's resourceVersion and data. Raises KubernetesError."""
        found = self._call("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}")
        data = {key: b64decode(value) for key, value in (found.get("data") or {}).items()}
        return found["metadata"]["resourceVersion"], data

    def update_secret(self, namespace: str, name: str, version: str, data: Mapping[str, bytes]) -> bool:
        """Set a Secret's data if it still has this resourceVersion; tells whether it had. Raises KubernetesError."""
        encoded = {key: b64encode(value).decode() for key, value in data.items()}
        body = {"metadata": {"resourceVersion": version}, "data": encoded}
        path = f"/api/v1/namespaces/{namespace}/secrets/{name}"
        try:
            self._call("PATCH", path, body=body, content_type="application/merge-patch+json")
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
        path = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{name}"
        webhooks = self._call("GET", path).get("webhooks") or []
        for webhook in webhooks:
            service = webhook["clientConfig"].get("service") or {}
            called = f"{service.get('name')}.{service.get('namespace')}.svc"
            if service and called != server_name:
                what = f"MutatingWebhookConfiguration {name}: webhook {webhook['name']} calls {called}"
                raise KubernetesError(f"{what}, but this is {server_name} (--service, --namespace)")
        encoded = b64encode(bundle).decode()
        if all(webhook["clientConfig"].get("caBundle") == encoded for webhook in webhooks):
            return False
        body = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [{"name": webhook["name"], "clientConfig": {"caBundle": encoded}} for webhook in webhooks],
        }
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        self._call("PATCH", path, query, body=body, content_type="application/apply-patch+yaml")
        return True

    def follow(self, path: str) -> Iterator[dict[str, dict[str, Any]]]:
        """The objects of a collection (``/api/v1/nodes``) by name, whenever one has changed; for ever.

        Lists, then watches from there; lists again when the watch can tell no more (410 Gone) or the server was away:
        https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
        """
        pause = 1.0
        while True:
            try:
                found = self._call("GET", path)
                objects = {item["metadata"]["name"]: item for item in found["items"]}
                yield objects
                pause = 1.0
                version: str | None = found["metadata"]["resourceVersion"]
                while version:
                    version = yield from self._watch(path, objects, version)
            except KubernetesError as error:
                log.warning("%s; next try in %g s", error, pause)
                time.sleep(pause)
                pause = min(pause * 2, 60)

    def _watch(
        self, path: str, objects: dict[str, dict[str, Any]], version: str
    ) -> Generator[dict[str, dict[str, Any]], None, str | None]:
        """Keep `objects` up to date from resourceVersion `version` on; returns the one to go on from, None to list."""
        query = {
            "watch": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
            "allowWatchBookmarks": "true",
        }
        answer = self._request("GET", path, query, seconds=WATCH_SECONDS + ANSWER_SECONDS, stream=True)
        try:
            rest = b""
            for chunk in answer.stream(amt=None):
                *lines, rest = (rest + chunk).split(b"\n")
                changed = False
                for event in map(orjson.loads, lines):
                    item, kind = event["object"], event["type"]
                    if kind == "ERROR":
                        return None
                    version = item["metadata"]["resourceVersion"]
                    if kind == "DELETED":
                        objects.pop(item["metadata"]["name"], None)
                    elif kind != "BOOKMARK":
                        objects[item["metadata"]["name"]] = item
                    changed |= kind != "BOOKMARK"
                if changed:
                    yield objects
        except urllib3.exceptions.HTTPError as error:
            raise KubernetesError(f"the watch of {path} broke off: {error}") from error
        finally:
            answer.release_conn()
        return version

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        """A request and the object that answers it."""
        answer: dict[str, Any] = orjson.loads(
            self._request(method, path, query, body=body, content_type=content_type).data
        )
        return answer

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        seconds: float = ANSWER_SECONDS,
        stream: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        """A request that the server has granted. Raises KubernetesError: what was tried, and what to look at."""
        credentials = self._configuration.auth_settings().values()
        headers = {setting["key"]: setting["value"] for setting in credentials if setting["in"] == "header"}
        url = f"{self._configuration.host}{path}?{urlencode(query or {})}"
        try:
            answer = self._pool.request(
                method,
                url,
                headers=headers | {"accept": "application/json", "content-type": content_type},
                body=orjson.dumps(body) if body is not None else None,
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=seconds),
                retries=False,
                preload_content=not stream,
            )
        except urllib3.exceptions.HTTPError as error:
            raise KubernetesError(f"no answer from the API server to {method} {path}: {error}") from error
        if answer.status >= 300:
            message = f"{method} {path}: {answer.status} {_message(answer.data)}{_HINTS.get(answer.status, '')}"
            raise KubernetesError(message, status=answer.status)
        return answer


def _message(body: bytes) -> str:
    """What a Status object says (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/)."""
    try:
        return str(orjson.loads(body)["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return body[:200].decode(errors="replace")
