"""Requests and responses as bytes are what Envoy's own messages say."""

import pytest

from mesh.encode.descriptors import message_class
from mesh.encode.resource import encoded
from mesh.xds import wire
from mesh.xds.messages import Content, ProtocolError, Response, Sent
from mesh.xds.types import CDS, EDS
from tests.unit.mesh.serve.streams import DELTA_RESPONSE, WHOLE_RESPONSE

SMALL, LARGE = encoded("a", b""), encoded("b" * 200, b"x" * 70_000)
RESPONSE = Response(Content(CDS, (Sent(SMALL, SMALL.version), Sent(LARGE, "v.w")), ("gone", "ü")), "1f")


def test_a_delta_response_is_the_message():
    made = message_class(DELTA_RESPONSE)(type_url=CDS, nonce="1f", removed_resources=["gone", "ü"])
    for one, version in RESPONSE.resources:
        made.resources.add(name=one.name, version=version, resource={"type_url": CDS, "value": one.body})
    assert message_class(DELTA_RESPONSE).FromString(wire.write(RESPONSE, delta=True)) == made


def test_a_response_of_the_state_of_the_world_is_the_message():
    got = message_class(WHOLE_RESPONSE).FromString(wire.write(RESPONSE, delta=False))
    assert got.version_info
    made = message_class(WHOLE_RESPONSE)(version_info=got.version_info, type_url=CDS, nonce="1f")
    for one, _ in RESPONSE.resources:
        made.resources.add(type_url=CDS, value=one.body)
    assert got == made


def test_the_version_is_that_of_what_is_in_it():
    def version(*resources):
        response = Response(Content(CDS, tuple(Sent(one, one.version) for one in resources)), "1")
        return message_class(WHOLE_RESPONSE).FromString(wire.write(response, delta=False)).version_info

    assert version(SMALL) == version(SMALL) != version(LARGE)


def test_a_delta_request_is_read():
    made = message_class(wire.DELTA)(
        type_url=EDS, response_nonce="2", resource_names_subscribe=["a"], resource_names_unsubscribe=["b"],
        initial_resource_versions={"a": "1", "long": "x" * 1000}, node={"id": "me"},
    )  # fmt: skip
    request, node = wire.read(made.SerializeToString(), delta=True)
    assert (request.type_url, request.nonce, request.error, request.names) == (EDS, "2", None, None)
    assert (request.subscribe, request.unsubscribe, request.versions) == (("a",), ("b",), {"a": "1"})
    assert node.id == "me"


@pytest.mark.parametrize(("message", "words"), [("no", "no"), ("", "code 3"), ("x" * 9000, "x" * 4096)])
def test_what_envoy_says_is_read_and_cut(message, words):
    made = message_class(wire.WHOLE)(type_url=EDS, error_detail={"code": 3, "message": message})
    assert wire.read(made.SerializeToString(), delta=False)[0].error == words


@pytest.mark.parametrize("delta", [True, False])
@pytest.mark.parametrize("body", [b"", b"\xff", b"\x0a\x05abc", b"\x00" * 10])
def test_odd_bytes_are_no_request(body, delta):
    with pytest.raises(ProtocolError):
        wire.read(body, delta=delta)
