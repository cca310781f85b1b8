"""The API server: get, list and watch, apply.

Objects are plain mappings, through the library's dynamic client: its classes for the API's kinds, which nothing here
needs, would take another 25 MiB. The library itself is as large as a worker of the webhook's: import this where it is
used, and not in a process that can do without.
"""

from __future__ import annotations

import logging
import socket
import time
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient, Resource
from kubernetes.dynamic.exceptions import api_exception
from kubernetes.watch import Watch
from urllib3.exceptions import HTTPError

from common.errors import KubernetesError

# An API server ends a watch after this; a connection that has died without a word is noticed a little later.
WATCH_SECONDS: Final = 300
CONNECT_SECONDS: Final = 5
ANSWER_SECONDS: Final = 30

# Written down, not discovered: every cluster has them, at these paths. The library's discovery asks for every group of
# the API, without a timeout, and leaves what it found in a file under /tmp, for whoever starts next to believe.
KINDS: Final = (
    Resource(prefix="api", api_version="v1", kind="ConfigMap", name="configmaps", namespaced=True),
    Resource(prefix="api", api_version="v1", kind="Namespace", name="namespaces"),
    Resource(prefix="api", api_version="v1", kind="Node", name="nodes"),
    Resource(prefix="api", api_version="v1", kind="Pod", name="pods", namespaced=True),
    Resource(prefix="api", api_version="v1", kind="Secret", name="secrets", namespaced=True),
    Resource(prefix="api", api_version="v1", kind="Service", name="services", namespaced=True),
    Resource(prefix="api", api_version="v1", kind="ServiceAccount", name="serviceaccounts", namespaced=True),
    Resource(
        prefix="apis",
        group="networking.istio.io",
        api_version="v1beta1",
        kind="ProxyConfig",
        name="proxyconfigs",
        namespaced=True,
    ),
    Resource(prefix="apis", group="apps", api_version="v1", kind="Deployment", name="deployments", namespaced=True),
    Resource(
        prefix="apis", group="gateway.networking.k8s.io", api_version="v1", kind="GatewayClass", name="gatewayclasses"
    ),
    Resource(
        prefix="apis", group="coordination.k8s.io", api_version="v1", kind="Lease", name="leases", namespaced=True
    ),
    Resource(
        prefix="apis",
        group="admissionregistration.k8s.io",
        api_version="v1",
        kind="MutatingWebhookConfiguration",
        name="mutatingwebhookconfigurations",
    ),
    Resource(
        prefix="apis",
        group="admissionregistration.k8s.io",
        api_version="v1",
        kind="ValidatingWebhookConfiguration",
        name="validatingwebhookconfigurations",
    ),
    Resource(prefix="apis", group="events.k8s.io", api_version="v1", kind="Event", name="events", namespaced=True),
    Resource(prefix="apis", group="authentication.k8s.io", api_version="v1", kind="TokenReview", name="tokenreviews"),
)
METHODS: Final = {"get": "GET", "create": "POST", "replace": "PUT"}  # the dynamic client's others patch
_HINTS: Final = {
    403: "; the service account's role lacks it (deploy/chart/templates/rbac.yaml)",
    404: "; there is none of that name: is the chart installed in full?",
}

log = logging.getLogger(__name__)


Object = dict[str, Any]


def key(item: Mapping[str, Any]) -> str:
    """What names an object among those of its kind: ``namespace/name``, or the name where it is in no namespace."""
    metadata = item["metadata"]
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"])


@dataclass(frozen=True, slots=True)
class Listed:
    """All objects of a kind as they are now; what was told before counts no more."""

    objects: tuple[Object, ...]


@dataclass(frozen=True, slots=True)
class Changed:
    """An object that is new or has changed, or with `deleted` is no more."""

    object: Object
    deleted: bool = False


