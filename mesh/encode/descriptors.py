"""Envoy's API as descriptors: all messages of v3 from one file, in a pool of their own.

The file is made by scripts/descriptors from go-control-plane, whose tags are Envoy's versions. It carries the
constraints and annotations that Envoy's own code is generated from. Loading takes some 40 ms, once. The API is
Apache-2.0, as this project is; what it imports of protobuf's own is BSD-3-Clause.

`pool()` also serves `google.protobuf.json_format` (`descriptor_pool=`), for instance to read a config_dump.
"""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

TYPE_URL_PREFIX = "type.googleapis.com/"


@cache
def pool() -> Any:
    """The DescriptorPool with Envoy's files alone: other packages' generated code can neither change nor meet it."""
    packed = Path(__file__).with_name("envoy.binpb.gz").read_bytes()
    files = descriptor_pb2.FileDescriptorSet.FromString(gzip.decompress(packed))
    made = descriptor_pool.DescriptorPool()
    for file in files.file:
        made.Add(file)
    return made


@cache
def descriptor(kind: str) -> Any:
    """The descriptor of a message by its full name; KeyError where Envoy has none."""
    return pool().FindMessageTypeByName(kind)


@cache
def message_class(kind: str) -> Any:
    """The class of a message by its full name, as in `envoy.config.cluster.v3.Cluster`."""
    return message_factory.GetMessageClass(descriptor(kind))


def kind_of(type_url: str) -> str:
    """`type.googleapis.com/envoy.config.cluster.v3.Cluster` or the name alone ──▶ the name."""
    return type_url.rpartition("/")[2]


def type_url_of(kind: str) -> str:
    """The type URL that Envoy knows a message by."""
    return TYPE_URL_PREFIX + kind


def field_option(field: Any, extension: str) -> Any:
    """An annotation of a field, as `validate.rules`; None where it has none.

    Options are parsed again with this pool's own class, for the default pool does not know Envoy's extensions.
    """
    return _option(field, "google.protobuf.FieldOptions", extension)


def message_option(message: Any, extension: str) -> Any:
    """An annotation of a message, as `validate.disabled`; None where it has none."""
    return _option(message, "google.protobuf.MessageOptions", extension)


def oneof_option(oneof: Any, extension: str) -> Any:
    """An annotation of a oneof, as `validate.required`; None where it has none."""
    return _option(oneof, "google.protobuf.OneofOptions", extension)


def _option(owner: Any, options: str, extension: str) -> Any:
    raw = owner.GetOptions().SerializeToString()
    if not raw:
        return None
    known = pool().FindExtensionByName(extension)
    parsed = message_class(options).FromString(raw)
    return parsed.Extensions[known] if parsed.HasExtension(known) else None
