"""Bytes ──▶ dicts, and what else is done with whole messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

from google.protobuf import json_format

from mesh.encode.descriptors import message_class, pool
from mesh.encode.plans import encode
from mesh.encode.resource import Encoded, encoded
from mesh.encode.writing import nested, varint

ROUTE_CONFIGURATION = "envoy.config.route.v3.RouteConfiguration"
VIRTUAL_HOSTS_TAG = 0x12  # field 2, length-delimited


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


def route_configuration(table: Mapping[str, Any], virtual_hosts: Iterable[bytes]) -> bytes:
    """A RouteConfiguration from its fields without virtual hosts, and these as bytes, encoded one by one.

    The bytes are those of encoding the whole: fields stand in the order of their numbers.
    """
    name = {"name": table["name"]} if "name" in table else {}
    rest = {field: value for field, value in table.items() if field != "name"}
    parts = [encode(ROUTE_CONFIGURATION, name)]
    parts += (nested(VIRTUAL_HOSTS_TAG, host) for host in virtual_hosts)
    parts.append(encode(ROUTE_CONFIGURATION, rest))
    return b"".join(parts)


# many proxies that are without the same host have the same bytes
_ALIKE: WeakValueDictionary[tuple[str, str], Encoded] = WeakValueDictionary()


def with_hosts(table: Encoded, hosts: Sequence[Encoded]) -> Encoded:
    """The table with these virtual hosts in place of its own `parts`; its other fields stay around them."""
    size = len(table.name.encode())
    begin = 1 + len(varint(size)) + size
    end = begin + sum(1 + len(varint(len(one.body))) + len(one.body) for one in table.parts)
    parts = [table.body[:begin], *(nested(VIRTUAL_HOSTS_TAG, one.body) for one in hosts), table.body[end:]]
    made = encoded(table.name, b"".join(parts), table.origins, tuple(hosts))
    return _ALIKE.setdefault((made.name, made.version), made)
