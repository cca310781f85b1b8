"""The types of the pod's fields that injection reads, as the Kubernetes API gives them (core/v1 Pod).

The API server checks a pod only after all webhooks, and a file may hold anything. What is read is therefore checked
once, here; the rest of the pod is not looked at. A container's variables are left out: there may be thousands, and
only a merge reads them, which looks at each itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from webhook.errors import PodError
from webhook.settings.containers import PROXY

Check = Callable[[Any], None]


class _MismatchError(Exception):
    """A value of the wrong type; `path` grows outwards while the exception passes the checks around it."""

    def __init__(self, value: object, expected: str) -> None:
        super().__init__()
        self.value = value
        self.expected = expected
        self.path = ""


def _type(expected: str, *types: type) -> Check:
    def check(value: Any) -> None:
        if type(value) not in types:
            raise _MismatchError(value, expected)

    return check


def _fields(**checks: Check) -> Check:
    """An object; of its fields those named are checked where they are there and not null."""
    pairs = tuple(checks.items())

    def check(value: Any) -> None:
        if not isinstance(value, dict):
            raise _MismatchError(value, "an object")
        for name, inner in pairs:
            found = value.get(name)
            if found is not None:
                try:
                    inner(found)
                except _MismatchError as mismatch:
                    mismatch.path = f".{name}{mismatch.path}"
                    raise

    return check


def _list(inner: Check) -> Check:
    def check(value: Any) -> None:
        if not isinstance(value, list):
            raise _MismatchError(value, "a list")
        for index, entry in enumerate(value):
            try:
                inner(entry)
            except _MismatchError as mismatch:
                mismatch.path = f"[{index}]{mismatch.path}"
                raise

    return check


def _texts(value: Any) -> None:
    """An object of strings, as labels and annotations are."""
    if not isinstance(value, dict):
        raise _MismatchError(value, "an object of strings")
    for key, entry in value.items():
        if type(key) is not str or type(entry) is not str:
            mismatch = _MismatchError(entry if type(key) is str else key, "a string (numbers and booleans need quotes)")
            mismatch.path = f"[{key}]"
            raise mismatch


_TEXT = _type("a string", str)
_INTEGER = _type("an integer", int)
_FLAG = _type("true or false", bool)
_PORT = _type("a port's number or name", int, str)


def _with_port(check: Check) -> Check:
    """A probe's action, which goes nowhere without a port."""

    def checked(value: Any) -> None:
        check(value)
        if value.get("port") is None:
            mismatch = _MismatchError(None, "a port's number or name")
            mismatch.path = ".port"
            raise mismatch

    return checked


_HEADERS = _list(_fields(name=_TEXT, value=_TEXT))
_HTTP_GET = _with_port(_fields(port=_PORT, path=_TEXT, scheme=_TEXT, httpHeaders=_HEADERS))
_TCP_SOCKET = _with_port(_fields(port=_PORT))
_GRPC = _with_port(_fields(port=_INTEGER, service=_TEXT))
_HANDLER = _fields(httpGet=_HTTP_GET, tcpSocket=_TCP_SOCKET)
_PROBE = _fields(httpGet=_HTTP_GET, tcpSocket=_TCP_SOCKET, grpc=_GRPC, timeoutSeconds=_INTEGER)
_CONTAINER = _fields(
    name=_TEXT,
    image=_TEXT,
    args=_list(_TEXT),
    ports=_list(_fields(name=_TEXT, containerPort=_INTEGER, protocol=_TEXT)),
    readinessProbe=_PROBE,
    livenessProbe=_PROBE,
    startupProbe=_PROBE,
    lifecycle=_fields(preStop=_HANDLER, postStart=_HANDLER),
    securityContext=_fields(runAsUser=_INTEGER, runAsGroup=_INTEGER),
)
_PROXY = _fields(env=_list(_fields(name=_TEXT, value=_TEXT)))


def _container(value: Any) -> None:
    """A container; of the proxy, whose variables are read, these too."""
    _CONTAINER(value)
    if value.get("name") == PROXY:
        _PROXY(value)


_NAMED = _list(_fields(name=_TEXT))
_OWNER = _fields(name=_TEXT, kind=_TEXT, apiVersion=_TEXT, controller=_FLAG)
_METADATA = _fields(
    name=_TEXT, generateName=_TEXT, namespace=_TEXT, labels=_texts, annotations=_texts, ownerReferences=_list(_OWNER)
)
_SPEC = _fields(
    containers=_list(_container),
    initContainers=_list(_container),
    volumes=_NAMED,
    imagePullSecrets=_NAMED,
    hostNetwork=_FLAG,
    serviceAccountName=_TEXT,
)
_POD = _fields(metadata=_METADATA, spec=_SPEC)
_CONTAINERS = _fields(containers=_list(_container), initContainers=_list(_container))


def check_pod(pod: object) -> None:
    """Raise PodError where a field of the pod that is read has another type."""
    _run(_POD, pod, "pod")


def check_containers(parts: object, where: str) -> None:
    """The same for an object with containers and initContainers alone; the message's path begins with `where`."""
    _run(_CONTAINERS, parts, where)


def _run(check: Check, value: object, where: str) -> None:
    try:
        check(value)
    except _MismatchError as mismatch:
        raise PodError(where + mismatch.path, mismatch.value, mismatch.expected) from None
