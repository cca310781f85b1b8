"""What Gateway API's objects refer to for TLS: Secrets with a certificate, ConfigMaps with authorities.

A reference leads nowhere where nothing is there, where what is there is none (PEM that cannot be read), or where no
ReferenceGrant lets the referrer use it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from mesh.model.gatewayapi import LocalObjectReference, ObjectReference, SecretObjectReference
from mesh.model.meta import ObjectRef
from mesh.model.secret import ConfigMap, Secret
from mesh.routing.grants import may_refer
from mesh.world.memo import query
from mesh.world.world import World

_NAMES = {"KubernetesGateway": "Gateway"}


class Fault(NamedTuple):
    """Why a reference leads nowhere: its kind is none, it is not permitted, or nothing good is there."""

    what: Literal["kind", "forbidden", "missing"]
    message: str


def certificate_fault(world: World, referrer: ObjectRef, ref: SecretObjectReference) -> Fault | None:
    """Of a certificate with its key; None where there is no fault."""
    namespace = ref.namespace or referrer.namespace
    if (ref.group, ref.kind) != ("", "Secret"):
        return Fault("kind", f"{ref.kind} is no kind of certificate: Secret")
    if why := _forbidden(world, referrer, namespace, "Secret", ref.name):
        return why
    if why_not := _pair_fault(world, namespace, ref.name):
        return Fault("missing", f"Secret {namespace}/{ref.name} {why_not}")
    return None


def authorities(
    world: World, referrer: ObjectRef, refs: Iterable[ObjectReference | LocalObjectReference]
) -> tuple[bytes, Fault | None]:
    """The authorities of those references that are good, as PEM in one, and the fault of the first that is not."""
    found, first = [], None
    for ref in refs:
        pem, fault = _authority(world, referrer, ref)
        first = first or fault
        if fault is None:
            found.append(pem)
    return b"\n".join(found), first


def _authority(
    world: World, referrer: ObjectRef, ref: ObjectReference | LocalObjectReference
) -> tuple[bytes, Fault | None]:
    namespace = (ref.namespace if isinstance(ref, ObjectReference) else "") or referrer.namespace
    if ref.group or ref.kind not in ("ConfigMap", "Secret"):
        return b"", Fault("kind", f"{ref.kind} is no kind of authorities: ConfigMap, Secret")
    if why := _forbidden(world, referrer, namespace, ref.kind, ref.name):
        return b"", why
    holder: ConfigMap | Secret | None = world.get(ref.kind, namespace, ref.name)
    pem = holder.authorities if holder else b""
    if not pem or not _are_certificates(pem):
        return b"", Fault("missing", f"{ref.kind} {namespace}/{ref.name} has no certificates at ca.crt")
    return pem.strip(), None


def _forbidden(world: World, referrer: ObjectRef, namespace: str, kind: str, name: str) -> Fault | None:
    from_kind = _NAMES.get(referrer.kind, referrer.kind)
    if namespace == referrer.namespace or may_refer(world, from_kind, referrer.namespace)(namespace, "", kind, name):
        return None
    told = f"no ReferenceGrant in {namespace} lets {from_kind}s of {referrer.namespace} use {kind} {name}"
    return Fault("forbidden", told)


@query
def _pair_fault(world: World, namespace: str, name: str) -> str:
    """What is wrong with a Secret's certificate and key; empty for nothing."""
    found: Secret | None = world.get("Secret", namespace, name)
    if found is None or not found.certificate or not found.key:
        return "has no certificate with its key"
    if not _are_certificates(found.certificate):
        return "has a certificate that cannot be read"
    try:
        key = serialization.load_pem_private_key(found.key, None)
    except (ValueError, TypeError):
        return "has a key that cannot be read"
    kind = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    leaf = x509.load_pem_x509_certificates(found.certificate)[0]
    if key.public_key().public_bytes(*kind) != leaf.public_key().public_bytes(*kind):
        return "has a key that is not its certificate's"
    return ""


def _are_certificates(pem: bytes) -> bool:
    try:
        return bool(x509.load_pem_x509_certificates(pem))
    except ValueError:
        return False
