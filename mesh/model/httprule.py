"""What a VirtualService's http rule is made of: match, actions, faults, headers (networking.istio.io HTTPRoute)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mesh.model import fields as f
from mesh.model.common import Destination, Percent, StringMatch
from mesh.model.formats import header_value
from mesh.model.reading import Reading
from mesh.model.shape import Sub, camel, duration, flag, map_of, one_of, port, sub, subs, text, text_map, texts, whole

_MATCH = Sub(StringMatch)
_METHODS = frozenset({"*", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"})


def gateway_name(text: str) -> str:
    """`mesh`, `name` or `namespace/name`."""
    parts = text.split("/")
    if len(parts) == 1 or (len(parts) == 2 and not f.label(parts[0])):
        return "" if not f.fqdn(parts[-1]) else "mesh, or a gateway as name or namespace/name"
    return "mesh, or a gateway as name or namespace/name"


@dataclass(frozen=True, slots=True)
class HTTPMatchRequest:
    """What a request must have; all of it (HTTPMatchRequest). `port` 0 is any."""

    name: str = text()
    uri: StringMatch | None = sub(StringMatch)
    scheme: StringMatch | None = sub(StringMatch)
    method: StringMatch | None = sub(StringMatch)
    authority: StringMatch | None = sub(StringMatch)
    headers: Mapping[str, StringMatch] = map_of(_MATCH, f.header_name)
    port: int = port(0, low=0)
    source_labels: Mapping[str, str] = text_map()
    gateways: tuple[str, ...] = texts(gateway_name)
    query_params: Mapping[str, StringMatch] = map_of(_MATCH)
    ignore_uri_case: bool = flag()
    without_headers: Mapping[str, StringMatch] = map_of(_MATCH, f.header_name)
    source_namespace: str = text(f.label)
    stat_prefix: str = text()

    def check(self, r: Reading) -> None:
        """Envoy compares with nothing that is empty; a path's empty prefix is `/`."""
        named = [("scheme", "", self.scheme), ("method", "", self.method), ("authority", "", self.authority)]
        for field in ("headers", "without_headers", "query_params"):
            named += [(camel(field), name, match) for name, match in getattr(self, field).items()]
        for field, name, match in named:
            if match is not None and match.prefix == "":
                at = (field, name) if name else (field,)
                r.error("not-allowed", "an empty prefix takes all; leave the value out to ask that it is there", *at)

    @property
    def takes_all(self) -> bool:
        """Whether every request meets it."""
        return not (
            self.scheme or self.method or self.authority or self.headers or self.port or self.source_labels
            or self.gateways or self.query_params or self.without_headers or self.source_namespace
        ) and (self.uri is None or self.uri.prefix in ("", "/"))  # fmt: skip

    def covers(self, other: HTTPMatchRequest) -> bool:
        """Whether whatever meets `other` meets this; False where it cannot be told easily."""
        if self.takes_all:
            return True
        if self.ignore_uri_case != other.ignore_uri_case:
            return False
        pairs = ((self.uri, other.uri), (self.scheme, other.scheme), (self.method, other.method),
                 (self.authority, other.authority))  # fmt: skip
        for mine, theirs in pairs:
            if mine is not None and (theirs is None or not mine.covers(theirs)):
                return False
        for mine_map, their_map in ((self.headers, other.headers), (self.query_params, other.query_params)):
            for key, match in mine_map.items():
                if key not in their_map or not match.covers(their_map[key]):
                    return False
        return (
            all(other.without_headers.get(key) == match for key, match in self.without_headers.items())
            and all(other.source_labels.get(key) == value for key, value in self.source_labels.items())
            and self.port in (0, other.port)
            and self.source_namespace in ("", other.source_namespace)
            and (not self.gateways or (bool(other.gateways) and set(other.gateways) <= set(self.gateways)))
        )


@dataclass(frozen=True, slots=True)
class HeaderOperations:
    """Headers set, added, removed, in this order (Headers.HeaderOperations)."""

    set: Mapping[str, str] = text_map(f.header_name, header_value)
    add: Mapping[str, str] = text_map(f.header_name, header_value)
    remove: tuple[str, ...] = texts(f.header_name)


def _is_authority(name: str) -> bool:
    return name.lower() in (":authority", "host")


