"""TLS settings: a server's (Gateway, Sidecar ingress) and a client's (DestinationRule)."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.model.reading import Reading
from mesh.model.shape import flag, one_of, subs, text, texts

TLS_VERSIONS = ("TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3")


@dataclass(frozen=True, slots=True)
class TLSCertificate:
    """A certificate in files (ServerTLSSettings.TLSCertificate)."""

    server_certificate: str = text()
    private_key: str = text()
    ca_certificates: str = text()


@dataclass(frozen=True, slots=True)
class ServerTLSSettings:
    """How a server takes TLS (ServerTLSSettings). Without a mode it passes it through."""

    ONE_OF = (("credentialName", "credentialNames", "tlsCertificates"),)

    https_redirect: bool = flag()
    mode: str = one_of("PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL")
    server_certificate: str = text()
    private_key: str = text()
    ca_certificates: str = text()
    ca_crl: str = text()
    credential_name: str = text()
    credential_names: tuple[str, ...] = texts(most=2)
    ca_cert_credential_name: str = text()
    tls_certificates: tuple[TLSCertificate, ...] = subs(TLSCertificate, most=2)
    subject_alt_names: tuple[str, ...] = texts()
    verify_certificate_spki: tuple[str, ...] = texts()
    verify_certificate_hash: tuple[str, ...] = texts()
    min_protocol_version: str = one_of(*TLS_VERSIONS)
    max_protocol_version: str = one_of(*TLS_VERSIONS)
    cipher_suites: tuple[str, ...] = texts()

    @property
    def terminates(self) -> bool:
        """Whether TLS ends here."""
        return self.mode not in ("PASSTHROUGH", "AUTO_PASSTHROUGH")

    def check(self, r: Reading) -> None:
        """Where the certificate is to come from (Istio's validateTLSOptions)."""
        by_secret = bool(self.credential_name or self.credential_names)
        if self.mode == "ISTIO_MUTUAL":
            for name in ("credentialName", "serverCertificate", "privateKey", "caCertificates", "subjectAltNames"):
                attribute = "".join(f"_{char.lower()}" if char.isupper() else char for char in name)
                if getattr(self, attribute):
                    r.error("conflict", f"ISTIO_MUTUAL uses the mesh's own certificates, so there is no {name}", name)
        elif self.mode in ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL") and not by_secret and not self.tls_certificates:
            for name, value in (("serverCertificate", self.server_certificate), ("privateKey", self.private_key)):
                if not value:
                    r.error("missing", f"{self.mode} needs credentialName, or {name}", name)
            if self.mode == "MUTUAL" and not self.ca_certificates:
                r.error(
                    "missing", "MUTUAL needs credentialName, or caCertificates to know the clients by", "caCertificates"
                )
        elif not self.terminates and by_secret:
            r.warn("no-effect", f"with {self.mode} nothing is decrypted here", "credentialName")
        versions = [TLS_VERSIONS.index(one) for one in (self.min_protocol_version, self.max_protocol_version)]
        if all(versions) and versions[0] > versions[1]:
            r.error("conflict", "the least version is above the greatest", "minProtocolVersion")


@dataclass(frozen=True, slots=True)
class ClientTLSSettings:
    """How a client begins TLS (ClientTLSSettings)."""

    mode: str = one_of("DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL")
    client_certificate: str = text()
    private_key: str = text()
    ca_certificates: str = text()
    credential_name: str = text()
    subject_alt_names: tuple[str, ...] = texts()
    sni: str = text()
    insecure_skip_verify: bool | None = flag(None)
    ca_crl: str = text()

    def check(self, r: Reading) -> None:
        """Which certificate (Istio's validateTLS); that the server's is looked at."""
        files = self.client_certificate or self.private_key or self.ca_certificates
        if self.insecure_skip_verify:
            for name, value in (("caCertificates", self.ca_certificates), ("subjectAltNames", self.subject_alt_names)):
                if value:
                    r.error("conflict", f"insecureSkipVerify looks at nothing, so {name} has no use", name)
        if self.mode == "ISTIO_MUTUAL" and (files or self.credential_name):
            r.error("conflict", "ISTIO_MUTUAL uses the mesh's own certificates; no others may be named", "mode")
        if self.mode == "MUTUAL":
            if self.credential_name and files:
                r.error("conflict", "only one of credentialName and files may be there", "credentialName")
            elif not self.credential_name:
                pairs = (("clientCertificate", self.client_certificate), ("privateKey", self.private_key))
                for name, value in pairs:
                    if not value:
                        r.error("missing", f"MUTUAL needs credentialName, or {name}", name)
