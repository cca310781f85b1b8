"""Where the pods of a document are, found by shape: a pod itself, and each pod template of whatever kind.

A pod template (core/v1 PodTemplateSpec) is an object under a key `template` (or one that ends so, as podTemplate)
whose `spec` has `containers`. So Deployments, CronJobs and Knative Services are found, and custom resources
with any number of templates as well. Objects in a List are looked at one by one, and so are objects inside of another
(an OpenShift Template, a ManifestWork): a pod belongs to the nearest object around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """One pod in a document: the object it belongs to, and the paths of both from the document's root.

    owner     the object with apiVersion, kind and metadata: the Deployment; the pod itself where nothing is around it
    path      of the pod template, or of the pod
    metadata  of what has the pod's labels and annotations: as `path`, unless istioctl's way is asked for
    """

    owner: Mapping[str, Any]
    owner_path: Path
    path: Path
    metadata: Path

    @property
    def as_istioctl(self) -> Place:
        """The place as istioctl sees it: of a CronJob's pod it reads and writes the metadata of the jobTemplate."""
        if self.owner.get("kind") == "CronJob" and self.path[-2:] == ("spec", "template"):
            return replace(self, metadata=self.path[:-2])
        return self

    def pod(self, document: Any) -> dict[str, Any]:
        """The pod of this place, as a value of its own: apiVersion, kind, metadata and spec."""
        template = at(document, self.path)
        holder = at(document, self.metadata)
        return {**template, "metadata": holder.get("metadata") or {}}

    def put(self, document: Any, pod: Mapping[str, Any]) -> Any:
        """The document with the fields of `pod` in this place."""
        metadata = pod.get("metadata") or {}
        holder = at(document, self.metadata)
        if metadata is not holder.get("metadata") and (metadata or holder.get("metadata")):
            others = {name: value for name, value in holder.items() if name != "metadata"}
            changed = {**holder, "metadata": metadata} if metadata else others
            document = replaced(document, self.metadata, changed)
        template = at(document, self.path)
        return replaced(document, self.path, {**template, "spec": pod["spec"]})

    def __str__(self) -> str:
        """Kind/name of the owner, as kubectl writes it."""
        return name_of(self.owner)


def name_of(value: Mapping[str, Any]) -> str:
    """Kind/name of an object, and its namespace, as kubectl writes them."""
    metadata = value.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    name = metadata.get("name") or f"{metadata.get('generateName', '')}…"
    namespace = f" -n {metadata['namespace']}" if metadata.get("namespace") else ""
    text = f"{value.get('kind', 'object')}/{name}{namespace}"
    return text if text.isprintable() and len(text) < 400 else repr(text)[:400]


def objects(value: Any, path: Path = ()) -> Iterator[tuple[Mapping[str, Any], Path]]:
    """The Kubernetes objects of a document: itself, or the items of a List or list, and their paths."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from objects(item, (*path, index))
    if not isinstance(value, dict):
        return
    items = value.get("items")
    if isinstance(items, list) and str(value.get("kind", "")).endswith("List"):
        for index, item in enumerate(items):
            yield from objects(item, (*path, "items", index))
    else:
        yield value, path


def find(value: Any) -> Iterator[Place]:
    """The pods of a document, in its order."""
    for owner, path in objects(value):
        yield from find_in(owner, path)


def find_in(owner: Mapping[str, Any], path: Path = ()) -> Iterator[Place]:
    """The pods of one object, and of objects inside of it."""
    if owner.get("kind") == "Pod" and isinstance(owner.get("spec"), dict):
        yield Place(owner, path, path, path)
    elif not str(owner.get("kind", "")).endswith("Policy"):  # of Kyverno and others: patterns of pods, not pods
        yield from _below(owner, path, owner, path)


def _below(value: Any, path: Path, owner: Mapping[str, Any], owner_path: Path) -> Iterator[Place]:
    """The pods below a value, which is part of `owner`."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        below = (*path, key)
        if not isinstance(item, (dict, list)):
            continue
        if isinstance(key, str) and key.lower().endswith("template") and _is_pod_template(item):
            yield Place(owner, owner_path, below, below)
        elif isinstance(item, dict) and _is_object(item):
            yield from find_in(item, below)
        else:
            yield from _below(item, below, owner, owner_path)


def _is_object(value: Mapping[str, Any]) -> bool:
    """Whether it is an object of the API in full, and no reference to one, which has no metadata."""
    about = (value.get("apiVersion"), value.get("kind"))
    return isinstance(value.get("metadata"), dict) and all(isinstance(text, str) for text in about)


def _is_pod_template(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("spec"), dict) and "containers" in value["spec"]


def at(value: Any, path: Path) -> Any:
    """What is at `path`."""
    for step in path:
        value = value[step]
    return value


def replaced(value: Any, path: Path, new: Any) -> Any:
    """`value` with `new` at `path`; all that lies beside the path is shared."""
    if not path:
        return new
    step, rest = path[0], path[1:]
    copy = value.copy()
    copy[step] = replaced(value[step], rest, new)
    return copy
