"""What can be wrong between a cluster and its injector, found from the cluster's objects and a call to each replica.

Each function gives findings, and none changes anything.
"""

from __future__ import annotations

import ssl
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from common import selectors
from common.errors import KubernetesError, SettingsError
from webhook.errors import InjectionError
from webhook.pod import podtree
from webhook.pod.annotations import INJECT, REVISION, STATUS
from webhook.pod.inject import NO_PROXY_CONFIGS, Request, inject
from webhook.pod.uninject import uninject
from webhook.settings import Settings
from webhook.settings.containers import INIT, PROXY
from webhook.settings.proxyconfigs import ProxyConfigs

if TYPE_CHECKING:
    from common.kube import Kubernetes

Object = Mapping[str, Any]

PORT: Final = 9443
ERROR, WARNING, OK = "error", "warning", "ok"
# What a pod may say for itself, as far as a webhook's objectSelector asks for it.
_PODS: Final[tuple[Mapping[str, str], ...]] = ({}, {INJECT: "true"})


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it is (ERROR, WARNING, OK), and for all but OK what to do about it."""

    level: str
    about: str
    message: str
    remedy: str = ""


def of_configuration(name: str, configuration: Object) -> Iterator[Finding]:
    """Whether a MutatingWebhookConfiguration has webhooks that call a Service, and a caBundle."""
    about = f"MutatingWebhookConfiguration {name}"
    webhooks = configuration.get("webhooks") or []
    if not webhooks:
        yield Finding(ERROR, about, "has no webhooks", "apply the chart again")
    for webhook in webhooks:
        if not webhook["clientConfig"].get("caBundle"):
            what = "its caBundle is empty, so no API server trusts the webhook"
            yield Finding(ERROR, f"{about}, {webhook['name']}", what, "look at the log of a replica: it writes it")


def of_replicas(kubernetes: Kubernetes, configuration: Object) -> Iterator[Finding]:
    """Whether each replica behind the configuration's Service answers, with a certificate that its caBundle trusts."""
    client = next(
        (it["clientConfig"] for it in configuration.get("webhooks") or [] if it["clientConfig"].get("service")), None
    )
    if client is None:
        return
    name, namespace = client["service"]["name"], client["service"]["namespace"]
    about = f"Service {namespace}/{name}"
    try:
        selector = kubernetes.get("Service", name, namespace)["spec"].get("selector") or {}
    except KubernetesError as error:
        yield Finding(ERROR, about, str(error), "apply the chart again")
        return
    pods = [pod for pod in kubernetes.get("Pod", None, namespace)["items"] if _has(pod, selector) and _is_ready(pod)]
    if not pods:
        yield Finding(ERROR, about, "no replica is ready", f"kubectl -n {namespace} describe pods; their logs say why")
    bundle = b64decode(client.get("caBundle") or "").decode("ascii", "replace")
    for pod in pods:
        yield _answer(kubernetes, pod["metadata"]["name"], namespace, f"{name}.{namespace}.svc", bundle)


