"""Every kind that pymesh reads: where the API server keeps it, and how it becomes a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from mesh.model import (
    destinationrule,
    gateway,
    gatewayapi,
    httproute,
    ingress,
    l4route,
    meshconfig,
    secret,
    service,
    serviceentry,
    sidecar,
    telemetry,
    virtualservice,
    workload,
)
from mesh.model.meta import Meta, ObjectRef, meta
from mesh.model.problem import Problem
from mesh.model.reading import ABSENT, DOMAIN, Reading, shown
from mesh.model.shape import shape_of

Make = Callable[[Mapping[str, Any], Meta, Reading], Any]


class Parsed(NamedTuple):
    """What an object became: its value, or None where an error forbids it, and all problems; the errors first."""

    ref: ObjectRef
    value: Any
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind: `versions` with the preferred one first, `plural` as in the API server's paths.

    `key` is what the program knows it by, in events and ObjectRefs: its name, but for Gateway API's Gateway, which is
    `KubernetesGateway` (Istio's name for it), for Istio has a Gateway too; and `MeshConfig` is the ConfigMap `istio`.
    `wanted` says of a value whether anybody asks for it.
    """

    key: str
    group: str
    versions: tuple[str, ...]
    plural: str
    make: Make
    value: type
    namespaced: bool = True
    wanted: Callable[[Any], bool] = lambda _value: True

    @property
    def name(self) -> str:
        """The kind as the object spells it."""
        return {"KubernetesGateway": "Gateway", "MeshConfig": "ConfigMap"}.get(self.key, self.key)

    @property
    def api_version(self) -> str:
        """group/version of the preferred one."""
        return f"{self.group}/{self.versions[0]}" if self.group else self.versions[0]

    def path(self, version: str = "") -> str:
        """Where the API server lists all of them."""
        root = f"/apis/{self.group}" if self.group else "/api"
        return f"{root}/{version or self.versions[0]}/{self.plural}"

    def parse(self, thing: Mapping[str, Any], domain: str = DOMAIN) -> Parsed:
        """Reads an object of this kind. It never raises, whatever the object holds."""
        found = meta(self.key, thing, self.namespaced)
        r = Reading(found.ref, domain)
        _metadata(thing, r)
        value = self.make(thing, found, r)
        if r.errors or value is ABSENT:
            value = None
        return Parsed(found.ref, value, tuple(sorted(r.problems, key=lambda one: one.severity)))


def _metadata(thing: Mapping[str, Any], r: Reading) -> None:
    data = thing.get("metadata")
    if not isinstance(data, Mapping):
        r.error("not-an-object", f"want an object, not {shown(data)}", "metadata")
        return
    name = data.get("name")
    if not isinstance(name, str) or not name:
        r.error("missing", "an object needs a name", "metadata", "name")
    for key in ("labels", "annotations"):
        table = data.get(key)
        if table is None:
            continue
        if not isinstance(table, Mapping):
            r.error("wrong-type", f"want a map of strings, not {shown(table)}", "metadata", key)
            continue
        for label, value in table.items():
            if not isinstance(label, str) or not isinstance(value, str):
                r.error("wrong-type", f"want a string, not {shown(value)}", "metadata", key, str(label))


def _bare(cls: Any) -> Make:
    """Of this kind the metadata is all that counts."""
    return lambda _thing, meta, _r: cls(meta)


_TOP = ("apiVersion", "kind", "metadata", "spec", "status")


def _spec(cls: Any) -> Make:
    """The fields under `spec` are the value's."""
    return partial(_of_spec, cls)


def _of_spec(cls: Any, thing: Mapping[str, Any], meta: Meta, r: Reading) -> Any:
    for key in thing:
        if key not in _TOP:
            r.unknown(key, _TOP)
    spec = thing.get("spec")
    r.path.append("spec")
    made = shape_of(cls).read({} if spec is None else spec, r, meta=meta)
    r.path.pop()
    return made


ISTIO = "networking.istio.io"
_ISTIO_VERSIONS = ("v1", "v1beta1", "v1alpha3")


def _istio(cls: Any, plural: str) -> Kind:
    return Kind(cls.__name__, ISTIO, _ISTIO_VERSIONS, plural, _spec(cls), cls)


TELEMETRY = "telemetry.istio.io"


