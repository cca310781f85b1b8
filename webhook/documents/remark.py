"""What an injected pod cannot say about the one it was made of, kept in the file as a comment at the document's end.

Two pods can become the same when they are injected: one whose probe asks port ``http`` and one that asks 8080, say.
The comment holds the `differences` between what `uninject` makes of the pod and what was there. Nothing of it reaches
the cluster, so the injected pod is the same to the field as a webhook's. JSON has no comments, no remark.

A document whose last line has no end keeps that: the remark then is the line without one.
"""

from __future__ import annotations

import json
import re
from typing import Final

from webhook.documents.differences import Difference

_PREFIX: Final = "# pyinject uninject: "
_LINE: Final = re.compile(rf"^{_PREFIX}(.*)\n?", re.MULTILINE)
_END: Final = re.compile(r"^\.\.\.(?:[ \t].*)?\n?\Z", re.MULTILINE)


def put(text: str, differences: list[Difference]) -> str:
    """The document with a remark, in place of one that was there; without one where there are no differences."""
    text, _ = take(text)
    if not differences:
        return text
    end = _END.search(text)
    place = end.start() if end else len(text)
    line = f"{_PREFIX}{json.dumps(differences, separators=(',', ':'))}"
    if place and text[place - 1] != "\n":
        return f"{text}\n{line}"
    return f"{text[:place]}{line}\n{text[place:]}"


def take(text: str) -> tuple[str, list[Difference]]:
    """The document without its remark, and the differences; none for a remark that somebody has broken."""
    found = next(iter([*_LINE.finditer(text)][-1:]), None)
    if found is None:
        return text, []
    try:
        differences = json.loads(found[1])
    except (ValueError, RecursionError):
        differences = []
    before = text[: found.start()]
    if not found[0].endswith("\n"):
        before = before.removesuffix("\n")
    return before + text[found.end() :], differences if isinstance(differences, list) else []
