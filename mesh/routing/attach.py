"""Which object rules a host, or a gateway: who may see it, who is more specific, who is older.

Each answer is a query of its own, so that a VirtualService's change touches its hosts and no others. Where only the
asker's namespace matters the queries take that, and all its proxies share the answer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import NamedTuple

from mesh.model.meta import ObjectRef
from mesh.model.reading import DOMAIN
from mesh.model.virtualservice import VirtualService
from mesh.routing import virtualservice
from mesh.routing.backends import MESH, Asker, whole_name
from mesh.routing.parents import Attached, service_routes, service_rulers
from mesh.routing.route import ConnectionRoute, Route
from mesh.world.index import service_of
from mesh.world.memo import query
from mesh.world.proxy import Scope
from mesh.world.sidecars import Sees, covers, egress_at, egress_of, exported, mesh_config
from mesh.world.world import World


class Entry(NamedTuple):
    """What has to be known of a VirtualService to choose it. Sorted by age."""

    age: tuple[str, str, str]
    ref: ObjectRef
    hosts: tuple[str, ...]
    export_to: tuple[str, ...]


# --- who is there ---------------------------------------------------------------------------------------------------


@query
def entries(world: World, gateway: str) -> tuple[Entry, ...]:
    """The VirtualServices for a gateway (`mesh`, or NAMESPACE/NAME), the oldest first. Delegates are none."""
    return _by_gateway(world).get(gateway, ())


@query
def _by_gateway(world: World) -> Mapping[str, tuple[Entry, ...]]:
    default = tuple(mesh_config(world).default_virtual_service_export_to)
    found: dict[str, list[Entry]] = {}
    for service in world.all("VirtualService").values():
        if service.is_delegate:
            continue
        hosts = tuple(whole_name(host, service.meta.namespace, DOMAIN) for host in service.hosts)
        entry = Entry(service.meta.age, service.meta.ref, hosts, service.export_to or default)
        for gateway in virtualservice.gateways_of(service):
            found.setdefault(gateway, []).append(entry)
    return {gateway: tuple(sorted(mine)) for gateway, mine in found.items()}


@query
def visible(world: World, namespace: str, gateway: str, egress: Sees) -> tuple[Entry, ...]:
    """Those that a proxy in `namespace` sees: first its namespace's own alone, then what names it, then the rest."""
    found: list[tuple[int, Entry]] = []
    for entry in entries(world, gateway):
        owner = entry.ref.namespace
        if exported(entry.export_to, (), owner, namespace) and _let_in(egress, owner, entry.hosts):
            found.append((_rank(entry, namespace), entry))
    return tuple(entry for _, entry in sorted(found))


def _let_in(egress: Sees, owner: str, hosts: Iterable[str]) -> bool:
    return egress is None or any(one.rules(owner, host) for host in hosts for one in egress)


def _rank(entry: Entry, namespace: str) -> int:
    if "*" in entry.export_to:
        return 2
    return 0 if entry.ref.namespace == namespace else 1


class Hosts(NamedTuple):
    """Who rules which host; `wildcards` are suffixes such as `.example.com`, the longest first, empty for all."""

    exact: Mapping[str, tuple[ObjectRef, ...]]
    wildcards: tuple[tuple[str, tuple[ObjectRef, ...]], ...]


@query
def hosts_ruled(world: World, namespace: str, egress: Sees) -> Hosts:
    """The hosts that VirtualServices rule for sidecars in `namespace`."""
    exact: dict[str, list[ObjectRef]] = {}
    wildcards: dict[str, list[ObjectRef]] = {}
    for entry in visible(world, namespace, MESH, egress):
        for host in entry.hosts:
            if host.startswith("*"):
                wildcards.setdefault(host[1:], []).append(entry.ref)
            else:
                exact.setdefault(host.lower(), []).append(entry.ref)
    longest_first = sorted(wildcards.items(), key=lambda one: (-len(one[0]), one[0]))
    return Hosts(
        {host: tuple(refs) for host, refs in exact.items()}, tuple((s, tuple(refs)) for s, refs in longest_first)
    )


