"""Requests and responses as bytes, in both variants of the protocol.

A resource is written once and copied into each response; only the nonce is a stream's own.
Source: envoy/service/discovery/v3/discovery.proto.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import Any

from google.protobuf.message import DecodeError

from mesh.encode.descriptors import message_class
from mesh.encode.writing import text, varint
from mesh.xds.messages import Content, ProtocolError, Request, Response

DELTA = "envoy.service.discovery.v3.DeltaDiscoveryRequest"
WHOLE = "envoy.service.discovery.v3.DiscoveryRequest"

MAX_TYPE_URL = 256
MAX_WORDS = 4096  # of what Envoy says, the rest is cut off
MAX_VERSION = 64  # what is longer is no version of ours
KNOWN_BYTES = 128 << 10  # what is longer is read each time


def read(body: bytes, *, delta: bool) -> tuple[Request, Any | None]:
    """A serialised request, and its node (core.v3.Node) if it has one. Raises ProtocolError."""
    try:
        raw = message_class(DELTA if delta else WHOLE).FromString(body)
    except DecodeError as reason:
        raise ProtocolError(f"{len(body)} bytes that are no discovery request: {reason}") from None
    if not 0 < len(raw.type_url) <= MAX_TYPE_URL:
        raise ProtocolError(
            f"a discovery request with a type_url of {len(raw.type_url)} bytes; 1 to {MAX_TYPE_URL} are allowed"
        )
    error = None
    if raw.HasField("error_detail"):
        error = raw.error_detail.message[:MAX_WORDS] or f"code {raw.error_detail.code}"
    if delta:
        request = Request(
            raw.type_url,
            raw.response_nonce,
            error,
            subscribe=tuple(raw.resource_names_subscribe),
            unsubscribe=tuple(raw.resource_names_unsubscribe),
            versions={
                name: version for name, version in raw.initial_resource_versions.items() if len(version) <= MAX_VERSION
            },
        )
    else:
        request = Request(raw.type_url, raw.response_nonce, error, names=tuple(raw.resource_names))
    return request, raw.node if raw.HasField("node") else None


def read_next(body: bytes, *, delta: bool) -> Request:
    """A request that is not a stream's first: many streams send the very same. Raises ProtocolError."""
    return _known(body, delta) if len(body) <= KNOWN_BYTES else read(body, delta=delta)[0]


@lru_cache(64)
def _known(body: bytes, delta: bool) -> Request:
    return read(body, delta=delta)[0]


def write(response: Response, *, delta: bool) -> bytes:
    """The serialised response. The nonce comes last, after what others are sent too, often with the very same nonce."""
    content = response.content
    if content.written is not None and content.written[0] == response.nonce:
        return content.written[1]
    tail = text(0x2A, response.nonce)
    if content.written is not None:
        nonce, made = content.written
        return made[: -len(text(0x2A, nonce))] + tail
    made = (_delta(content) if delta else _whole(content)) + tail
    if content.asked:
        content.written = response.nonce, made
    content.asked = True
    return made


def _delta(response: Content) -> bytes:
    # Resource: version 1, resource 2, name 3
    parts: list[bytes] = []
    for resource, version in response.resources:
        any_head = _any_head(response.type_url, len(resource.body))
        named = text(0x0A, version) + b"\x12" + varint(len(any_head) + len(resource.body)) + any_head
        name = text(0x1A, resource.name)
        parts += b"\x12", varint(len(named) + len(resource.body) + len(name)), named, resource.body, name
    parts.append(text(0x22, response.type_url))
    parts += [text(0x32, name) for name in response.removed]
    return b"".join(parts)


def _whole(response: Content) -> bytes:
    # version_info 1, resources 2, type_url 4
    versions = blake2b("".join(sent.version for sent in response.resources).encode(), digest_size=8)
    parts = [text(0x0A, versions.hexdigest())]
    for resource, _ in response.resources:
        any_head = _any_head(response.type_url, len(resource.body))
        parts += b"\x12", varint(len(any_head) + len(resource.body)), any_head, resource.body
    parts.append(text(0x22, response.type_url))
    return b"".join(parts)


def _any_head(type_url: str, size: int) -> bytes:
    # Any: type_url 1, value 2
    return _type_head(type_url) + varint(size)


@lru_cache(64)
def _type_head(type_url: str) -> bytes:
    return text(0x0A, type_url) + b"\x12"
