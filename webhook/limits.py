"""All bounds of the webhook, in one place: what one client, one pod or one request may cost the others.

What goes beyond one is refused with a message, and the rest goes on being served. Where there is no room left, who has
waited longest makes it: a request in good order takes milliseconds, so it is not among those. docs/webhook.md has the
table, and a test holds it to this file.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Final

from common.admission import BODY_SECONDS, MAX_BODIES, MAX_BODY

KIB: Final = 1024


def _bound(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"help": meaning})


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the server, each a flag of `pyinject serve` (``--limit-connections``); each is for one worker."""

    connections: int = _bound(256, "connections; who has waited longest makes room for the next")
    header_bytes: int = _bound(64 * KIB, "request line and headers (431)")
    header_lines: int = _bound(128, "headers (431)")
    body_bytes: int = _bound(MAX_BODY, "one body (413)")
    bodies_bytes: int = _bound(MAX_BODIES, "all bodies that are still arriving; the oldest makes room (503)")
    handshake_seconds: float = _bound(5.0, "a TLS handshake")
    header_seconds: float = _bound(10.0, "from a request's first byte to the end of its headers (408)")
    # timeoutSeconds of a webhook is 10 by default, and 30 at most: after that nobody waits for an answer.
    body_seconds: float = _bound(BODY_SECONDS, "a body's arrival (408), and the answer's departure")
    # An API server keeps its connections and uses them whenever a pod is made; a closed one costs the next a handshake.
    idle_seconds: float = _bound(180.0, "a connection without a request")
    review_seconds: float = _bound(1.0, "processor time of one review (the pod is refused)")


def flags() -> list[tuple[str, Any, str]]:
    """Flag, default and meaning of each of `Limits`."""
    return [(f"--limit-{it.name.replace('_', '-')}", it.default, it.metadata["help"]) for it in fields(Limits)]


# The API server's own bound for an object's annotations, names and values together (apimachinery,
# TotalAnnotationSizeLimitB). It checks after the webhooks.
ANNOTATIONS_BYTES: Final = 256 * KIB
# Reading YAML takes some 15 µs a byte at the worst.
PROXY_CONFIG_BYTES: Final = 16 * KIB
# Templates that one pod may ask for, aliases followed.
TEMPLATES: Final = 32
# Names that are looked at for a near miss, and the length of one (a prefix of 253, a slash, a name of 63).
MISSPELT: Final = 16
NAME_LENGTH: Final = 317
# What Linux takes as one argument of a process, with its zero byte: MAX_ARG_STRLEN, 32 pages (execve(2)).
ARGUMENT_BYTES: Final = 128 * KIB
# Variables that the webhook's URL may set in the proxy.
PATH_VARIABLES: Final = 32
# Requests that one connection may send ahead of their answers.
PIPELINED: Final = 8
