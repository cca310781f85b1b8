"""Listeners and route tables of gateways.

    client ──▶ 0.0.0.0_PORT ──HTTP──────────────▶ table http.PORT ──▶ virtual host by Host ──▶ outbound|…
                            ├─HTTPS, by SNI─────▶ table https.PORT.NAME.GATEWAY.NAMESPACE
                            └─TLS, TCP, by SNI──▶ outbound|…

A server of bytes without any route does not listen, one of Gateway API sends away who comes; one of HTTP answers 404.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from common.envoy.parts import Message, address, typed
from mesh.build.backend_tls import client_certificate
from mesh.build.filters import (
    ADS,
    GATEWAY_PORTS,
    TLS_INSPECTOR,
    OwnPortError,
    by_rds,
    paths,
)
from mesh.build.hostroutes import connection_fields, rendered
from mesh.build.metrics import told_to
from mesh.build.rules import shown_secrets
from mesh.build.secrets import AUTHORITY, PREFIX, secret_name
from mesh.build.servers import Place, Ports, Ruled, Server, ruled, servers, servers_at
from mesh.build.watched import http_filters, tcp_filters
from mesh.model.meta import ObjectRef
from mesh.model.names import BLACK_HOLE
from mesh.model.tls import ServerTLSSettings
from mesh.routing.attach import http_routes, tcp_routes_of, tls_routes_of
from mesh.routing.ingress import routes_at as ingress_routes_at
from mesh.routing.parents import listener_connections, listener_routes
from mesh.routing.route import ConnectionRoute, catch_all_last
from mesh.world.memo import query
from mesh.world.proxy import Scope
from mesh.world.sidecars import covers
from mesh.world.world import World


@query
def gateway_places(world: World, scope: Scope, ports: Ports) -> tuple[Place, ...]:
    """Where the gateway's proxies listen."""
    return tuple(servers(world, scope, ports))


@query
def gateway_listener(world: World, scope: Scope, ports: Ports, place: Place) -> Message | None:
    """A listener of a gateway (listener.v3.Listener)."""
    mine = servers_at(world, scope, ports, place)
    if not mine:
        return None
    if place.port in GATEWAY_PORTS:
        raise OwnPortError(place.port)
    chains: list[Message] = []
    taken: set[str] = set()
    if mine[0].protocol.is_http:
        chains.append(_http_chain(world, scope, place, mine[0]))
    else:
        for server in mine:
            for chain in _byte_chains(world, scope, place, server):
                match = chain.get("filter_chain_match", {})
                wanted = dict.fromkeys(name.lower() for name in match.get("server_names", [""]))
                names = [name for name in wanted if name not in taken]
                if not names:
                    continue  # an older server has all of these names
                taken.update(names)
                if names != [""]:
                    chain |= {"filter_chain_match": match | {"server_names": names}}
                chains.append(chain)
    if not chains and any(server.is_of_gateway_api for server in mine):
        # it is Programmed, and nobody is behind it yet: who comes is sent away
        nobody = tcp_filters(world, scope, "gateway", BLACK_HOLE, {"cluster": BLACK_HOLE})
        chains.append({"name": BLACK_HOLE, "filters": nobody})
    if not chains:
        return None
    made: Message = {
        "name": f"{place.address}_{place.port}",
        "address": address(place.address, place.port),
        "traffic_direction": "OUTBOUND",
        "filter_chains": chains,
    }
    if mine[0].protocol.is_tls:
        made["listener_filters"] = [TLS_INSPECTOR]
        made["listener_filters_timeout"] = "5s"
    return made


@query
def origins_at(world: World, scope: Scope, ports: Ports, place: Place) -> tuple[ObjectRef, ...]:
    """The objects that a listener is made of: its Gateways, the older first, and the routes of connections."""
    found: dict[ObjectRef, None] = {}
    for server in servers_at(world, scope, ports, place):
        found[server.ref] = None
        if not server.is_http:
            routes = _connection_routes(world, scope, server, tls=server.protocol.is_tls and not server.ends_tls)
            found.update((origin.ref, None) for route in routes for origin in route.origins)
    return tuple(found)


