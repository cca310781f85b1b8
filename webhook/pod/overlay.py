"""From a pod to the pod with the templates laid over it; what its author wrote of the same containers lies on top.

pod ──stripped──▶ as its author wrote it ──templates──▶ overlays ──merge──▶ pod with a sidecar
    ──reapplied──▶ the author's own istio-proxy on top of it
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common import jsonio
from webhook.errors import InjectionError
from webhook.pod import annotations as names
from webhook.pod import podtree, probes
from webhook.pod.context import Context
from webhook.pod.merge import merge
from webhook.pod.podtree import Container, Pod
from webhook.pod.prometheus import is_merged, without_prometheus
from webhook.pod.shape import check_containers
from webhook.settings import Settings
from webhook.settings.containers import CORE_DUMP, INIT, LISTS, PROXY, VALIDATION
from webhook.template import Template

AUTO_IMAGE = "auto"

_HANDLED = frozenset({*probes.PROBES, "lifecycle"})
_OURS = frozenset({PROXY, INIT, VALIDATION, CORE_DUMP})

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


@dataclass(frozen=True, slots=True)
class Overlaid:
    """The pod with the templates laid over it, and `added`, what the templates say together."""

    pod: Pod
    added: dict[str, Any]


def stripped(pod: Pod, status: Status | None, status_port: int) -> Pod:
    """The pod as its author wrote it, for templates to read: without what an earlier injection added."""
    if status is not None:
        spec = dict(podtree.spec_of(pod))
        spec["containers"] = podtree.without(podtree.containers_of(pod), status.containers)
        spec["initContainers"] = podtree.without(podtree.containers_of(pod, "initContainers"), status.init_containers)
        annotations = dict(podtree.annotations_of(pod))
        if is_merged(annotations, status_port):
            annotations = without_prometheus(annotations)
        annotations.pop(names.STATUS, None)
        pod = podtree.with_metadata({**pod, "spec": spec}, "annotations", annotations)
    return _with_overrides(pod, _overrides(pod))


def lay_over(settings: Settings, pod: Pod, context: Context, status: Status | None) -> Overlaid:
    """Render the templates that the pod or the settings name, and merge them into the pod."""
    merged = pod if status is None else _without_probes(pod, status)
    added: dict[str, Any] = {}
    for name in template_names(settings, podtree.annotations_of(pod)):
        overlay = _template(settings, name, podtree.annotations_of(pod)).render(context)
        for patch in settings.patches:
            overlay = patch.apply(name, overlay)
        overlay = _beside(overlay, added)
        added = merge(added, overlay)
        merged = merge(_moved(merged, added, context), overlay)
    if status is not None:
        merged = _without_stale(merged, added, status)
    return Overlaid(_reapplied(merged, pod, added, status), added)


def _template(settings: Settings, name: str, annotations: Mapping[str, str]) -> Template:
    try:
        return settings.templates[name]
    except InjectionError as error:
        if names.TEMPLATES in annotations:
            raise InjectionError(f"annotation {names.TEMPLATES}: {error}") from error
        raise


def _beside(overlay: Pod, added: Pod) -> Pod:
    """The overlay with its containers in the lists in which earlier templates have them.

    A user's own template names istio-proxy among the containers; that of the sidecar may have made it a native one.
    Left there it would be a second container, one without an image.
    """
    if not added:
        return overlay
    for field, other in (LISTS, LISTS[::-1]):
        here, there = _names_in(added, field), _names_in(added, other)
        misplaced = [entry for entry in podtree.containers_of(overlay, field) if entry.get("name") in there - here]
        if misplaced:
            rest = [entry for entry in podtree.containers_of(overlay, field) if entry not in misplaced]
            moved = [*podtree.containers_of(overlay, other), *misplaced]
            overlay = podtree.with_spec(podtree.with_spec(overlay, field, rest), other, moved)
    return overlay


def _names_in(pod: Pod, field: str) -> frozenset[object]:
    return frozenset(container.get("name") for container in podtree.containers_of(pod, field))


def _without_probes(pod: Pod, status: Status) -> Pod:
    """The pod whose injected proxy has no probes: they are the template's as a whole, and are rendered anew."""
    for field, injected in zip(LISTS, (status.containers, status.init_containers), strict=True):
        proxy = podtree.find(podtree.containers_of(pod, field), PROXY) if PROXY in injected else None
        if proxy is not None:
            rest = {key: value for key, value in proxy.items() if not key.endswith("Probe")}
            pod = podtree.with_container(pod, proxy, rest)
    return pod


