"""Listeners for what the app sends: each stands for the address that the app meant, and no socket is bound for it.

    app ──▶ virtualOutbound :15001 ──by original destination──▶ ADDRESS_PORT, if there is one
                                                            └─▶ 0.0.0.0_PORT, if there is one ──▶ routes by Host
                                                            └─▶ else on to that address, or nowhere (REGISTRY_ONLY)

A host's port whose protocol is HTTP is routed by Host and so shares 0.0.0.0_PORT with all others; bytes have nothing
but their address, so they get a listener at each. Where nobody said what is spoken, the listener of the address looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from typing import Literal, NamedTuple

from common.envoy.parts import Message, address
from common.envoy.traffic import HTTP_PROTOCOLS
from mesh.build.filters import (
    GRPC_WEB,
    HTTP_INSPECTOR,
    SIDECAR_PORTS,
    TLS_INSPECTOR,
    OwnPortError,
    by_rds,
    paths,
)
from mesh.build.hostroutes import connection_fields
from mesh.build.policy import tcp_fields
from mesh.build.watched import http_filters, tcp_filters
from mesh.model.fields import is_address
from mesh.model.meta import ObjectRef
from mesh.model.names import BLACK_HOLE, PASSTHROUGH, ClusterName, host_forms
from mesh.model.protocol import Protocol, protocol_named
from mesh.model.service import Resolution, Service
from mesh.routing.attach import tcp_routes, tls_routes
from mesh.routing.backends import whole_name
from mesh.routing.route import ConnectionRoute, Target
from mesh.world.index import (
    ServiceKey,
    aliases_of,
    endpoints_of,
    joined_entries,
    known_services,
    registry_only,
    service_at,
)
from mesh.world.memo import query
from mesh.world.proxy import Scope
from mesh.world.sidecars import Egress, egress_of, sidecar_of
from mesh.world.world import World

ANY, LOCAL = "0.0.0.0", "127.0.0.1"
UNSPECIFIED = (ANY, "::")
# How long the first bytes are waited for: where HTTP was declared, an app that connects early may take its time; where
# nothing was, a server that speaks first should not be kept waiting.
DECLARED_TIMEOUT, UNDECLARED_TIMEOUT = "5s", "1s"


class Bind(NamedTuple):
    """Where a listener stands; an address of 0.0.0.0 takes what no other does.

    `bound`: it has a socket of its own, for an app that calls it there (captureMode NONE).
    """

    address: str
    port: int
    bound: bool = False

    @property
    def name(self) -> str:
        """As Istio names it. One with a socket never has the name of one without: that update ends Envoy (1.40)."""
        return f"{self.address}_{self.port}" + ("_bound" if self.bound else "")


class Binding(NamedTuple):
    """A port of a host at a listener. `networks` are the destinations it is for, where the listener is at any."""

    key: ServiceKey
    port: int
    kind: Literal["http", "auto", "tcp"]
    networks: tuple[str, ...] = ()


Kind = Literal["http", "auto", "tcp"]


@query
def listener_binds(world: World, scope: Scope) -> Mapping[Bind, tuple[Binding, ...]]:
    """All outbound listeners of the scope, and what is at each; the older object first.

    A port that an egress listener names has what that listener names, and nothing of those after it.
    """
    egress = egress_of(world, scope)
    made: dict[Bind, tuple[Binding, ...]] = {}
    for one in (None,) if egress is None else egress:
        found: dict[Bind, list[tuple[tuple[str, str, str], Binding]]] = {}
        taken = {(bind.address, bind.port) for bind in made}
        for key in known_services(world, scope).values():
            service = service_at(world, key)
            if service is not None and (one is None or one.names(service.namespace, key.host)):
                for bind, binding in bindings_of(world, key, one if one and one.port else None):
                    if (bind.address, bind.port) not in taken:
                        found.setdefault(bind, []).append((service.meta.age, binding))
        made |= {bind: _together(binding for _, binding in sorted(all_)) for bind, all_ in found.items()}
    return dict(sorted(made.items()))


def _together(bindings: Iterable[Binding]) -> tuple[Binding, ...]:
    return tuple(dict.fromkeys(bindings))


def kind_of(protocol: Protocol) -> Kind:
    """How what comes to a port is looked at."""
    return "http" if protocol.is_http else "auto" if protocol.is_auto else "tcp"


@query
def bindings_of(world: World, key: ServiceKey, egress: Egress | None) -> tuple[tuple[Bind, Binding], ...]:
    """Where the ports of one host are met; by way of an egress listener with a port, that port alone as it says."""
    found: list[tuple[Bind, Binding]] = []
    for service in joined_entries(world, key):
        if service.resolution is Resolution.ALIAS:
            continue
        for port in service.ports:
            if port.protocol == "UDP" or (egress and port.number != egress.port):
                continue
            kind = kind_of(protocol_named(egress.protocol) if egress else port.protocol)
            bound = egress is not None and not egress.captured
            where = egress.bind if egress else ""
            if bound and where in ("", *UNSPECIFIED):
                where = (
                    LOCAL  # only the app calls there; at every address it would stand in the way of what is captured
                )
            if where:
                found.append((Bind(where, port.number, bound), Binding(key, port.number, kind)))
            elif kind == "http":
                found.append((Bind(ANY, port.number), Binding(key, port.number, kind)))
            else:
                found += _by_address(world, key, service, port.number, kind)
    return tuple(dict.fromkeys(found))


def _by_address(world: World, key: ServiceKey, service: Service, port: int, kind: Kind) -> list[tuple[Bind, Binding]]:
    """Bytes of a host are told by its addresses; a host that has none itself by its endpoints', if it balances none."""
    plain = [one for one in service.addresses if "/" not in one]
    hosts = [one for one in plain if one not in UNSPECIFIED]
    networks = tuple(str(ip_network(one, strict=False)) for one in service.addresses if "/" in one)
    if service.resolution is Resolution.PASSTHROUGH and not service.addresses:
        # each pod by its own address, at the pod's own port
        each = endpoints_of(world, key, port)
        found = [(Bind(one.address, one.port), Binding(key, port, kind)) for one in each if is_address(one.address)]
        if found or service.is_kubernetes or service.workload_selector is not None:
            return found
    found = [(Bind(one, port), Binding(key, port, kind)) for one in hosts]
    if networks or len(hosts) < len(plain) or not hosts:
        found.append((Bind(ANY, port), Binding(key, port, kind, networks)))
    return found


