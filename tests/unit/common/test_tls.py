"""Certificates, judged by the TLS library that an API server's is a sibling of."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from common import tls
from common.errors import CertificateError

NAMES = tls.service_names("pyinject", "mesh")
NOW = tls.now()


@pytest.fixture(scope="module")
def authority() -> tls.KeyPair:
    return tls.new_authority("test CA", NOW)


@pytest.fixture(scope="module")
def serving(authority: tls.KeyPair) -> tls.KeyPair:
    return tls.issue(authority, NAMES, NOW)


def handshake(pair: tls.KeyPair, trusted: bytes, name: str, directory: Path) -> str | None:
    """Connect to a server with `pair` as a client that trusts `trusted`; what went wrong, or None."""
    (directory / "crt").write_bytes(pair.certificate)
    (directory / "key").write_bytes(pair.key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(directory / "crt", directory / "key")
    client = ssl.create_default_context(cadata=trusted.decode())
    here, there = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(there, server_side=True).close()
        except OSError:
            there.close()  # the client has turned away

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client.wrap_socket(here, server_hostname=name).close()
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    finally:
        here.close()
        thread.join()
    return None


@pytest.mark.parametrize("name", NAMES)
def test_a_client_that_trusts_the_authority_trusts_the_certificate_by_every_name_of_the_service(
    authority: tls.KeyPair, serving: tls.KeyPair, name: str, tmp_path: Path
) -> None:
    assert handshake(serving, authority.certificate, name, tmp_path) is None


def test_a_client_refuses_another_name(authority: tls.KeyPair, serving: tls.KeyPair, tmp_path: Path) -> None:
    assert "mismatch" in (handshake(serving, authority.certificate, "other.mesh.svc", tmp_path) or "")


def test_while_the_authority_changes_certificates_of_both_are_trusted(
    authority: tls.KeyPair, serving: tls.KeyPair, tmp_path: Path
) -> None:
    following = tls.new_authority("test CA", NOW)
    bundle = tls.bundle(following, authority.certificate, NOW)
    assert handshake(serving, bundle, NAMES[0], tmp_path) is None
    assert handshake(tls.issue(following, NAMES, NOW), bundle, NAMES[0], tmp_path) is None


def test_an_authority_that_has_expired_leaves_the_bundle(authority: tls.KeyPair) -> None:
    following = tls.new_authority("test CA", NOW)
    later = NOW + tls.AUTHORITY_LIFETIME
    assert tls.bundle(following, authority.certificate, later) == following.certificate
    assert tls.bundle(following, None, NOW) == following.certificate


def test_renewal_comes_after_two_thirds_of_the_life(serving: tls.KeyPair) -> None:
    left = serving.leaf.not_valid_after_utc - serving.renew_at()
    assert abs(left - tls.SERVING_LIFETIME / 3) < timedelta(hours=1)


def test_a_pair_that_can_be_served_passes(serving: tls.KeyPair) -> None:
    tls.check(serving, NAMES[0], NOW, "here")
    tls.check(serving, None, NOW, "here")


def test_a_wildcard_stands_for_one_label(authority: tls.KeyPair) -> None:
    pair = tls.issue(authority, ["*.mesh.svc"], NOW)
    tls.check(pair, "pyinject.mesh.svc", NOW, "here")
    with pytest.raises(CertificateError):
        tls.check(pair, "a.pyinject.mesh.svc", NOW, "here")


def test_what_cannot_be_served_is_refused_by_name(authority: tls.KeyPair, serving: tls.KeyPair) -> None:
    def refused(pair: tls.KeyPair, message: str, *, days: int = 0, name: str = NAMES[0]) -> None:
        with pytest.raises(CertificateError, match=message) as caught:
            tls.check(pair, name, NOW + timedelta(days=days), "/tls/tls.crt")
        assert str(caught.value).startswith("/tls/tls.crt: ")

    refused(tls.KeyPair(b"", b""), "in PEM are needed")
    refused(tls.KeyPair(serving.certificate, b"-----BEGIN"), "in PEM are needed")
    refused(
        tls.KeyPair(serving.certificate, authority.key), "belongs to another certificate than that of pyinject.mesh"
    )
    refused(serving, "valid from .* to .*, now it is", days=365)
    refused(serving, "valid from .* to .*, now it is", days=-1)
    refused(serving, "is for pyinject.mesh.svc, .*is called as other.mesh.svc", name="other.mesh.svc")
    refused(authority, "is for no DNS name")
