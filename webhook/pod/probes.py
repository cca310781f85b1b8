"""The app's probes and lifecycle hooks, answered by the proxy.

kubelet probes a container by the pod's address, and so through the proxy, where mutual TLS or a gRPC probe's plain
HTTP/2 would fail. The probe is therefore turned into an HTTP one to the proxy's status port, at a path that names the
container and the probe, and the proxy asks the app as kubelet would have. What it asks (a prober) stands in its
environment:

    livenessProbe: {grpc: {port: 9000}}  ──▶  livenessProbe: {httpGet: {path: /app-health/web/livez, port: 15020}}
                                              ISTIO_KUBE_APP_PROBERS={"/app-health/web/livez": {"grpc": {"port": 9000}}}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from common import jsonio
from webhook.pod import annotations as names
from webhook.pod import podtree
from webhook.pod.podtree import Container, Pod
from webhook.settings.containers import LISTS, PROXY

VARIABLE = "ISTIO_KUBE_APP_PROBERS"

# The API's fields and, as Istio's agent knows them, the last part of the path that stands for each.
PROBES: Final = {"readinessProbe": "readyz", "livenessProbe": "livez", "startupProbe": "startupz"}
HOOKS: Final = {"preStop": "prestopz", "postStart": "poststartz"}
# What a probe or hook does but for running a command, of which it has one.
ACTIONS: Final = ("httpGet", "tcpSocket", "grpc")

Probers = dict[str, dict[str, Any]]


def wanted(annotations: Mapping[str, str], *, default: bool) -> bool:
    """Whether the pod's probes are to be rewritten."""
    asked = names.flag(annotations.get(names.REWRITE_PROBES, ""))
    return default if asked is None else asked


def collect(pod: Pod, earlier: Probers) -> Probers:
    """What the proxy is to ask for each probe and hook, by path, in the order of paths.

    `earlier` is what an earlier injection found: the probes that it rewrote no longer say it.
    """
    found: Probers = {}
    for container in _apps(pod):
        for _, handler, path in _handlers(container):
            if is_rewritten(handler, path):
                continue
            if (prober := _prober(container, handler)) is not None:
                found[path] = prober
    return dict(sorted({**found, **earlier}.items()))


def parse(text: str | None) -> Probers:
    """The probers in an environment variable; empty where there are none that can be read."""
    if not text:
        return {}
    try:
        value = jsonio.loads(text)
    except ValueError:
        return {}
    return {path: prober for path, prober in value.items() if _is_prober(prober)} if isinstance(value, dict) else {}


def _is_prober(value: object) -> bool:
    """Whether an entry says where to ask: the variable may have been written by anyone."""
    actions = [value.get(kind) for kind in ACTIONS] if isinstance(value, dict) else []
    return any(isinstance(action, dict) and isinstance(action.get("port"), int) for action in actions)


def rewrite(pod: Pod, target: int) -> Pod:
    """The pod with its probes and hooks pointing at the proxy's port `target`."""
    for field in LISTS:
        before = podtree.containers_of(pod, field)
        after = [container if container.get("name") == PROXY else _rewritten(container, target) for container in before]
        if any(new is not old for new, old in zip(after, before, strict=True)):
            pod = podtree.with_spec(pod, field, after)
    return pod


def _apps(pod: Pod) -> Iterator[Container]:
    for field in reversed(LISTS):
        for container in podtree.containers_of(pod, field):
            if container.get("name") != PROXY:
                yield container


def _handlers(container: Container) -> Iterator[tuple[str, dict[str, Any], str]]:
    """A container's probes and hooks: the field, what is in it, and the path that the proxy answers it on."""
    name = container.get("name") or ""
    for field, kind in PROBES.items():
        if probe := container.get(field):
            yield field, probe, f"/app-health/{name}/{kind}"
    for field, kind in HOOKS.items():
        if hook := (container.get("lifecycle") or {}).get(field):
            yield field, hook, f"/app-lifecycle/{name}/{kind}"


def with_handlers(container: Container, change: Callable[[dict[str, Any], str], dict[str, Any]]) -> Container:
    """The container with what `change` makes of each probe and hook, told its path; the same where all stay."""
    changed: dict[str, Any] = {}
    for field, handler, path in _handlers(container):
        if (new := change(handler, path)) is handler:
            continue
        if field in HOOKS:
            changed["lifecycle"] = {**(changed.get("lifecycle") or container["lifecycle"]), field: new}
        else:
            changed[field] = new
    return {**container, **changed} if changed else container


def is_rewritten(handler: Mapping[str, Any], path: str) -> bool:
    """Whether injection turned it to the proxy, which must not be told to ask itself."""
    return (handler.get("httpGet") or {}).get("path") == path


def _prober(container: Container, handler: Mapping[str, Any]) -> dict[str, Any] | None:
    """What to ask, its port a number; None for commands, and for a port's name that the container does not have."""
    for kind in ACTIONS:
        if (action := handler.get(kind)) is None:
            continue
        port = action.get("port")
        if isinstance(port, str):
            port = _named_port(container, port)
            if port is None:
                return None
            action = {**action, "port": port}
        prober = {kind: {field: value for field, value in action.items() if value is not None}}
        return prober | {"timeoutSeconds": handler["timeoutSeconds"]} if handler.get("timeoutSeconds") else prober
    return None


def _named_port(container: Container, name: str) -> int | None:
    for port in container.get("ports") or ():
        if port.get("name") == name and port.get("containerPort"):
            return int(port["containerPort"])
    return int(name) if name.isascii() and name.isdecimal() and len(name) <= 5 else None


def _rewritten(container: Container, target: int) -> Container:
    return with_handlers(container, lambda handler, path: _redirected(handler, path, target))


def _redirected(handler: dict[str, Any], path: str, target: int) -> dict[str, Any]:
    """A probe or hook as an HTTP one to the proxy; the same object where it stays as it is."""
    kind = next((kind for kind in ACTIONS if handler.get(kind) is not None), None)
    if kind is None:
        return handler
    action: dict[str, Any] = {"path": path, "port": target}
    if kind == "httpGet":
        action = {**handler["httpGet"], **action}
        if action.get("scheme") == "HTTPS":
            # kubelet ──HTTP──▶ proxy ──HTTPS──▶ app
            action["scheme"] = "HTTP"
        if action == handler["httpGet"]:
            return handler
    return {"httpGet": action, **{field: value for field, value in handler.items() if field not in ACTIONS}}


def to_json(probers: Probers) -> str:
    """The probers as the proxy's agent reads them."""
    return jsonio.dumps(probers)
