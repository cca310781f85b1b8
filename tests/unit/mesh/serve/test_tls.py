"""15012: TLS from files, and the next certificate without a restart."""

import asyncio
import ssl

import grpc
import pytest

from common import tls
from common.errors import CertificateError
from mesh.serve.server import Port
from mesh.xds.types import CDS
from tests.unit.mesh.serve.streams import HandMade, client, serving
from tests.unit.mesh.xds.envoy import state


@pytest.fixture
def files(tmp_path):
    authority = tls.new_authority("test", tls.now())
    return authority, tmp_path / "tls.crt", tmp_path / "tls.key"


def write(authority, certificate, key):
    pair = tls.issue(authority, ["localhost"], tls.now())
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    return pair


def served_now(address):
    host, _, port = address.rpartition(":")
    return ssl.get_server_certificate((host, int(port)))


def test_the_next_certificate_is_served_and_a_bad_one_is_not(files):
    authority, certificate, key = files
    first = write(authority, certificate, key)

    async def talk():
        mesh = HandMade(state(cds={"a": "1"}))
        async with serving(mesh, Port("127.0.0.1:0", certificate, key)) as served:
            address = served.bound[0]
            trusted = grpc.ssl_channel_credentials(authority.certificate)
            named = [("grpc.ssl_target_name_override", "localhost")]
            async with client(served, credentials=trusted, options=named) as envoy:
                await envoy.ask(CDS)
                assert await envoy.answer()
                assert await asyncio.to_thread(served_now, address) in first.certificate.decode()
                certificate.write_text("half a file")
                assert await asyncio.to_thread(served_now, address) in first.certificate.decode()
                second = write(authority, certificate, key)
                assert await asyncio.to_thread(served_now, address) in second.certificate.decode()
                mesh.change(state(cds={"b": "1"}))  # the stream that was open goes on
                await envoy.ask(CDS, response_nonce="1", node=None)
                assert await envoy.answer()

    asyncio.run(asyncio.wait_for(talk(), 30))


@pytest.mark.parametrize("content", [None, b"", b"odd"])
def test_files_that_cannot_be_served(files, content):
    _, certificate, key = files
    if content is not None:
        certificate.write_bytes(content)
        key.write_bytes(content)

    async def start():
        async with serving(HandMade(), Port("127.0.0.1:0", certificate, key)):
            pass

    with pytest.raises(CertificateError, match=r"tls\.crt"):
        asyncio.run(start())
