"""Route: what a rule does with a request, whichever kind of object said so.

    VirtualService ──┐
    HTTPRoute        ├──▶ Route ──build/routes.py──▶ what a proxy reads
    GRPCRoute        │
    Ingress ─────────┘

Nothing here is a word of Envoy's. Durations are seconds, shares percent (0 to 100). All values are frozen and compare
by content, so that a query whose routes are the same as before stops a change.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

from mesh.model.meta import ObjectRef

How = Literal["exact", "prefix", "segments", "regex", "present"]


class Text(NamedTuple):
    """What a text must be. `segments` is a prefix that ends where a path's segment ends: /a takes /a/b, not /ab."""

    how: How
    value: str = ""
    ignore_case: bool = False


PRESENT = Text("present")
ANY_PATH = Text("prefix", "/")

Named = tuple[tuple[str, Text], ...]


@dataclass(frozen=True, slots=True)
class Match:
    """All of it must hold. `authority` and `scheme` are the request's pseudo-headers."""

    path: Text = ANY_PATH
    method: Text | None = None
    authority: Text | None = None
    scheme: Text | None = None
    headers: Named = ()
    without_headers: Named = ()
    query: Named = ()

    @property
    def is_catch_all(self) -> bool:
        """Every request fits: a rule behind this one is never reached."""
        how, value, _ = self.path
        every = ".*" if how == "regex" else "/"
        return how in ("prefix", "segments", "regex") and value == every and self == Match(self.path)


ANYTHING = Match()


class Origin(NamedTuple):
    """Where a route was written: the object, the path of the rule in it, and the rule's name if it has one."""

    ref: ObjectRef
    path: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.ref} {self.path}" + (f" ({self.name})" if self.name else "")


@dataclass(frozen=True, slots=True)
class HeaderChanges:
    """Headers to set (replacing), add (a line beside what is there), join (to it, in one line) and remove."""

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    join: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


NO_CHANGES = HeaderChanges()


@dataclass(frozen=True, slots=True)
class Headers:
    """Changes of the request's and of the response's headers; `authority` replaces the request's host."""

    request: HeaderChanges = NO_CHANGES
    response: HeaderChanges = NO_CHANGES
    authority: str = ""


NO_HEADERS = Headers()


class Target(NamedTuple):
    """Pods to send to: the host of a Service or ServiceEntry, one of its ports, and a subset of its DestinationRule.

    `host` is empty for a backend that there is not, or that may not be used.
    """

    host: str
    port: int
    subset: str = ""


NOWHERE = Target("", 0)


@dataclass(frozen=True, slots=True)
class Backend:
    """A target, its weight beside its siblings', and what is changed for it alone."""

    target: Target
    weight: int = 1
    headers: Headers = NO_HEADERS


@dataclass(frozen=True, slots=True)
class Mirror:
    """Who gets a copy, and of how many requests; the answer is thrown away."""

    target: Target
    percent: float = 100.0


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A new path and a new host. `prefix` replaces what the path match took, `path` all of the path.

    `pattern` is a regular expression (RE2) and `replacement` what stands in its place, with \\1 for groups.
    `by_segment`: what is left begins with one slash, as Gateway API wants it, and `/` takes the prefix away.
    """

    prefix: str = ""
    path: str = ""
    pattern: str = ""
    replacement: str = ""
    authority: str = ""
    by_segment: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and when a request is tried again; `on` are Istio's conditions and status codes, empty its default."""

    attempts: int = 2
    on: str = ""
    per_try_timeout: float | None = None
    backoff: float | None = None
    ignore_previous_hosts: bool | None = None
    other_localities: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """Delay for a share of requests, abort for a share; the one comes before the other."""

    delay: float | None = None
    delay_percent: float = 0.0
    abort_status: int | None = None
    abort_grpc: str = ""
    abort_percent: float = 0.0


@dataclass(frozen=True, slots=True)
class Cors:
    """Cross-origin requests (Fetch standard): who may ask from where. `max_age` in seconds.

    `forward_unmatched`: a preflight from another origin goes on to the app; else it is answered without permission.
    """

    origins: tuple[Text, ...] = ()
    methods: tuple[str, ...] = ()
    request_headers: tuple[str, ...] = ()
    exposed_headers: tuple[str, ...] = ()
    max_age: float | None = None
    credentials: bool | None = None
    forward_unmatched: bool = True


@dataclass(frozen=True, slots=True)
class Forward:
    """Sends the request on. No timeout is none; no retry means the mesh's default.

    `missing_status` answers where a target is not there or no backend has a weight.
    """

    backends: tuple[Backend, ...]
    timeout: float | None = None
    retry: Retry | None = None
    rewrite: Rewrite | None = None
    mirrors: tuple[Mirror, ...] = ()
    missing_status: int = 503


@dataclass(frozen=True, slots=True)
class Redirect:
    """Answers with a Location. What is empty stays as the request has it; `port` 0 keeps the Host's.

    `prefix` replaces what the path match took, `path` all of it. `port` may be REQUEST_PORT, the one that the request
    came to.
    """

    REQUEST_PORT: ClassVar[int] = -1

    status: int = 301
    scheme: str = ""
    authority: str = ""
    port: int = 0
    path: str = ""
    prefix: str | None = None


@dataclass(frozen=True, slots=True)
class Respond:
    """Answers by itself."""

    status: int
    body: str | bytes = ""


Action = Forward | Redirect | Respond


@dataclass(frozen=True, slots=True)
class Session:
    """A client stays with the pod that answered it first: it is told which in a cookie or header of this name, and
    sends that with its next requests. `lifetime` is the cookie's in seconds; None: as long as the browser runs.
    """

    name: str
    is_cookie: bool = True
    path: str = "/"
    lifetime: float | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """A rule for requests of a host: the first whose match holds is it. `origins` begin with the object that rules."""

    match: Match
    action: Action
    origins: tuple[Origin, ...]
    name: str = ""
    headers: Headers = NO_HEADERS
    fault: Fault | None = None
    cors: Cors | None = None
    stat_prefix: str = ""
    session: Session | None = None


@dataclass(frozen=True, slots=True)
class ConnectionRoute:
    """A rule for connections: TCP, or TLS that is passed through. Empty tuples fit every connection.

    `sni_hosts` are server names or `*.` wildcards, `subnets` destination addresses in CIDR notation.
    """

    backends: tuple[Backend, ...]
    origins: tuple[Origin, ...]
    sni_hosts: tuple[str, ...] = ()
    subnets: tuple[str, ...] = ()
    name: str = field(default="", compare=False)


def catch_all_last(routes: tuple[Route, ...]) -> tuple[Route, ...]:
    """Routes of several objects for one host: those that take everything come after all others, else as they stood."""
    return (*(one for one in routes if not one.match.is_catch_all), *(one for one in routes if one.match.is_catch_all))
