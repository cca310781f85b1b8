"""Certificates for gateways, from Secrets of the gateway's own namespace (SDS)."""

from __future__ import annotations

from common.envoy.parts import Message
from mesh.model.gatewayapi import KubernetesGateway
from mesh.model.meta import ObjectRef
from mesh.model.secret import Secret
from mesh.routing.certificates import authorities
from mesh.routing.listeners import frontend_of
from mesh.world.memo import query
from mesh.world.proxy import Scope
from mesh.world.world import World

PREFIX = "kubernetes://"
# What listeners of Gateway API name, NAMESPACE/NAME, if they may; and the authorities that a Gateway knows clients by,
# NAMESPACE/GATEWAY/PORT. Nobody else can ask for them: see `credentials`.
GATEWAY_API = "kubernetes-gateway://"
AUTHORITIES = "kubernetes-gateway-cacert://"
# A Secret's authorities have a name of their own, and may stand in a Secret of their own, NAME-cacert.
AUTHORITY = "-cacert"


def secret_name(credential: str) -> str:
    """A Secret as Envoy asks for it: Istio's name."""
    return credential if "://" in credential else f"{PREFIX}{credential}"


def origins_of(scope: Scope, name: str) -> tuple[ObjectRef, ...]:
    """The Secret of that name, or the Gateway whose authorities these are."""
    if name.startswith(AUTHORITIES):
        namespace, gateway, _ = name.removeprefix(AUTHORITIES).split("/")
        return (ObjectRef("KubernetesGateway", namespace, gateway),)
    namespace, _, short = name.removeprefix(GATEWAY_API).removeprefix(PREFIX).rpartition("/")
    return (ObjectRef("Secret", namespace or scope.namespace, short),)


@query
def secret(world: World, scope: Scope, name: str) -> Message | None:
    """A secret by the name that `secret_name` gave it (tls.v3.Secret); None where there is no such Secret.

    A credential may name another namespace, NAMESPACE/NAME; only the proxy's own counts, for a Secret is its owner's.
    """
    if name.startswith(AUTHORITIES):
        return _authorities(world, name)
    if name.startswith(GATEWAY_API):
        namespace, _, short = name.removeprefix(GATEWAY_API).partition("/")
        found: Secret | None = world.get("Secret", namespace, short)
        return _certificate(name, found)
    credential = name.removeprefix(PREFIX)
    namespace, slash, short = credential.rpartition("/")
    if slash and namespace != scope.namespace:
        return None
    found = world.get("Secret", scope.namespace, short)
    if short.endswith(AUTHORITY):
        holder = found or world.get("Secret", scope.namespace, short.removesuffix(AUTHORITY))
        known = (holder.authorities or holder.certificate if found else holder.authorities) if holder else b""
        if not known:
            return None
        return {"name": name, "validation_context": {"trusted_ca": {"inline_bytes": known}}}
    return _certificate(name, found)


def _authorities(world: World, name: str) -> Message | None:
    namespace, short, port = name.removeprefix(AUTHORITIES).split("/")
    ref = ObjectRef("KubernetesGateway", namespace, short)
    gateway: KubernetesGateway | None = world.get(*ref)
    if gateway is None:
        return None
    validation = frontend_of(gateway, int(port))
    found, _ = authorities(world, ref, validation.ca_certificate_refs) if validation else (b"", None)
    return {"name": name, "validation_context": {"trusted_ca": {"inline_bytes": found}}} if found else None


def _certificate(name: str, found: Secret | None) -> Message | None:
    if found is None or not found.certificate or not found.key:
        return None
    return {
        "name": name,
        "tls_certificate": {
            "certificate_chain": {"inline_bytes": found.certificate},
            "private_key": {"inline_bytes": found.key},
        },
    }