@query
def bindings_at(world: World, scope: Scope, bind: Bind) -> tuple[Binding, ...]:
    """What is at one listener."""
    return listener_binds(world, scope).get(bind, ())


@query
def origins_of(world: World, scope: Scope, bind: Bind) -> tuple[ObjectRef, ...]:
    """The objects that a listener is made of: those whose bytes it carries, for requests are the tables' affair."""
    bindings = bindings_at(world, scope, bind)
    bytes_ = [one for one in bindings if one.kind != "http"]
    found: dict[ObjectRef, None] = {}
    for one in bytes_ if bind.address == ANY and bytes_ else (bytes_ or bindings)[:1]:
        found.update((origin.ref, None) for rule in _rules(world, scope, one) for origin in rule.origins)
        found[one.key.ref] = None
    return tuple(found)


@query
def listener(world: World, scope: Scope, bind: Bind) -> Message | None:
    """An outbound listener (listener.v3.Listener)."""
    bindings = bindings_at(world, scope, bind)
    if not bindings:
        return None
    if (bind.address == ANY or bind.bound) and bind.port in SIDECAR_PORTS:
        raise OwnPortError(bind.port)
    http = next((one for one in bindings if one.kind == "http"), None)
    bytes_ = [one for one in bindings if one.kind != "http"]
    inspect_http = http is not None or any(one.kind == "auto" for one in bytes_)
    chains: list[Message] = []
    default: Message | None = None
    taken: set[tuple[str, str]] = set()
    for one in bytes_:
        for whole, chain in _byte_chains(world, scope, bind, one):
            if not whole:
                default = default or chain
            elif match := _untaken(whole, taken):
                chains.append(chain | {"filter_chain_match": match})
    if inspect_http:
        chains.append(_http_chain(world, scope, bind, table_at(bind, bindings), bindings))
    made: Message = {
        "name": bind.name,
        "address": address(bind.address, bind.port),
        "bind_to_port": bind.bound,
        "traffic_direction": "OUTBOUND",
        "filter_chains": chains,
        "default_filter_chain": default or unknown_chain(world, scope),
    }
    if bind.address == ANY:
        made["additional_addresses"] = [{"address": address("::", bind.port)}]
    inspect_tls = any("server_names" in chain.get("filter_chain_match", {}) for chain in chains)
    if inspect_http or inspect_tls:
        made |= {
            "listener_filters": [TLS_INSPECTOR, *([HTTP_INSPECTOR] if inspect_http else [])],
            "listener_filters_timeout": DECLARED_TIMEOUT if http else UNDECLARED_TIMEOUT,
            "continue_on_listener_filters_timeout": True,
        }
    return made


def table_at(bind: Bind, bindings: Iterable[Binding]) -> str:
    """The route table of a listener: the port's, or a host's own where HTTP is found out at its address."""
    kinds = {one.kind: one for one in reversed(tuple(bindings))}
    auto = kinds.get("auto")
    if auto is None or bind.address == ANY or "http" in kinds:
        return str(bind.port)
    return f"{auto.key.host}:{auto.port}"


