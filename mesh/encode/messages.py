"""Bytes ──▶ dicts, and what else is done with whole messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from weakref import WeakValueDictionary

from google.protobuf import json_format

from mesh.encode.descriptors import message_class, pool
from mesh.encode.plans import encode
from mesh.encode.resource import Encoded, encoded

ROUTE_CONFIGURATION = "envoy.config.route.v3.RouteConfiguration"
VIRTUAL_HOSTS_TAG = b"\x12"  # field 2, length-delimited


def to_dict(message: Any) -> dict[str, Any]:
    """A message as a dict in the words of Envoy's documentation: what `encode` takes, and JSON has."""
    made: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True, descriptor_pool=pool())
    return made


def decode(kind: str, body: bytes) -> dict[str, Any]:
    """The serialised message as a dict. Raises google.protobuf.message.DecodeError where it is none."""
    return to_dict(message_class(kind).FromString(body))


def from_json(kind: str, text: str | bytes) -> Any:
    """A message from Envoy's JSON, as a config_dump has it. Raises json_format.ParseError, unknown fields included."""
    return json_format.Parse(text, message_class(kind)(), descriptor_pool=pool())


@lru_cache(8192)
def length(size: int) -> bytes:
    """The size as protobuf writes it before bytes (a varint)."""
    written = bytearray()
    while size > 0x7F:
        written.append(size & 0x7F | 0x80)
        size >>= 7
    written.append(size)
    return bytes(written)


def route_configuration(table: Mapping[str, Any], virtual_hosts: Iterable[bytes]) -> bytes:
    """A RouteConfiguration from its fields without virtual hosts, and these as bytes, encoded one by one.

    The bytes are those of encoding the whole: fields stand in the order of their numbers.
    """
    name = {"name": table["name"]} if "name" in table else {}
    rest = {field: value for field, value in table.items() if field != "name"}
    parts = [encode(ROUTE_CONFIGURATION, name)]
    for host in virtual_hosts:
        parts += VIRTUAL_HOSTS_TAG, length(len(host)), host
    parts.append(encode(ROUTE_CONFIGURATION, rest))
    return b"".join(parts)


# many proxies that are without the same host have the same bytes
_ALIKE: WeakValueDictionary[tuple[str, str], Encoded] = WeakValueDictionary()


def with_hosts(table: Encoded, hosts: Sequence[Encoded]) -> Encoded:
    """The table with these virtual hosts in place of its own `parts`; its other fields stay around them."""
    size = len(table.name.encode())
    begin = 1 + len(length(size)) + size
    end = begin + sum(1 + len(length(len(one.body))) + len(one.body) for one in table.parts)
    parts = [table.body[:begin]]
    for one in hosts:
        parts += VIRTUAL_HOSTS_TAG, length(len(one.body)), one.body
    parts.append(table.body[end:])
    made = encoded(table.name, b"".join(parts), table.origins, tuple(hosts))
    return _ALIKE.setdefault((made.name, made.version), made)