def _without_stale(merged: Pod, added: Pod, status: Status) -> Pod:
    """The pod without containers of an earlier injection that the templates no longer have in that place.

    A proxy that was a native sidecar and no longer is would else be there twice.
    """
    for field, injected in zip(LISTS, (status.containers, status.init_containers), strict=True):
        rendered = _names_in(added, field)
        before = podtree.containers_of(merged, field)
        after = podtree.without(before, _OURS & {*injected} - rendered)
        if len(after) != len(before):
            merged = podtree.with_spec(merged, field, after)
    return merged


def _moved(pod: Pod, added: Pod, context: Context) -> Pod:
    """The pod with the author's own istio-proxy among the init containers, where the template has it there.

    It is always written among the containers, whether or not it will be a native sidecar.
    """
    own = podtree.find(podtree.containers_of(pod), PROXY)
    if not context.native or own is None or podtree.find(podtree.containers_of(added, "initContainers"), PROXY) is None:
        return pod
    rest = [container for container in podtree.containers_of(pod) if container is not own]
    return podtree.with_spec(
        podtree.with_spec(pod, "containers", rest),
        "initContainers",
        [*podtree.containers_of(pod, "initContainers"), own],
    )


def _reapplied(merged: Pod, pod: Pod, added: Pod, status: Status | None) -> Pod:
    """Lay what the author wrote of a template's container over the result, and remember it in an annotation.

    The annotation is for the next injection, which finds the merged container in the pod and could not tell the parts.
    A container that the status names came from a template and not from the author.
    """
    remembered = _overrides(pod)
    overrides = {field: list(remembered.get(field) or ()) for field in LISTS}
    for field in LISTS:
        for container in podtree.containers_of(added, field):
            name = container.get("name") or ""
            own = podtree.find(overrides[field], name)
            if own is None and not (status is not None and status.has(name, field)):
                among = podtree.containers_of(pod) if field == "containers" else _all_containers(pod)
                own = podtree.find(among, name)
                if own is not None and not (status is not None and status.has(name)):
                    overrides[field].append(_said(own))
            if own is not None:
                if status is not None and name != PROXY:
                    merged = _without_rewritten(merged, field, own)
                merged = merge(merged, {"spec": {field: [_without_auto(_said(own))]}})
    if any(len(overrides[field]) > len(remembered.get(field) or ()) for field in LISTS):
        text = jsonio.dumps(
            {field: [_without_auto(own) for own in found] for field, found in overrides.items() if found}
        )
        merged = podtree.with_metadata(merged, "annotations", {**podtree.annotations_of(merged), names.OVERRIDES: text})
    return merged


def _without_rewritten(merged: Pod, field: str, own: Container) -> Pod:
    """The pod whose container has no probe and no hook that the author's own has.

    The earlier injection may have rewritten them, and a probe that is of two kinds is none.
    """
    container = podtree.find(podtree.containers_of(merged, field), own.get("name") or "")
    if container is None:
        return merged
    rest = {key: value for key, value in container.items() if key not in own or key not in _HANDLED}
    return merged if len(rest) == len(container) else podtree.with_container(merged, container, rest)


def _all_containers(pod: Pod) -> list[Container]:
    return [*podtree.containers_of(pod), *podtree.containers_of(pod, "initContainers")]


def _without_auto(container: Container) -> Container:
    """The container without the image that stands for the template's: the API demands one."""
    if container.get("image") != AUTO_IMAGE:
        return container
    return {key: value for key, value in container.items() if key != "image"}