class Kubernetes:
    """A connection to the API server, by the pod's service account or, outside a cluster, by $KUBECONFIG.

    `kubeconfig` and `context` choose another file and another of its contexts; `kinds` are those that are asked for,
    each by its name of one version; `connections` is how many are kept open.
    """

    def __init__(
        self,
        kubeconfig: str | None = None,
        context: str | None = None,
        kinds: Iterable[Resource] = KINDS,
        connections: int = 0,
    ) -> None:
        chosen = {"config_file": kubeconfig, "context": context}
        try:
            config.load_config(**{key: value for key, value in chosen.items() if value})
        except config.ConfigException as error:
            raise KubernetesError(
                f"no cluster to talk to: neither a service account nor KUBECONFIG: {error}"
            ) from error
        configuration = client.Configuration.get_default_copy()
        if connections:
            configuration.connection_pool_maxsize = connections
        configuration.retries = False  # `changes` tries again, after a pause and with a word in the log
        self._client: Any = DynamicClient(client.ApiClient(configuration), discoverer=lambda *_: None)
        self._kinds = {resource.kind: resource for resource in kinds}

    def get(self, kind: str, name: str | None = None, namespace: str | None = None) -> dict[str, Any]:
        """An object or, without a name, the list of all. Raises KubernetesError."""
        return self._call("get", kind, name, namespace)

    @contextmanager
    def reading(self, path: str, query: Mapping[str, str], timeout: float) -> Iterator[Any]:
        """The answer to a GET of this path, unread: a urllib3 response, closed at the end. Raises KubernetesError.

        `timeout` is for each read from the connection, in seconds. For those who list and watch by themselves.
        """
        with _explained(f"GET {path}"):
            found = self._client.request(
                "get",
                path,
                query_params=list(query.items()),
                header_params={"Accept": "application/json"},
                serialize=False,
                _request_timeout=(CONNECT_SECONDS, timeout),
            )
            try:
                yield found
            finally:
                found.close()

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

    def apply(self, kind: str, name: str, fields: Mapping[str, Any], owner: str, namespace: str | None = None) -> None:
        """Set these fields of an object, of which `owner` has them from then on (server-side apply), also where another
        had them; all others stay as they are, and whose they are. Raises KubernetesError.
        """
        resource = self._kinds[kind]
        body = {
            "apiVersion": resource.group_version,
            "kind": kind,
            "metadata": {"name": name} | ({"namespace": namespace} if namespace else {}),
            **fields,
        }
        self._call("server_side_apply", kind, name, namespace, body=body, field_manager=owner, force_conflicts=True)

    def patch_status(self, path: str, version: str, status: Mapping[str, Any]) -> dict[str, Any]:
        """Set fields of an object's status, if it still has this resourceVersion; `path` is the object's. Returns the
        object as it is then. Raises KubernetesError, with 409 where it has another.
        """
        with _explained(f"PATCH {path}/status"):
            answer: dict[str, Any] = self._client.request(
                "patch",
                f"{path}/status",
                body={"metadata": {"resourceVersion": version}, "status": status},
                content_type="application/merge-patch+json",
                serializer=lambda _, found: found,
                _request_timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
            )
        return answer

    def create(self, kind: str, fields: Mapping[str, Any], namespace: str | None = None) -> dict[str, Any]:
        """Posts an object, or a review; returns the answer. Raises KubernetesError, with 409 where it is there."""
        body = {"apiVersion": self._kinds[kind].group_version, "kind": kind, **fields}
        return self._call("create", kind, None, namespace, body=body)

    def replace(self, kind: str, body: Mapping[str, Any], namespace: str | None = None) -> dict[str, Any]:
        """Write an object as a whole, if it still has the body's resourceVersion. Raises KubernetesError, else 409."""
        return self._call("replace", kind, body["metadata"]["name"], namespace, body=dict(body))

    def changes(self, kind: str, *, optional: bool = False) -> Iterator[Listed | Changed]:
        """All objects of a kind, in all namespaces, then each that changes; for ever.

        An `optional` kind is one of a CustomResourceDefinition that may be missing: there are none of it, then, and it
        is looked for again. So it is where it may not be read, which is told, until it has been read once.

        Lists, then watches from there; lists again when the watch can tell no more (410 Gone) or the server was away:
        https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
        """
        # not the library's informer: it needs the generated classes, has no timeouts and tries again without a pause
        pause, read = 1.0, False
        while True:
            try:
                found = self.get(kind)
                yield Listed(tuple(found["items"]))
                pause, read = 1.0, True
                version = found["metadata"]["resourceVersion"]
                while True:
                    for event in self._watch(kind, version):
                        item = event["object"]
                        version = item["metadata"]["resourceVersion"]
                        if event["type"] != "BOOKMARK":
                            yield Changed(item, deleted=event["type"] == "DELETED")
            except KubernetesError as error:
                missing = optional and error.status == 404
                if not missing:
                    log.warning("%s; next try in %g s", error, pause)
                if missing or (optional and error.status == 403 and not read):
                    yield Listed(())
                time.sleep(pause)
                pause = min(pause * 2, 60)

    def follow(self, kind: str, *, optional: bool = False) -> Iterator[dict[str, Object]]:
        """All objects of a kind by `key`, whenever one has changed; for ever. It is one mapping, which changes."""
        objects: dict[str, Object] = {}
        for change in self.changes(kind, optional=optional):
            if isinstance(change, Listed):
                objects = {key(item): item for item in change.objects}
            elif change.deleted:
                objects.pop(key(change.object), None)
            else:
                objects[key(change.object)] = change.object
            yield objects

    def forward(self, namespace: str, pod: str, port: int) -> socket.socket:
        """A connection to a pod's port, as `kubectl port-forward` makes it: to processes that listen on loopback, too.

        Raises KubernetesError, also where nobody listens there.
        """
        from kubernetes.stream import portforward
        from websocket import WebSocketException

        what = f"POST /api/v1/namespaces/{namespace}/pods/{pod}/portforward"
        # the library puts itself in the place of its client's method for the call
        api = client.CoreV1Api(client.ApiClient(self._client.client.configuration))
        with _explained(what):
            try:
                tunnel = portforward(api.connect_get_namespaced_pod_portforward, pod, namespace, ports=str(port))
            except (OSError, WebSocketException) as error:
                raise KubernetesError(f"no answer from the API server to {what}: {error}") from error
        if refused := tunnel.error(port):
            raise KubernetesError(f"{what}: port {port}: {refused}")
        connection: socket.socket = tunnel.socket(port)
        connection.setblocking(True)
        return connection

    def _watch(self, kind: str, version: str) -> Iterator[dict[str, Any]]:
        """What happens after resourceVersion `version`, until the server ends the watch. Raises KubernetesError."""
        resource = self._kinds[kind]
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
        resource = self._kinds[kind]
        arguments |= {"serializer": lambda _, found: found, "_request_timeout": (CONNECT_SECONDS, ANSWER_SECONDS)}
        if name is not None:
            arguments["name"] = name
        with _explained(f"{METHODS.get(verb, 'PATCH')} {resource.path(name, namespace)}"):
            answer: dict[str, Any] = getattr(self._client, verb)(resource, namespace=namespace, **arguments)
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
        # a quota and a webhook refuse by 403 as well, and say so themselves
        refused = any(by in said for by in ("exceeded quota", "admission webhook"))
        message = f"{what}: {error.status} {said}{'' if refused else _HINTS.get(error.status, '')}"
        asked = (error.headers or {}).get("Retry-After", "")
        raise KubernetesError(message, error.status, float(asked) if asked.isdecimal() else None) from error
