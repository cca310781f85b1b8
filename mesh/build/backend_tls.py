"""TLS from Gateways to backends: what a BackendTLSPolicy says ──▶ a cluster's transport socket."""

from __future__ import annotations

from common.envoy.parts import Message, extension
from mesh.build.secrets import GATEWAY_API
from mesh.build.upstream_tls import SYSTEM_CERTIFICATES, secret
from mesh.model.gatewayapi import KubernetesGateway
from mesh.routing.backendtls import Trust
from mesh.routing.certificates import certificate_fault
from mesh.routing.listeners import is_ours, serves
from mesh.world.memo import query
from mesh.world.proxy import Scope
from mesh.world.world import World


def transport_socket(world: World, scope: Scope, trust: Trust, *, is_http2: bool) -> Message:
    """The socket for a port whose policy is valid."""
    if trust.names:
        names = [("DNS", one.hostname) if one.type == "Hostname" else ("URI", one.uri) for one in trust.names]
    else:
        names = [("DNS", trust.hostname)]
    known = {"inline_bytes": trust.authorities} if trust.authorities else {"filename": SYSTEM_CERTIFICATES}
    context: Message = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
        "validation_context": {
            "trusted_ca": known,
            "match_typed_subject_alt_names": [{"san_type": kind, "matcher": {"exact": name}} for kind, name in names],
        },
    }
    if is_http2:
        context["alpn_protocols"] = ["h2"]
    if own := client_certificate(world, scope):
        context["tls_certificate_sds_secret_configs"] = [secret(own)]
    return extension(
        "envoy.transport_sockets.tls",
        "transport_sockets.tls.v3.UpstreamTlsContext",
        common_tls_context=context,
        sni=trust.hostname,
    )


@query
def client_certificate(world: World, scope: Scope) -> str:
    """The secret that proxies of a Gateway show to backends (GatewayBackendTLS); empty for none."""
    for one in sorted(world.all("KubernetesGateway").values(), key=lambda each: each.meta.age):
        gateway: KubernetesGateway = one
        ref = gateway.tls.backend.client_certificate_ref if gateway.tls and gateway.tls.backend else None
        if ref is None or not is_ours(world, gateway) or not serves(world, scope, gateway):
            continue
        if certificate_fault(world, gateway.meta.ref, ref) is None:
            return f"{GATEWAY_API}{ref.namespace or gateway.meta.namespace}/{ref.name}"
    return ""