@dataclass(frozen=True, slots=True)
class Headers:
    """What becomes of the headers of request and response (Headers)."""

    request: HeaderOperations | None = sub(HeaderOperations)
    response: HeaderOperations | None = sub(HeaderOperations)

    def check(self, r: Reading) -> None:
        """Of the pseudo-headers only the request's authority can be changed."""
        for side, operations in (("request", self.request), ("response", self.response)):
            if operations is None:
                continue
            names = [("set", name) for name in operations.set] + [("add", name) for name in operations.add]
            for verb, name in names:
                if (name.startswith(":") or name.lower() == "host") and not (side == "request" and _is_authority(name)):
                    r.error("not-allowed", f"{name} cannot be changed here", side, verb, name)
            for index, name in enumerate(operations.remove):
                if name.startswith(":") or name.lower() == "host":
                    r.error("not-allowed", f"{name} cannot be removed", side, "remove", index)

    @property
    def authority(self) -> str:
        """The authority that the request gets, or empty."""
        operations = self.request
        if operations is None:
            return ""
        pairs = [*operations.set.items(), *operations.add.items()]
        return next((value for name, value in pairs if _is_authority(name)), "")


@dataclass(frozen=True, slots=True)
class HTTPRouteDestination:
    """One of the destinations that share the traffic by weight (HTTPRouteDestination)."""

    destination: Destination = sub(Destination, needed=True)
    weight: int = whole(0, 2**31 - 1, default=0)
    headers: Headers | None = sub(Headers)


@dataclass(frozen=True, slots=True)
class HTTPRedirect:
    """Answers with a redirect (HTTPRedirect); `redirect_code` 0 is 301, `port` 0 is not set."""

    ONE_OF = (("port", "derivePort"),)

    uri: str = text(f.printable)
    authority: str = text(f.printable)
    port: int = port(0, low=0)
    derive_port: str | None = one_of("FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT", default=None)
    scheme: str = one_of("", "http", "https")
    redirect_code: int = whole(default=0)

    def check(self, r: Reading) -> None:
        """It must say something; Envoy knows five codes."""
        if not (self.uri or self.authority or self.scheme or self.port or self.derive_port):
            r.error("missing", "a redirect needs uri, authority, scheme, port or derivePort")
        if self.redirect_code and not 300 <= self.redirect_code <= 399:
            r.error("not-allowed", f"{self.redirect_code} is not allowed: 301, 302, 303, 307, 308", "redirectCode")
        elif self.redirect_code not in (0, 301, 302, 303, 307, 308):
            r.warn("not-supported", "Envoy redirects with 301, 302, 303, 307, 308; it will be 301", "redirectCode")


LARGEST_BODY = 1 << 20


@dataclass(frozen=True, slots=True)
class HTTPBody:
    """The body of a direct response (HTTPBody); `bytes` is base64."""

    ONE_OF = (("string", "bytes"),)

    string: str | None = text(default=None)
    bytes: str | None = text(pattern=r"[A-Za-z0-9+/_-]*={0,2}", default=None)


@dataclass(frozen=True, slots=True)
class HTTPDirectResponse:
    """Answers by itself (HTTPDirectResponse)."""

    status: int = whole(200, 599, default=200, needed=True)
    body: HTTPBody | None = sub(HTTPBody)

    def check(self, r: Reading) -> None:
        """Envoy keeps it in each table, so it is small."""
        body = self.body
        size = len((body.string or "").encode()) + len(body.bytes or "") * 3 // 4 if body else 0
        if size > LARGEST_BODY:
            r.error("not-allowed", f"{size} bytes are too many: at most {LARGEST_BODY}", "body")


@dataclass(frozen=True, slots=True)
class Delegate:
    """The rules of another VirtualService stand here (Delegate); without a namespace it is the root's."""

    name: str = text()
    namespace: str = text()


@dataclass(frozen=True, slots=True)
class RegexRewrite:
    """The path's parts that match are replaced; `\\1` is a group (RegexRewrite)."""

    match: str = text(f.regex)
    rewrite: str = text(f.printable)


@dataclass(frozen=True, slots=True)
class HTTPRewrite:
    """What of the request is changed before it goes on (HTTPRewrite)."""

    uri: str = text(f.printable)
    authority: str = text(f.printable)
    uri_regex_rewrite: RegexRewrite | None = sub(RegexRewrite)

    def check(self, r: Reading) -> None:
        """One way to change the path, and something at all."""
        if self.uri and self.uri_regex_rewrite:
            r.error("conflict", "only one of uri and uriRegexRewrite may be there", "uriRegexRewrite")
        if not (self.uri or self.authority or self.uri_regex_rewrite):
            r.error("missing", "a rewrite needs uri, authority or uriRegexRewrite")


