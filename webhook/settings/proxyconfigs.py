"""ProxyConfig resources (networking.istio.io/v1beta1): which of them count for a pod, and in which order.

Over the mesh's defaultConfig comes the resource of the root namespace without a selector, over that the one of the
pod's namespace without a selector, over that the pod's annotation, and last the one whose selector the pod's labels
match. Of several in one place the oldest counts alone. https://istio.io/latest/docs/reference/config/networking/proxy-config/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from common import jsonio
from common.errors import SettingsError, shortened
from webhook.limits import PROXY_CONFIG_BYTES
from webhook.settings import proxyconfig
from webhook.settings.proxyconfig import ProxyConfig

KIND: Final = "ProxyConfig"
GROUP: Final = "networking.istio.io/"

_FIELDS = frozenset({"selector", "concurrency", "environmentVariables", "image"})
_IMAGE_TYPE = re.compile(r"[A-Za-z0-9_.-]{0,64}")
# As the API server takes it with relaxed validation: printable ASCII without an equals sign.
_VARIABLE = re.compile(r"[ -<>-~]+")


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource. `labels` are those that it selects; None: it has no selector."""

    name: str
    namespace: str
    created: str
    labels: frozenset[tuple[str, str]] | None
    config: ProxyConfig

    def __str__(self) -> str:
        """namespace/name, as messages have it."""
        return _written(self.namespace, self.name)

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Self:
        """From the API's object. Raises SettingsError, which names the object, the field, its value and what may be."""
        about = value.get("metadata")
        about = about if isinstance(about, Mapping) else {}
        name, namespace, created = (about.get(key) or "" for key in ("name", "namespace", "creationTimestamp"))
        where = f"{KIND} {shortened(namespace)}/{shortened(name)}"
        if not isinstance(name, str) or not isinstance(namespace, str) or not name:
            raise SettingsError(f"{where}: metadata.name and metadata.namespace are not names")
        where = f"{KIND} {_written(namespace, name)}"
        spec = value.get("spec")
        spec = {} if spec is None else spec
        if not isinstance(spec, Mapping):
            raise SettingsError(f"{where}: spec: {shortened(spec)} is not a mapping")
        labels = _labels(spec.get("selector"), f"{where}: spec.selector")
        given = {
            "concurrency": spec.get("concurrency"),
            "proxyMetadata": _variables(spec.get("environmentVariables"), f"{where}: spec.environmentVariables"),
            "image": _image(spec.get("image"), f"{where}: spec.image"),
        }
        config = proxyconfig.checked(given, f"{where}: spec")
        if len(jsonio.dumps(config)) > PROXY_CONFIG_BYTES:
            raise SettingsError(f"{where}: spec is larger than {PROXY_CONFIG_BYTES} bytes")
        return cls(name, namespace, str(created), labels, config)


