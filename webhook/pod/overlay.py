"""From a pod to the pod with the templates laid over it.

pod ──earlier.stripped──▶ as its author wrote it ──templates──▶ overlays ──merging.strategic──▶ pod with a sidecar
    ──authored.laid_on_top──▶ the author's own istio-proxy on top of it
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from webhook.errors import InjectionError
from webhook.limits import TEMPLATES
from webhook.merging import strategic
from webhook.pod import annotations as names
from webhook.pod import authored, earlier, podtree
from webhook.pod.context import Context
from webhook.pod.earlier import Status
from webhook.pod.podtree import Pod
from webhook.settings import Settings
from webhook.settings.containers import LISTS, PROXY
from webhook.template import Template


@dataclass(frozen=True, slots=True)
class Overlaid:
    """The pod with the templates laid over it, and `added`, what the templates say together."""

    pod: Pod
    added: dict[str, Any]


def lay_over(settings: Settings, pod: Pod, context: Context, status: Status | None) -> Overlaid:
    """Render the templates that the pod or the settings name, and merge them into the pod."""
    merged = pod if status is None else earlier.without_probes(pod, status)
    added: dict[str, Any] = {}
    for name in template_names(settings, podtree.annotations_of(pod)):
        overlay = _template(settings, name, podtree.annotations_of(pod)).render(context)
        for patch in settings.patches:
            overlay = patch.apply(name, overlay)
        overlay = _beside(overlay, added)
        added = strategic(added, overlay)
        merged = strategic(_moved(merged, added, context), overlay)
    if status is not None:
        merged = earlier.without_stale(merged, added, status)
    return Overlaid(authored.laid_on_top(merged, pod, added, status), added)


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
        here, there = podtree.names_in(added, field), podtree.names_in(added, other)
        misplaced = [entry for entry in podtree.containers_of(overlay, field) if entry.get("name") in there - here]
        if misplaced:
            rest = [entry for entry in podtree.containers_of(overlay, field) if entry not in misplaced]
            moved = [*podtree.containers_of(overlay, other), *misplaced]
            overlay = podtree.with_spec(podtree.with_spec(overlay, field, rest), other, moved)
    return overlay


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


def template_names(settings: Settings, annotations: Mapping[str, str]) -> list[str]:
    """The names of the templates for a pod with these annotations, in the order in which they are laid over it."""
    asked = annotations.get(names.TEMPLATES)
    chosen = settings.default_templates if asked is None else [name.strip() for name in asked.split(",")]
    found = [template for name in chosen for template in settings.aliases.get(name, (name,))]
    if len(found) > TEMPLATES:
        raise InjectionError(f"annotation {names.TEMPLATES}: {len(found)} templates are more than {TEMPLATES}")
    return found