@query
def _rulers_of(world: World, namespace: str, host: str, egress: Sees) -> tuple[ObjectRef, ...]:
    return _rulers(hosts_ruled(world, namespace, egress), host)


def _rulers(ruled: Hosts, host: str) -> tuple[ObjectRef, ...]:
    found = list(ruled.exact.get(host.lower(), ()))
    for suffix, refs in ruled.wildcards:
        # a wildcard host of a ServiceEntry is met by its own wildcard and by wider ones
        if host.lower().endswith(suffix) if not host.startswith("*") else host[1:].endswith(suffix):
            found += refs
    return tuple(dict.fromkeys(found))


def rulers_of(world: World, scope: Scope, host: str) -> tuple[ObjectRef, ...]:
    """The VirtualServices for a host, the one that counts first; the others are younger, or less specific."""
    return _rulers_of(world, scope.namespace, host, egress_of(world, scope))


def virtual_service_for(world: World, scope: Scope, host: str) -> ObjectRef | None:
    """The one that rules a host for the scope: the most specific, of those the oldest."""
    rulers = rulers_of(world, scope, host)
    return rulers[0] if rulers else None


@query
def _http_rulers(world: World, namespace: str, host: str, egress: Sees) -> tuple[ObjectRef, ...]:
    """Those whose http rules may hold for a host: all that name it, the oldest first; else the closest wildcard's."""
    ruled = hosts_ruled(world, namespace, egress)
    return ruled.exact.get(host.lower(), ()) or _rulers(ruled, host)[:1]


@query
def _connection_rulers(world: World, namespace: str, host: str, egress: Sees) -> tuple[ObjectRef, ...]:
    """Those whose tcp and tls rules may hold for a host: all that have to do with it, the oldest first (Istio's)."""
    seen = visible(world, namespace, MESH, egress)
    return tuple(entry.ref for entry in seen if any(covers(each, host) for each in entry.hosts))


@query
def virtual_service(world: World, ref: ObjectRef) -> VirtualService | None:
    """The object."""
    return world.get("VirtualService", ref.namespace, ref.name)  # type: ignore[no-any-return]


# --- what they say --------------------------------------------------------------------------------------------------


@query
def http_routes(world: World, scope: Scope, ref: ObjectRef, gateway: str, port: int) -> tuple[Route, ...]:
    """The routes of a VirtualService for requests that came to `port`; none where it says nothing to this scope."""
    service = virtual_service(world, ref)
    if service is None:
        return ()
    asker = Asker(scope, gateway, port, partial(service_of, world, scope))
    return virtualservice.http_routes(service, asker, partial(_delegate, world, ref.namespace))


def _delegate(world: World, root_namespace: str, namespace: str, name: str) -> VirtualService | None:
    found: VirtualService | None = world.get("VirtualService", namespace, name)
    if found is None or not found.is_delegate:
        return None
    default = mesh_config(world).default_virtual_service_export_to
    return found if exported(found.export_to, default, namespace, root_namespace) else None


@query
def mesh_routes(world: World, scope: Scope, host: str, port: int) -> tuple[Route, ...]:
    """The routes of a Service's host in a sidecar; none where nothing rules it.

    Either Gateway API's routes or a VirtualService: the older, but that an HTTPRoute of the client's own namespace
    comes before all that is exported to everybody, and what a VirtualService says to few comes before both (Istio's).
    """
    ruled = _http_ruled(world, scope, host, port)
    rulers = service_rulers(world, scope, host, port)
    if rulers and (ruled is None or not _comes_before(world, scope, ruled, rulers)):
        return service_routes(world, scope, host, port)
    return http_routes(world, scope, ruled, MESH, port) if ruled else ()


def _http_ruled(world: World, scope: Scope, host: str, port: int) -> ObjectRef | None:
    """The VirtualService that rules a host: the first that says anything to this scope at all."""
    refs = _http_rulers(world, scope.namespace, host, egress_at(egress_of(world, scope), port))
    return next((ref for ref in refs if http_routes(world, scope, ref, MESH, port)), None)