def _answer(kubernetes: Kubernetes, pod: str, namespace: str, server_name: str, bundle: str) -> Finding:
    about = f"Pod {namespace}/{pod}"
    try:
        context = ssl.create_default_context(cadata=bundle or None)
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        with (
            kubernetes.forward(namespace, pod, PORT) as plain,
            context.wrap_socket(plain, server_hostname=server_name) as connection,
        ):
            connection.sendall(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            status = connection.recv(64).partition(b"\r\n")[0].decode("ascii", "replace")
    except ssl.SSLError as error:
        what = f"its certificate does not fit the caBundle or the name {server_name}: {error}"
        remedy = (
            "kubectl get mutatingwebhookconfiguration --show-managed-fields -o yaml tells who has written the caBundle"
        )
        return Finding(ERROR, about, what, remedy)
    except (OSError, KubernetesError) as error:
        return Finding(ERROR, about, f"does not answer on port {PORT}: {error}", "its log says why")
    if " 200 " not in f"{status} ":
        return Finding(ERROR, about, f"/readyz answers {status}", "its log says why")
    return Finding(OK, about, f"answers, with a certificate for {server_name} that the caBundle trusts")


def of_selectors(name: str, configurations: Iterable[Object], namespaces: Iterable[Object]) -> Iterator[Finding]:
    """Whether pods of each namespace go to one injector: to none though its label asks for one, or to a second."""
    injectors = {
        it["metadata"]["name"]: [w for w in it.get("webhooks") or [] if _asks_for_pods(w)] for it in configurations
    }
    for namespace in namespaces:
        metadata = namespace["metadata"]
        labels = {"kubernetes.io/metadata.name": metadata["name"], **(metadata.get("labels") or {})}
        about = f"Namespace {metadata['name']}"
        found = [
            injector
            for injector, webhooks in injectors.items()
            if any(_selects(webhook, labels, pod) for webhook in webhooks for pod in _PODS)
        ]
        others = [injector for injector in found if injector != name and _injects(injector)]
        if name in found and others:
            remedy = (
                f"give it one of the labels istio-injection and {REVISION}, and each injector a revision of its own"
            )
            yield Finding(ERROR, about, f"its pods go to {name} and also to {', '.join(others)}", remedy)
        asked = labels.get("istio-injection") == "enabled" or labels.get(REVISION)
        if asked and not any(_injects(injector) for injector in found):
            said = f"{REVISION}={labels[REVISION]}" if labels.get(REVISION) else "istio-injection=enabled"
            remedy = "install that revision, or change the label"
            yield Finding(ERROR, about, f"is labelled {said}, and no injector serves that", remedy)


def of_pods(
    settings: Settings,
    pods: Iterable[Object],
    namespaces: Mapping[str, Object],
    configs: ProxyConfigs = NO_PROXY_CONFIGS,
    *,
    native: bool,
) -> Iterator[Finding]:
    """Which injected pods were given another proxy or other rules than they would be given today."""
    for pod in pods:
        metadata = pod["metadata"]
        if STATUS not in podtree.annotations_of(dict(pod)):
            continue
        about = f"Pod {metadata['namespace']}/{metadata['name']}"
        where = metadata["namespace"]
        request = Request(uninject(dict(pod)), where, namespaces.get(where), native, proxy_configs=configs)
        try:
            today = inject(settings, request).pod
        except InjectionError as error:
            yield Finding(WARNING, about, f"would be refused today: {error}", "mend it before it is made anew")
            continue
        changed = [what for what, read in _COMPARED.items() if read(dict(pod)) != read(today)]
        if changed:
            remedy = "kubectl rollout restart what it belongs to"
            yield Finding(WARNING, about, f"runs with settings of before: {', '.join(changed)}", remedy)


def _part(container: str, field: str) -> Callable[[dict[str, Any]], Any]:
    return lambda pod: (podtree.find_in_pod(pod, container) or {}).get(field)


_COMPARED: Final = {
    f"{field} of {container}": _part(container, field) for container in (PROXY, INIT) for field in ("image", "args")
}


def _injects(configuration: str) -> bool:
    """By name, as Istio's chart and this one give it: other webhooks ask for pods, too, and inject nothing."""
    return "sidecar-injector" in configuration or "pyinject" in configuration or "revision-tag" in configuration


def _asks_for_pods(webhook: Object) -> bool:
    return any(
        {"pods", "*"} & set(rule.get("resources") or []) and {"CREATE", "*"} & set(rule.get("operations") or [])
        for rule in webhook.get("rules") or []
    )


def _selects(webhook: Object, namespace: Mapping[str, str], pod: Mapping[str, str]) -> bool:
    try:
        wanted = [
            (selectors.parse(webhook.get(f) or {}, f), labels)
            for f, labels in (("namespaceSelector", namespace), ("objectSelector", pod))
        ]
    except SettingsError:
        return False
    return all(requirement.holds(labels) for selector, labels in wanted for requirement in selector.requirements)


def _has(pod: Object, labels: Mapping[str, str]) -> bool:
    return bool(labels) and labels.items() <= (pod["metadata"].get("labels") or {}).items()


def _is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(it.get("type") == "Ready" and it.get("status") == "True" for it in conditions)
