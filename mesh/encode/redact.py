"""What nobody should read on a screen: fields that Envoy's API marks as sensitive (udpa.annotations.sensitive)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from mesh.encode.descriptors import descriptor, field_option, kind_of
from mesh.encode.plans import WELL_KNOWN

REDACTED = "[redacted]"


def redact(kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The dict of a message of that type without its secrets, into each Any of a type that Envoy has.

    Texts and bytes become `[redacted]`, other values are left out, as in Envoy's own config_dump; what is inside a
    sensitive message is sensitive. A type that Envoy does not have is shown by its name alone.
    """
    return {name: shown for name, value in body.items() if (shown := _field(kind, name, value)) is not None}


@cache
def _about(kind: str) -> dict[str, tuple[bool, str, bool]]:
    # field ──▶ is it sensitive, the message inside or "", is it a map
    known = {}
    for field in descriptor(kind).fields:
        inner, is_map = field.message_type, False
        if inner is not None and inner.GetOptions().map_entry:
            inner, is_map = inner.fields_by_name["value"].message_type, True
        sensitive = bool(field_option(field, "udpa.annotations.sensitive"))
        known[field.name] = sensitive, inner.full_name if inner is not None else "", is_map
    return known


def _field(kind: str, name: str, value: Any) -> Any:
    sensitive, inner, is_map = _about(kind).get(name, (False, "", False))
    if sensitive:
        return _hidden(value)
    if not inner:
        return value
    if is_map:
        return {key: _message(inner, member) for key, member in value.items()}
    return [_message(inner, member) for member in value] if isinstance(value, list) else _message(inner, value)


def _message(kind: str, value: Any) -> Any:
    if kind == "google.protobuf.Any":
        inner = kind_of(value["@type"])
        if inner in WELL_KNOWN:
            return value
        try:
            return redact(inner, value)
        except KeyError:
            return {"@type": value["@type"]}
    return value if kind in WELL_KNOWN else redact(kind, value)


def _hidden(value: Any) -> Any:
    if isinstance(value, str | bytes):
        return REDACTED
    if isinstance(value, Mapping):
        return {
            name: member if name == "@type" else shown
            for name, member in value.items()
            if (shown := _hidden(member)) is not None
        }
    if isinstance(value, list | tuple):
        return [shown for member in value if (shown := _hidden(member)) is not None]
    return None
