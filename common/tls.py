"""Certificates: a serving pair checked, or made here by a certificate authority of one's own.

An API server trusts a webhook by the `caBundle` of its configuration and calls a Service by the name
``<service>.<namespace>.svc`` (https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/).
The authority outlives the serving certificates by far; while it is replaced, the bundle holds the old one too, so that
every replica is trusted whichever of the two signed its certificate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.errors import CertificateError

AUTHORITY_LIFETIME = timedelta(days=3650)
SERVING_LIFETIME = timedelta(days=90)
# In one bundle: the one in force, and two that somebody may still serve with.
MOST_AUTHORITIES = 3
# Clocks of nodes differ: a certificate is valid from a little before it was made.
_BACKDATED = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate (with its chain, leaf first) and its private key, both PEM."""

    certificate: bytes
    key: bytes

    @property
    def pem(self) -> bytes:
        """Both in one text, the certificate first."""
        return self.certificate.rstrip() + b"\n" + self.key

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate itself, parsed."""
        return x509.load_pem_x509_certificate(self.certificate)

    def signed_by(self, authority: KeyPair) -> bool:
        """Whether this authority has signed the certificate: by its key, since two may have one name."""
        try:
            self.leaf.verify_directly_issued_by(authority.leaf)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def renew_at(self) -> datetime:
        """When two thirds of its life are over: time to make the next one."""
        leaf = self.leaf
        return leaf.not_valid_before_utc + (leaf.not_valid_after_utc - leaf.not_valid_before_utc) * 2 / 3


def service_names(service: str, namespace: str) -> tuple[str, ...]:
    """The DNS names of a Service; the API server uses the one that ends in ``.svc``."""
    return (f"{service}.{namespace}.svc", f"{service}.{namespace}.svc.cluster.local", f"{service}.{namespace}")


def new_authority(name: str, now: datetime) -> KeyPair:
    """A certificate authority that signs itself; its subject is `name` and the time, which tells one from the next."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} {now:%Y-%m-%d %H:%M}")])
    certificate = (
        _builder(subject, subject, key.public_key(), now, AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(sign_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key))


def issue(authority: KeyPair, names: Sequence[str], now: datetime) -> KeyPair:
    """A serving certificate for `names`, signed by `authority`."""
    key = ec.generate_private_key(ec.SECP256R1())
    authority_key = serialization.load_pem_private_key(authority.key, password=None)
    assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    certificate = (
        _builder(subject, authority.leaf.subject, key.public_key(), now, SERVING_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key))


def bundle(authority: KeyPair, previous: bytes | None, now: datetime, former: bytes = b"") -> bytes:
    """What API servers shall trust (PEM): the authority, and those before it until they have expired.

    `previous` is our own, whatever its name. `former` is what they trust now: of that, authorities of this name stay,
    so that nobody is cut off who still serves with one; not more than MOST_AUTHORITIES in all, the newest.
    """
    leaf = authority.leaf
    older: list[x509.Certificate] = []
    known = [found for found in _parsed(former) if found.subject == found.issuer and _kind(found) == _kind(leaf)]
    for found in (*_parsed(previous or b""), *known):
        if found != leaf and found not in older and found.not_valid_after_utc > now:
            older.append(found)
    older.sort(key=lambda it: it.not_valid_before_utc, reverse=True)
    kept = (it.public_bytes(serialization.Encoding.PEM) for it in older[: MOST_AUTHORITIES - 1])
    return authority.certificate + b"".join(kept)


def _parsed(bundle: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(bundle)
    except ValueError:  # empty, or another's that is none
        return []


def _kind(authority: x509.Certificate) -> str:
    """The name of an authority without the time when it was made."""
    names = authority.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value).rsplit(" ", 2)[0] if names else ""


def check(pair: KeyPair, server_name: str | None, now: datetime, source: str) -> None:
    """Refuse a serving pair that no API server could use.

    Raises CertificateError, which names `source`, for what is no PEM, a key that belongs to another certificate, a
    certificate out of its time, or one that is not for `server_name`.
    """
    try:
        leaf = pair.leaf
        key = serialization.load_pem_private_key(pair.key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(
            f"{source}: a certificate and an unencrypted private key in PEM are needed: {error}"
        ) from error
    if leaf.public_key() != key.public_key():
        raise CertificateError(f"{source}: the private key belongs to another certificate than that of {_names(leaf)}")
    if not leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc:
        raise CertificateError(
            f"{source}: the certificate is valid from {leaf.not_valid_before_utc} to {leaf.not_valid_after_utc}, "
            f"now it is {now}"
        )
    if server_name is not None and not any(_matches(name, server_name) for name in _dns_names(leaf)):
        raise CertificateError(
            f"{source}: the certificate is for {_names(leaf)}, but it is called as {server_name}: "
            f"issue it for that DNS name, or name the Service with --service"
        )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _dns_names(leaf: x509.Certificate) -> list[str]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.DNSName)


def _names(leaf: x509.Certificate) -> str:
    return ", ".join(_dns_names(leaf)) or "no DNS name"


def _matches(pattern: str, name: str) -> bool:
    """Whether a certificate's DNS name covers `name`; a ``*`` stands for one whole label (RFC 6125, 6.4.3)."""
    if pattern.startswith("*."):
        return name.partition(".")[2].lower() == pattern[2:].lower()
    return pattern.lower() == name.lower()


def now() -> datetime:
    """The time, in UTC and to the second, as certificates hold it."""
    return datetime.now(UTC).replace(microsecond=0)
