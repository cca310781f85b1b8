"""The webhook's few calls to the API server, made by the supervisor alone: the client library is larger than a worker.

Answers are read as plain JSON: the library's models cost memory and time, and nothing here needs them.
"""

from __future__ import annotations

import logging
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Generator, Iterator
from typing import Any

import orjson
import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from webhook.errors import KubernetesError

# The owner of the caBundle among a MutatingWebhookConfiguration's field managers.
FIELD_MANAGER = "pyinject"
# An API server ends a watch after this; a proxy that swallows packets is noticed a little later.
WATCH_SECONDS = 300
CONNECT_SECONDS = 5

log = logging.getLogger(__name__)


class Kubernetes:
    """A connection to the API server, by the pod's service account or, outside a cluster, by $KUBECONFIG."""

    def __init__(self) -> None:
        try:
            config.load_config()  # type: ignore[no-untyped-call]
        except config.ConfigException as error:
            raise KubernetesError(
                f"no cluster to talk to: neither a service account nor KUBECONFIG: {error}"
            ) from error
        # Any: the library's annotations know nothing of answers that are not turned into models
        self._core: Any = client.CoreV1Api()
        self._admission: Any = client.AdmissionregistrationV1Api()

    def secret(self, namespace: str, name: str) -> tuple[str, dict[str, bytes]]:
        """A Secret's resourceVersion and data. Raises KubernetesError."""
        what = f"read Secret {namespace}/{name}"
        with _errors(what):
            answer = self._core.read_namespaced_secret(name, namespace, **_RAW)
        found = orjson.loads(answer.data)
        data = {key: b64decode(value) for key, value in (found.get("data") or {}).items()}
        return found["metadata"]["resourceVersion"], data

    def update_secret(self, namespace: str, name: str, version: str, data: dict[str, bytes]) -> bool:
        """Set a Secret's data if it still has this resourceVersion; tells whether it had. Raises KubernetesError."""
        encoded = {key: b64encode(value).decode() for key, value in data.items()}
        body = {"metadata": {"resourceVersion": version}, "data": encoded}
        try:
            with _errors(f"update Secret {namespace}/{name}"):
                self._core.patch_namespaced_secret(
                    name, namespace, body, _content_type="application/merge-patch+json", **_RAW
                )
        except KubernetesError as error:
            if error.status == 409:
                return False
            raise
        return True

    def apply_ca_bundle(self, name: str, bundle: bytes) -> bool:
        """Make every webhook of a MutatingWebhookConfiguration trust `bundle`; tells whether something changed.

        Applied on the server (server-side apply), so that of the whole object the caBundle alone is ours, and neither
        Helm nor a GitOps tool sees a difference in what is theirs. Raises KubernetesError.
        """
        what = f"MutatingWebhookConfiguration {name}"
        with _errors(f"read {what}"):
            answer = self._admission.read_mutating_webhook_configuration(name, **_RAW)
        webhooks = orjson.loads(answer.data).get("webhooks") or []
        encoded = b64encode(bundle).decode()
        if all(webhook["clientConfig"].get("caBundle") == encoded for webhook in webhooks):
            return False
        ours = [{"name": webhook["name"], "clientConfig": {"caBundle": encoded}} for webhook in webhooks]
        body = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": ours,
        }
        with _errors(f"apply the caBundle of {what}"):
            self._admission.patch_mutating_webhook_configuration(
                name,
                body,
                field_manager=FIELD_MANAGER,
                force=True,
                _content_type="application/apply-patch+yaml",
                **_RAW,
            )
        return True

    def namespaces(self) -> Iterator[dict[str, dict[str, Any]]]:
        """All namespaces by name, whenever one has changed; for ever."""
        return _follow("namespaces", self._core.list_namespace)

    def nodes(self) -> Iterator[dict[str, dict[str, Any]]]:
        """All nodes by name, whenever one has changed; for ever."""
        return _follow("nodes", self._core.list_node)


_RAW: dict[str, Any] = {"_preload_content": False, "_request_timeout": (CONNECT_SECONDS, 30)}


class _errors:  # noqa: N801 - reads as a statement
    """Turn what the client library raises into KubernetesError, which says what was tried and what to look at."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, ApiException):
            hint = {
                403: "; the service account's role lacks it (deploy/chart/templates/rbac.yaml)",
                404: "; there is none of that name: is the chart installed in full?",
            }.get(error.status, "")
            raise KubernetesError(
                f"cannot {self._what}: {error.status} {_message(error)}{hint}", status=error.status
            ) from error
        if isinstance(error, urllib3.exceptions.HTTPError):
            raise KubernetesError(f"cannot {self._what}: no answer from the API server: {error}") from error


def _message(error: ApiException) -> str:
    try:
        return str(orjson.loads(error.body or "")["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return str(error.reason)


def _follow(what: str, listing: Callable[..., Any]) -> Iterator[dict[str, dict[str, Any]]]:
    """List, then watch from there; list again when the watch can tell no more (410 Gone) or the API server was away.

    https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
    """
    pause = 1.0
    while True:
        try:
            with _errors(f"list {what}"):
                found = orjson.loads(listing(**_RAW).data)
            objects = {item["metadata"]["name"]: item for item in found["items"]}
            yield objects
            pause = 1.0
            version: str | None = found["metadata"]["resourceVersion"]
            while version:
                version = yield from _watch(what, listing, objects, version)
        except KubernetesError as error:
            log.warning("%s; next try in %g s", error, pause)
            time.sleep(pause)
            pause = min(pause * 2, 60)


def _watch(
    what: str, listing: Callable[..., Any], objects: dict[str, dict[str, Any]], version: str
) -> Generator[dict[str, dict[str, Any]], None, str | None]:
    """Keep `objects` up to date from resourceVersion `version`; returns the one to go on from, or None to list anew."""
    options = {"resource_version": version, "timeout_seconds": WATCH_SECONDS, "allow_watch_bookmarks": True}
    timeouts = (CONNECT_SECONDS, WATCH_SECONDS + 30)
    with _errors(f"watch {what}"):
        answer = listing(watch=True, _preload_content=False, _request_timeout=timeouts, **options)
        rest = b""
        for chunk in answer.stream(amt=None, decode_content=False):
            *lines, rest = (rest + chunk).split(b"\n")
            changed = False
            for line in lines:
                event = orjson.loads(line)
                item = event["object"]
                if event["type"] == "ERROR":
                    return None
                version = item["metadata"]["resourceVersion"]
                if event["type"] == "DELETED":
                    objects.pop(item["metadata"]["name"], None)
                elif event["type"] != "BOOKMARK":
                    objects[item["metadata"]["name"]] = item
                changed |= event["type"] != "BOOKMARK"
            if changed:
                yield objects
    return version