def _http_chain(world: World, scope: Scope, bind: Bind, table: str, bindings: tuple[Binding, ...]) -> Message:
    services = (service_at(world, one.key) for one in bindings)
    ports = [port for service in services if service and (port := service.port(bind.port))]
    return {
        "name": table,
        "filter_chain_match": {"transport_protocol": "raw_buffer", "application_protocols": HTTP_PROTOCOLS},
        "filters": http_filters(
            world,
            scope,
            "outbound",
            f"outbound_{bind.name}",
            by_rds(table),
            filters=[GRPC_WEB] if any(port.protocol == "GRPC-Web" for port in ports) else [],
            use_remote_address=False,
            **paths(world),
            skip_xff_append=True,
        ),
    }


def _byte_chains(world: World, scope: Scope, bind: Bind, binding: Binding) -> Iterable[tuple[Message, Message]]:
    """What becomes of bytes for one host's port: matches, each with its chain; an empty match is for all the rest."""
    host, number = binding.key.host, binding.port
    networks: Message = {"prefix_ranges": [_range(net) for net in binding.networks]} if binding.networks else {}
    rules = _rules(world, scope, binding)
    if _is_tls(world, binding):
        for rule in rules:
            yield _match(rule, networks), _routed(world, scope, rule)
        if rules:
            return  # what no rule names goes on unrouted
        if bind.address == ANY:
            aliases = (
                form for one in aliases_of(world, host) for form in host_forms(one, scope.namespace, scope.domain)
            )
            yield {"server_names": [host, *aliases], **networks}, _tcp_chain(world, scope, host, number)
            return
    else:
        for rule in rules:
            yield _match(rule, networks), _routed(world, scope, rule)
            if not rule.subnets:
                return
    yield networks, _tcp_chain(world, scope, host, number)


def _is_tls(world: World, binding: Binding) -> bool:
    service = service_at(world, binding.key)
    port = service.port(binding.port) if service else None
    return port is not None and port.protocol.is_tls


def _rules(world: World, scope: Scope, binding: Binding) -> tuple[ConnectionRoute, ...]:
    """What VirtualServices say of connections to a host's port."""
    routes = tls_routes if _is_tls(world, binding) else tcp_routes
    return routes(world, scope, binding.key.host, binding.port)


def _match(rule: ConnectionRoute, networks: Message) -> Message:
    made: Message = {"prefix_ranges": [_range(net) for net in rule.subnets]} if rule.subnets else dict(networks)
    if rule.sni_hosts and "*" not in rule.sni_hosts:
        made["server_names"] = list(rule.sni_hosts)
    return made


def _untaken(match: Message, taken: set[tuple[str, str]]) -> Message | None:
    """What of a match no older one has, for Envoy takes no listener with two for one; None where nothing is left."""
    names = list(dict.fromkeys(name.lower() for name in match.get("server_names", [""])))
    ranges = {f"{one['address_prefix']}/{one['prefix_len']}": one for one in match.get("prefix_ranges", ())} or {"": {}}
    if len(names) == 1:
        ranges = {net: one for net, one in ranges.items() if (names[0], net) not in taken}
    else:
        names = [name for name in names if not any((name, net) in taken for net in ranges)]
    taken.update((name, net) for name in names for net in ranges)
    if not names or not ranges:
        return None
    made: Message = {"prefix_ranges": list(ranges.values())} if "" not in ranges else {}
    return made | {"server_names": names} if names != [""] else made


def _routed(world: World, scope: Scope, rule: ConnectionRoute) -> Message:
    fields = connection_fields(world, scope, rule)
    name = str(rule.origins[0]) if rule.origins else "tcp"
    return {"name": name, "filters": tcp_filters(world, scope, "outbound", fields.get("cluster") or name, fields)}


def _tcp_chain(world: World, scope: Scope, host: str, port: int) -> Message:
    name = str(ClusterName("outbound", port, "", host))
    fields = {"cluster": name, **tcp_fields(world, scope, Target(host, port))}
    return {"name": name, "filters": tcp_filters(world, scope, "outbound", name, fields)}


def unknown_chain(world: World, scope: Scope) -> Message:
    """For what no rule names."""
    if registry_only(world, scope):
        name, to = "BlackHoleFilterChain", BLACK_HOLE
    else:
        name, to = "PassthroughFilterChain", unknown_to(world, scope)
    return {"name": name, "filters": tcp_filters(world, scope, "outbound", to, {"cluster": to})}


def unknown_to(world: World, scope: Scope) -> str:
    """The cluster for what no rule names: on to where the app meant to go, or to the Sidecar's egressProxy."""
    sidecar = sidecar_of(world, scope)
    policy = sidecar.outbound_traffic_policy if sidecar else None
    if sidecar is None or policy is None or policy.egress_proxy is None:
        return PASSTHROUGH
    to = policy.egress_proxy
    host = whole_name(to.host, sidecar.meta.namespace, scope.domain)
    return str(ClusterName("outbound", to.port.number if to.port else 0, to.subset, host))


def _range(network: str) -> Message:
    where = ip_network(network, strict=False)
    return {"address_prefix": str(where.network_address), "prefix_len": where.prefixlen}
