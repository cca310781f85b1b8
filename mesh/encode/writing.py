"""Protobuf's wire format, as far as it is written by hand (protobuf.dev/programming-guides/encoding)."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(8192)
def varint(number: int) -> bytes:
    """A number of 0 or more as protobuf writes it."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


_BYTE = tuple(bytes((number,)) for number in range(256))
_HEADS = {tag: tuple(bytes((tag, size)) for size in range(0x80)) for tag in range(2, 0x80, 8)}


def nested(tag: int, body: bytes) -> bytes:
    """A field with bytes, a text or a message in it; `tag` is its number * 8 + 2, numbers up to 15."""
    size = len(body)
    return _HEADS[tag][size] + body if size < 0x80 else _BYTE[tag] + varint(size) + body


def text(tag: int, value: str) -> bytes:
    """A field with a text."""
    return nested(tag, value.encode())
