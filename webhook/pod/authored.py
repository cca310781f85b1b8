"""What the author of a pod wrote himself of a container that a template gives: it lies on top of the template's.

The next injection finds the two merged and could not tell them apart, so what he wrote is remembered in an annotation.
"""

from __future__ import annotations

from typing import Any

from common import jsonio
from webhook.merging import strategic
from webhook.pod import annotations as names
from webhook.pod import earlier, podtree, probes
from webhook.pod.earlier import Status
from webhook.pod.podtree import Container, Pod
from webhook.settings.containers import LISTS, PROXY

AUTO_IMAGE = "auto"

_HANDLED = frozenset({*probes.PROBES, "lifecycle"})

# Fields of a container whose zero is as good as nothing in the Kubernetes API (no pointer in its Go types).
_ZERO_IS_NOTHING = frozenset(
    [
        "failureThreshold",
        "hostPort",
        "initialDelaySeconds",
        "periodSeconds",
        "port",
        "readOnly",
        "stdin",
        "stdinOnce",
        "successThreshold",
        "timeoutSeconds",
        "tty",
    ]
)


def laid_on_top(merged: Pod, pod: Pod, added: Pod, status: Status | None) -> Pod:
    """`merged` with what the author wrote of the containers in `added`, which the templates gave.

    He wrote what the annotation remembers, and what `pod`, the one that came, has under those names, unless an earlier
    injection (`status`) put it there.
    """
    remembered = earlier.overrides(pod)
    written: dict[str, list[Container]] = {field: [*(remembered.get(field) or ())] for field in LISTS}
    news = False
    for field in LISTS:
        for container in podtree.containers_of(added, field):
            name = container.get("name") or ""
            own = podtree.find(written[field], name)
            if own is None:
                own = _in_pod(pod, name, field, status)
                if own is not None and not (status is not None and status.has(name)):
                    written[field].append(said(own))
                    news = True
            if own is None:
                continue
            if status is not None and name != PROXY:
                merged = _without_rewritten(merged, field, own)
            merged = strategic(merged, {"spec": {field: [_without_auto(said(own))]}})
    return _remembering(merged, written) if news else merged


def _in_pod(pod: Pod, name: str, field: str, status: Status | None) -> Container | None:
    """The container of that name in the pod, if the earlier injection did not put one into that list. What will be an
    init container the author may have written among the containers: where a proxy is, he leaves to the injector.
    """
    if status is not None and status.has(name, field):
        return None
    return podtree.find(podtree.containers_of(pod), name) if field == "containers" else podtree.find_in_pod(pod, name)


def _remembering(pod: Pod, written: dict[str, list[Container]]) -> Pod:
    text = jsonio.dumps({field: [_without_auto(own) for own in found] for field, found in written.items() if found})
    return podtree.with_metadata(pod, "annotations", {**podtree.annotations_of(pod), names.OVERRIDES: text})


def _without_rewritten(merged: Pod, field: str, own: Container) -> Pod:
    """The pod whose container has no probe and no hook that the author's own has.

    The earlier injection may have rewritten them, and a probe that is of two kinds is none.
    """
    container = podtree.find(podtree.containers_of(merged, field), own.get("name") or "")
    if container is None:
        return merged
    rest = {key: value for key, value in container.items() if key not in own or key not in _HANDLED}
    return merged if len(rest) == len(container) else podtree.with_container(merged, container, rest)


def _without_auto(container: Container) -> Container:
    """The container without the image that stands for the template's: the API demands one."""
    if container.get("image") != AUTO_IMAGE:
        return container
    return {key: value for key, value in container.items() if key != "image"}


def said(container: Container) -> Container:
    """The fields of a container that say something: as the API stores it, an empty list is no wish for one."""
    return {key: meant for key, value in container.items() if (meant := _meant(key, value)) is not None}


def _meant(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {inner: meant for inner, entry in value.items() if (meant := _meant(inner, entry)) is not None} or None
    if isinstance(value, list):
        return [entry if not isinstance(entry, dict) else said(entry) for entry in value] or None
    if value == "" or (not value and key in _ZERO_IS_NOTHING):
        return None
    return value
