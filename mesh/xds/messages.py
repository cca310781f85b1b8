"""What goes over a stream, as values: the two variants of the protocol say the same in different words."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from mesh.encode.resource import Encoded


class ProtocolError(Exception):
    """The other side does what no proxy does; its stream is to be ended. The words say what and what is allowed."""


class TooMuchError(ProtocolError):
    """The other side wants more than a stream may hold."""


@dataclass(frozen=True, slots=True)
class Request:
    """A (Delta)DiscoveryRequest.

    `subscribe`, `unsubscribe` and `versions` (what the proxy still has from an earlier stream, by name) are delta's;
    `names` is all that is asked for, as the state of the world has it, else None. `nonce` is that of the response it
    answers; `error` is what Envoy says against that response, None where it accepts it.
    """

    type_url: str
    nonce: str = ""
    error: str | None = None
    names: tuple[str, ...] | None = None
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    asks: tuple[Hashable, ...] = field(init=False, compare=False, repr=False)
    """All that it says but for what it answers; made once, for many streams say the very same."""

    def __post_init__(self) -> None:
        said = self.type_url, self.names, self.subscribe, self.unsubscribe, tuple(self.versions.items())
        object.__setattr__(self, "asks", said)


class Sent(NamedTuple):
    """A resource in a response, with the version that the proxy is told."""

    resource: Encoded
    version: str


@dataclass(slots=True, eq=False)
class Content:
    """What a (Delta)DiscoveryResponse says but for its nonce: many streams are sent the same. `removed` is delta's.

    `written` is for `mesh.xds.wire`: a nonce and the bytes with it, once they have been asked for before (`asked`).
    """

    type_url: str
    resources: tuple[Sent, ...]
    removed: tuple[str, ...] = ()
    written: tuple[str, bytes] | None = None
    asked: bool = False


class Response(NamedTuple):
    """A (Delta)DiscoveryResponse."""

    content: Content
    nonce: str

    @property
    def type_url(self) -> str:
        """Of which type it is."""
        return self.content.type_url

    @property
    def resources(self) -> tuple[Sent, ...]:
        """What is new or changed; of the state of the world, all there is."""
        return self.content.resources

    @property
    def removed(self) -> tuple[str, ...]:
        """The names of what there is no longer."""
        return self.content.removed


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the proxy made of a response: `refused` are those to blame for `words`, Envoy's own.

    Some are found out only when the rest was accepted. Both are empty where Envoy refused several and did not say
    which; they are then sent in smaller groups.
    """

    type_url: str
    accepted: tuple[Encoded, ...] = ()
    refused: tuple[Encoded, ...] = ()
    words: str = ""
