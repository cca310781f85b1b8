"""Templates in Go's language, as Istio's ConfigMap has them: what somebody changed in them, as far as it shows.

Of Istio's own templates this project has its own (Istio 1.29's, in webhook/templates), which stand for them. That is
right as long as nobody has changed the one in the ConfigMap. Two things show that somebody has:

- The values have a template of that name too: Istio's chart writes there what its users give it.
- It names what Istio's own does not: an image in full, a container, variable or volume, an annotation of others'.

What is seen by neither (another number, a line taken out) is told by the same message without a finding: that this
project's stands for it. Istio's text itself is not here to compare with, and differs by version.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_ACTION_COMMENT: Final = re.compile(r"\{\{-?\s*/\*.*?\*/\s*-?\}\}", re.DOTALL)
_IMAGE: Final = re.compile(r"""\bimage:\s*["']?([^\s"'{}]+)["']?\s*$""")
_NAME: Final = re.compile(r"""\bname:\s*["']?([A-Za-z_][\w.-]*)["']?\s*(?:[,}].*)?$""")
_KEY: Final = re.compile(r"\b(?:[a-z0-9-]+\.)+[a-z]{2,}/[A-Za-z][\w.-]*")
_WORD: Final = re.compile(r"[\w.-]+")
# Where Istio and Kubernetes have names that their templates read in one version or another.
_THEIRS: Final = ("istio.io", "kubernetes.io", "k8s.io", "cncf.io")


def is_go(source: str) -> bool:
    """Whether a template is written in Go's language."""
    return "{{" in source


def additions(source: str, own: str) -> list[str]:
    """What a template names that `own`, this project's translation of Istio's, does not: "image x/proxy:1 (line 3)"."""
    known = frozenset([*_WORD.findall(own), *_KEY.findall(own)])
    found: dict[str, str] = {}
    for number, line in enumerate(_blanked(source).splitlines(), 1):
        if not line.lstrip().startswith("#"):
            for what in _named(line, known):
                found.setdefault(what, f"{what} (line {number})")
    return list(found.values())


def _blanked(source: str) -> str:
    """The text without the language's comments, on as many lines."""
    return _ACTION_COMMENT.sub(lambda comment: "\n" * comment[0].count("\n"), source)


def _named(line: str, known: frozenset[str]) -> Iterator[str]:
    if image := _IMAGE.search(line):
        yield f"image {image[1]}"
        return
    if (name := _NAME.search(line)) and name[1] not in known:
        yield f"name {name[1]}"
    for key in _KEY.findall(line):
        if not key.partition("/")[0].endswith(_THEIRS) and key not in known:
            yield f"annotation {key}"