def _gateway_api(cls: Any, plural: str, *versions: str, namespaced: bool = True) -> Kind:
    return Kind(cls.__name__, gatewayapi.GROUP, versions, plural, _spec(cls), cls, namespaced)


def _ingress(cls: Any, plural: str, namespaced: bool = True) -> Kind:
    return Kind(cls.__name__, "networking.k8s.io", ("v1",), plural, _spec(cls), cls, namespaced)


_ALL = (
    Kind("Namespace", "", ("v1",), "namespaces", _bare(workload.Namespace), workload.Namespace, False),
    Kind("Node", "", ("v1",), "nodes", _bare(workload.Node), workload.Node, False),
    Kind("Pod", "", ("v1",), "pods", workload.pod, workload.Pod),
    Kind("Service", "", ("v1",), "services", service.service, service.Service),
    Kind(
        "EndpointSlice",
        "discovery.k8s.io",
        ("v1",),
        "endpointslices",
        service.endpoint_slice,
        service.EndpointSlice,
    ),
    _istio(virtualservice.VirtualService, "virtualservices"),
    _istio(destinationrule.DestinationRule, "destinationrules"),
    _istio(serviceentry.ServiceEntry, "serviceentries"),
    _istio(sidecar.Sidecar, "sidecars"),
    _istio(gateway.Gateway, "gateways"),
    _istio(workload.WorkloadEntry, "workloadentries"),
    Kind("Telemetry", TELEMETRY, ("v1", "v1alpha1"), "telemetries", _spec(telemetry.Telemetry), telemetry.Telemetry),
    _gateway_api(gatewayapi.GatewayClass, "gatewayclasses", "v1", "v1beta1", namespaced=False),
    _gateway_api(gatewayapi.KubernetesGateway, "gateways", "v1", "v1beta1"),
    _gateway_api(gatewayapi.ListenerSet, "listenersets", "v1"),
    _gateway_api(gatewayapi.ReferenceGrant, "referencegrants", "v1", "v1beta1"),
    _gateway_api(gatewayapi.BackendTLSPolicy, "backendtlspolicies", "v1", "v1alpha3"),
    _gateway_api(httproute.HTTPRoute, "httproutes", "v1", "v1beta1"),
    _gateway_api(httproute.GRPCRoute, "grpcroutes", "v1", "v1alpha2"),
    _gateway_api(l4route.TLSRoute, "tlsroutes", "v1", "v1alpha3", "v1alpha2"),
    _gateway_api(l4route.TCPRoute, "tcproutes", "v1", "v1alpha2"),
    _gateway_api(l4route.UDPRoute, "udproutes", "v1", "v1alpha2"),
    _ingress(ingress.Ingress, "ingresses"),
    _ingress(ingress.IngressClass, "ingressclasses", namespaced=False),
    Kind("Secret", "", ("v1",), "secrets", secret.secret, secret.Secret, wanted=secret.holds),
    Kind("ConfigMap", "", ("v1",), "configmaps", secret.config_map, secret.ConfigMap, wanted=secret.holds),
    Kind("MeshConfig", "", ("v1",), "configmaps", meshconfig.from_config_map, meshconfig.MeshConfig),
)

# By group and kind, for two groups have a Gateway.
KINDS: dict[tuple[str, str], Kind] = {(one.group, one.name): one for one in _ALL if one.key != "MeshConfig"}
BY_KEY: dict[str, Kind] = {one.key: one for one in _ALL}


def kind_of(thing: Any) -> Kind | None:
    """The kind of an object by its apiVersion and kind; None if pymesh does not read it."""
    if not isinstance(thing, Mapping):
        return None
    version, name = thing.get("apiVersion"), thing.get("kind")
    if not isinstance(version, str) or not isinstance(name, str):
        return None
    group, _, last = version.rpartition("/")
    kind = KINDS.get((group, name))
    if kind is None or last not in kind.versions:
        return None
    if kind.key == "ConfigMap" and _is_mesh(thing):
        return BY_KEY["MeshConfig"]
    return kind


def _is_mesh(thing: Mapping[str, Any]) -> bool:
    data, metadata = thing.get("data"), thing.get("metadata")
    return (
        isinstance(data, Mapping)
        and "mesh" in data
        and isinstance(metadata, Mapping)
        and metadata.get("name") == "istio"
    )
