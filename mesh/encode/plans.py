"""Dicts ──▶ messages, by a plan compiled once for each type of message.

A dict reads as Envoy's API documentation: fields in snake_case, and for what JSON has no spelling of its own

    an enum           its name                        lb_policy: ROUND_ROBIN
    Duration          seconds as text, or a number    connect_timeout: "1.5s"
    a wrapper         the bare value                  enabled: true
    Any               its type beside its fields      {"@type": "type.googleapis.com/…Router", …}
    Struct, Value     plain dicts, lists, values
    Timestamp         RFC 3339 text
    bytes             bytes, or base64 as text
    a 64 bit integer  an int, or digits as text
    None              the field is not set

so a message in Envoy's JSON (a config_dump with snake_case names) is such a dict too. A plan only changes what
protobuf's constructors do not take themselves; that is why it is fast. What is wrong is looked for when it has failed.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import cache, lru_cache
from struct import pack
from typing import Any

from google.protobuf.message import DecodeError

from common.envoy.parts import Shared
from mesh.encode.descriptors import TYPE_URL_PREFIX, descriptor, kind_of, message_class
from mesh.encode.writing import nested

Convert = Callable[[Any], Any]
WRITERS: dict[type, Callable[[Any], bytes]] = {}
"""What stands in dicts for a message without being one: by its class, how it is written."""


class NotEncodableError(ValueError):
    """A dict that is no such message. `kind` is the message's full name, `path` the field's."""

    def __init__(self, kind: str, path: str, words: str) -> None:
        super().__init__(f"{kind}: {path}: {words}" if path else f"{kind}: {words}")
        self.kind, self.path, self.words = kind, path, words


class Plan:
    """How a dict becomes a message of one type: what has to be done to which field."""

    __slots__ = ("convert", "kind", "made", "oneofs")

    def __init__(self, kind: str) -> None:
        described = descriptor(kind)
        self.kind = kind
        self.made = message_class(kind)
        # None: the constructor takes the value as it is
        self.convert: dict[str, Convert | None] = {field.name: _field(field) for field in described.fields}
        self.oneofs = tuple(
            frozenset(field.name for field in oneof.fields) for oneof in described.oneofs if len(oneof.fields) > 1
        )

    def arguments(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """What the message's constructor takes. Raises anything where `body` is wrong; see `wrong`."""
        convert = self.convert
        taken = {}
        for name, value in body.items():
            change = convert[name]
            if value is not None:
                taken[name] = value if change is None else change(value)
        if len(taken) > 1:
            for oneof in self.oneofs:
                # protobuf would silently keep the last one
                if len(oneof & taken.keys()) > 1:
                    raise ValueError("only one of these can be set: " + ", ".join(sorted(oneof & taken.keys())))
        return taken


@cache
def plan(kind: str) -> Plan:
    """The plan of a type of message."""
    return Plan(kind)


def message(kind: str, body: Mapping[str, Any]) -> Any:
    """The dict as a protobuf message of that type. Raises NotEncodableError, which names the field."""
    try:
        known = plan(kind)
        return known.made(**known.arguments(body))
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise wrong(kind, body, error) from None


def encode(kind: str, body: Mapping[str, Any]) -> bytes:
    """The dict as bytes; equal dicts give equal bytes. Raises NotEncodableError, which names the field."""
    made: bytes = message(kind, body).SerializeToString(deterministic=True)
    return made


def _field(field: Any) -> Convert | None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return _map(_value(field.message_type.fields_by_name["value"]))
    one = _value(field)
    return _list(one) if field.is_repeated else one


def _value(field: Any) -> Convert | None:
    if field.message_type is not None:
        return _message(field.message_type.full_name)
    if field.type == field.TYPE_BYTES:
        return _bytes
    if field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64):
        return _integer
    if field.cpp_type in (field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT):
        return _float
    return None


def _list(one: Convert | None) -> Convert:
    def convert(values: Any) -> Any:
        if type(values) is not list and type(values) is not tuple:
            raise TypeError(f"wants a list, not {_shown(values)}")
        return values if one is None else [one(value) for value in values]

    return convert


def _map(one: Convert | None) -> Convert:
    def convert(values: Any) -> Any:
        return {key: value if one is None else one(value) for key, value in values.items()}

    return convert


