"""HTTPRoute and GRPCRoute (gateway.networking.k8s.io), with the API server's defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mesh.model import fields as f
from mesh.model.gatewayapi import HEADER, SECTION, ParentReference, check_backend, hostnames
from mesh.model.meta import Meta
from mesh.model.reading import Reading
from mesh.model.routefilter import FILTERS, METHODS, SPELLED, RouteFilter, check_filters
from mesh.model.shape import Sub, duration, one_of, port, read, sub, subs, text, whole


@dataclass(frozen=True, slots=True)
class HTTPPathMatch:
    """How the path is compared (HTTPPathMatch). A prefix is of whole elements: /a takes /a and /a/b, not /ab."""

    type: str = one_of("PathPrefix", "Exact", "RegularExpression")
    value: str = text(longest=1024, default="/")

    def check(self, r: Reading) -> None:
        """A path as it is after it was made plain."""
        if self.type == "RegularExpression":
            if allowed := f.regex(self.value):
                r.error("not-allowed", f'"{self.value}" is not allowed: {allowed}', "value")
        elif not self.value.startswith("/"):
            r.error("not-allowed", f'"{self.value}" does not begin with /', "value")
        elif any(part in self.value for part in ("//", "/./", "/../", "%2f", "%2F", "#")) or self.value.endswith(
            ("/..", "/.")
        ):
            r.error("not-allowed", f'"{self.value}" is not plain: no //, /./, /../, %2F, #', "value")


@dataclass(frozen=True, slots=True)
class HeaderMatch:
    """How a header or query parameter is compared (HTTPHeaderMatch, HTTPQueryParamMatch, GRPCHeaderMatch)."""

    type: str = one_of("Exact", "RegularExpression")
    name: str = text(pattern=HEADER, longest=256, needed=True, empty=False)
    value: str = text(longest=4096, needed=True)

    def check(self, r: Reading) -> None:
        """A regular expression that RE2 takes."""
        if self.type == "RegularExpression" and (allowed := f.regex(self.value)):
            r.error("not-allowed", f'"{self.value}" is not allowed: {allowed}', "value")


ROOT = HTTPPathMatch()


@dataclass(frozen=True, slots=True)
class HTTPRouteMatch:
    """What a request must have; all of it (HTTPRouteMatch)."""

    path: HTTPPathMatch = read(Sub(HTTPPathMatch), ROOT)
    headers: tuple[HeaderMatch, ...] = subs(HeaderMatch)
    query_params: tuple[HeaderMatch, ...] = subs(HeaderMatch)
    method: str | None = one_of(*METHODS, default=None)


@dataclass(frozen=True, slots=True)
class BackendRef:
    """One of the backends that share the traffic by weight (HTTPBackendRef, GRPCBackendRef)."""

    group: str = text()
    kind: str = text(default="Service", empty=False)
    name: str = text(needed=True, empty=False)
    namespace: str = text(f.label)
    port: int | None = port()
    weight: int = whole(0, 1000000, default=1)
    filters: tuple[RouteFilter, ...] = subs(RouteFilter, most=16)

    def check(self, r: Reading) -> None:
        """A Service is called at a port."""
        check_backend(self.group, self.kind, self.port, r)
        check_filters(self.filters, r)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long (HTTPRouteTimeouts); 0 is without end."""

    request: float | None = duration(0.0, gep=True)
    backend_request: float | None = duration(0.0, gep=True)

    def check(self, r: Reading) -> None:
        """A try takes no longer than all of them."""
        if self.request and self.backend_request is not None and self.backend_request > self.request:
            r.error("conflict", "backendRequest is longer than request", "backendRequest")


@dataclass(frozen=True, slots=True)
class Retry:
    """When a request is tried again (HTTPRouteRetry); twice unless it says how often, as with Istio."""

    codes: tuple[int, ...] = read(f.Many(f.Whole(400, 599)), ())
    attempts: int = whole(0, 2**31 - 1, default=2)
    backoff: float | None = duration(gep=True)


@dataclass(frozen=True, slots=True)
class CookieConfig:
    """SessionPersistence's cookie."""

    name: str = text(pattern=HEADER, longest=256)
    path: str = text(default="/")
    lifetime_type: str = one_of("Session", "Permanent")


@dataclass(frozen=True, slots=True)
class HeaderConfig:
    """SessionPersistence's header."""

    name: str = text(pattern=HEADER, longest=256, needed=True)


@dataclass(frozen=True, slots=True)
class SessionPersistence:
    """A client stays with one backend (SessionPersistence)."""

    session_name: str = text(pattern=HEADER, longest=128)
    absolute_timeout: float | None = duration(gep=True)
    idle_timeout: float | None = duration(gep=True)
    type: str = one_of("Cookie", "Header")
    cookie_config: CookieConfig | None = sub(CookieConfig)
    cookie: CookieConfig | None = sub(CookieConfig)
    header: HeaderConfig | None = sub(HeaderConfig)


ANY = HTTPRouteMatch()


