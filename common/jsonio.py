"""JSON that stands in annotations and environment variables."""

from __future__ import annotations

import json
import math
from typing import Any


def loads(text: str) -> Any:
    """The data in a text, without fields that are null: to the Kubernetes API they are not there.

    Raises ValueError, also for what is nested too deeply to be read, NaN, and numbers beyond the range of a float.
    """
    try:
        return json.loads(text, object_pairs_hook=_without_nulls, parse_float=_finite, parse_constant=_finite)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is no JSON number, or beyond their range")
    return number


def _without_nulls(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in pairs if value is not None}


# json.dumps would make an encoder for every call.
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def dumps(value: object) -> str:
    """Compact JSON, keys in the order they are in."""
    return _encode(value)
