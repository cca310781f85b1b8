"""The pipeline as one function: a pod and the settings in, the injected pod and its JSON Patch out. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from webhook.pod import annotations as names
from webhook.pod import earlier, finish, overlay, podtree, probes, prometheus, users
from webhook.pod.context import Context, is_openshift, metrics_port, probe_port
from webhook.pod.decide import Decision as Decision
from webhook.pod.decide import decide
from webhook.pod.earlier import Status
from webhook.pod.patch import patch
from webhook.pod.podtree import Pod
from webhook.pod.shape import check_pod
from webhook.pod.warn import warnings
from webhook.pod.workload import Workload, of_pod
from webhook.settings import Settings, proxyconfig
from webhook.settings.containers import PROXY
from webhook.settings.proxyconfig import ProxyConfig
from webhook.settings.proxyconfigs import ProxyConfigs

CLUSTER_VARIABLE = "ISTIO_META_CLUSTER_ID"
NETWORK_VARIABLE = "ISTIO_META_NETWORK"
NO_PROXY_CONFIGS: Final = ProxyConfigs()


@dataclass(frozen=True, slots=True)
class Request:
    """A pod to inject, as decoded from JSON or YAML, and what its caller knows beside it.

    namespace           where the pod will run; may differ from its metadata, which a controller leaves without one
    namespace_metadata  metadata of that Namespace object, where it is known (OpenShift keeps its ranges of ids there)
    native_sidecars     whether the nodes run init containers with restartPolicy Always (1.29; by default from 1.33)
    workload            what the pod belongs to; None: found out from its owner references
    proxy_env           variables that the webhook's URL sets in the proxy, e.g. {"ISTIO_META_NETWORK": "east"}
    proxy_configs       the ProxyConfig resources of all namespaces
    """

    pod: dict[str, Any]
    namespace: str = ""
    namespace_metadata: Mapping[str, Any] | None = None
    native_sidecars: bool = False
    workload: Workload | None = None
    proxy_env: Mapping[str, str] = field(default_factory=dict)
    proxy_configs: ProxyConfigs = NO_PROXY_CONFIGS


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a request.

    pod       the injected pod; the request's own object where it is not injected
    patch     RFC 6902 operations that make the one from the other; empty where nothing changes
    warnings  sentences for who creates the pod
    """

    decision: Decision
    pod: dict[str, Any]
    patch: list[dict[str, Any]] = field(default_factory=list)
    warnings: tuple[str, ...] = ()


def inject(settings: Settings, request: Request) -> Result:
    """Inject the request's pod, or leave it, as the settings and the pod's own labels and annotations say.

    The pod is not changed: the result shares with it all that stays the same. Raises InjectionError for a pod that
    cannot be injected as it asks to be.
    """
    pod = request.pod
    check_pod(pod)
    annotations, labels = podtree.annotations_of(pod), podtree.labels_of(pod)
    decision = decide(settings.policy, podtree.spec_of(pod), request.namespace, labels, annotations)
    if not decision.inject:
        return Result(decision, pod, warnings=(decision.warning,) if decision.warning else ())
    names.check(annotations)
    injected = _injected(settings, request, pod)
    told = warnings(pod, injected, request.namespace, request.namespace_metadata)
    if decision.warning:
        told = (decision.warning, *told)
    return Result(decision, injected, patch(pod, injected), told)


def _injected(settings: Settings, request: Request, original: Pod) -> Pod:
    pod = users.without_app_user(original) if is_openshift(request.namespace_metadata) else original
    annotations = podtree.annotations_of(pod)
    proxy = _proxy_config(settings, request, podtree.labels_of(original), annotations)
    status = Status.of(pod)
    pod, carried = earlier.without_carried(pod) if status is not None else (pod, {})
    earlier_probers = probes.parse(carried.get(probes.VARIABLE))
    scraped_at = metrics_port(settings, annotations, proxy)
    authored = earlier.stripped(pod, status, scraped_at)
    context = Context(
        settings,
        authored,
        workload=request.workload or of_pod(podtree.metadata_of(pod), podtree.labels_of(pod), request.namespace),
        native=request.native_sidecars,
        proxy=proxy,
        namespace=request.namespace_metadata,
        earlier_probers=earlier_probers,
        earlier_metrics=carried.get(prometheus.VARIABLE),
    )
    overlaid = overlay.lay_over(settings, pod, context, status)
    pod = users.with_users_of(overlaid.pod, authored, context)

    environment = _cluster_environment(settings, request, podtree.labels_of(original))
    sidecar = podtree.find_in_pod(pod, PROXY)
    if sidecar is not None and environment:
        pod = podtree.with_container(pod, sidecar, podtree.with_variables(sidecar, environment))
    app_metrics = carried.get(prometheus.VARIABLE)
    pod = prometheus.merge_metrics(pod, scraped_at, app_metrics, default=settings.prometheus_merge)
    pod = _with_probes(pod, earlier_probers, probe_port(settings, podtree.annotations_of(pod), proxy))
    finish.check_arguments(pod)
    pod = finish.marked(
        pod, overlaid.added, settings.revision, environment.get(NETWORK_VARIABLE, ""), settings.injected_annotations
    )
    return finish.ordered(pod, hold=settings.hold_application or bool(proxy.get("holdApplicationUntilProxyStarts")))


def _proxy_config(
    settings: Settings, request: Request, labels: Mapping[str, str], annotations: Mapping[str, str]
) -> ProxyConfig:
    own = annotations.get(names.PROXY_CONFIG)
    parsed = None if own is None else proxyconfig.parse(own)
    return request.proxy_configs.over(settings.proxy, settings.root_namespace, request.namespace, labels, parsed)


def _cluster_environment(settings: Settings, request: Request, labels: Mapping[str, str]) -> dict[str, str]:
    """Variables for the proxy's cluster and network: the settings', over them the URL's, over that the pod's label."""
    found = dict(request.proxy_env)
    cluster = found.get(CLUSTER_VARIABLE) or settings.cluster
    network = labels.get(names.NETWORK_LABEL, found.get(NETWORK_VARIABLE) or settings.network)
    if cluster:
        found[CLUSTER_VARIABLE] = cluster
    if network:
        found[NETWORK_VARIABLE] = network
    return dict(sorted(found.items()))


def _with_probes(pod: Pod, earlier: probes.Probers, port: int | None) -> Pod:
    """The pod with its probes answered by the proxy on `port`, where there is one and they are to be rewritten."""
    sidecar = podtree.find_in_pod(pod, PROXY)
    if sidecar is None:
        return pod
    # what an earlier injection rewrote stays so, and the proxy has to know it, also when no more is to be rewritten
    found = probes.collect(pod, earlier) if port is not None else earlier
    if found:
        text = probes.to_json(found)
        pod = podtree.with_container(pod, sidecar, podtree.with_variables(sidecar, {probes.VARIABLE: text}))
    return pod if port is None else probes.rewrite(pod, port)