@dataclass(frozen=True, slots=True)
class HTTPRouteRule:
    """Matches, filters and backends (HTTPRouteRule)."""

    name: str = text(pattern=SECTION, longest=253)
    matches: tuple[HTTPRouteMatch, ...] = read(f.Many(Sub(HTTPRouteMatch), most=64), (ANY,))
    filters: tuple[RouteFilter, ...] = subs(RouteFilter, most=16)
    backend_refs: tuple[BackendRef, ...] = subs(BackendRef, most=16)
    timeouts: Timeouts | None = sub(Timeouts)
    retry: Retry | None = sub(Retry)
    session_persistence: SessionPersistence | None = sub(SessionPersistence)

    def check(self, r: Reading) -> None:
        """What goes with what (CEL rules of the API)."""
        check_filters(self.filters, r)
        redirects = any(one.type == "RequestRedirect" for one in self.filters)
        if redirects and self.backend_refs:
            r.error("conflict", "a rule that redirects has no backendRefs", "backendRefs")
        for index, one in enumerate(self.filters):
            action = one.request_redirect or one.url_rewrite
            by_prefix = bool(action and action.path and action.path.type == "ReplacePrefixMatch")
            if by_prefix and (len(self.matches) != 1 or self.matches[0].path.type != "PathPrefix"):
                at = ("filters", index, SPELLED[FILTERS[one.type]], "path")
                r.error("conflict", "ReplacePrefixMatch needs exactly one match, by PathPrefix", *at)
        if len(self.backend_refs) > 1 and not any(one.weight for one in self.backend_refs):
            r.warn("no-effect", "all weights are 0: every request is answered with 500", "backendRefs")
        for index, match in enumerate(self.matches):
            for key, names in (("headers", [h.name.lower() for h in match.headers]),
                               ("queryParams", [q.name for q in match.query_params])):  # fmt: skip
                for last, name in enumerate(names):
                    if name in names[:last]:
                        r.warn("no-effect", f'"{name}" is there twice; the first counts', "matches", index, key, last)


@dataclass(frozen=True, slots=True)
class HTTPRoute:
    """Where requests for hosts go (HTTPRoute). No hostnames means the parent's."""

    meta: Meta
    parent_refs: tuple[ParentReference, ...] = subs(ParentReference, most=32)
    hostnames: tuple[str, ...] = hostnames()
    rules: tuple[HTTPRouteRule, ...] = read(f.Many(Sub(HTTPRouteRule)), (HTTPRouteRule(),))
    use_default_gateways: str = one_of("None", "All")

    def check(self, r: Reading) -> None:
        """Parents once; something to attach to."""
        check_parents(self.parent_refs, self.use_default_gateways, r)


def check_parents(parents: Sequence[ParentReference], default: str, r: Reading) -> None:
    """Something to attach to, each once; of one parent's sections all are named, or none."""
    if not parents and default == "None":
        r.warn("no-effect", "without parentRefs it is attached to nothing", "parentRefs")
    for index, one in enumerate(parents):
        if one in parents[:index]:
            r.error("conflict", "this parent is there twice", "parentRefs", index)


@dataclass(frozen=True, slots=True)
class GRPCMethodMatch:
    """A method, by service, by name, or both (GRPCMethodMatch)."""

    type: str = one_of("Exact", "RegularExpression")
    service: str = text(longest=1024)
    method: str = text(longest=1024)

    def check(self, r: Reading) -> None:
        """One of them."""
        if not (self.service or self.method):
            r.error("missing", "service or method is needed", "service")
        for name, value in (("service", self.service), ("method", self.method)):
            if self.type == "RegularExpression":
                if value and (allowed := f.regex(value)):
                    r.error("not-allowed", f'"{value}" is not allowed: {allowed}', name)
            elif "/" in value:
                r.error("not-allowed", f'"{value}" is not allowed: no /', name)


@dataclass(frozen=True, slots=True)
class GRPCRouteMatch:
    """What a call must have (GRPCRouteMatch)."""

    method: GRPCMethodMatch | None = sub(GRPCMethodMatch)
    headers: tuple[HeaderMatch, ...] = subs(HeaderMatch)


@dataclass(frozen=True, slots=True)
class GRPCRouteRule:
    """Matches, filters and backends (GRPCRouteRule); no match takes all."""

    name: str = text(pattern=SECTION, longest=253)
    matches: tuple[GRPCRouteMatch, ...] = subs(GRPCRouteMatch, most=64)
    filters: tuple[RouteFilter, ...] = subs(RouteFilter, most=16)
    backend_refs: tuple[BackendRef, ...] = subs(BackendRef, most=16)
    session_persistence: SessionPersistence | None = sub(SessionPersistence)

    def check(self, r: Reading) -> None:
        """gRPC is neither redirected nor rewritten."""
        check_filters(self.filters, r)
        for index, one in enumerate(self.filters):
            if one.type not in _GRPC_FILTERS:
                r.error(
                    "not-allowed", f"{one.type} is not allowed: {', '.join(_GRPC_FILTERS)}", "filters", index, "type"
                )


_GRPC_FILTERS = ("RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef")


@dataclass(frozen=True, slots=True)
class GRPCRoute:
    """Where gRPC calls for hosts go (GRPCRoute)."""

    meta: Meta
    parent_refs: tuple[ParentReference, ...] = subs(ParentReference, most=32)
    hostnames: tuple[str, ...] = hostnames()
    rules: tuple[GRPCRouteRule, ...] = subs(GRPCRouteRule)
    use_default_gateways: str = one_of("None", "All")

    def check(self, r: Reading) -> None:
        """Parents once; something to attach to."""
        check_parents(self.parent_refs, self.use_default_gateways, r)