@dataclass(frozen=True, slots=True)
class _Namespace:
    """What counts in a namespace: for all of its pods, and by a label of theirs; of these, the oldest come first."""

    all: Resource | None = None
    by_label: Mapping[tuple[str, str], tuple[tuple[int, Resource], ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, resources: Iterable[Resource]) -> Self:
        """Of the resources of one namespace, the oldest first."""
        for_all: Resource | None = None
        by_label: dict[tuple[str, str], tuple[tuple[int, Resource], ...]] = {}
        for number, resource in enumerate(resources):
            if resource.labels is None:
                for_all = for_all or resource
            else:
                first = min(resource.labels)
                by_label[first] = (*by_label.get(first, ()), (number, resource))
        return cls(for_all, by_label)

    def selecting(self, labels: Mapping[str, str]) -> Resource | None:
        """The oldest that selects a pod with these labels."""
        if not self.by_label:
            return None
        pairs = labels.items()
        found = (
            entry
            for pair in pairs
            for entry in self.by_label.get(pair, ())
            if entry[1].labels and entry[1].labels <= pairs
        )
        return min(found, key=lambda entry: entry[0], default=(0, None))[1]


_NOTHING = _Namespace()


@dataclass(frozen=True, slots=True)
class ProxyConfigs:
    """All resources, ready to be asked for any pod."""

    resources: tuple[Resource, ...] = ()
    _namespaces: Mapping[str, _Namespace] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, resources: Iterable[Resource]) -> Self:
        """Of these; where two have the same name and namespace, the last one counts."""
        named = {(resource.namespace, resource.name): resource for resource in resources}
        ordered = tuple(sorted(named.values(), key=lambda it: (it.created, it.name)))
        grouped: dict[str, list[Resource]] = {}
        for resource in ordered:
            grouped.setdefault(resource.namespace, []).append(resource)
        return cls(ordered, {name: _Namespace.of(entries) for name, entries in grouped.items()})

    @classmethod
    def read(cls, objects: Iterable[Mapping[str, Any]]) -> tuple[Self, tuple[str, ...]]:
        """Of the API's objects, and what is wrong with some of them; one that cannot be used is left out alone."""
        taken, problems = [], []
        for value in objects:
            try:
                resource = Resource.read(value)
            except SettingsError as error:
                problems.append(f"{error}: left out")
                continue
            taken.append(resource)
            unknown = sorted(set(map(str, value.get("spec") or ())) - _FIELDS)
            where = f"{KIND} {resource}: spec"
            problems += [f"{where}.{name}: no such field; allowed: {', '.join(sorted(_FIELDS))}" for name in unknown]
        return cls.of(taken), tuple(problems)

    def without(self, resource: Resource) -> Self:
        """All but this one."""
        return self.of(other for other in self.resources if other is not resource)

    def counting(self, root: str, namespace: str, labels: Mapping[str, str]) -> Iterator[Resource]:
        """Those that count for a pod, the weakest first. `root` is the mesh's root namespace."""
        own = self._namespaces.get(namespace, _NOTHING)
        for found in (
            self._namespaces.get(root, _NOTHING).all,
            own.all if namespace != root else None,
            own.selecting(labels),
        ):
            if found:
                yield found

    def over(
        self, mesh: ProxyConfig, root: str, namespace: str, labels: Mapping[str, str], own: ProxyConfig | None
    ) -> ProxyConfig:
        """A pod's configuration: over the mesh's what counts for it, and the one of its annotation.

        The very same `mesh` where nothing comes over it.
        """
        found, last = mesh, None
        for resource in self.counting(root, namespace, labels):
            if resource.labels is None:
                found = proxyconfig.overlay(found, resource.config)
            else:
                last = resource.config
        for over in (own, last):
            if over is not None:
                found = proxyconfig.overlay(found, over)
        return found


def _written(namespace: str, name: str) -> str:
    return f"{namespace}/{name}" if namespace else name


def _labels(selector: object, where: str) -> frozenset[tuple[str, str]] | None:
    if selector is None:
        return None
    labels = selector.get("matchLabels") if isinstance(selector, Mapping) else None
    if not isinstance(labels, Mapping) or not labels:
        raise SettingsError(f"{where}: {shortened(selector)} selects no pod: matchLabels is to have labels")
    if not all(isinstance(text, str) for pair in labels.items() for text in pair):
        raise SettingsError(f"{where}.matchLabels: {shortened(labels)} is not a mapping of strings")
    return frozenset(labels.items())


def _variables(variables: object, where: str) -> object:
    if variables is None:
        return None
    if not isinstance(variables, Mapping) or not all(isinstance(text, str) for it in variables.items() for text in it):
        raise SettingsError(f"{where}: {shortened(variables)} is not a mapping of strings")
    for name in variables:
        if not _VARIABLE.fullmatch(name):
            raise SettingsError(f"{where}: {shortened(name)} is not the name of an environment variable")
    return dict(variables)


def _image(image: object, where: str) -> object:
    if image is None:
        return None
    kind = image.get("imageType") or "" if isinstance(image, Mapping) else None
    if not isinstance(kind, str) or not _IMAGE_TYPE.fullmatch(kind):
        raise SettingsError(f"{where}: {shortened(image)} is not an imageType (default, debug, distroless)")
    return {"imageType": kind}
