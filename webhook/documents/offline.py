"""The pipeline for documents in files: what `kube-inject`, `uninject`, `diff` and `explain` have in common.

Document ──pods.find──▶ pods ──inject──▶ results ──▶ Outcome (new value, new text)
Document ──pods.find──▶ pods ──uninject, remark──▶ the document as it was
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from webhook.documents import differences, edit, pods, remark, typed
from webhook.documents.causes import Sources
from webhook.documents.files import Document, File
from webhook.errors import InjectionError, PodError
from webhook.pod.decide import IGNORED_NAMESPACES
from webhook.pod.inject import NO_PROXY_CONFIGS, Request, Result, inject
from webhook.pod.uninject import is_injected, uninject
from webhook.pod.workload import Workload
from webhook.settings import Settings
from webhook.settings.profiles import ISTIO
from webhook.settings.proxyconfigs import GROUP, KIND, ProxyConfigs


@dataclass(frozen=True, slots=True)
class Injector:
    """Settings, and what else a request needs that no file says.

    sources     what the settings were made of
    namespaces  metadata of Namespace objects by name, from the same files
    proxy_configs  ProxyConfig resources, from the same files and the cluster
    """

    sources: Sources
    settings: Settings
    native_sidecars: bool = False
    namespaces: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    proxy_configs: ProxyConfigs = NO_PROXY_CONFIGS

    @property
    def as_istioctl(self) -> bool:
        """Whether these are Istio's settings, with which the result is Istio's to the field."""
        values = self.sources.values
        return values is not None and values.get("profile", ISTIO) == ISTIO

    def places(self, value: Any) -> Iterator[pods.Place]:
        """The pods of a document's value, as these settings look at them."""
        return (place.as_istioctl if self.as_istioctl else place for place in pods.find(value))

    def inject(self, place: pods.Place, pod: dict[str, Any]) -> Result:
        """Inject the pod of a place. Raises InjectionError."""
        request = self.request(place, pod)
        if self.as_istioctl and request.namespace in IGNORED_NAMESPACES:
            # istioctl asks the pod template alone for its namespace: a Deployment of kube-system it injects
            request = replace(request, namespace=_text(metadata(pod).get("namespace")))
        return inject(self.settings, request)

    def request(self, place: pods.Place, pod: dict[str, Any]) -> Request:
        """What the pipeline is asked for a pod in a file."""
        owner = metadata(place.owner)
        namespace = _text(metadata(pod).get("namespace")) or _text(owner.get("namespace"))
        workload = None
        if place.path != place.owner_path:
            kind, api_version = _text(place.owner.get("kind")), _text(place.owner.get("apiVersion"))
            workload = Workload(_text(owner.get("name")), _text(owner.get("namespace")), kind, api_version)
        return Request(
            pod=pod,
            namespace=namespace,
            namespace_metadata=self.namespaces.get(namespace),
            native_sidecars=self.native_sidecars,
            workload=workload,
            proxy_configs=self.proxy_configs,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a document.

    value, text  of the document now; the document's own where nothing changed
    results      of each pod in it that was looked at
    others       kind/name of the objects in it that have no pod
    anew         why lines that did not change, and so their comments, are not as they were; empty where they are
    exact        whether uninject will give the document back as it was
    misfits      where uninject could not restore what was, for it was edited since
    """

    document: Document
    value: Any
    text: str
    results: tuple[tuple[pods.Place, Result], ...] = ()
    others: tuple[str, ...] = ()
    anew: str = ""
    exact: bool = True
    misfits: tuple[str, ...] = ()


def inject_document(document: Document, injector: Injector) -> Outcome:
    """Inject every pod of a document. Raises InjectionError, which names file, line and object."""
    value, results = document.value, []
    objects = [(owner, path, any(pods.find_in(owner, path))) for owner, path in pods.objects(value)]
    others = tuple(pods.name_of(owner) for owner, _, has_pods in objects if not has_pods)
    if value is not None and not objects:
        others = ("what is no object",)
    for place in injector.places(document.value):
        try:
            result = injector.inject(place, place.pod(value))
        except InjectionError as error:
            raise InjectionError(f"{document.where}: {place}: {error}") from error
        results.append((place, result))
        if result.decision.inject:
            value = place.put(value, result.pod)
        if injector.as_istioctl and any(place.owner_path == path for _, path, _ in objects):
            value = pods.replaced(value, place.owner_path, typed.passed_through(pods.at(value, place.owner_path)))
    if edit.same(value, document.value):
        return Outcome(document, document.value, document.text, tuple(results), others)
    text, anew = document.rewritten(value)
    left = differences.between(_told(document, value), original(document)[0])
    if not document.json:
        text = remark.put(text, left)
    return Outcome(document, value, text, tuple(results), others, anew, exact=not (document.json and left))


def uninject_document(document: Document) -> Outcome:
    """Take the sidecars out of a document. Raises PodError, which names file, line and object."""
    value, misfits = original(document)
    if edit.same(value, document.value):
        return Outcome(document, document.value, document.text)
    text, anew = document.rewritten(value)
    return Outcome(document, value, text if document.json else remark.put(text, []), anew=anew, misfits=tuple(misfits))


def original(document: Document) -> tuple[Any, list[str]]:
    """The document's value before it was injected; the same where it was not. And where it was edited since, so that
    what its remark says of that place does not fit any more.
    """
    value = _told(document, document.value)
    return (value, []) if document.json else differences.apply(value, remark.take(document.text)[1])


def _told(document: Document, value: Any) -> Any:
    """A document's value with what its injected pods themselves say of how they were."""
    try:
        return _uninjected(value)
    except InjectionError as error:
        raise InjectionError(f"{document.where}: {error}") from error


def _uninjected(value: Any) -> Any:
    for found in pods.find(value):
        by_istioctl = found.as_istioctl
        place = by_istioctl if is_injected(by_istioctl.pod(value)) else found
        pod = place.pod(value)
        before = uninject(pod)
        if before is not pod:
            value = place.put(value, before)
            value = pods.replaced(value, place.owner_path, typed.without_zeros(pods.at(value, place.owner_path)))
    return value


def namespaces(files: Iterable[File]) -> dict[str, Mapping[str, Any]]:
    """Metadata of the Namespace objects in files, by name."""
    found: dict[str, Mapping[str, Any]] = {}
    for file in files:
        for document in file.documents:
            for value, _ in pods.objects(document.value):
                about = value.get("metadata")
                if value.get("kind") == "Namespace" and isinstance(about, dict):
                    found[_text(about.get("name"))] = about
    return found


def proxy_configs(files: Iterable[File]) -> list[Mapping[str, Any]]:
    """The ProxyConfig objects in files."""
    return [
        value
        for file in files
        for document in file.documents
        for value, _ in pods.objects(document.value)
        if value.get("kind") == KIND and _text(value.get("apiVersion")).startswith(GROUP)
    ]


def metadata(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The metadata of an object or a pod; empty where it has none."""
    found = value.get("metadata")
    if found is not None and not isinstance(found, dict):
        raise PodError("metadata", found, "an object")
    return found or {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