def ruled_before(world: World, scope: Scope, host: str, port: int, other: ObjectRef) -> bool:
    """Whether a host is ruled by a VirtualService that comes before the other: of two for one name it has it."""
    ref = _http_ruled(world, scope, host, port)
    order = [one.ref for one in visible(world, scope.namespace, MESH, egress_at(egress_of(world, scope), port))]
    return ref is not None and order.index(ref) < order.index(other)


def _comes_before(world: World, scope: Scope, ref: ObjectRef, rulers: tuple[Attached, ...]) -> bool:
    service = virtual_service(world, ref)
    if service is None:
        return False
    if "*" not in (service.export_to or mesh_config(world).default_virtual_service_export_to):
        return True
    return rulers[0].ref.namespace != scope.namespace and service.meta.age < rulers[0].age


@query
def tcp_routes_of(world: World, scope: Scope, ref: ObjectRef, gateway: str, port: int) -> tuple[ConnectionRoute, ...]:
    """The routes of a VirtualService's tcp rules, the first that fits counts."""
    service = virtual_service(world, ref)
    asker = Asker(scope, gateway, port, partial(service_of, world, scope))
    return virtualservice.tcp_routes(service, asker) if service else ()


@query
def tls_routes_of(world: World, scope: Scope, ref: ObjectRef, gateway: str, port: int) -> tuple[ConnectionRoute, ...]:
    """The routes of a VirtualService's tls rules, told apart by server name and address."""
    service = virtual_service(world, ref)
    asker = Asker(scope, gateway, port, partial(service_of, world, scope))
    return virtualservice.tls_routes(service, asker) if service else ()


@query
def tcp_routes(world: World, scope: Scope, host: str, port: int) -> tuple[ConnectionRoute, ...]:
    """For connections to a host from a sidecar, up to the first route that takes all; what none takes is the host's."""
    found: list[ConnectionRoute] = []
    for ref in _connection_rulers(world, scope.namespace, host, egress_at(egress_of(world, scope), port)):
        for route in tcp_routes_of(world, scope, ref, MESH, port):
            found.append(route)
            if not route.subnets:
                return tuple(found)
    return tuple(found)


@query
def tls_routes(world: World, scope: Scope, host: str, port: int) -> tuple[ConnectionRoute, ...]:
    """For TLS to a host from a sidecar; of two for the same server names the first alone."""
    found: dict[tuple[tuple[str, ...], tuple[str, ...]], ConnectionRoute] = {}
    for ref in _connection_rulers(world, scope.namespace, host, egress_at(egress_of(world, scope), port)):
        for route in tls_routes_of(world, scope, ref, MESH, port):
            found.setdefault((route.sni_hosts, route.subnets), route)
    return tuple(found.values())


@query
def hosts_beside(world: World, scope: Scope, port: int, known: frozenset[str]) -> Mapping[str, ObjectRef]:
    """Hosts at a port that VirtualServices rule and no Service has, with who rules them.

    `known` are the hosts of Services with HTTP at that port. Istio's: a VirtualService that rules one of them brings
    its other hosts along; one that rules none of them counts at port 80 alone.
    """
    found: dict[str, ObjectRef] = {}
    for entry in visible(world, scope.namespace, MESH, egress_at(egress_of(world, scope), port)):
        hosts = [host.lower() for host in entry.hosts]
        beside = [host for host in hosts if host not in found and not _meets(host, known)]
        along = port == 80 or any(_meets(host, known) for host in hosts)
        if beside and along and http_routes(world, scope, entry.ref, MESH, port):
            found.update(dict.fromkeys(beside, entry.ref))
    return dict(sorted(found.items()))


def _meets(host: str, known: Collection[str]) -> bool:
    if host in known:
        return True
    return host.startswith("*") and any(one.endswith(host[1:]) for one in known)
