"""TLS to a destination (DestinationRule's ClientTLSSettings) ──▶ a cluster's transport socket."""

from __future__ import annotations

from common.envoy.parts import Message, extension
from mesh.build.filters import ADS
from mesh.model.service import Service
from mesh.model.tls import ClientTLSSettings

# Where the proxy's image, as nearly every Linux, keeps the authorities that it trusts.
SYSTEM_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
SYSTEM = "system"


def transport_socket(
    tls: ClientTLSSettings | None, service: Service, *, is_http2: bool
) -> tuple[Message | None, Message]:
    """The socket, None for plain text; and what HTTP's options say of it (UpstreamHttpProtocolOptions).

    ISTIO_MUTUAL needs certificates of the mesh, which there are none of yet: it is plain text, as DISABLE.
    """
    if tls is None or tls.mode not in ("SIMPLE", "MUTUAL"):
        return None, {}
    names = tls.subject_alt_names or (() if service.is_kubernetes else service.subject_alt_names)
    options: Message = {}
    if not tls.sni:
        options["auto_sni"] = True  # the Host is asked for
        if not names and not tls.insecure_skip_verify:
            options["auto_san_validation"] = True
    context: Message = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"}
    }
    if is_http2:
        context["alpn_protocols"] = ["h2"]
    _certificate(context, tls)
    if not tls.insecure_skip_verify:
        _validation(context, tls, names)
    socket: Message = {"common_tls_context": context}
    if tls.sni:
        socket["sni"] = tls.sni
    made = extension("envoy.transport_sockets.tls", "transport_sockets.tls.v3.UpstreamTlsContext", **socket)
    return made, options


def _certificate(context: Message, tls: ClientTLSSettings) -> None:
    if tls.mode != "MUTUAL":
        return
    if tls.credential_name:
        context["tls_certificate_sds_secret_configs"] = [secret(f"kubernetes://{tls.credential_name}")]
    else:
        context["tls_certificates"] = [
            {
                "certificate_chain": {"filename": tls.client_certificate},
                "private_key": {"filename": tls.private_key},
            }
        ]


def _validation(context: Message, tls: ClientTLSSettings, names: tuple[str, ...]) -> None:
    validation: Message = {}
    if names:
        # any kind of name, as Istio compares them
        validation["match_typed_subject_alt_names"] = [
            {"san_type": kind, "matcher": {"exact": name}} for name in names for kind in ("DNS", "URI", "IP_ADDRESS")
        ]
    if tls.credential_name:
        context["combined_validation_context"] = {
            "default_validation_context": validation,
            "validation_context_sds_secret_config": secret(f"kubernetes://{tls.credential_name}-cacert"),
        }
        return
    files = tls.ca_certificates
    validation["trusted_ca"] = {"filename": SYSTEM_CERTIFICATES if files in ("", SYSTEM) else files}
    if tls.ca_crl:
        validation["crl"] = {"filename": tls.ca_crl}
    context["validation_context"] = validation


def secret(name: str) -> Message:
    """A secret that comes by SDS, as the resource of this name."""
    return {"name": name, "sds_config": ADS}