def with_users_of(merged: Pod, authored: Pod, context: Context) -> Pod:
    """The pod whose init container goes by the user that the author gave to istio-proxy.

    Rules for another user than the proxy's would send its own traffic back to it, for ever.
    """
    own = podtree.find_in_pod(authored, PROXY)
    identity = (own or {}).get("securityContext") or {}
    user, group = identity.get("runAsUser"), identity.get("runAsGroup")
    init = _init_container(merged)
    if (user is None and group is None) or init is None:
        return merged
    mode = podtree.annotations_of(merged).get(names.INTERCEPTION_MODE)
    transparent = "TPROXY" in (context.proxy.get("interceptionMode"), mode)
    if transparent and user is not None:
        # binding the client's address takes root
        proxy = podtree.find_in_pod(merged, PROXY)
        if proxy is not None:
            merged = podtree.with_container(merged, proxy, _with_identity(proxy, {"runAsUser": 0}))
    new = init
    if not transparent and init.get("name") == VALIDATION:
        ids = {"runAsUser": user, "runAsGroup": group}
        new = _with_identity(new, {field: value for field, value in ids.items() if value is not None})
    args = new.get("args") or []
    if user and "-u" in args[:-1]:
        place = args.index("-u") + 1
        new = {**new, "args": [*args[:place], str(user), *args[place + 1 :]]}
    return podtree.with_container(merged, init, new)


def without_app_user(pod: Pod) -> Pod:
    """The pod whose istio-proxy has no user of its own where it is the app's.

    OpenShift sets the same user on every container: taken for the author's wish, the proxy's traffic would pass for
    the app's.
    """
    proxy = podtree.find_in_pod(pod, PROXY)
    if proxy is None or not proxy.get("securityContext"):
        return pod
    app_user = 0
    for container in podtree.containers_of(pod):
        user = (container.get("securityContext") or {}).get("runAsUser")
        if user is not None and container.get("name") not in (PROXY, INIT, VALIDATION):
            app_user = user
    if (proxy["securityContext"].get("runAsUser") or 0) != app_user:
        return pod
    rest = {key: value for key, value in proxy["securityContext"].items() if key not in ("runAsUser", "runAsGroup")}
    return podtree.with_container(pod, proxy, {**proxy, "securityContext": rest})


def _init_container(pod: Pod) -> Container | None:
    inits = podtree.containers_of(pod, "initContainers")
    return podtree.find(inits, INIT) or podtree.find(inits, VALIDATION)


def _with_identity(container: Container, identity: Mapping[str, int]) -> Container:
    return {**container, "securityContext": {**(container.get("securityContext") or {}), **identity}}


def template_names(settings: Settings, annotations: Mapping[str, str]) -> list[str]:
    """The names of the templates for a pod with these annotations, in the order in which they are laid over it."""
    asked = annotations.get(names.TEMPLATES)
    chosen = settings.default_templates if asked is None else [name.strip() for name in asked.split(",")]
    return [template for name in chosen for template in settings.aliases.get(name, (name,))]


def _overrides(pod: Pod) -> dict[str, list[Container]]:
    """What the annotation remembers of the author's own containers."""
    text = podtree.annotations_of(pod).get(names.OVERRIDES)
    if text is None:
        return {}
    overrides = jsonio.loads(text)
    check_containers(overrides, f"annotation {names.OVERRIDES}")
    return {field: overrides.get(field) or [] for field in LISTS}


def _with_overrides(pod: Pod, overrides: Mapping[str, list[Container]]) -> Pod:
    """The pod with the author's own containers back in it: a native sidecar among the containers, where he wrote it."""
    native = podtree.find(overrides.get("initContainers") or (), PROXY)
    if native is not None:
        inits = [container for container in overrides["initContainers"] if container is not native]
        overrides = {"containers": [*overrides["containers"], native], "initContainers": inits}
    for field, remembered in overrides.items():
        there = podtree.containers_of(pod, field)
        missing = [container for container in remembered if podtree.find(there, container.get("name") or "") is None]
        if missing:
            pod = podtree.with_spec(pod, field, [*there, *missing])
    return pod


def _said(container: Container) -> Container:
    """The fields of a container that say something: as the API stores it, an empty list is no wish for one."""
    return {key: said for key, value in container.items() if (said := _meant(key, value)) is not None}


def _meant(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {inner: meant for inner, entry in value.items() if (meant := _meant(inner, entry)) is not None} or None
    if isinstance(value, list):
        return [entry if not isinstance(entry, dict) else _said(entry) for entry in value] or None
    if value == "" or (not value and key in _ZERO_IS_NOTHING):
        return None
    return value


def _strings(value: object) -> tuple[str, ...]:
    return tuple(entry for entry in value if isinstance(entry, str)) if isinstance(value, list) else ()
