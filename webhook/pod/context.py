"""What a template sees of a pod and its settings. Each part is made when a template first asks for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from webhook.pod import annotations as names
from webhook.pod import podtree, probes, prometheus
from webhook.pod.podtree import Pod
from webhook.pod.probes import Probers
from webhook.pod.workload import Workload
from webhook.settings import Settings, proxyconfig
from webhook.settings.containers import PROXY
from webhook.settings.profiles import ISTIO
from webhook.settings.proxyconfig import ProxyConfig

PROXY_ID = 1337

_UID_RANGE = "openshift.io/sa.scc.uid-range"
_GROUP_RANGE = "openshift.io/sa.scc.supplemental-groups"
_RANGE = re.compile(r"(\d{1,10})([/-])(\d{1,10})")
_PORT_FIELDS = ("name", "hostPort", "containerPort", "protocol", "hostIP")
_IMAGE_TYPES = ("distroless", "debug")


class Context:
    """A pod as templates see it: as its author wrote it, without what an earlier injection added."""

    def __init__(
        self,
        settings: Settings,
        pod: Pod,
        *,
        workload: Workload,
        native: bool,
        proxy: ProxyConfig,
        namespace: Mapping[str, Any] | None,
        earlier_probers: Probers,
        earlier_metrics: str | None = None,
    ) -> None:
        self._settings = settings
        self._pod = pod
        self._workload = workload
        self._namespace = namespace
        self._earlier_probers = earlier_probers
        self._earlier_metrics = earlier_metrics
        self.proxy = proxy
        self.annotations = podtree.annotations_of(pod)
        self.labels = podtree.labels_of(pod)
        self.metadata = podtree.metadata_of(pod)
        self.spec = podtree.spec_of(pod)
        # The annotation says no with "false" alone; any other value, as Istio has it, says yes.
        self.native = self.annotations.get(names.NATIVE_SIDECAR, "") != "false" and (
            native or bool(self.annotations.get(names.NATIVE_SIDECAR))
        )

    @cached_property
    def containers(self) -> list[str]:
        """The names of the app's containers."""
        found = (container.get("name") or "" for container in podtree.containers_of(self._pod))
        return [name for name in found if name != PROXY]

    @cached_property
    def ports(self) -> list[dict[str, Any]]:
        """All ports of all containers, with the fields that say something."""
        return [
            {field: port[field] for field in _PORT_FIELDS if port.get(field)}
            for container in podtree.containers_of(self._pod)
            for port in container.get("ports") or ()
        ]

    @cached_property
    def workload(self) -> dict[str, str]:
        """Who made the pod."""
        it = self._workload
        return {"name": it.name, "namespace": it.namespace, "kind": it.kind, "api_version": it.api_version}

    @cached_property
    def proxy_json(self) -> str:
        """The proxy configuration for the proxy's agent, without what is its default."""
        settings = self._settings
        return settings.proxy_json if self.proxy is settings.proxy else proxyconfig.to_json(self.proxy)

    @cached_property
    def image(self) -> str:
        """The proxy's image, hub/image:tag; annotation, proxy configuration or variant give the tag's image type."""
        settings = self._settings.values.get("global") or {}
        name = (settings.get("proxy") or {}).get("image") or "proxyv2"
        image = self.proxy.get("image")
        kind = settings.get("variant") or "" if image is None else image.get("imageType") or ""
        kind = self.annotations.get(names.IMAGE_TYPE, kind)
        return f"{settings.get('hub')}/{name}:{_with_image_type(str(settings.get('tag') or ''), kind)}"

    @cached_property
    def uid(self) -> int:
        """The proxy's user: on OpenShift the last of the namespace's range, which no container gets by itself."""
        return _last_of_range(self._namespace_annotation(_UID_RANGE)) or PROXY_ID

    @cached_property
    def gid(self) -> int:
        """The proxy's group, likewise."""
        groups = self._namespace_annotation(_GROUP_RANGE) or self._namespace_annotation(_UID_RANGE)
        return _last_of_range(groups.partition(",")[0]) or PROXY_ID

    @cached_property
    def probers(self) -> Probers:
        """The app's probes and hooks that the proxy is to answer, by path; empty where they are not to be rewritten."""
        if probe_port(self._settings, self.annotations, self.proxy) is None:
            return {}
        return probes.collect(self._pod, self._earlier_probers)

    @cached_property
    def app_metrics(self) -> dict[str, str]:
        """Where the app's own metrics are that the proxy shows with its own: `scrape`, `path`, `port`; or empty."""
        settings = self._settings
        port = metrics_port(settings, self.annotations, self.proxy)
        return prometheus.app_metrics(self.annotations, port, self._earlier_metrics, default=settings.prometheus_merge)

    def _namespace_annotation(self, name: str) -> str:
        value = ((self._namespace or {}).get("annotations") or {}).get(name)
        return value if isinstance(value, str) else ""


def probe_port(settings: Settings, annotations: Mapping[str, str], proxy: ProxyConfig) -> int | None:
    """The proxy's port to which the app's probes are turned; None where they stay as they are.

    Istio's injector asks the mesh's proxy configuration alone, not the pod's, and turns them to port 0 too.
    """
    if not probes.wanted(annotations, default=settings.rewrite_probes):
        return None
    asked = names.status_port(annotations)
    if settings.profile == ISTIO:
        return settings.status_port if asked is None else asked
    return _own_port(asked, proxy)


def metrics_port(settings: Settings, annotations: Mapping[str, str], proxy: ProxyConfig) -> int | None:
    """The proxy's port at which its metrics, and the app's with them, are read; None where it has none.

    Istio's injector asks the mesh's proxy configuration alone.
    """
    return settings.status_port if settings.profile == ISTIO else _own_port(names.status_port(annotations), proxy)


def _own_port(asked: int | None, proxy: ProxyConfig) -> int | None:
    return (int(proxy["statusPort"]) if asked is None else asked) or None


def is_openshift(namespace: Mapping[str, Any] | None) -> bool:
    """Whether a namespace's metadata has the range of users that OpenShift gives each namespace."""
    return _UID_RANGE in ((namespace or {}).get("annotations") or {})


def _last_of_range(text: str) -> int | None:
    """The end of `first/size` or `first-last`."""
    if (match := _RANGE.fullmatch(text.strip())) is None:
        return None
    first, separator, second = int(match[1]), match[2], int(match[3])
    return first + second - 1 if separator == "/" else second


def _with_image_type(tag: str, kind: str) -> str:
    """A tag for an image type: the type replaces the one that the tag has; `default` is the tag without any."""
    if not kind:
        return tag
    for known in _IMAGE_TYPES:
        if tag.endswith(f"-{known}"):
            tag = tag.removesuffix(f"-{known}")
            break
    return tag if kind == "default" else f"{tag}-{kind}"
