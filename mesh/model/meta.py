"""Which object it is: what all kinds have in common (meta.v1.ObjectMeta)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class ObjectRef(NamedTuple):
    """Names an object; `namespace` is empty for kinds that have none."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Meta:
    """What is read of an object's metadata.

    `created` is RFC 3339 text, whose order is that of time; empty where the object never was in an API server, and so
    older than all that were. `resource_version` takes no part in comparing: a value is equal when it says the same.
    """

    ref: ObjectRef
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    generation: int = 0
    resource_version: str = field(default="", compare=False)
    uid: str = ""

    @property
    def name(self) -> str:
        """The object's name."""
        return self.ref.name

    @property
    def namespace(self) -> str:
        """Its namespace, or empty."""
        return self.ref.namespace

    @property
    def age(self) -> tuple[str, str, str]:
        """Sorts objects by who came first; then by name and namespace, as Istio does."""
        return self.created, self.ref.name, self.ref.namespace


def meta(kind: str, thing: Mapping[str, Any], namespaced: bool = True) -> Meta:
    """The metadata of an object of this kind; a namespaced one without a namespace is in `default`."""
    data = thing.get("metadata") or {}
    namespace = (data.get("namespace") or "default") if namespaced else ""
    return Meta(
        ref=ObjectRef(kind, str(namespace), str(data.get("name") or "")),
        labels={str(k): str(v) for k, v in (data.get("labels") or {}).items()},
        annotations={str(k): str(v) for k, v in (data.get("annotations") or {}).items()},
        created=str(data.get("creationTimestamp") or ""),
        generation=int(data.get("generation") or 0),
        resource_version=str(data.get("resourceVersion") or ""),
        uid=str(data.get("uid") or ""),
    )
