"""Which servers a gateway's proxies run: those of all Gateways that select them, by the port that they listen at.

Gateway ──selector──▶ Server, a port with its hosts ──targetPort of the gateway's Service──▶ where it listens
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from mesh.build.inbound import Instance
from mesh.build.secrets import AUTHORITIES, GATEWAY_API
from mesh.model.fields import canonical, is_address
from mesh.model.gatewayapi import KubernetesGateway, Listener
from mesh.model.ingress import Ingress
from mesh.model.meta import ObjectRef
from mesh.model.names import narrower
from mesh.model.protocol import Protocol
from mesh.model.tls import ServerTLSSettings
from mesh.routing.attach import visible
from mesh.routing.ingress import ingress_hosts, ingress_selector, ingresses
from mesh.routing.listeners import Section, frontend_of, is_ours, serves
from mesh.routing.listenerstanding import listeners_of
from mesh.routing.parents import listener_hosts
from mesh.world.index import ServiceKey, own_service, targets_of
from mesh.world.memo import query
from mesh.world.proxy import Scope
from mesh.world.sidecars import mesh_config
from mesh.world.world import World

ANY = "0.0.0.0"
LITERAL_PORTS = "experimental.istio.io/disable-gateway-port-translation"
PROTOCOLS = {"HTTP": Protocol.HTTP, "HTTPS": Protocol.HTTPS, "TLS": Protocol.TLS, "TCP": Protocol.TCP}

Ports = tuple[tuple[int, int], ...]
"""A gateway's Service ports, each with the port of the pod that it leads to; replicas have the same, and so share."""


class Server(NamedTuple):
    """A port of a Gateway with its hosts, each with the namespace (`*` for any) whose routes it takes."""

    gateway: str
    """NAMESPACE/NAME, as VirtualServices name it."""
    ref: ObjectRef
    """Where it stands: a Gateway, a ListenerSet, an Ingress."""
    number: int
    """The port that the Gateway tells, and that rules match."""
    protocol: Protocol
    hosts: tuple[tuple[str, str], ...]
    name: str = ""
    tls: ServerTLSSettings | None = None
    api_gateway: ObjectRef | None = None
    """The Gateway of Gateway API whose listener it is."""
    takes_any_certificate: bool = False
    """Whether clients' certificates are asked for, and those that nobody knows let in (AllowInsecureFallback)."""

    @property
    def ends_tls(self) -> bool:
        """Whether TLS ends here."""
        return self.protocol.is_tls and self.tls is not None and self.tls.terminates

    @property
    def is_http(self) -> bool:
        """Whether requests are routed here, and not bytes."""
        return self.protocol.is_http or (self.protocol is Protocol.HTTPS and self.ends_tls)

    @property
    def redirects(self) -> bool:
        """Whether plain HTTP is sent to HTTPS."""
        return self.tls is not None and self.tls.https_redirect

    @property
    def is_of_gateway_api(self) -> bool:
        """Whether it is a listener of Gateway API's Gateway; it has one host."""
        return self.api_gateway is not None

    @property
    def section(self) -> Section:
        """The listener that it is."""
        return Section(self.ref, self.name)

    def takes(self, namespace: str, host: str) -> tuple[str, ...]:
        """The hosts for which a route of that namespace and host holds here: what both allow."""
        mine = (narrower(one, host) for where, one in self.hosts if where in ("*", namespace))
        return tuple(dict.fromkeys(one for one in mine if one))


class Place(NamedTuple):
    """Where a gateway listens."""

    address: str
    port: int


@query
def gateway_ports(world: World, instance: Instance) -> Ports:
    """The ports of the Services that lead to a gateway's pod."""
    targets = targets_of(world, instance.namespace, instance.pod, instance.labels, instance.addresses)
    asked = (one for one in targets if not _is_literal(world, one.key))
    return tuple(sorted({(target.port.number, target.number) for target in asked}))


def _is_literal(world: World, key: ServiceKey) -> bool:
    """Whether a Service's label says that a Gateway's ports are the pod's own."""
    service = own_service(world, key)
    return service is not None and LITERAL_PORTS in service.meta.labels


@query
def servers(world: World, scope: Scope, ports: Ports) -> Mapping[Place, tuple[Server, ...]]:
    """All servers of the proxies, by where they listen; the older Gateway's first.

    What one place cannot do is left to the first: plain HTTP beside TLS, two TCP servers.
    """
    leads_to: dict[int, int] = {}
    for service_port, number in ports:
        leads_to.setdefault(service_port, number)
    found: dict[Place, list[Server]] = {}
    every = (*_istio_servers(world, scope), *_api_servers(world, scope), *_ingress_servers(world, scope))
    for address, made in every:
        place = Place(address, leads_to.get(made.number, made.number))
        beside = found.setdefault(place, [])
        if not beside or (_kind(beside[0]) == _kind(made) != "tcp" and not _twice(made, beside)):
            beside.append(made)
    return {place: tuple(all_) for place, all_ in sorted(found.items())}


def _istio_servers(world: World, scope: Scope) -> Iterator[tuple[str, Server]]:
    """The servers of Istio's Gateways, each with the address that it binds to."""
    for one in sorted(world.all("Gateway").values(), key=lambda each: each.meta.age):
        if not scope.matches(one.selector):
            continue
        for server in one.servers:
            if server.port is None:
                continue
            yield (
                canonical(server.bind) if is_address(server.bind) else server.bind or ANY,
                Server(
                    f"{one.meta.namespace}/{one.meta.name}",
                    one.meta.ref,
                    server.port.number,
                    server.port.speaks,
                    tuple(_host(text, one.meta.namespace) for text in server.hosts),
                    server.port.name,
                    server.tls,
                ),
            )


