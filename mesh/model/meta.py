"""Which object it is: what all kinds have in common (meta.v1.ObjectMeta)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from mesh.model.table import EMPTY, Table


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
    labels: Mapping[str, str] = EMPTY
    annotations: Mapping[str, str] = EMPTY
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
    """The metadata of an object of this kind; a namespaced one without a namespace is in `default`.

    It never fails: what is of another type than it should be counts as absent (`kinds.parse` tells it).
    """
    data = _map(thing.get("metadata"))
    generation = data.get("generation")
    return Meta(
        ref=ObjectRef(kind, (_text(data.get("namespace")) or "default") if namespaced else "", _text(data.get("name"))),
        labels=_texts(data.get("labels")),
        annotations=_texts(data.get("annotations")),
        created=_text(data.get("creationTimestamp")),
        generation=generation if isinstance(generation, int) else 0,
        resource_version=_text(data.get("resourceVersion")),
        uid=_text(data.get("uid")),
    )


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    if isinstance(value, datetime):  # YAML reads an unquoted time as one
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> Mapping[str, str]:
    return Table((k, v) for k, v in _map(value).items() if isinstance(k, str) and isinstance(v, str))
