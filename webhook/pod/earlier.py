"""What an earlier injection left in a pod: an injector is called again when another webhook has changed the pod.

It is told by annotation sidecar.istio.io/status, which names what was added, by proxy.istio.io/overrides, which keeps
what the author wrote of the same containers, and by variables of the proxy, which keep what the app says no longer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from common import jsonio
from webhook.pod import annotations as names
from webhook.pod import podtree, probes, prometheus
from webhook.pod.podtree import Container, Pod
from webhook.pod.shape import check_containers
from webhook.settings.containers import LISTS, OURS, PROXY


@dataclass(frozen=True, slots=True)
class Status:
    """The names of what an earlier injection added (annotation sidecar.istio.io/status)."""

    containers: tuple[str, ...] = ()
    init_containers: tuple[str, ...] = ()

    @classmethod
    def of(cls, pod: Pod) -> Status | None:
        """The pod's status, its annotation checked; None for a pod that was not injected before."""
        text = podtree.annotations_of(pod).get(names.STATUS)
        if text is None:
            return None
        status = jsonio.loads(text)
        return cls(_strings(status.get("containers")), _strings(status.get("initContainers")))

    def has(self, name: str, field: str = "") -> bool:
        """Whether a container of that name was added: to that list, or to any."""
        return (name in self.containers and field != "initContainers") or (
            name in self.init_containers and field != "containers"
        )


def stripped(pod: Pod, status: Status | None, status_port: int | None) -> Pod:
    """The pod as its author wrote it, for templates to read: without what an earlier injection added."""
    if status is not None:
        spec = dict(podtree.spec_of(pod))
        spec["containers"] = podtree.without(podtree.containers_of(pod), status.containers)
        spec["initContainers"] = podtree.without(podtree.containers_of(pod, "initContainers"), status.init_containers)
        annotations = dict(podtree.annotations_of(pod))
        if prometheus.is_merged(annotations, status_port):
            annotations = prometheus.without_prometheus(annotations)
        annotations.pop(names.STATUS, None)
        pod = podtree.with_metadata({**pod, "spec": spec}, "annotations", annotations)
    return _with_overrides(pod, overrides(pod))


def without_carried(pod: Pod) -> tuple[Pod, dict[str, str]]:
    """The pod without the variables that an earlier injection made of the app's probes and metrics, and their values.

    The app no longer says them itself: they are carried over.
    """
    proxy = podtree.find_in_pod(pod, PROXY)
    if proxy is None:
        return pod, {}
    carried = {}
    for name in (probes.VARIABLE, prometheus.VARIABLE):
        if (value := podtree.variable(proxy, name)) is not None:
            carried[name] = value
    if not carried:
        return pod, {}
    rest = [entry for entry in proxy["env"] if entry.get("name") not in carried]
    return podtree.with_container(pod, proxy, {**proxy, "env": rest}), carried


def without_probes(pod: Pod, status: Status) -> Pod:
    """The pod whose injected proxy has no probes: they are the template's as a whole, and are rendered anew."""
    for field, injected in zip(LISTS, (status.containers, status.init_containers), strict=True):
        proxy = podtree.find(podtree.containers_of(pod, field), PROXY) if PROXY in injected else None
        if proxy is not None:
            rest = {key: value for key, value in proxy.items() if not key.endswith("Probe")}
            pod = podtree.with_container(pod, proxy, rest)
    return pod


def without_stale(merged: Pod, added: Pod, status: Status) -> Pod:
    """The pod without containers of an earlier injection that the templates no longer have in that place.

    A proxy that was a native sidecar and no longer is would else be there twice.
    """
    for field, injected in zip(LISTS, (status.containers, status.init_containers), strict=True):
        rendered = podtree.names_in(added, field)
        before = podtree.containers_of(merged, field)
        after = podtree.without(before, OURS & {*injected} - rendered)
        if len(after) != len(before):
            merged = podtree.with_spec(merged, field, after)
    return merged


def overrides(pod: Pod) -> dict[str, list[Container]]:
    """What the annotation remembers of the author's own containers."""
    text = podtree.annotations_of(pod).get(names.OVERRIDES)
    if text is None:
        return {}
    overrides = jsonio.loads(text)
    check_containers(overrides, f"annotation {names.OVERRIDES}")
    return {field: overrides.get(field) or [] for field in LISTS}


def _with_overrides(pod: Pod, kept: Mapping[str, list[Container]]) -> Pod:
    """The pod with the author's own containers back in it: a native sidecar among the containers, where he wrote it."""
    native = podtree.find(kept.get("initContainers") or (), PROXY)
    if native is not None:
        inits = [container for container in kept["initContainers"] if container is not native]
        kept = {"containers": [*kept["containers"], native], "initContainers": inits}
    for field, remembered in kept.items():
        there = podtree.containers_of(pod, field)
        missing = [container for container in remembered if podtree.find(there, container.get("name") or "") is None]
        if missing:
            pod = podtree.with_spec(pod, field, [*there, *missing])
    return pod


def _strings(value: object) -> tuple[str, ...]:
    return tuple(entry for entry in value if isinstance(entry, str)) if isinstance(value, list) else ()