def _message(kind: str) -> Convert:
    if (known := WELL_KNOWN.get(kind)) is not None:
        return known
    found: list[Plan] = []  # looked up at first use, for types contain themselves

    def convert(body: Any) -> Any:
        if not found:
            found.append(plan(kind))
        mine = found[0]
        if type(body) is dict:
            return mine.arguments(body)
        if type(body) is Shared:
            return body.once(mine, lambda body: mine.made(**mine.arguments(body)))
        if (write := WRITERS.get(type(body))) is not None:
            return mine.made.FromString(write(body))
        return mine.arguments(body)

    return convert


def _bytes(value: Any) -> bytes:
    return base64.b64decode(value, validate=True) if isinstance(value, str) else value


def _integer(value: Any) -> Any:
    return int(value) if isinstance(value, str) else value


def _float(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError(f"wants a number, not {_shown(value)}")
    return float(value)  # text, too: "Infinity" is how JSON spells it


DURATION = re.compile(r"(-?)(\d+)(?:\.(\d{1,9}))?s")


@lru_cache(4096)
def duration(value: str | float) -> tuple[int, int]:
    """`"1.5s"` or 1.5 ──▶ seconds and nanoseconds, as google.protobuf.Duration has them. Raises ValueError."""
    if isinstance(value, str):
        if (found := DURATION.fullmatch(value)) is None:
            raise ValueError(f'wants a duration as "1.5s", not {value!r}')
        sign = -1 if found[1] else 1
        return sign * int(found[2]), sign * int((found[3] or "").ljust(9, "0"))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f'wants a duration as "1.5s", not {_shown(value)}')
    nanoseconds = round(value * 1_000_000_000)
    seconds = abs(nanoseconds) // 1_000_000_000 * (-1 if nanoseconds < 0 else 1)
    return seconds, nanoseconds - seconds * 1_000_000_000


def _duration(value: Any) -> dict[str, int]:
    seconds, nanos = duration(value)
    return {"seconds": seconds, "nanos": nanos}


def _any(body: Any) -> dict[str, Any]:
    body = dict(body)
    type_url = body.pop("@type")
    kind = kind_of(type_url)
    if kind in WELL_KNOWN and kind != "google.protobuf.Empty":
        inner = WELL_KNOWN[kind](body["value"])
        inner = message_class(kind)(**inner) if isinstance(inner, dict) else inner
    else:
        known = plan(kind)
        inner = known.made(**known.arguments(body))
    return {
        "type_url": type_url if "/" in type_url else TYPE_URL_PREFIX + type_url,
        "value": inner.SerializeToString(deterministic=True),
    }


def _struct(body: Any) -> Any:
    # a message, and not a dict for its constructor: that would take {"fields": …} for the struct itself
    try:
        return message_class("google.protobuf.Struct").FromString(struct(body))
    except DecodeError:
        raise ValueError("is nested too deep") from None


def _json(value: Any) -> Any:
    return message_class("google.protobuf.Value").FromString(_value_bytes(value))


def _json_list(values: Any) -> Any:
    return message_class("google.protobuf.ListValue").FromString(_list_bytes(values))


def struct(body: Mapping[str, Any]) -> bytes:
    """A google.protobuf.Struct as bytes (google/protobuf/struct.proto): written by hand, for there are so many."""
    parts = []
    for key in sorted(body):
        if not isinstance(key, str):
            raise TypeError(f"wants names, not {_shown(key)}")
        entry = nested(0x0A, key.encode()) + nested(0x12, _value_bytes(body[key]))
        parts.append(nested(0x0A, entry))
    return b"".join(parts)


def _value_bytes(value: Any) -> bytes:
    # a google.protobuf.Value
    if isinstance(value, str):
        return nested(0x1A, value.encode())
    if value is None:
        return b"\x08\x00"
    if isinstance(value, bool):
        return b"\x20\x01" if value else b"\x20\x00"
    if isinstance(value, int | float):
        return b"\x11" + pack("<d", float(value))
    if isinstance(value, Mapping):
        return nested(0x2A, struct(value))
    if isinstance(value, list | tuple):
        return nested(0x32, _list_bytes(value))
    raise TypeError(f"wants what JSON has, not {_shown(value)}")


def _list_bytes(values: Any) -> bytes:
    return b"".join([nested(0x0A, _value_bytes(value)) for value in values])


def _timestamp(value: Any) -> Any:
    made = message_class("google.protobuf.Timestamp")()
    made.FromJsonString(value)
    return made


