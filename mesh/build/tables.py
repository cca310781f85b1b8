"""Route tables: for each listener that speaks HTTP, which virtual host a Host belongs to.

A table is only a list of names; each virtual host is built by itself, so that a change touches one of them and a bad
one is left out alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from common.envoy.parts import Message
from mesh.build.hostroutes import host_routes, ruled_routes
from mesh.build.metrics import told_to
from mesh.build.outbound import listener_binds, table_at, unknown_to
from mesh.build.routes import MAX_BODY
from mesh.model.meta import ObjectRef
from mesh.model.names import ALLOW_ANY, BLOCK_ALL, host_forms
from mesh.routing.attach import hosts_beside, mesh_routes, ruled_before
from mesh.world.index import ServiceKey, aliases_of, registry_only, service_at, service_of
from mesh.world.memo import query
from mesh.world.proxy import Scope
from mesh.world.sidecars import egress_at, egress_of
from mesh.world.world import World


@query
def tables(world: World, scope: Scope) -> Mapping[str, tuple[tuple[ServiceKey, int], ...]]:
    """The tables of a scope by name, with the host and port that each virtual host is for.

    0.0.0.0_PORT's is PORT; a listener at a Service's own address, whose protocol is found out, has HOST:PORT.
    """
    found: dict[str, tuple[tuple[ServiceKey, int], ...]] = {}
    for bind, bindings in listener_binds(world, scope).items():
        hosts = tuple((one.key, one.port) for one in bindings if one.kind in ("http", "auto"))
        if hosts:
            table = table_at(bind, bindings)
            hosts = hosts if table.isdecimal() else hosts[:1]
            found[table] = tuple(dict.fromkeys((*found.get(table, ()), *hosts)))
    return found


@query
def table_hosts(world: World, scope: Scope, table: str) -> tuple[tuple[ServiceKey, int], ...]:
    """What one table is for."""
    return tables(world, scope).get(table, ())


@query
def hosts_beside_of(world: World, scope: Scope, table: str) -> Mapping[str, ObjectRef]:
    """Hosts in a table that no Service has, with the object that rules them."""
    if not table.isdecimal():
        return {}
    known = frozenset(key.host for key, _ in table_hosts(world, scope, table))
    return hosts_beside(world, scope, int(table), known)


@query
def table_domains(world: World, scope: Scope, table: str) -> Mapping[str, tuple[str, ...]]:
    """The domains of each virtual host by its name; who comes first has a domain, for Envoy wants each once."""
    if not table.isdecimal():
        # the listener of one host's address: whatever the Host, it is meant
        return {f"{key.host}:{port}": ("*",) for key, port in table_hosts(world, scope, table)}
    port, hosts = int(table), table_hosts(world, scope, table)
    # no Service has by a short name what is another's whole name
    whole = {key.host for key, _ in hosts}
    own = {key: [one for one in _domains(world, scope, key, port) if one == key.host or one not in whole]
           for key, _ in hosts}  # fmt: skip
    beside = hosts_beside_of(world, scope, table)
    short = {domain: key.host for key, domains in own.items() for domain in domains}
    later = {
        host for host, ref in beside.items() if host in short and ruled_before(world, scope, short[host], port, ref)
    }
    wanted = [(f"{host}:{table}", [host]) for host in beside if host not in later]
    wanted += [(f"{key.host}:{number}", own[key]) for key, number in hosts]
    taken = {"*"}  # it is for all other hosts
    found: dict[str, tuple[str, ...]] = {}
    for name, domains in wanted:
        mine = [domain for domain in domains if domain.lower() not in taken]
        if mine and name not in found:
            taken.update(domain.lower() for domain in mine)
            found[name] = tuple(mine)
    return found


def _domains(world: World, scope: Scope, key: ServiceKey, port: int) -> list[str]:
    """The names and addresses by which a host is called: its own, and those of Services that are aliases for it."""
    service = service_at(world, key)
    if service is None:
        return []
    egress = egress_at(egress_of(world, scope), port)
    aliases = aliases_of(world, service.hostname)
    if egress is not None:
        aliases = tuple(one for one in aliases if any(each.names(service.namespace, one) for each in egress))
    names = [form for one in (service.hostname, *aliases) for form in host_forms(one, scope.namespace, scope.domain)]
    if service.is_headless:
        # each of its pods has a name below (StatefulSet)
        names += [f"*.{one}" for one in names]
    addresses = [f"[{one}]" if ":" in one else one for one in service.addresses if "/" not in one]
    return [*names, *addresses]


@query
def virtual_hosts(world: World, scope: Scope, table: str) -> tuple[str, ...]:
    """The names of a table's virtual hosts, in order; the one for all other hosts is last."""
    named = tuple(table_domains(world, scope, table))
    return (*named, ALLOW_ANY) if table.isdecimal() else named


def virtual_host(world: World, scope: Scope, table: str, name: str, domains: tuple[str, ...]) -> Message | None:
    """A virtual host (route.v3.VirtualHost); `domains` are its own in this table."""
    if name == ALLOW_ANY:
        return _others(registry_only(world, scope), unknown_to(world, scope))
    host, _, port = name.rpartition(":")
    if not domains:
        return None
    routes = _routes(world, scope, table, host, int(port))
    if not routes:
        return None
    return {
        "name": name,
        "domains": list(domains),
        "routes": routes,
        "include_request_attempt_count": True,
        **told_to(world, scope, routes),
    }


def origins_of(world: World, scope: Scope, table: str, name: str) -> tuple[ObjectRef, ...]:
    """The objects that a virtual host is made of: who rules it; where nobody does, who has the host."""
    host, _, port = name.rpartition(":")
    if not host:
        return ()
    beside = beside_ref(world, scope, table, host)
    if beside:
        return (beside,)
    rulers = (one.ref for route in mesh_routes(world, scope, host, int(port)) for one in route.origins)
    service = service_of(world, scope, host)
    return tuple(dict.fromkeys(rulers)) or ((service.ref,) if service else ())


def _routes(world: World, scope: Scope, table: str, host: str, port: int) -> list[Message]:
    beside = beside_ref(world, scope, table, host)
    # a host that no Service has leads nowhere but where a rule says
    return list(ruled_routes(world, scope, beside, port) if beside else host_routes(world, scope, host, port))


@query
def beside_ref(world: World, scope: Scope, table: str, host: str) -> ObjectRef | None:
    """Who rules a host of a table that no Service has."""
    return hosts_beside_of(world, scope, table).get(host)


def _others(closed: bool, to: str) -> Message:
    """Hosts that nobody knows: on to the address that the app chose, or an answer that says so."""
    if closed:
        refused: Message = {"name": BLOCK_ALL, "match": {"prefix": "/"}, "direct_response": {"status": 502}}
        return {"name": BLOCK_ALL, "domains": ["*"], "routes": [refused], "include_request_attempt_count": True}
    on: Message = {
        "name": ALLOW_ANY,
        "match": {"prefix": "/"},
        "route": {"cluster": to, "timeout": "0s", "max_grpc_timeout": "0s"},
    }
    return {"name": ALLOW_ANY, "domains": ["*"], "routes": [on], "include_request_attempt_count": True}


def table_head(name: str) -> Message:
    """A table without its virtual hosts (route.v3.RouteConfiguration)."""
    return {
        "name": name,
        "validate_clusters": False,
        "ignore_port_in_host_matching": True,
        "max_direct_response_body_size_bytes": MAX_BODY,
    }