def _http_chain(world: World, scope: Scope, place: Place, server: Server) -> Message:
    table = table_name(place, server)
    return {
        "name": table,
        "filters": http_filters(
            world,
            scope,
            "gateway",
            f"outbound_{place.address}_{place.port}",
            by_rds(table),
            # the client is who connects: what it says of itself in headers is not believed
            use_remote_address=True,
            **paths(world),
        ),
    }


def _byte_chains(world: World, scope: Scope, place: Place, server: Server) -> Iterable[Message]:
    names = [host for _, host in server.hosts if host != "*"] if all(h != "*" for _, h in server.hosts) else []
    match: Message = {"filter_chain_match": {"server_names": names}} if names else {}
    if server.is_http:
        chain = _http_chain(world, scope, place, server) | match
        if server.tls is not None:
            chain["transport_socket"] = downstream_tls(server, server.tls, ["h2", "http/1.1"])
        yield chain
    elif server.ends_tls and server.tls is not None:
        for route in _connection_routes(world, scope, server, tls=False)[:1]:
            yield _tcp_chain(world, scope, route) | match | {"transport_socket": downstream_tls(server, server.tls, [])}
    elif server.protocol.is_tls:
        for route in _connection_routes(world, scope, server, tls=True):
            wanted = [name for name in route.sni_hosts if name != "*"]
            yield _tcp_chain(world, scope, route) | (
                {"filter_chain_match": {"server_names": wanted}} if len(wanted) == len(route.sni_hosts) else {}
            )
    else:
        for route in _connection_routes(world, scope, server, tls=False)[:1]:
            yield _tcp_chain(world, scope, route)


def _connection_routes(world: World, scope: Scope, server: Server, *, tls: bool) -> list[ConnectionRoute]:
    if server.is_of_gateway_api:
        return list(listener_connections(world, scope, server.section))
    of = tls_routes_of if tls else tcp_routes_of
    refs = dict.fromkeys(one.ref for one in ruled(world, scope, server))
    return [route for ref in refs for route in of(world, scope, ref, server.gateway, server.number)]


def _tcp_chain(world: World, scope: Scope, route: ConnectionRoute) -> Message:
    fields = connection_fields(world, scope, route)
    name = str(route.origins[0]) if route.origins else "tcp"
    stat_prefix = fields.get("cluster") or name
    return {"name": name, "filters": tcp_filters(world, scope, "gateway", stat_prefix, fields)}


