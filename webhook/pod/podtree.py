"""Reading and rewriting a pod that is a plain dict: writing makes a new pod, which shares all else with the old."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from webhook.settings.containers import LISTS

Pod = dict[str, Any]
Container = dict[str, Any]


def metadata_of(pod: Pod) -> Mapping[str, Any]:
    """The pod's metadata; empty where there is none."""
    return pod.get("metadata") or {}


def annotations_of(pod: Pod) -> Mapping[str, str]:
    """The pod's annotations."""
    return metadata_of(pod).get("annotations") or {}


def labels_of(pod: Pod) -> Mapping[str, str]:
    """The pod's labels."""
    return metadata_of(pod).get("labels") or {}


def spec_of(pod: Pod) -> Mapping[str, Any]:
    """The pod's spec; empty where there is none."""
    return pod.get("spec") or {}


def containers_of(pod: Pod, field: str = "containers") -> list[Container]:
    """The pod's containers, or with `field` its initContainers."""
    return spec_of(pod).get(field) or []


def names_in(pod: Pod, field: str) -> frozenset[object]:
    """The names of the containers in one of the pod's lists."""
    return frozenset(container.get("name") for container in containers_of(pod, field))


def find(among: Iterable[Container], name: str) -> Container | None:
    """The first container of that name."""
    for container in among:
        if container.get("name") == name:
            return container
    return None


def find_in_pod(pod: Pod, name: str) -> Container | None:
    """The first container of that name among the pod's containers, then among its init containers."""
    return find(containers_of(pod), name) or find(containers_of(pod, "initContainers"), name)


def with_metadata(pod: Pod, field: str, value: object) -> Pod:
    """The pod with one field of its metadata set."""
    return {**pod, "metadata": {**metadata_of(pod), field: value}}


def with_spec(pod: Pod, field: str, value: object) -> Pod:
    """The pod with one field of its spec set."""
    return {**pod, "spec": {**spec_of(pod), field: value}}


def with_container(pod: Pod, old: Container, new: Container) -> Pod:
    """The pod with `new` in the place of `old`, which is one of its containers itself (not an equal one)."""
    if new is old:
        return pod
    for field in LISTS:
        among = containers_of(pod, field)
        for index, container in enumerate(among):
            if container is old:
                return with_spec(pod, field, [*among[:index], new, *among[index + 1 :]])
    raise ValueError(f"{old.get('name')} is no container of the pod")


def without(among: list[Container], names: Iterable[str]) -> list[Container]:
    """The containers that have none of these names."""
    unwanted = frozenset(names)
    return [container for container in among if container.get("name") not in unwanted]


def with_variables(container: Container, variables: Mapping[str, str]) -> Container:
    """The container with these environment variables at the end, in place of others of their names."""
    kept = [variable for variable in container.get("env") or () if variable.get("name") not in variables]
    return {**container, "env": [*kept, *({"name": name, "value": value} for name, value in variables.items())]}


def variable(container: Container, name: str) -> str | None:
    """The value of an environment variable; None where there is none, or its value comes from elsewhere."""
    for entry in container.get("env") or ():
        if entry.get("name") == name:
            value = entry.get("value")
            return value if isinstance(value, str) else None
    return None
