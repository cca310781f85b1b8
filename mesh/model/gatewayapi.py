"""Gateway API (gateway.networking.k8s.io): GatewayClass, Gateway, ListenerSet, ReferenceGrant, BackendTLSPolicy.

The API server's defaults are applied here too, for objects that never were in one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mesh.model import fields as f
from mesh.model.common import LabelSelector
from mesh.model.meta import Meta
from mesh.model.reading import Reading
from mesh.model.shape import Sub, one_of, port, read, sub, subs, text, text_map

GROUP = "gateway.networking.k8s.io"

SECTION = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
HOSTNAME = rf"(\*\.)?{SECTION}"
HEADER = r"[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+"


def hostname(**more: Any) -> Any:
    """A hostname, `*.` before it allowed."""
    return text(pattern=HOSTNAME, longest=253, **more)


def hostnames(**more: Any) -> Any:
    """A list of hostnames."""
    return read(f.Many(f.Text(pattern=HOSTNAME, longest=253, empty=False)), (), **more)


@dataclass(frozen=True, slots=True)
class ParentReference:
    """What a route attaches to (ParentReference): a Gateway, a listener of it, a Service. Namespace empty: its own."""

    group: str = text(default=GROUP)
    kind: str = text(default="Gateway", empty=False)
    name: str = text(needed=True, empty=False)
    namespace: str = text(f.label)
    section_name: str = text(pattern=SECTION, longest=253)
    port: int | None = port()


@dataclass(frozen=True, slots=True)
class BackendObjectReference:
    """Where a request goes (BackendObjectReference): a Service unless told another. Namespace empty: the route's."""

    group: str = text()
    kind: str = text(default="Service", empty=False)
    name: str = text(needed=True, empty=False)
    namespace: str = text(f.label)
    port: int | None = port()

    def check(self, r: Reading) -> None:
        """A Service is called at a port."""
        check_backend(self.group, self.kind, self.port, r)


def check_backend(group: str, kind: str, port: int | None, r: Reading) -> None:
    """A Service is called at a port (a CEL rule of the API)."""
    if not group and kind == "Service" and port is None:
        r.error("missing", "a Service needs a port", "port")


@dataclass(frozen=True, slots=True)
class SecretObjectReference:
    """A certificate (SecretObjectReference). Namespace empty: the referrer's."""

    group: str = text()
    kind: str = text(default="Secret", empty=False)
    name: str = text(needed=True, empty=False)
    namespace: str = text(f.label)


@dataclass(frozen=True, slots=True)
class ObjectReference:
    """An object of any kind (ObjectReference)."""

    group: str = text(needed=True)
    kind: str = text(needed=True, empty=False)
    name: str = text(needed=True, empty=False)
    namespace: str = text(f.label)


@dataclass(frozen=True, slots=True)
class GatewayClass:
    """Whose Gateways these are (GatewayClass)."""

    meta: Meta
    controller_name: str = text(needed=True, pattern=rf"{SECTION}/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+")
    description: str = text()
    parameters_ref: ObjectReference | None = sub(ObjectReference)


@dataclass(frozen=True, slots=True)
class RouteGroupKind:
    """A kind of route (RouteGroupKind)."""

    group: str = text(default=GROUP)
    kind: str = text(needed=True, empty=False)


@dataclass(frozen=True, slots=True)
class RouteNamespaces:
    """Namespaces whose routes may attach (RouteNamespaces)."""

    from_: str = one_of("Same", "All", "Selector", "None", name="from")
    selector: LabelSelector | None = sub(LabelSelector)

    def check(self, r: Reading) -> None:
        """A selector is needed where it selects."""
        if self.from_ == "Selector" and self.selector is None:
            r.error("missing", "from: Selector needs a selector", "selector")


@dataclass(frozen=True, slots=True)
class AllowedRoutes:
    """Which routes may attach (AllowedRoutes); no kinds means those that the protocol takes."""

    namespaces: RouteNamespaces = read(Sub(RouteNamespaces), RouteNamespaces())
    kinds: tuple[RouteGroupKind, ...] = subs(RouteGroupKind)


@dataclass(frozen=True, slots=True)
class ListenerTLSConfig:
    """TLS at a listener (ListenerTLSConfig)."""

    mode: str = one_of("Terminate", "Passthrough")
    certificate_refs: tuple[SecretObjectReference, ...] = subs(SecretObjectReference)
    options: Mapping[str, str] = text_map()
    frontend_validation: Any = read(f.Raw())

    def check(self, r: Reading) -> None:
        """A certificate, or options that name one in a way of their own."""
        if self.mode == "Terminate" and not self.certificate_refs and not self.options:
            r.error("missing", "Terminate needs certificateRefs or options", "certificateRefs")