def _api_servers(world: World, scope: Scope) -> Iterator[tuple[str, Server]]:
    """The listeners of Gateway API's Gateways that the proxies serve."""
    for one in sorted(world.all("KubernetesGateway").values(), key=lambda each: each.meta.age):
        if not is_ours(world, one) or not serves(world, scope, one):
            continue
        for of in listeners_of(world, one.meta.ref):
            if of.serves:
                yield ANY, _api_server(one, of.owner, of.listener)


def _api_server(gateway: KubernetesGateway, owner: ObjectRef, listener: Listener) -> Server:
    # a ListenerSet may have a Gateway's name
    name = owner.name if owner.kind == "KubernetesGateway" else f"listenerset:{owner.name}"
    validation = frontend_of(gateway, listener.port) if listener.protocol == "HTTPS" else None
    return Server(
        f"{owner.namespace}/{name}",
        owner,
        listener.port,
        PROTOCOLS[listener.protocol],
        (("*", listener.hostname or "*"),),
        listener.name,
        _listener_tls(listener, owner.namespace, gateway.meta.ref if validation else None),
        gateway.meta.ref,
        validation is not None and validation.mode == "AllowInsecureFallback",
    )


def _ingress_servers(world: World, scope: Scope) -> Iterator[tuple[str, Server]]:
    """What Ingresses need: port 80 for all of them, and 443 for the hosts with a certificate."""
    refs = ingresses(world)
    if not refs or not scope.matches(dict(ingress_selector(world))):
        return
    gateway = f"{mesh_config(world).root_namespace}/ingress"
    yield ANY, Server(gateway, refs[0], 80, Protocol.HTTP, (("*", "*"),), "http-80-ingress")
    for ref in refs:
        ingress: Ingress | None = world.get("Ingress", ref.namespace, ref.name)
        for index, tls in enumerate(ingress.tls if ingress else ()):
            if tls.secret_name:
                hosts = tuple(("*", host) for host in tls.hosts) or (("*", "*"),)
                settings = ServerTLSSettings(mode="SIMPLE", credential_name=tls.secret_name)
                name = f"https-443-ingress-{ref.name}-{ref.namespace}-{index}"
                yield ANY, Server(gateway, ref, 443, Protocol.HTTPS, hosts, name, settings)


def _listener_tls(listener: Listener, namespace: str, validates: ObjectRef | None) -> ServerTLSSettings | None:
    """TLS at a listener; `validates` is the Gateway that says how clients' certificates are looked at."""
    if listener.tls is None or listener.protocol not in ("HTTPS", "TLS"):
        return None
    if listener.tls.mode == "Passthrough":
        return ServerTLSSettings(mode="PASSTHROUGH")
    names = tuple(f"{GATEWAY_API}{one.namespace or namespace}/{one.name}" for one in listener.tls.certificate_refs)
    if validates is None:
        return ServerTLSSettings(mode="SIMPLE", credential_names=names)
    authorities = f"{AUTHORITIES}{validates.namespace}/{validates.name}/{listener.port}"
    return ServerTLSSettings(mode="MUTUAL", credential_names=names, ca_cert_credential_name=authorities)


def _twice(server: Server, beside: list[Server]) -> bool:
    """Whether an older server has TLS for one of a server's names already: then it is left out, with all of its names
    (Istio's CheckDuplicates). Gateway API's listeners are told by their statuses, and Ingresses share.
    """
    if server.tls is None or server.ref.kind != "Gateway":
        return False
    return any(one.tls is not None and set(one.hosts) & set(server.hosts) for one in beside)


def _host(text: str, namespace: str) -> tuple[str, str]:
    where, slash, host = text.rpartition("/")
    return (namespace if where == "." else where) if slash else "*", host


def _kind(server: Server) -> str:
    if server.protocol.is_http:
        return "http"
    return "tls" if server.protocol.is_tls else "tcp"


@query
def servers_at(world: World, scope: Scope, ports: Ports, place: Place) -> tuple[Server, ...]:
    """The servers at one place."""
    return servers(world, scope, ports).get(place, ())


class Ruled(NamedTuple):
    """A host of a server, and an object that rules it there."""

    host: str
    server: Server
    ref: ObjectRef
    elsewhere: bool = False
    """Another listener at the same port has the host: who asks here has the wrong connection (RFC 9110, 421)."""


@query
def ruled(world: World, scope: Scope, server: Server) -> tuple[Ruled, ...]:
    """The hosts that objects rule at a server; the older object first.

    A listener's own hostname is among them, with nothing to say: what it takes, no other listener gets.
    """
    if server.is_of_gateway_api:
        taken = listener_hosts(world, server.section)
        own = Ruled(server.hosts[0][1], server, server.ref)
        return (*(Ruled(host, server, ref) for host, refs in taken.items() for ref in refs), own)
    if server.ref.kind == "Ingress":
        pairs = [(host, ref) for host, refs in ingress_hosts(world).items() for ref in refs]
        return tuple(Ruled(both, server, ref) for host, ref in pairs for both in server.takes(ref.namespace, host))
    found = []
    for entry in sorted(visible(world, scope.namespace, server.gateway, None)):
        found += [
            Ruled(both, server, entry.ref) for host in entry.hosts for both in server.takes(entry.ref.namespace, host)
        ]
    return tuple(dict.fromkeys(found))
