"""A proxy's resources as rows for people, with istioctl's columns and words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mesh.commands.proxy_config.dump import Endpoint, Message, address_of
from mesh.model.names import cluster_name

Row = tuple[str, ...]

CLUSTERS = ("SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE")
LISTENERS = ("ADDRESSES", "PORT", "MATCH", "DESTINATION")
ROUTES = ("NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE", "RULE")
ENDPOINTS = ("ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER")
SECRETS = ("RESOURCE NAME", "TYPE", "STATUS", "VALID CERT", "SERIAL NUMBER", "NOT AFTER", "NOT BEFORE")

# How Istio's filter chains name what they take, in fewer words.
HTTP = ({"http/1.0", "http/1.1", "h2c"}, {"http/1.1", "h2c"})
MOST_DOMAINS = 2


def text(header: Row, rows: Sequence[Row]) -> str:
    """Columns as wide as they must be; nothing is cut, for programs read this too."""
    widths = [max(len(row[n]) for row in (header, *rows)) for n in range(len(header))]
    lines = (
        "     ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (header, *rows)
    )
    return "\n".join(line.rstrip() for line in lines)


def cluster_row(cluster: Message) -> Row:
    """One cluster."""
    kind = str(cluster.get("type") or (cluster.get("cluster_type") or {}).get("name") or "STATIC")
    name = cluster_name(str(cluster.get("name")))
    if name is None:
        return str(cluster.get("name")), "-", "-", "-", kind, managed_by(cluster)
    return name.host, str(name.port), name.subset or "-", name.direction, kind, managed_by(cluster)


def listener_rows(listener: Message) -> Iterator[Row]:
    """A row for each filter chain."""
    host, port = address_of(listener)
    more = [address_of(one)[0] for one in listener.get("additional_addresses") or ()]
    at = ",".join([host, *more])
    chains = list(listener.get("filter_chains") or ())
    if default := listener.get("default_filter_chain"):
        chains.append({**default, "filter_chain_match": {}})
    rows = [(at, str(port), chain_match(one.get("filter_chain_match") or {}), destination(one)) for one in chains]
    yield from sorted(rows, key=lambda row: row[2])


def chain_match(match: Message) -> str:
    """What connections a filter chain takes."""
    words = []
    if names := match.get("server_names"):
        words.append(f"SNI: {','.join(names)}")
    if transport := match.get("transport_protocol"):
        words.append(f"Trans: {transport}")
    if protocols := match.get("application_protocols"):
        words.append(f"App: {'HTTP' if set(protocols) in HTTP else ','.join(protocols)}")
    port = f":{match['destination_port']}" if match.get("destination_port") else ""
    if ranges := match.get("prefix_ranges"):
        networks = (f"{one.get('address_prefix')}/{one.get('prefix_len', 0)}" for one in ranges)
        words.append(f"Addr: {','.join(networks)}{port}")
    elif port:
        words.append(f"Addr: *{port}")
    return "; ".join(words) or "ALL"


def destination(chain: Message) -> str:
    """Where a filter chain sends what it takes."""
    for one in chain.get("filters") or ():
        config = one.get("typed_config") or {}
        kind = str(config.get("@type", "")).rpartition(".")[2]
        if kind == "HttpConnectionManager":
            if inline := config.get("route_config"):
                return _inline(inline)
            return f"Route: {(config.get('rds') or {}).get('route_config_name', '')}"
        if kind == "TcpProxy":
            if weighted := (config.get("weighted_clusters") or {}).get("clusters"):
                shares = (f"{each.get('name')} ({each.get('weight', 0)})" for each in weighted)
                return f"Cluster: {', '.join(shares)}"
            return _cluster(str(config.get("cluster") or ""))
    return "Non-HTTP/Non-TCP"


def kind_of(listener: Message) -> str:
    """HTTP, TCP, or both as HTTP+TCP: by what its filter chains speak."""
    chains = [*(listener.get("filter_chains") or ()), listener.get("default_filter_chain") or {}]
    used = {
        str((one.get("typed_config") or {}).get("@type", "")).rpartition(".")[2]
        for chain in chains
        for one in chain.get("filters") or ()
    }
    found = [name for kind, name in (("HttpConnectionManager", "HTTP"), ("TcpProxy", "TCP")) if kind in used]
    return "+".join(found) or "UNKNOWN"


def _cluster(name: str) -> str:
    return name if "Cluster" in name else f"Cluster: {name}"


def _inline(table: Message) -> str:
    hosts = table.get("virtual_hosts") or []
    if len(hosts) == 1 and hosts[0].get("domains") == ["*"] and len(hosts[0].get("routes") or ()) == 1:
        [route] = hosts[0]["routes"]
        to = (route.get("route") or {}).get("cluster")
        if to and (route.get("match") or {}).get("prefix") == "/":
            return _cluster(str(to))
    shown = []
    for host in hosts:
        domains = "" if host.get("domains") == ["*"] else f"{'/'.join(host.get('domains') or ())} "
        shown.append(domains + ", ".join(route_match(one.get("match") or {}) for one in host.get("routes") or ()))
    return f"Inline Route: {'; '.join(shown)}"


def route_rows(table: Message) -> Iterator[Row]:
    """A row for each route of each virtual host."""
    for host in table.get("virtual_hosts") or ():
        where = str(table.get("name") or ""), str(host.get("name") or ""), domains(host.get("domains") or ())
        for route in host.get("routes") or ():
            yield *where, route_match(route.get("match") or {}), managed_by(route), rule_of(route)
        if not host.get("routes"):
            yield *where, "/*", "404", ""


def domains(names: Sequence[str]) -> str:
    """The shortest names, and how many more there are; those with a port are not counted beside those without."""
    if len(names) == 1:
        return names[0]
    bare = {name for name in names if ":" not in name} or set(names)
    shortest = sorted(bare, key=lambda name: (name[:1].isdecimal(), len(name), name))[:MOST_DOMAINS]
    more = len(bare) - len(shortest)
    return ", ".join(shortest) + (f" + {more} more..." if more else "")


def route_match(match: Message) -> str:
    """What requests a route takes, by their path."""
    for key, shown in (("prefix", "{}*"), ("path", "{}"), ("path_separated_prefix", "{}*")):
        if key in match:
            return shown.format(match[key])
    if regex := match.get("safe_regex"):
        return f"regex {regex.get('regex')}"
    return "CONNECT" if "connect_matcher" in match else "/*"


def endpoint_row(endpoint: Endpoint) -> Row:
    """One endpoint."""
    return endpoint.shown, endpoint.status, endpoint.outlier, endpoint.cluster


def secret_row(secret: Message, now: Any) -> Row:
    """One certificate, or the authorities that are trusted; a key is never shown."""
    from base64 import b64decode

    from cryptography import x509

    held = secret["secret"]
    kind, data = "Cert Chain", ((held.get("tls_certificate") or {}).get("certificate_chain") or {})
    if "validation_context" in held:
        kind, data = "CA", (held["validation_context"].get("trusted_ca") or {})
    pem = b64decode(data["inline_bytes"]) if data.get("inline_bytes") else str(data.get("inline_string", "")).encode()
    name = str(secret.get("name"))
    try:
        leaf = x509.load_pem_x509_certificate(pem)
    except ValueError:
        return name, kind, secret["state"], "-", "-", "-", "-"
    after, before = leaf.not_valid_after_utc, leaf.not_valid_before_utc
    valid = str(before <= now < after).lower()
    return name, kind, secret["state"], valid, f"{leaf.serial_number:x}", _time(after), _time(before)


def _time(moment: Any) -> str:
    return str(moment.strftime("%Y-%m-%dT%H:%M:%SZ"))


def rule_of(route: Mapping[str, Any]) -> str:
    """Which rule of that object a route is made of: its path, as in `spec.http[1]`."""
    metadata = ((route.get("metadata") or {}).get("filter_metadata") or {}).get("istio") or {}
    return str(metadata.get("rule") or "")


def managed_by(resource: Mapping[str, Any]) -> str:
    """NAME.NAMESPACE of the object that a route or cluster is made of, by Istio's metadata; empty where none is named.

    It is the API server's path: /apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews.
    """
    metadata = ((resource.get("metadata") or {}).get("filter_metadata") or {}).get("istio") or {}
    parts = str(metadata.get("config") or "").split("/")
    if len(parts) < 8:
        return ""
    kind, name, namespace = parts[-2], parts[-1], parts[-3]
    shown = f"{name}.{namespace}"
    return shown if kind in ("virtual-service", "destination-rule") else f"{kind} {shown}"
