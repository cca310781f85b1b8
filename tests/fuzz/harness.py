"""What must hold for any bytes: a message or a result, never a traceback; and a way back."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jsonpatch

from common.errors import PysidecarError
from webhook.documents import edit, files
from webhook.documents.causes import Sources
from webhook.documents.offline import Injector, inject_document, uninject_document
from webhook.pod.annotations import OVERRIDES
from webhook.pod.probes import ACTIONS
from webhook.pod.uninject import is_injected
from webhook.settings.containers import LISTS

# Small values in the shape of Istio's, for the templates of Istio's profile; None is the profile standalone.
ISTIO_VALUES = {
    "global": {
        "hub": "example.com/mesh",
        "tag": "1.2",
        "istioNamespace": "mesh-system",
        "pilotCertProvider": "istiod",
        "logging": {"level": "default:info"},
        "multiCluster": {"clusterName": ""},
        "network": "east",
        "proxy": {
            "autoInject": "enabled",
            "image": "proxyv2",
            "clusterDomain": "cluster.local",
            "logLevel": "warning",
            "componentLogLevel": "misc:error",
            "includeIPRanges": "*",
            "includeInboundPorts": "*",
            "privileged": False,
            "readinessInitialDelaySeconds": 0,
            "readinessPeriodSeconds": 15,
            "readinessFailureThreshold": 4,
            "startupProbe": {"enabled": True, "failureThreshold": 600},
            "statusPort": 15020,
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        },
        "proxy_init": {"image": "proxyv2"},
        "sds": {"token": {"aud": "istio-ca"}},
    },
    "pilot": {"cni": {"enabled": False, "provider": "default"}},
    "revision": "",
    "sidecarInjectorWebhook": {"rewriteAppHTTPProbe": True},
}


@cache
def injectors() -> tuple[Injector, ...]:
    """Istio's profile and standalone, with native sidecars and without."""
    return tuple(
        Injector(sources, sources.settings().for_files(), native)
        for sources in (Sources(values=ISTIO_VALUES), Sources())
        for native in (True, False)
    )


def check_file(data: bytes) -> bool:
    """Inject a file's documents in every way and take it back; True where one was injected.

    Only PysidecarError may be raised on the way, and it is not passed on; AssertionError tells what does not hold.
    """
    try:
        documents = files.parse(data, "fuzz").documents
    except PysidecarError:
        return False
    injected = [_check(document, injector) for document in documents for injector in injectors()]
    return any(injected)


def _check(document: files.Document, injector: Injector) -> bool:
    try:
        outcome = inject_document(document, injector)
    except PysidecarError as error:
        refusal = str(error)
        outcome = None
    if outcome is None:
        assert "\n" not in refusal, refusal
        return False
    if outcome.value is document.value:
        assert outcome.text == document.text
        return False
    (again,) = files.parse(outcome.text.encode(), "fuzz").documents
    assert edit.same(again.value, outcome.value), "the text reads otherwise than the value"
    pods = [place.pod(document.value) for place, _ in outcome.results]
    for pod, (_, result) in zip(pods, outcome.results, strict=True):
        # as JSON, which has no aliases: what YAML reads as one mapping in two places is two there
        plain, patch = json.loads(json.dumps([pod, result.patch]))
        assert jsonpatch.apply_patch(plain, patch) == result.pod
    if not any(map(is_injected, pods)):
        if all(map(_is_admissible, pods)):
            assert edit.same(inject_document(again, injector).value, outcome.value), "injecting again changes something"
        if outcome.exact:
            back = uninject_document(again).value
            assert edit.same(back, document.value), "uninject does not give it back"
    return True


def _is_admissible(pod: Any) -> bool:
    """Whether an API server would look at it twice: containers' names differ, and probes have ports.

    Overrides that an author wrote stand for a container of the pod, as with Istio, and what that says else is lost.
    """
    if OVERRIDES in ((pod.get("metadata") or {}).get("annotations") or {}):
        return False
    containers = [container for field in LISTS for container in pod["spec"].get(field) or ()]
    handlers = [
        handler
        for container in containers
        for holder in (container, container.get("lifecycle") or {})
        for handler in holder.values()
        if isinstance(handler, dict)
    ]
    ways = [handler[way] for handler in handlers for way in ACTIONS if isinstance(handler.get(way), dict)]
    names = {container.get("name") for container in containers}
    return len(names) == len(containers) and all(way.get("port") for way in ways)


def check_pod(pod: Any) -> bool:
    """The same for a pod given as JSON data."""
    return check_file(json.dumps(pod).encode())