def _wrapper(convert: Convert | None) -> Convert:
    return lambda value: {"value": value if convert is None else convert(value)}


WELL_KNOWN: dict[str, Convert] = {
    "google.protobuf.Any": _any,
    "google.protobuf.Duration": _duration,
    "google.protobuf.Timestamp": _timestamp,
    "google.protobuf.Struct": _struct,
    "google.protobuf.Value": _json,
    "google.protobuf.ListValue": _json_list,
    "google.protobuf.BoolValue": _wrapper(None),
    "google.protobuf.StringValue": _wrapper(None),
    "google.protobuf.BytesValue": _wrapper(_bytes),
    "google.protobuf.Int32Value": _wrapper(None),
    "google.protobuf.UInt32Value": _wrapper(None),
    "google.protobuf.Int64Value": _wrapper(_integer),
    "google.protobuf.UInt64Value": _wrapper(_integer),
    "google.protobuf.FloatValue": _wrapper(_float),
    "google.protobuf.DoubleValue": _wrapper(_float),
}


def wrong(kind: str, body: Any, error: Exception, path: str = "") -> NotEncodableError:
    """Finds the field that is to blame for `error`, by trying each alone."""
    try:
        known = plan(kind)
    except KeyError:
        return NotEncodableError(kind, path, "Envoy's API has no such message")
    if type(body) in WRITERS:
        return NotEncodableError(kind, path, str(error))
    if not isinstance(body, Mapping):
        return NotEncodableError(kind, path, f"wants a mapping of fields, not {_shown(body)}")
    fields = descriptor(kind).fields_by_name
    for name, value in body.items():
        inside = f"{path}.{name}" if path else str(name)
        if name not in fields:
            near = get_close_matches(str(name), list(fields), n=1)
            return NotEncodableError(
                kind, inside, f"there is no such field{f'; did you mean {near[0]}?' if near else ''}"
            )
        try:
            known.made(**known.arguments({name: value}))
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as reason:
            return _inside(kind, fields[name], value, reason, inside)
    return NotEncodableError(kind, path, str(error))


def _inside(kind: str, field: Any, value: Any, error: Exception, path: str) -> NotEncodableError:
    inner = field.message_type
    members: list[tuple[str, Any, Any, Any]]
    if inner is not None and inner.GetOptions().map_entry and isinstance(value, Mapping):
        value_field = inner.fields_by_name["value"]
        members = [(f"{path}[{key!r}]", value_field, member, {key: member}) for key, member in value.items()]
    elif field.is_repeated and isinstance(value, list | tuple):
        members = [(f"{path}[{place}]", field, member, [member]) for place, member in enumerate(value)]
    else:
        members = [(path, field, value, value)]
    for inside, described, member, alone in members:
        try:
            plan(kind).made(**plan(kind).arguments({field.name: alone}))
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as reason:
            return _member(kind, described, member, reason, inside)
    return NotEncodableError(kind, path, str(error))


def _member(kind: str, field: Any, value: Any, error: Exception, path: str) -> NotEncodableError:
    if field.message_type is None or value is None:
        words = str(error)
        if words.startswith("bad argument type") or value is None:
            words = f"wants {_type_name(field)}, not {_shown(value)}"
        elif words.startswith("unknown enum label"):
            names = [known.name for known in field.enum_type.values]
            words = f"{value!r} is none of {', '.join(names)}"
        return NotEncodableError(kind, path, words)
    inner = field.message_type.full_name
    if inner == "google.protobuf.Any":
        if not isinstance(value, Mapping) or not isinstance(value.get("@type"), str):
            return NotEncodableError(kind, path, f'wants a mapping with "@type", not {_shown(value)}')
        inner = kind_of(value["@type"])
        if inner not in WELL_KNOWN:
            return wrong(inner, {name: part for name, part in value.items() if name != "@type"}, error, path)
    if inner in WELL_KNOWN:
        words = f"wants a {inner.rpartition('.')[2]}, not {_shown(value)}"
        if isinstance(error, ValueError | OverflowError) or str(error).startswith("wants"):
            words = str(error)
        return NotEncodableError(kind, path, words)
    return wrong(inner, value, error, path)


def _type_name(field: Any) -> str:
    return next(name for name in dir(field) if name.startswith("TYPE_") and getattr(field, name) == field.type)[
        5:
    ].lower()


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
