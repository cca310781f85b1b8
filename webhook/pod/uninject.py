"""Take a sidecar out of a pod again: the pod as it was, as far as the injected one tells.

An injected pod says most of what was done to it, whoever injected it:

    sidecar.istio.io/status        the containers, volumes and pull secrets that were added
    proxy.istio.io/overrides       containers of those names that the user had written himself
    ISTIO_KUBE_APP_PROBERS         probes and hooks as they were, in the sidecar's environment
    ISTIO_PROMETHEUS_ANNOTATIONS   where the app's own metrics are

The rest is told as for the usual pod: a label or annotation with the value that an injector derives is the injector's.
Where that is wrong (the user had set that label himself) nothing in the pod shows it; files keep it (documents.remark).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from common import jsonio
from webhook.errors import AnnotationError
from webhook.pod import annotations as names
from webhook.pod import probes
from webhook.pod.annotations import OVERRIDES, STATUS
from webhook.pod.podtree import Container, Pod
from webhook.pod.shape import check_containers, check_pod
from webhook.settings.containers import INIT, LISTS, PROXY

ADDED: Final = (*LISTS, "volumes", "imagePullSecrets")
# What prometheus.io/… say once the sidecar has merged the app's metrics into its own; the port is the status port.
_MERGED_METRICS: Final = {"prometheus.io/scrape": "true", "prometheus.io/path": "/stats/prometheus"}
# Where a CNI plugin redirects, it reads these; the injector writes them where the user has not.
_FOR_CNI: Final = {
    names.INTERCEPTION_MODE: ("REDIRECT", "TPROXY"),
    names.INBOUND_PORTS: ("*",),
    names.OUTBOUND_RANGES: ("*",),
    names.NOT_INBOUND_PORTS: ("15020", ""),
}


def is_injected(pod: Mapping[str, Any]) -> bool:
    """Whether an injector has been here."""
    metadata = pod.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    return isinstance(annotations, dict) and bool(annotations.get(STATUS))


def uninject(pod: Pod) -> Pod:
    """The pod without what an injector gave it; the same object where none did.

    Raises InjectionError for a field of another type than the Kubernetes API's, and for annotations no injector writes.
    """
    if not is_injected(pod):
        return pod
    check_pod(pod)
    metadata, spec = pod["metadata"], dict(pod["spec"])
    added = _added(metadata["annotations"][STATUS])
    overridden = _overridden(metadata["annotations"].get(OVERRIDES, "{}"))
    env = _environment(spec)
    probers = _object(env.get("ISTIO_KUBE_APP_PROBERS"))
    for field, injected in added.items():
        own = [item for item in spec.get(field) or () if item.get("name") not in injected]
        if field in LISTS:
            own = [_with_handlers(container, probers) for container in own] + overridden[field]
        _set(spec, field, own)
    first = next((container.get("name") for container in spec.get("containers") or ()), None)
    revision = _object(metadata["annotations"][STATUS]).get("revision")
    annotations = _own_annotations(metadata["annotations"], env, redirected=INIT in added["initContainers"])
    metadata = dict(metadata)
    _set(metadata, "labels", _without(metadata.get("labels") or {}, _derived_labels(metadata.get("labels") or {}, env)))
    _set(metadata, "annotations", _without(dict(annotations), _derived_annotations(first, revision)))
    return {**pod, "metadata": metadata, "spec": spec}


def _set(fields: dict[str, Any], name: str, value: Any) -> None:
    """Set a field, or take it out where the value is empty: injection made it."""
    if value:
        fields[name] = value
    else:
        fields.pop(name, None)


def _without(fields: Mapping[str, str], derived: Mapping[str, object]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if derived.get(name) != value}


def _added(status: str) -> dict[str, frozenset[str]]:
    """The names that the status annotation lists, by field of the spec."""
    listed = _object(status)
    found = {field: listed.get(field) or [] for field in ADDED}
    if not listed or not all(
        isinstance(value, list) and all(isinstance(n, str) for n in value) for value in found.values()
    ):
        raise AnnotationError(STATUS, status, f"a JSON object with lists of names: {', '.join(ADDED)}")
    return {field: frozenset(value) for field, value in found.items()}


def _overridden(overrides: str) -> dict[str, list[Container]]:
    """The containers that users had written under the injector's names; an image was left to the template by `auto`.

    A sidecar that is customised stands among the containers as a rule, wherever the injected one came to stand.
    """
    found = _object(overrides)
    check_containers(found, OVERRIDES)
    among = {
        field: [{"name": None, "image": "auto", **container} for container in found.get(field) or ()] for field in LISTS
    }
    sidecars = [container for container in among["initContainers"] if container.get("name") == PROXY]
    return {
        "containers": among["containers"] + sidecars,
        "initContainers": [container for container in among["initContainers"] if container not in sidecars],
    }


def _environment(spec: Mapping[str, Any]) -> dict[str, str]:
    """The sidecar's variables that are given as values."""
    for field in LISTS:
        for container in spec.get(field) or ():
            entries = container.get("env")
            if container.get("name") == PROXY and isinstance(entries, list):
                return {
                    entry["name"]: entry["value"]
                    for entry in entries
                    if isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in ("name", "value"))
                }
    return {}


