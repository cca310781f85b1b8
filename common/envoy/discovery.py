"""What a proxy of a control plane starts with: where to ask, and how to get along until it is answered.

    app ──▶ OUTPUT, REDIRECT ──▶ :15001 ┬─▶ virtualOutbound, as soon as LDS has brought it, on 0.0.0.0 (and ::1)
                                        └─▶ virtualOutbound-fallback, from the start, on [::]: on to the asked address

Envoy leaves a listener by LDS unused that has a static one's name, and refuses one at a static one's address. So the
static fallback has a name of its own and an address that is less specific: both sockets are open (SO_REUSEPORT), and
the kernel gives a connection to the one whose address fits best (inet_hashtables.c, compute_score). When the control
plane is away at the start, Envoy waits FETCH_TIMEOUT for clusters and again for listeners, then the fallback serves.

Nothing here has a name that the control plane uses, so that it can change whatever it has named. Inbound is all its
own: what is not told, nobody may pass. Under REGISTRY_ONLY there is no fallback either.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

from common.envoy.parts import (
    EXTENSIONS,
    Message,
    access_logs,
    cluster,
    endpoint,
    extension,
    tcp_proxy,
    typed,
    wildcard,
)
from common.envoy.sidecar import Discovery, Sidecar
from common.envoy.traffic import KEEPALIVE, OUTBOUND, passthrough

XDS: Final = "xds-grpc"
# Where a pod of the profile mesh has what it needs to be known; the token is for this audience alone.
FOLDER: Final = "/var/run/secrets/pymesh"
CA, TOKEN = f"{FOLDER}/root-cert.json", f"{FOLDER}/token"
AUDIENCE: Final = "pymesh"
# The ConfigMap with root-cert.json, and the same as PEM, that the control plane keeps in every namespace.
CA_CONFIG_MAP: Final = "pymesh-ca-root-cert"
ROOT_SECRET: Final = "root-cert"
FALLBACK: Final = "virtualOutbound-fallback"
FALLBACK_CLUSTER: Final = f"{OUTBOUND}-fallback"
FETCH_TIMEOUT: Final = "3s"
# A control plane that is gone without a word is noticed, and another connection of its Service's tried.
PING_INTERVAL, PING_TIMEOUT = "30s", "10s"
# How long until the next try, by chance between nothing and the first of these, doubled each time up to the second.
# Envoy's own are 0.5 and 30 s: after a minute's outage the last proxy would be back half a minute late. Two thousand
# are back within 5 s at some hundred handshakes a second, spread evenly.
RETRY_FIRST, RETRY_LONGEST = "0.5s", "5s"
# Envoy refuses a regular expression whose program is larger than 100 instructions, which thirty alternatives are; Istio
# allows as many as these, of which one expression takes some 7 MB.
REGEX_INSTRUCTIONS = 32768


def dynamic_resources() -> Message:
    """Clusters and listeners come by one aggregated stream, of which each response holds what has changed."""
    retry = {"retry_back_off": {"base_interval": RETRY_FIRST, "max_interval": RETRY_LONGEST}}
    source = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": FETCH_TIMEOUT}
    return {
        "ads_config": {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [{"envoy_grpc": {"cluster_name": XDS, "retry_policy": retry}}],
        },
        "cds_config": source,
        "lds_config": source,
    }


def runtime() -> Message:
    """What of Envoy's own limits is other; the admin API can change it further, as it can without this."""
    limits = {"re2.max_program_size.error_level": REGEX_INSTRUCTIONS}
    return {"layers": [{"name": "limits", "static_layer": limits}, {"name": "admin", "admin_layer": {}}]}