@dataclass(frozen=True, slots=True)
class Listener:
    """A port of a Gateway (Listener); without a hostname it takes all."""

    name: str = text(pattern=SECTION, longest=253, needed=True)
    hostname: str = hostname()
    port: int = port(0, needed=True)
    protocol: str = text(needed=True, empty=False)
    tls: ListenerTLSConfig | None = sub(ListenerTLSConfig)
    allowed_routes: AllowedRoutes = read(Sub(AllowedRoutes), AllowedRoutes())
    filters: Any = read(f.Raw())

    def check(self, r: Reading) -> None:
        """TLS where the protocol wants it (CEL rules of the API)."""
        if self.protocol in ("HTTP", "TCP", "UDP") and self.tls is not None:
            r.error("conflict", f"{self.protocol} has no tls", "tls")
        if self.protocol in ("TCP", "UDP") and self.hostname:
            r.error("conflict", f"{self.protocol} has no hostname", "hostname")
        if self.protocol == "HTTPS" and self.tls is not None and self.tls.mode != "Terminate":
            r.error("not-allowed", "HTTPS wants mode Terminate", "tls", "mode")
        if self.protocol == "TLS" and self.tls is None:
            r.error("missing", "TLS needs tls", "tls")


def check_listeners(listeners: tuple[Listener, ...], r: Reading) -> None:
    """Names are unique, and so are port, protocol and hostname together."""
    names: set[str] = set()
    places: set[tuple[int, str, str]] = set()
    for index, one in enumerate(listeners):
        if one.name in names:
            r.error("conflict", f'"{one.name}" is there twice', "listeners", index, "name")
        place = (one.port, one.protocol, one.hostname)
        if place in places:
            r.error("conflict", "another listener has this port, protocol and hostname", "listeners", index)
        names.add(one.name)
        places.add(place)


@dataclass(frozen=True, slots=True)
class GatewayAddress:
    """An address asked for (GatewaySpecAddress)."""

    type: str = text(default="IPAddress")
    value: str = text(longest=253)


@dataclass(frozen=True, slots=True)
class Infrastructure:
    """What the Deployment and Service of a Gateway get (GatewayInfrastructure)."""

    labels: Mapping[str, str] = text_map()
    annotations: Mapping[str, str] = text_map()
    parameters_ref: ObjectReference | None = sub(ObjectReference)


@dataclass(frozen=True, slots=True)
class FrontendValidation:
    """How clients' certificates are looked at (FrontendTLSValidation)."""

    ca_certificate_refs: tuple[ObjectReference, ...] = subs(ObjectReference, least=1, needed=True)
    mode: str = one_of("AllowValidOnly", "AllowInsecureFallback")


@dataclass(frozen=True, slots=True)
class FrontendTLS:
    """TLS towards clients (TLSConfig)."""

    validation: FrontendValidation | None = sub(FrontendValidation)


@dataclass(frozen=True, slots=True)
class PortTLS:
    """TLS towards clients at one port (TLSPortConfig)."""

    port: int = port(0, needed=True)
    tls: FrontendTLS | None = sub(FrontendTLS, needed=True)


@dataclass(frozen=True, slots=True)
class Frontend:
    """TLS towards clients (FrontendTLSConfig)."""

    default: FrontendTLS | None = sub(FrontendTLS, needed=True)
    per_port: tuple[PortTLS, ...] = subs(PortTLS)


@dataclass(frozen=True, slots=True)
class BackendTLS:
    """The certificate that is shown to backends (GatewayBackendTLS)."""

    client_certificate_ref: SecretObjectReference | None = sub(SecretObjectReference)


@dataclass(frozen=True, slots=True)
class GatewayTLS:
    """TLS of the whole Gateway (GatewayTLSConfig)."""

    backend: BackendTLS | None = sub(BackendTLS)
    frontend: Frontend | None = sub(Frontend)


@dataclass(frozen=True, slots=True)
class ListenerNamespaces:
    """Namespaces whose ListenerSets may attach (ListenerNamespaces)."""

    from_: str = one_of("None", "All", "Selector", "Same", name="from")
    selector: LabelSelector | None = sub(LabelSelector)


@dataclass(frozen=True, slots=True)
class AllowedListeners:
    """Which ListenerSets may attach (AllowedListeners)."""

    namespaces: ListenerNamespaces = read(Sub(ListenerNamespaces), ListenerNamespaces())