_STATUS = re.compile(r"[1-5][0-9]{2}")
RETRY_ON = frozenset({
    "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "retriable-4xx", "refused-stream",
    "retriable-status-codes", "retriable-headers", "envoy-ratelimited", "http3-post-connect-failure", "cancelled",
    "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class HTTPRetry:
    """When a request is tried again (HTTPRetry). `attempts` 0 is never; `retry_on` empty is Istio's default."""

    attempts: int = whole(0, 2**31 - 1, default=0)
    per_try_timeout: float | None = duration()
    retry_on: str = text()
    retry_remote_localities: bool | None = flag(None)
    retry_ignore_previous_hosts: bool | None = flag(None)
    backoff: float | None = duration()

    def check(self, r: Reading) -> None:
        """Conditions are Envoy's words or status codes."""
        for word in self.retry_on.split(",") if self.retry_on else ():
            if word not in RETRY_ON and not _STATUS.fullmatch(word):
                r.error("not-allowed", f'"{word}" is not allowed: {", ".join(sorted(RETRY_ON))} or a status', "retryOn")
        if not self.attempts and (self.per_try_timeout or self.retry_on or self.backoff):
            r.error("conflict", "attempts 0 means no retry, so nothing else may be said of it", "attempts")


@dataclass(frozen=True, slots=True)
class CorsPolicy:
    """Cross-origin requests (CorsPolicy)."""

    allow_origin: tuple[str, ...] = texts(doc="Deprecated: allowOrigins.")
    allow_origins: tuple[StringMatch, ...] = subs(StringMatch)
    allow_methods: tuple[str, ...] = texts(lambda text: "" if text in _METHODS else "a method in capitals, or *")
    allow_headers: tuple[str, ...] = texts(f.header_name)
    expose_headers: tuple[str, ...] = texts(f.header_name)
    max_age: float | None = duration()
    allow_credentials: bool | None = flag(None)
    unmatched_preflights: str = one_of("UNSPECIFIED", "FORWARD", "IGNORE")

    def check(self, r: Reading) -> None:
        """The age is in whole seconds, for the header has no others."""
        if self.max_age is not None and self.max_age != int(self.max_age):
            r.error("not-allowed", "want whole seconds", "maxAge")


@dataclass(frozen=True, slots=True)
class Delay:
    """Waits before the request goes on (HTTPFaultInjection.Delay)."""

    ONE_OF = (("fixedDelay", "exponentialDelay"),)

    fixed_delay: float | None = duration()
    exponential_delay: float | None = duration()
    percent: int = whole(0, 100, default=0, doc="Deprecated: percentage.")
    percentage: Percent | None = sub(Percent)

    def check(self, r: Reading) -> None:
        """How long, in Envoy's way."""
        if self.exponential_delay is not None:
            r.error("not-supported", "Envoy has no exponential delay; use fixedDelay", "exponentialDelay")
        elif self.fixed_delay is None:
            r.error("missing", "fixedDelay is needed", "fixedDelay")


GRPC_STATUS = {name: number for number, name in enumerate((
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
))}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Abort:
    """Answers with an error (HTTPFaultInjection.Abort); without a percentage it never happens."""

    ONE_OF = (("httpStatus", "grpcStatus", "http2Error"),)

    http_status: int | None = whole(200, 599)
    grpc_status: str | None = one_of(*GRPC_STATUS, default=None)
    http2_error: str | None = text(default=None)
    percentage: Percent | None = sub(Percent)

    def check(self, r: Reading) -> None:
        """What it answers with; that it happens at all."""
        if self.http2_error is not None:
            r.error("not-supported", "Envoy cannot abort with an HTTP/2 error; use httpStatus", "http2Error")
        elif self.http_status is None and self.grpc_status is None:
            r.error("missing", "httpStatus or grpcStatus is needed", "httpStatus")
        if self.percentage is None:
            r.warn("no-effect", "without a percentage no request is aborted", "percentage")


@dataclass(frozen=True, slots=True)
class HTTPFaultInjection:
    """Faults made on purpose (HTTPFaultInjection)."""

    delay: Delay | None = sub(Delay)
    abort: Abort | None = sub(Abort)

    def check(self, r: Reading) -> None:
        """One of the two."""
        if not (self.delay or self.abort):
            r.error("missing", "a fault needs delay or abort")


@dataclass(frozen=True, slots=True)
class HTTPMirrorPolicy:
    """A copy of the requests goes here too (HTTPMirrorPolicy); without a percentage, of all."""

    destination: Destination = sub(Destination, needed=True)
    percentage: Percent | None = sub(Percent)
