"""What works, but hardly as its author means it: sentences for kubectl, the log and stderr, each with the way out.

One pure function over the pod before and after. It runs for every pod, so a rule first asks the cheapest question. The
API server cuts warnings after 256 characters where all of them are more than 4096; those here are shorter.
(https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#response)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, Final

from webhook.limits import MISSPELT, NAME_LENGTH
from webhook.pod import podtree
from webhook.pod.annotations import ANNOTATIONS, LABELS, NATIVE_SIDECAR, REWRITE_PROBES, STATUS_PORT
from webhook.pod.podtree import Container, Pod
from webhook.pod.probes import PROBES
from webhook.settings.containers import INIT, LISTS, OURS, PROXY

# What a sidecar listens on, Istio's or this project's: admin, outbound, inbound, HBONE, status, readiness, metrics.
PROXY_PORTS: Final = frozenset({15000, 15001, 15006, 15008, 15020, 15021, 15090})
PROXY_ID: Final = 1337
POD_SECURITY: Final = "pod-security.kubernetes.io/enforce"

_ANNOTATIONS: Final = frozenset(ANNOTATIONS)
_NATIVE: Final = f'annotation {NATIVE_SIDECAR}: "true" (Kubernetes 1.29)'
# How alike two names are, from 0 to 1, for the one to be taken as a slip of the other.
_ALIKE: Final = 0.85


def warnings(before: Pod, after: Pod, namespace: str, namespace_metadata: Mapping[str, Any] | None) -> tuple[str, ...]:
    """What to tell whoever creates the pod `before`, injected as `after`; both have passed webhook.pod.shape."""
    return (
        *_misspelt("annotation", podtree.annotations_of(before), _ANNOTATIONS),
        *_misspelt("label", podtree.labels_of(before), LABELS),
        *_same_user(before, after),
        *_taken_ports(before),
        *_before_the_proxy(after),
        *_probes_to_no_port(after),
        *_never_done(after),
        *_pod_security(after, namespace, namespace_metadata),
    )


def _misspelt(kind: str, given: Mapping[str, str], known: frozenset[str]) -> Iterator[str]:
    strange = (name for name in given if "istio" in name and name not in known and len(name) <= NAME_LENGTH)
    for name in islice(strange, MISSPELT):
        if nearest := _nearest(name, known):
            yield f"{kind} {name} has no effect; did you mean {nearest}?"


@lru_cache(maxsize=1024)
def _nearest(name: str, known: frozenset[str]) -> str:
    """The known name that this one is a slip of; empty where there is none."""
    from difflib import get_close_matches

    lowered = {candidate.lower(): candidate for candidate in known}
    found = get_close_matches(name.lower(), lowered, n=1, cutoff=_ALIKE)
    return lowered[found[0]] if found else ""


def _same_user(before: Pod, after: Pod) -> Iterator[str]:
    """Redirection leaves alone what the proxy's user sends; an app that runs as that user passes the proxy by."""
    proxy = podtree.find_in_pod(after, PROXY) or {}
    proxy_user = _object(proxy.get("securityContext")).get("runAsUser") or PROXY_ID
    default = _object(podtree.spec_of(before).get("securityContext")).get("runAsUser")
    for container in _apps(before, "containers"):
        user = _object(container.get("securityContext")).get("runAsUser", default)
        if user == proxy_user:
            who = f"container {container.get('name')} runs as the proxy's user {user}"
            yield f"{who}, so its traffic passes the proxy by; use another runAsUser"


def _taken_ports(before: Pod) -> Iterator[str]:
    for container in _apps(before, "containers"):
        for port in container.get("ports") or ():
            number = port.get("containerPort")
            if number in PROXY_PORTS and (port.get("protocol") or "TCP") == "TCP":
                yield f"container {container.get('name')} has port {number}, which the sidecar listens on; use another"


def _probes_to_no_port(after: Pod) -> Iterator[str]:
    """Istio's injector, and so its templates here, turn the app's probes to the status port, be it 0."""
    if podtree.annotations_of(after).get(STATUS_PORT, "none").strip("0 "):
        return
    for container in (*_apps(after, "containers"), *_apps(after, "initContainers")):
        for field in PROBES:
            if _object(_object(container.get(field)).get("httpGet")).get("port") == 0:
                yield (
                    f"container {container.get('name')}: {field} goes to status port 0, which the API server refuses; "
                    f'way out: annotation {REWRITE_PROBES}: "false"'
                )
                return


def _before_the_proxy(after: Pod) -> Iterator[str]:
    """Init containers run before a proxy that is no native sidecar: behind the rules, nobody takes their traffic."""
    inits = podtree.containers_of(after, "initContainers")
    if not inits or podtree.find(inits, PROXY) is not None or podtree.find_in_pod(after, PROXY) is None:
        return
    names = [container.get("name") for container in inits]
    redirected = names.index(INIT) if INIT in names else -1
    early = [str(name) for name in names[: max(redirected, 0)] if name not in OURS]
    cut_off = [str(name) for name in names[redirected + 1 :] if name not in OURS]
    if early:
        yield f"{_init_containers(early)} before the proxy, outside of the mesh (no mTLS); way out: {_NATIVE}"
    if cut_off:
        yield f"{_init_containers(cut_off)} without network, as the proxy starts later; way out: {_NATIVE}"


def _init_containers(names: list[str]) -> str:
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"init container {shown} runs" if len(names) == 1 else f"init containers {shown} run"


def _never_done(after: Pod) -> Iterator[str]:
    """A pod is done when all its containers are, and a proxy is never."""
    restart = podtree.spec_of(after).get("restartPolicy")
    if restart in ("Never", "OnFailure") and podtree.find(podtree.containers_of(after), PROXY) is not None:
        yield f"restartPolicy {restart}: the pod (or its Job) is never done, as the sidecar goes on; way out: {_NATIVE}"


def _pod_security(after: Pod, namespace: str, namespace_metadata: Mapping[str, Any] | None) -> Iterator[str]:
    """Pod Security admission comes after this webhook and refuses capabilities that are not a runtime's defaults."""
    level = _object((namespace_metadata or {}).get("labels")).get(POD_SECURITY)
    if level not in ("baseline", "restricted"):
        return
    for field in LISTS:
        for container in podtree.containers_of(after, field):
            added = _object(_object(container.get("securityContext")).get("capabilities")).get("add")
            if container.get("name") in OURS and isinstance(added, list) and "NET_ADMIN" in added:
                yield (
                    f"namespace {namespace} enforces Pod Security level {level}, which forbids NET_ADMIN of "
                    f"{container['name']}; set up redirection with a CNI plugin, or label it {POD_SECURITY}=privileged"
                )
                return


def _object(value: object) -> Mapping[str, Any]:
    """An object that webhook.pod.shape does not look at; empty for anything else."""
    return value if isinstance(value, dict) else {}


def _apps(pod: Pod, field: str) -> Iterator[Container]:
    return (container for container in podtree.containers_of(pod, field) if container.get("name") not in OURS)
