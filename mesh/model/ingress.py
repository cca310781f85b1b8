"""Ingress and IngressClass (networking.k8s.io/v1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mesh.model import fields as f
from mesh.model.meta import Meta
from mesh.model.reading import Reading
from mesh.model.shape import one_of, port, read, sub, subs, text, texts


@dataclass(frozen=True, slots=True)
class BackendPort:
    """A Service's port by name or number (ServiceBackendPort)."""

    ONE_OF = (("name", "number"),)

    name: str = text()
    number: int = port(0)

    def check(self, r: Reading) -> None:
        """One of them."""
        if not (self.name or self.number):
            r.error("missing", "name or number is needed", "number")


@dataclass(frozen=True, slots=True)
class ServiceBackend:
    """A Service of the Ingress's namespace (IngressServiceBackend)."""

    name: str = text(needed=True, empty=False)
    port: BackendPort | None = sub(BackendPort, needed=True)


@dataclass(frozen=True, slots=True)
class IngressBackend:
    """Where a request goes (IngressBackend)."""

    ONE_OF = (("service", "resource"),)

    service: ServiceBackend | None = sub(ServiceBackend)
    resource: Any = read(f.Raw())

    def check(self, r: Reading) -> None:
        """A Service: nothing else can be called."""
        if self.resource is not None:
            r.warn("not-supported", "only a Service can be a backend", "resource")
        elif self.service is None:
            r.error("missing", "service is needed", "service")


@dataclass(frozen=True, slots=True)
class HTTPIngressPath:
    """A path with its backend (HTTPIngressPath). ImplementationSpecific is as Istio takes it: like Prefix or Exact."""

    path: str = text()
    path_type: str = one_of("ImplementationSpecific", "Exact", "Prefix", needed=True)
    backend: IngressBackend | None = sub(IngressBackend, needed=True)

    def check(self, r: Reading) -> None:
        """A path begins with /."""
        if self.path_type != "ImplementationSpecific" and not self.path.startswith("/"):
            r.error("not-allowed", f'"{self.path}" does not begin with /', "path")


@dataclass(frozen=True, slots=True)
class HTTPIngressRuleValue:
    """Paths (HTTPIngressRuleValue)."""

    paths: tuple[HTTPIngressPath, ...] = subs(HTTPIngressPath, least=1, needed=True)


@dataclass(frozen=True, slots=True)
class IngressRule:
    """A host's paths (IngressRule); without a host, any."""

    host: str = text(f.wildcard_fqdn)
    http: HTTPIngressRuleValue | None = sub(HTTPIngressRuleValue)


@dataclass(frozen=True, slots=True)
class IngressTLS:
    """Hosts with their certificate (IngressTLS)."""

    hosts: tuple[str, ...] = texts(f.wildcard_fqdn)
    secret_name: str = text()


@dataclass(frozen=True, slots=True)
class Ingress:
    """Where requests from outside go (Ingress). `class_name` is the field, else the annotation of old."""

    meta: Meta
    ingress_class_name: str = text()
    default_backend: IngressBackend | None = sub(IngressBackend)
    rules: tuple[IngressRule, ...] = subs(IngressRule)
    tls: tuple[IngressTLS, ...] = subs(IngressTLS)

    @property
    def class_name(self) -> str:
        """The name of its IngressClass, or empty."""
        return self.meta.annotations.get("kubernetes.io/ingress.class") or self.ingress_class_name

    def check(self, r: Reading) -> None:
        """It says something."""
        if not (self.default_backend or self.rules):
            r.error("missing", "an Ingress needs rules or defaultBackend", "rules")


@dataclass(frozen=True, slots=True)
class IngressClass:
    """Whose Ingresses these are (IngressClass)."""

    meta: Meta
    controller: str = text()
    parameters: Any = read(f.Raw())

    @property
    def is_default(self) -> bool:
        """Whether Ingresses without a class are of it."""
        return self.meta.annotations.get("ingressclass.kubernetes.io/is-default-class") == "true"