def downstream_tls(server: Server, tls: ServerTLSSettings, protocols: list[str]) -> Message:
    """How a server takes TLS (DownstreamTlsContext): certificates by SDS from Secrets, or from files."""
    common: Message = {"alpn_protocols": protocols} if protocols else {}
    params: Message = {}
    for field, value in (
        ("tls_minimum_protocol_version", tls.min_protocol_version),
        ("tls_maximum_protocol_version", tls.max_protocol_version),
    ):
        if value and value != "TLS_AUTO":
            params[field] = value.replace("TLSV", "TLSv")
    if tls.cipher_suites:
        params["cipher_suites"] = list(tls.cipher_suites)
    # the least that is safe, unless the Gateway says otherwise
    common["tls_params"] = {"tls_minimum_protocol_version": "TLSv1_2"} | params
    names = tls.credential_names or ((tls.credential_name,) if tls.credential_name else ())
    mutual = tls.mode in ("MUTUAL", "OPTIONAL_MUTUAL")
    if names:
        common["tls_certificate_sds_secret_configs"] = [
            {"name": secret_name(name), "sds_config": ADS} for name in names
        ]
    else:
        files = tls.tls_certificates or ()
        pairs = [(one.server_certificate, one.private_key) for one in files] or [
            (tls.server_certificate, tls.private_key)
        ]
        common["tls_certificates"] = [
            {"certificate_chain": {"filename": chain}, "private_key": {"filename": key}} for chain, key in pairs
        ]
    if mutual:
        fixed: Message = {"trust_chain_verification": "ACCEPT_UNTRUSTED"} if server.takes_any_certificate else {}
        if tls.subject_alt_names:
            fixed["match_typed_subject_alt_names"] = [
                {"san_type": kind, "matcher": {"exact": one}}
                for one in tls.subject_alt_names
                for kind in ("URI", "DNS")
            ]
        if tls.verify_certificate_hash:
            fixed["verify_certificate_hash"] = list(tls.verify_certificate_hash)
        if tls.verify_certificate_spki:
            fixed["verify_certificate_spki"] = list(tls.verify_certificate_spki)
        if names:
            authority = secret_name(tls.ca_cert_credential_name or names[0] + AUTHORITY)
            common["combined_validation_context"] = {
                "default_validation_context": fixed,
                "validation_context_sds_secret_config": {"name": authority, "sds_config": ADS},
            }
        else:
            common["validation_context"] = fixed | {"trusted_ca": {"filename": tls.ca_certificates}}
    made = typed(
        "transport_sockets.tls.v3.DownstreamTlsContext",
        common_tls_context=common,
        require_client_certificate=tls.mode == "MUTUAL" and not server.takes_any_certificate,
    )
    return {"name": "envoy.transport_sockets.tls", "typed_config": made}


@query
def credentials(world: World, scope: Scope, ports: Ports) -> tuple[str, ...]:
    """The secrets that the gateway's servers name; what is Gateway API's no other Gateway can name."""
    found: dict[str, None] = {}
    for mine in servers(world, scope, ports).values():
        for server in mine:
            if server.tls is not None and server.ends_tls:
                named = map(secret_name, _named(server.tls))
                found.update((one, None) for one in named if server.is_of_gateway_api or one.startswith(PREFIX))
    if own := client_certificate(world, scope):
        found[own] = None
    found.update(dict.fromkeys(shown_secrets(world, scope)))
    return tuple(found)


def _named(tls: ServerTLSSettings) -> Iterable[str]:
    for name in tls.credential_names or ((tls.credential_name,) if tls.credential_name else ()):
        yield name
        if tls.mode in ("MUTUAL", "OPTIONAL_MUTUAL"):
            yield tls.ca_cert_credential_name or name + AUTHORITY


# --- tables ---------------------------------------------------------------------------------------------------------


def table_name(place: Place, server: Server) -> str:
    """The route table of a server, as Istio names it."""
    if server.protocol.is_http:
        return f"http.{place.port}"
    namespace, _, name = server.gateway.partition("/")
    return f"https.{place.port}.{server.name}.{name}.{namespace}"


@query
def gateway_tables(world: World, scope: Scope, ports: Ports) -> Mapping[str, tuple[Place, tuple[Server, ...]]]:
    """The tables by name, with the servers whose hosts they hold."""
    found: dict[str, tuple[Place, list[Server]]] = {}
    for place, mine in servers(world, scope, ports).items():
        for server in mine:
            if server.is_http:
                found.setdefault(table_name(place, server), (place, []))[1].append(server)
    return {name: (place, tuple(all_)) for name, (place, all_) in found.items()}


