"""What no template can say: where the containers stand, and the marks that injection leaves on the pod."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from common import jsonio
from webhook.errors import InjectionError
from webhook.limits import ARGUMENT_BYTES
from webhook.pod import annotations as names
from webhook.pod import podtree
from webhook.pod.podtree import Container, Pod
from webhook.settings.containers import CORE_DUMP, INIT, PROXY, VALIDATION


def marked(pod: Pod, added: Pod, revision: str, network: str, injected: Mapping[str, str]) -> Pod:
    """The pod with the status that a later injection reads, the network's label, and the settings' own annotations."""
    if network:
        pod = podtree.with_metadata(pod, "labels", {**podtree.labels_of(pod), names.NETWORK_LABEL: network})
    annotations = {**podtree.annotations_of(pod), names.STATUS: _status(added, revision), **injected}
    return podtree.with_metadata(pod, "annotations", annotations)


def ordered(pod: Pod, *, hold: bool) -> Pod:
    """The pod with its containers where they work.

    The proxy comes last, so that `kubectl exec` goes to the app; first where the app has to wait for it. A native
    sidecar comes before the init containers, which then use it, and behind the rules that lead to it. Without one the
    rules come last of all, since init containers would be sent to a proxy that does not run yet.
    """
    before = podtree.containers_of(pod)
    after = _moved(before, PROXY, first=hold)
    if not _same(before, after):
        pod = podtree.with_spec(pod, "containers", after)
    inits = podtree.containers_of(pod, "initContainers")
    if podtree.find(inits, PROXY) is not None:
        asked = podtree.annotations_of(pod).get(names.BEFORE_PROXY, "")
        after = _moved(_moved(inits, CORE_DUMP, first=True), PROXY, first=True)
        after = _first(after, dict.fromkeys(asked.split(",") if asked else ()))
        after = _moved(_moved(after, VALIDATION, first=True), INIT, first=True)
    else:
        after = _moved(_moved(inits, VALIDATION, first=True), INIT, first=False)
        after = _moved(after, CORE_DUMP, first=False)
    return pod if _same(inits, after) else podtree.with_spec(pod, "initContainers", after)


def check_arguments(pod: Pod) -> None:
    """Raise InjectionError for a proxy that Linux would not start: an argument of it is too long.

    Of a proxy whose bootstrap is an argument: the app's probes are in it.
    """
    for argument in (podtree.find_in_pod(pod, PROXY) or {}).get("args") or ():
        # only what has four bytes a character at the most needs no counting
        if len(argument) * 4 >= ARGUMENT_BYTES and (size := len(argument.encode())) >= ARGUMENT_BYTES:
            raise InjectionError(
                f"container {PROXY}: an argument of {size} bytes, and Linux takes {ARGUMENT_BYTES - 1}; it holds the "
                f'app\'s probes and names: use fewer, or annotation {names.REWRITE_PROBES}: "false"'
            )


def _status(added: Pod, revision: str) -> str:
    def listed(field: str) -> list[Any] | None:
        return [entry.get("name") for entry in podtree.spec_of(added).get(field) or ()] or None

    status = {field: listed(field) for field in ("initContainers", "containers", "volumes", "imagePullSecrets")}
    return jsonio.dumps({**status, "revision": revision or "default"})


def _moved(containers: list[Container], name: str, *, first: bool) -> list[Container]:
    container = podtree.find(reversed(containers), name)
    if container is None:
        return containers
    rest = podtree.without(containers, (name,))
    return [container, *rest] if first else [*rest, container]


def _first(containers: list[Container], names: Iterable[str]) -> list[Container]:
    """The containers with those of these names first, in their order."""
    by_name = {container.get("name"): container for container in containers}
    asked = [name for name in names if name in by_name]
    return [*(by_name[name] for name in asked), *podtree.without(containers, asked)] if asked else containers


def _same(before: list[Container], after: list[Container]) -> bool:
    return len(before) == len(after) and all(old is new for old, new in zip(before, after, strict=True))
