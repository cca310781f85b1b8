"""What an injected pod cannot say about the one it was made of, kept in the file as a comment at the document's end.

Two pods can become the same when they are injected: one whose probe asks port ``http`` and one that asks 8080, say.
The comment holds the JSON Patch (RFC 6902) that leads from what `uninject` makes of the pod to what was there. Nothing
of it reaches the cluster, so the injected pod is the same to the field as a webhook's. JSON has no comments, no remark.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

_PREFIX: Final = "# pyinject uninject: "
_LINE: Final = re.compile(rf"^{_PREFIX}(.*)\n?", re.MULTILINE)
_END: Final = re.compile(r"^\.\.\.(?:[ \t].*)?\n?\Z", re.MULTILINE)

Operations = list[dict[str, Any]]


def put(text: str, operations: Operations) -> str:
    """The document with a remark, in place of one that was there; without one where there are no operations."""
    text, _ = take(text)
    if not operations:
        return text
    end = _END.search(text)
    place = end.start() if end else len(text)
    line_end = "" if not place or text[place - 1] == "\n" else "\n"
    return f"{text[:place]}{line_end}{_PREFIX}{json.dumps(operations, separators=(',', ':'))}\n{text[place:]}"


def take(text: str) -> tuple[str, Operations]:
    """The document without its remark, and the operations; none for a remark that somebody has broken."""
    found = next(iter([*_LINE.finditer(text)][-1:]), None)
    if found is None:
        return text, []
    try:
        operations = json.loads(found[1])
    except json.JSONDecodeError:
        operations = []
    return text[: found.start()] + text[found.end() :], operations if isinstance(operations, list) else []