def _derived_labels(labels: Mapping[str, str], env: Mapping[str, str]) -> dict[str, str]:
    name = labels.get("app.kubernetes.io/name") or labels.get("app") or env.get("ISTIO_META_WORKLOAD_NAME", "")
    return {
        names.TLS_MODE_LABEL: "istio",
        names.CANONICAL_NAME_LABEL: name[:63].rstrip("-_."),
        names.CANONICAL_REVISION_LABEL: labels.get("app.kubernetes.io/version") or labels.get("version") or "latest",
    }


def _derived_annotations(first: str | None, revision: object) -> dict[str, object]:
    return {
        names.REVISION: revision,
        names.DEFAULT_CONTAINER: first,
        names.DEFAULT_LOGS_CONTAINER: first,
    }


def _own_annotations(
    annotations: Mapping[str, str], env: Mapping[str, str], *, redirected: bool
) -> Iterator[tuple[str, str]]:
    """The annotations without the injector's records; `redirected`: an init container set up the redirection."""
    merged = all(annotations.get(name) == value for name, value in _MERGED_METRICS.items())
    scraped = _object(env.get("ISTIO_PROMETHEUS_ANNOTATIONS"))
    for name, given in annotations.items():
        value = given
        if name in (STATUS, OVERRIDES):
            continue
        if merged and name in (*_MERGED_METRICS, "prometheus.io/port"):
            value = str(scraped.get(name.removeprefix("prometheus.io/")) or "")
        elif name == names.NETWORKS:
            value = _other_networks(value)
        elif not redirected and value in _FOR_CNI.get(name, ()):
            continue
        if value or not given:
            yield name, value


def _other_networks(networks: str) -> str:
    """Multus' networks, names with commas or JSON, without the one that the injector added."""
    if networks.lstrip().startswith("["):
        try:
            listed = json.loads(networks)
        except json.JSONDecodeError:
            return networks
        own = [entry for entry in listed if not (isinstance(entry, dict) and entry.get("name") == "istio-cni")]
        return json.dumps(own) if own else ""
    listed = [name.strip() for name in networks.split(",")]
    return ", ".join(name for name in listed if name.rpartition("/")[2] != "istio-cni")


def _with_handlers(container: Container, probers: Mapping[str, Any]) -> Container:
    """A container whose probes and hooks ask the app itself again, but for those that somebody has written since."""

    def asking(handler: dict[str, Any], path: str) -> dict[str, Any]:
        original = probers.get(path)
        return _asking(handler, original) if original and probes.is_rewritten(handler, path) else handler

    return probes.with_handlers(container, asking)


def _asking(handler: Mapping[str, Any], original: Any) -> dict[str, Any]:
    """A probe or hook that asks in the way of the original one, with its own times and thresholds."""
    result = {field: value for field, value in handler.items() if field not in probes.ACTIONS}
    if not isinstance(original, dict):
        return result
    result |= {way: original[way] for way in probes.ACTIONS if way in original}
    get = result.get("httpGet")
    if isinstance(get, dict) and get.get("scheme") == "HTTP" and "scheme" not in (handler.get("httpGet") or {}):
        result["httpGet"] = {field: value for field, value in get.items() if field != "scheme"}
    return result


def _object(text: str | None) -> dict[str, Any]:
    """A JSON object; empty where there is none."""
    try:
        found = jsonio.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