@query
def gateway_hosts(world: World, scope: Scope, ports: Ports, table: str) -> Mapping[str, tuple[Ruled, ...]]:
    """The virtual hosts of a table, each with who rules it; the older object first."""
    _, mine = gateway_tables(world, scope, ports).get(table, (None, ()))
    found: dict[str, list[Ruled]] = {}
    for server in mine:
        for one in ruled(world, scope, server):
            if _closest(one, mine):
                found.setdefault(one.host, []).append(one)
        if server.redirects:
            for _, host in server.hosts:
                found.setdefault(host, []).append(Ruled(host, server, server.ref))
        if server.is_of_gateway_api and server.ends_tls:
            for host in _elsewhere(world, scope, ports, server):
                found.setdefault(host, [Ruled(host, server, server.ref, elsewhere=True)])
    # without any Envoy would wait for the table's first virtual host
    return {host: tuple(dict.fromkeys(all_)) for host, all_ in found.items()} or {"": ()}


def _elsewhere(world: World, scope: Scope, ports: Ports, server: Server) -> Iterable[str]:
    """The hosts of a Gateway's other HTTPS listeners at the same port."""
    for mine in servers(world, scope, ports).values():
        if server in mine:
            others = (one for one in mine if one.api_gateway == server.api_gateway and one.is_http)
            return [host for one in others for _, host in one.hosts if host != server.hosts[0][1]]
    return []


def _closest(one: Ruled, servers: Iterable[Server]) -> bool:
    """Of a Gateway's listeners that take a host the one with the closest hostname has it alone (Gateway API)."""
    if not one.server.is_of_gateway_api:
        return True
    own, host = _closeness(one.server.hosts[0][1]), _closeness(one.host)
    return not any(
        own < _closeness(other) <= host and covers(other, one.host)
        for server in servers
        if server.api_gateway == one.server.api_gateway
        for _, other in server.hosts
    )


def _closeness(host: str) -> tuple[bool, int]:
    """A whole name is closer than any wildcard, a longer wildcard than a shorter one."""
    return not host.startswith("*"), len(host)


@query
def rulers_at(world: World, scope: Scope, ports: Ports, table: str, host: str) -> tuple[Ruled, ...]:
    """Who rules one virtual host."""
    return gateway_hosts(world, scope, ports, table).get(host, ())


@query
def origins_of(world: World, scope: Scope, ports: Ports, table: str, host: str) -> tuple[ObjectRef, ...]:
    """The objects that a virtual host is made of: those that rule it, the older first."""
    return tuple(dict.fromkeys(one.ref for one in rulers_at(world, scope, ports, table, host)))


@query
def gateway_virtual_host(world: World, scope: Scope, ports: Ports, table: str, host: str) -> Message | None:
    """A virtual host of a gateway (route.v3.VirtualHost): what several objects say of a host is joined."""
    place_and_servers = gateway_tables(world, scope, ports).get(table)
    if place_and_servers is None:
        return None
    port = place_and_servers[0].port
    if not host:
        return {"name": f"blackhole:{port}", "domains": ["*"]}
    rulers = rulers_at(world, scope, ports, table, host)
    if any(one.elsewhere for one in rulers):
        misdirected: Message = {"match": {"prefix": "/"}, "direct_response": {"status": 421}}
        return {"name": f"misdirected:{host}:{port}", "domains": [host], "routes": [misdirected]}
    routes = tuple(
        route
        for one in rulers
        if one.ref.kind == "VirtualService"
        for route in http_routes(world, scope, one.ref, one.server.gateway, one.server.number)
    )
    if any(one.ref.kind == "Ingress" for one in rulers):
        routes += ingress_routes_at(world, scope, host)
    routes = catch_all_last(routes)
    sections = dict.fromkeys(one.server.section for one in rulers if one.server.is_of_gateway_api)
    routes += tuple(route for one in sections for route in listener_routes(world, scope, one, host))
    tls = any(one.server.ends_tls for one in rulers)
    made: Message = {
        "name": f"{host}:{port}",
        "domains": [host],
        "routes": (rules := list(rendered(world, scope, routes, rulers[0].server.number, tls=tls))),
        "include_request_attempt_count": True,
        **told_to(world, scope, rules),
    }
    if any(one.server.redirects for one in rulers):
        made["require_tls"] = "ALL"
    return made
