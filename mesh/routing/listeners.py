"""The listeners of Gateway API's Gateways: a Gateway's own, and those of the ListenerSets that it lets in.

Of two for one place the first has it: the Gateway's own before those of ListenerSets, an older ListenerSet's before a
younger one's (GEP-1713).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from mesh.model.gatewayapi import GROUP, FrontendValidation, GatewayClass, KubernetesGateway, Listener, ListenerSet
from mesh.model.meta import ObjectRef
from mesh.model.service import Service
from mesh.world.memo import query
from mesh.world.proxy import GATEWAY_NAME, Scope
from mesh.world.world import World

# Whose GatewayClasses are ours; Istio's name, so that its users' classes hold here too.
CONTROLLERS = ("istio.io/gateway-controller", "pysidecar.io/gateway-controller")
# Servers of different kinds cannot share a port.
_FAMILY = {"HTTP": "http", "HTTPS": "tls", "TLS": "tls", "TCP": "tcp"}


def is_ours(world: World, gateway: KubernetesGateway) -> bool:
    """Whether a Gateway is of a class of ours; `istio` is one even where nobody made it."""
    found: GatewayClass | None = world.get("GatewayClass", "", gateway.gateway_class_name)
    return found.controller_name in CONTROLLERS if found else gateway.gateway_class_name == "istio"


def serves(world: World, scope: Scope, gateway: KubernetesGateway) -> bool:
    """Whether a Gateway is served by these proxies: they carry its name, or are behind the Service that it names."""
    if scope.namespace == gateway.meta.namespace and scope.matches({GATEWAY_NAME: gateway.meta.name}):
        return True
    for address in gateway.addresses:
        name, _, rest = address.value.partition(".")
        namespace = rest.partition(".")[0] or gateway.meta.namespace
        service: Service | None = world.get("Service", namespace, name) if address.type == "Hostname" else None
        if service and namespace == scope.namespace and service.selector and scope.matches(service.selector):
            return True
    return False


class Section(NamedTuple):
    """A listener: whose it is (a Gateway's or a ListenerSet's), and its name."""

    owner: ObjectRef
    listener: str


class Entry(NamedTuple):
    """A listener of a Gateway, with the reason of its condition Conflicted; empty where it has its place."""

    owner: ObjectRef
    listener: Listener
    conflict: str = ""

    @property
    def section(self) -> Section:
        """Its name."""
        return Section(self.owner, self.listener.name)


@query
def _sets_by_gateway(world: World) -> Mapping[ObjectRef, tuple[ObjectRef, ...]]:
    found: dict[ObjectRef, list[ListenerSet]] = {}
    for one in world.all("ListenerSet").values():
        if (parent := parent_gateway(one)) is not None:
            found.setdefault(parent, []).append(one)
    return {ref: tuple(one.meta.ref for one in sorted(sets, key=_precedence)) for ref, sets in found.items()}


def _precedence(one: ListenerSet) -> tuple[str, str, str]:
    return one.meta.created, one.meta.namespace, one.meta.name


def parent_gateway(one: ListenerSet) -> ObjectRef | None:
    """The Gateway that a ListenerSet names; None where it names something else."""
    ref = one.parent_ref
    if ref is None or (ref.group, ref.kind) != (GROUP, "Gateway"):
        return None
    return ObjectRef("KubernetesGateway", ref.namespace or one.meta.namespace, ref.name)


@query
def listener_sets(world: World, gateway: ObjectRef) -> tuple[ObjectRef, ...]:
    """The ListenerSets that name a Gateway and that it lets in, the oldest first."""
    found: KubernetesGateway | None = world.get(*gateway)
    sets = _sets_by_gateway(world).get(gateway, ())
    return tuple(ref for ref in sets if found is not None and lets_in(world, found, ref.namespace))


def lets_in(world: World, gateway: KubernetesGateway, namespace: str) -> bool:
    """Whether a Gateway takes ListenerSets of a namespace (allowedListeners; none unless it says so)."""
    allowed, own = gateway.allowed_listeners.namespaces, gateway.meta.namespace
    if allowed.from_ == "Selector":
        found = world.get("Namespace", "", namespace)
        return found is not None and allowed.selector is not None and allowed.selector.matches(found.meta.labels)
    return allowed.from_ == "All" or (allowed.from_ == "Same" and namespace == own)


@query
def entries_of(world: World, gateway: ObjectRef) -> tuple[Entry, ...]:
    """All listeners of a Gateway, those first that have a place before others."""
    found: list[Entry] = []
    for owner in (gateway, *listener_sets(world, gateway)):
        holder: KubernetesGateway | ListenerSet | None = world.get(*owner)
        for one in holder.listeners if holder else ():
            found.append(Entry(owner, one, _conflict([entry.listener for entry in found if not entry.conflict], one)))
    return tuple(found)


def _conflict(taken: list[Listener], listener: Listener) -> str:
    for one in taken:
        if one.port == listener.port and one.protocol in _FAMILY and listener.protocol in _FAMILY:
            if _FAMILY[one.protocol] != _FAMILY[listener.protocol]:
                return "ProtocolConflict"
            if one.hostname.lower() == listener.hostname.lower():
                return "HostnameConflict"
    return ""


@query
def gateway_of(world: World, owner: ObjectRef) -> ObjectRef | None:
    """The Gateway whose proxies serve the listeners of a Gateway or of a ListenerSet; None where none does."""
    gateway: ObjectRef | None = owner
    if owner.kind == "ListenerSet":
        one: ListenerSet | None = world.get(*owner)
        gateway = parent_gateway(one) if one else None
        if gateway is None or owner not in listener_sets(world, gateway):
            return None
    found: KubernetesGateway | None = world.get(*gateway) if gateway else None
    return gateway if found is not None and is_ours(world, found) else None


def listeners_at(world: World, owner: ObjectRef) -> tuple[Listener, ...]:
    """The listeners that stand in an object itself."""
    holder: KubernetesGateway | ListenerSet | None = world.get(*owner)
    return holder.listeners if holder else ()


def entry_of(world: World, section: Section) -> Entry | None:
    """A listener by its name, as far as it is a Gateway's of ours."""
    gateway = gateway_of(world, section.owner)
    return next((one for one in entries_of(world, gateway) if one.section == section), None) if gateway else None


def frontend_of(gateway: KubernetesGateway, port: int) -> FrontendValidation | None:
    """How certificates of HTTPS clients are looked at: what is said of the port, else of all (GEP-91)."""
    frontend = gateway.tls.frontend if gateway.tls else None
    if frontend is None:
        return None
    for one in frontend.per_port:
        if one.port == port:
            return one.tls.validation if one.tls else None
    return frontend.default.validation if frontend.default else None