@dataclass(frozen=True, slots=True)
class KubernetesGateway:
    """A Gateway of Gateway API: listeners, and who may attach to them."""

    meta: Meta
    gateway_class_name: str = text(needed=True, empty=False)
    listeners: tuple[Listener, ...] = subs(Listener, most=64, needed=True)
    addresses: tuple[GatewayAddress, ...] = subs(GatewayAddress, most=16)
    infrastructure: Infrastructure | None = sub(Infrastructure)
    allowed_listeners: AllowedListeners = read(Sub(AllowedListeners), AllowedListeners())
    tls: GatewayTLS | None = sub(GatewayTLS)
    default_scope: str = one_of("None", "All")

    def check(self, r: Reading) -> None:
        """Listeners differ."""
        check_listeners(self.listeners, r)


@dataclass(frozen=True, slots=True)
class ListenerSet:
    """More listeners for a Gateway (ListenerSet)."""

    meta: Meta
    parent_ref: ParentReference | None = sub(ParentReference, needed=True)
    listeners: tuple[Listener, ...] = subs(Listener, least=1, most=64, needed=True)

    def check(self, r: Reading) -> None:
        """Listeners differ."""
        check_listeners(self.listeners, r)


@dataclass(frozen=True, slots=True)
class GrantFrom:
    """Who may refer (ReferenceGrantFrom)."""

    group: str = text(needed=True)
    kind: str = text(needed=True, empty=False)
    namespace: str = text(f.label, needed=True, empty=False)


@dataclass(frozen=True, slots=True)
class GrantTo:
    """To what (ReferenceGrantTo); without a name to all of the kind."""

    group: str = text(needed=True)
    kind: str = text(needed=True, empty=False)
    name: str = text()


@dataclass(frozen=True, slots=True)
class ReferenceGrant:
    """Objects of other namespaces may refer to some of this one's (ReferenceGrant)."""

    meta: Meta
    from_: tuple[GrantFrom, ...] = subs(GrantFrom, least=1, needed=True, name="from")
    to: tuple[GrantTo, ...] = subs(GrantTo, least=1, needed=True)

    def allows(self, group: str, kind: str, namespace: str, to_group: str, to_kind: str, name: str) -> bool:
        """Whether an object of this kind and namespace may refer to that one here."""
        return any((one.group, one.kind, one.namespace) == (group, kind, namespace) for one in self.from_) and any(
            (one.group, one.kind) == (to_group, to_kind) and one.name in ("", name) for one in self.to
        )


@dataclass(frozen=True, slots=True)
class PolicyTarget:
    """What a policy holds for (LocalPolicyTargetReferenceWithSectionName)."""

    group: str = text(needed=True)
    kind: str = text(needed=True, empty=False)
    name: str = text(needed=True, empty=False)
    section_name: str = text(pattern=SECTION, longest=253)


@dataclass(frozen=True, slots=True)
class LocalObjectReference:
    """An object of the same namespace (LocalObjectReference)."""

    group: str = text(needed=True)
    kind: str = text(needed=True, empty=False)
    name: str = text(needed=True, empty=False)


@dataclass(frozen=True, slots=True)
class SubjectAltName:
    """A name that the certificate may have (SubjectAltName)."""

    type: str = one_of("Hostname", "URI", needed=True)
    hostname: str = hostname()
    uri: str = text(longest=253)

    def check(self, r: Reading) -> None:
        """The one that the type says."""
        if not (self.hostname if self.type == "Hostname" else self.uri):
            r.error("missing", f"type {self.type} needs it", "hostname" if self.type == "Hostname" else "uri")


@dataclass(frozen=True, slots=True)
class BackendTLSValidation:
    """How a backend's certificate is looked at (BackendTLSPolicyValidation)."""

    ca_certificate_refs: tuple[LocalObjectReference, ...] = subs(LocalObjectReference, most=8)
    well_known_ca_certificates: str = text(name="wellKnownCACertificates")
    hostname: str = text(pattern=SECTION, longest=253, needed=True, empty=False)
    subject_alt_names: tuple[SubjectAltName, ...] = subs(SubjectAltName, most=5)

    def check(self, r: Reading) -> None:
        """By whom it must be signed."""
        if bool(self.ca_certificate_refs) == bool(self.well_known_ca_certificates):
            r.error("conflict", "exactly one of caCertificateRefs and wellKnownCACertificates", "caCertificateRefs")


@dataclass(frozen=True, slots=True)
class BackendTLSPolicy:
    """TLS to a Service (BackendTLSPolicy)."""

    meta: Meta
    target_refs: tuple[PolicyTarget, ...] = subs(PolicyTarget, least=1, most=16, needed=True)
    validation: BackendTLSValidation | None = sub(BackendTLSValidation, needed=True)
    options: Mapping[str, str] = text_map()