def listeners(sidecar: Sidecar) -> list[Message]:
    """The fallback; none for a gateway, nor where traffic to unknown places is not allowed."""
    if sidecar.router or sidecar.registry_only:
        return []
    logs = access_logs(sidecar.access_log, "outbound", http=False)
    return [
        {
            "name": FALLBACK,
            "address": wildcard(sidecar.outbound_port),
            "traffic_direction": "OUTBOUND",
            "socket_options": KEEPALIVE,
            "use_original_dst": True,
            "filter_chains": [
                # Who connects to this very port asks it to connect to itself; without a filter Envoy closes.
                {"name": "blackhole", "filter_chain_match": {"destination_port": sidecar.outbound_port}},
            ],
            "default_filter_chain": {
                "name": "passthrough",
                "filters": [tcp_proxy(FALLBACK_CLUSTER, FALLBACK_CLUSTER, logs)],
            },
        }
    ]


def clusters(sidecar: Sidecar) -> list[Message]:
    """The control plane, and where the fallback goes."""
    assert sidecar.discovery is not None
    fallback = [] if sidecar.router or sidecar.registry_only else [passthrough(FALLBACK_CLUSTER)]
    return [_control_plane(sidecar.discovery), *fallback]


def _control_plane(to: Discovery) -> Message:
    kind = "STATIC" if _is_address(to.host) else "STRICT_DNS"
    http: Message = {
        "explicit_http_config": {
            "http2_protocol_options": {
                "connection_keepalive": {"interval": PING_INTERVAL, "timeout": PING_TIMEOUT},
            }
        }
    }
    if to.token:
        http["http_filters"] = [_token(to.token), _CODEC]
    made = cluster(
        XDS,
        kind,
        load_assignment=endpoint(XDS, to.host, to.port),
        upstream_connection_options={"tcp_keepalive": {"keepalive_time": 30, "keepalive_interval": 10}},
        typed_extension_protocol_options={
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
                "upstreams.http.v3.HttpProtocolOptions", **http
            )
        },
        **({"dns_lookup_family": "ALL"} if kind == "STRICT_DNS" else {}),
    )
    return made | ({"transport_socket": _tls(to)} if to.ca else {})


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


_CODEC = extension("envoy.filters.http.upstream_codec", "filters.http.upstream_codec.v3.UpstreamCodec")


def _token(path: str) -> Message:
    """Each stream says who it is by the token as it is then: kubelet replaces the file, and the formatter watches the
    folder for that. (`initial_metadata` would send the formatter's text, credential_injector the first token for ever.)
    """
    folder = path.rpartition("/")[0] or "/"
    formatter = {"name": "envoy.formatter.file_content", "typed_config": typed("formatter.file_content.v3.FileContent")}
    header = {"key": "authorization", "value": f"Bearer %FILE_CONTENT({path}:{folder})%"}
    return extension(
        "envoy.filters.http.header_mutation",
        "filters.http.header_mutation.v3.HeaderMutation",
        mutations={
            "request_mutations": [{"append": {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}],
            "formatters": [formatter],
        },
    )


def root_secret(bundle: str) -> Message:
    """What `CA` holds: authorities (PEM) as SDS has them, for Envoy reads a `trusted_ca` of the bootstrap only once."""
    secret = {
        "@type": EXTENSIONS + "transport_sockets.tls.v3.Secret",
        "name": ROOT_SECRET,
        "validation_context": {"trusted_ca": {"inline_string": bundle}},
    }
    return {"resources": [secret]}


def _tls(to: Discovery) -> Message:
    name = to.server_name or to.host
    theirs: Message = {"match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": name}}]}
    if to.ca.endswith(".json"):
        # kubelet replaces the folder's files as one, by moving a link in it
        source = {"path": to.ca, "watched_directory": {"path": to.ca.rpartition("/")[0] or "/"}}
        config = {"path_config_source": source, "resource_api_version": "V3"}
        trusted = {
            "combined_validation_context": {
                "default_validation_context": theirs,
                "validation_context_sds_secret_config": {"name": ROOT_SECRET, "sds_config": config},
            }
        }
    else:
        trusted = {"validation_context": theirs | {"trusted_ca": {"filename": to.ca}}}
    return extension(
        "envoy.transport_sockets.tls",
        "transport_sockets.tls.v3.UpstreamTlsContext",
        sni=name,
        common_tls_context={
            "alpn_protocols": ["h2"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
            **trusted,
        },
    )
