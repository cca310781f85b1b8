"""HTTPRoute and GRPCRoute ──▶ routes. Which come first Gateway API says (HTTPRouteRule.matches): the closer match.

exact path ▸ longer prefix ▸ regular expression ▸ with a method ▸ more headers ▸ more query parameters ▸ older route
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from mesh.model.formats import header_value
from mesh.model.gatewayapi import BackendObjectReference
from mesh.model.httproute import (
    BackendRef,
    GRPCMethodMatch,
    GRPCRoute,
    GRPCRouteMatch,
    GRPCRouteRule,
    HeaderMatch,
    HTTPRoute,
    HTTPRouteMatch,
    HTTPRouteRule,
    SessionPersistence,
)
from mesh.model.httproute import Retry as RetrySpec
from mesh.model.l4route import TCPRoute, TLSRoute
from mesh.model.routefilter import CORS, HeaderFilter, PathModifier, RequestRedirect, RouteFilter
from mesh.routing.grants import Permitted
from mesh.routing.route import (
    ANYTHING,
    NOWHERE,
    Action,
    Backend,
    Cors,
    Forward,
    HeaderChanges,
    Headers,
    Match,
    Mirror,
    Named,
    Origin,
    Redirect,
    Respond,
    Retry,
    Rewrite,
    Route,
    Session,
    Target,
    Text,
)

AnyRoute = HTTPRoute | GRPCRoute
Routed = AnyRoute | TLSRoute | TCPRoute
AnyRule = HTTPRouteRule | GRPCRouteRule

# What is tried again where a rule names status codes: what never reached an app, beside them.
RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled"


class Maker(NamedTuple):
    """What routes are made with: the cluster's domain, and where the route's object may send."""

    domain: str
    permitted: Permitted


def routes_of(route: AnyRoute, maker: Maker) -> list[Route]:
    """The routes of all its rules, in the order in which they stand."""
    rules: tuple[AnyRule, ...] = route.rules
    return [made for index, rule in enumerate(rules) for made in _rule(route, index, rule, maker)]


def by_precedence(routes: Iterable[Route]) -> tuple[Route, ...]:
    """The closest match first; of equal ones the first stays first, so they come from the oldest object on."""
    return tuple(sorted(routes, key=lambda one: _closeness(one.match)))


def _closeness(match: Match) -> tuple[int, int, bool, int, int]:
    rank = {"exact": 0, "segments": 1, "prefix": 1}.get(match.path.how, 2)
    return rank, -len(match.path.value), match.method is None, -len(match.headers), -len(match.query)


def _rule(route: AnyRoute, index: int, rule: AnyRule, maker: Maker) -> Iterable[Route]:
    ref = route.meta.ref
    action = _action(route, rule, maker)
    headers, cors = _headers(rule.filters), _cors(rule.filters)
    matches = [_match(one) for one in rule.matches] or [ANYTHING]
    for number, match in enumerate(matches):
        at = f"spec.rules[{index}]" + (f".matches[{number}]" if len(matches) > 1 else "")
        yield Route(
            match=match,
            action=action,
            origins=(Origin(ref, at, rule.name),),
            name=f"{ref.namespace}.{ref.name}.{rule.name or index}",
            headers=headers,
            cors=cors,
            session=_session(f"session-{ref.namespace}-{ref.name}-{rule.name or index}", rule.session_persistence),
        )


def _session(default: str, spec: SessionPersistence | None) -> Session | None:
    if spec is None:
        return None
    cookie = spec.cookie_config or spec.cookie
    name = spec.session_name or (cookie.name if cookie else "") or (spec.header.name if spec.header else "")
    if spec.type == "Header":
        return Session(name or default, is_cookie=False)
    lasts = cookie is not None and cookie.lifetime_type == "Permanent"
    return Session(name or default, True, cookie.path if cookie else "/", spec.absolute_timeout if lasts else None)


# --- match ---------------------------------------------------------------------------------------------------------


def _match(match: HTTPRouteMatch | GRPCRouteMatch) -> Match:
    if isinstance(match, GRPCRouteMatch):
        return Match(path=_method(match.method), headers=_named(match.headers, lower=True))
    path = match.path
    how, value = {"Exact": "exact", "RegularExpression": "regex"}.get(path.type), path.value
    made = Text("exact" if how == "exact" else "regex", value) if how else segments(value)
    return Match(
        path=made,
        method=Text("exact", match.method) if match.method else None,
        headers=_named(match.headers, lower=True),
        query=_named(match.query_params, lower=False),
    )


def segments(prefix: str) -> Text:
    """A path's prefix by whole segments; a slash at its end says nothing."""
    return Text("segments", prefix.rstrip("/") or "/")


def _method(match: GRPCMethodMatch | None) -> Text:
    """gRPC's path is /SERVICE/METHOD."""
    if match is None:
        return ANYTHING.path
    if match.type == "RegularExpression" or not match.service:
        quote = re.escape if match.type != "RegularExpression" else str
        service, method = (quote(one) if one else "[^/]+" for one in (match.service, match.method))
        return Text("regex", f"/{service}/{method}")
    if match.method:
        return Text("exact", f"/{match.service}/{match.method}")
    return segments(f"/{match.service}")


def _named(matches: Iterable[HeaderMatch], *, lower: bool) -> Named:
    found: dict[str, Text] = {}
    for one in matches:
        # of two for one name the first counts (HTTPHeaderMatch)
        name = one.name.lower() if lower else one.name
        found.setdefault(name, Text("exact" if one.type == "Exact" else "regex", one.value))
    return tuple(sorted(found.items()))


# --- actions -------------------------------------------------------------------------------------------------------


def _action(route: AnyRoute, rule: AnyRule, maker: Maker) -> Action:
    if any(one.type in ("ExtensionRef", "ExternalAuth") for one in rule.filters):
        # a step that nobody here can take must not be left out in silence (HTTPRouteFilter, ExtensionRef)
        return Respond(500)
    for one in rule.filters:
        if one.request_redirect is not None:
            return _redirect(one.request_redirect)
    backends = tuple(_backend(route, one, maker) for one in rule.backend_refs if one.weight)
    if not backends:
        return Respond(500)
    return Forward(
        backends=backends,
        timeout=(rule.timeouts.request or None) if isinstance(rule, HTTPRouteRule) and rule.timeouts else None,
        retry=_retry(rule),
        rewrite=_rewrite(rule.filters),
        mirrors=_mirrors(route, rule, maker),
        missing_status=500,
    )


def _backend(route: AnyRoute, ref: BackendRef, maker: Maker) -> Backend:
    headers = _headers(ref.filters)
    known = all(one.type in ("RequestHeaderModifier", "ResponseHeaderModifier") for one in ref.filters)
    return Backend(target_of(route, ref, maker) if known else NOWHERE, ref.weight, headers)


def target_of(route: Routed, ref: BackendRef | BackendObjectReference, maker: Maker) -> Target:
    """Where a reference leads; nowhere if it may not, or if its kind cannot be sent to."""
    own = route.meta.namespace
    namespace = ref.namespace or own
    if namespace != own and not maker.permitted(namespace, ref.group, ref.kind, ref.name):
        return NOWHERE
    if (ref.group, ref.kind) == ("", "Service") and ref.port is not None:
        return Target(f"{ref.name}.{namespace}.svc.{maker.domain}", ref.port)
    if (ref.group, ref.kind) == ("networking.istio.io", "Hostname") and ref.port is not None:
        return Target(ref.name, ref.port)
    return NOWHERE


def _retry(rule: AnyRule) -> Retry | None:
    if not isinstance(rule, HTTPRouteRule):
        return None
    limit = rule.timeouts.backend_request if rule.timeouts else None
    spec: RetrySpec | None = rule.retry
    if spec is None:
        return Retry(per_try_timeout=limit) if limit else None
    return Retry(
        attempts=spec.attempts,
        on=",".join([RETRY_ON, *map(str, spec.codes)]),
        per_try_timeout=limit or None,
        backoff=spec.backoff,
    )


def _redirect(redirect: RequestRedirect) -> Redirect:
    """An empty port is that of the scheme that is named, else the one that the request came to."""
    made = Redirect(
        status=redirect.status_code,
        scheme=redirect.scheme or "",
        authority=redirect.hostname,
        port=redirect.port or (0 if redirect.scheme else Redirect.REQUEST_PORT),
    )
    path = redirect.path
    if path is None:
        return made
    if path.type == "ReplaceFullPath":
        return replace(made, path=path.replace_full_path or "/")
    return replace(made, prefix=path.replace_prefix_match or "/")


def _rewrite(filters: Iterable[RouteFilter]) -> Rewrite | None:
    rewrite = next((one.url_rewrite for one in filters if one.url_rewrite), None)
    if rewrite is None:
        return None
    path: PathModifier | None = rewrite.path
    return Rewrite(
        prefix=(path.replace_prefix_match or "/") if path and path.type == "ReplacePrefixMatch" else "",
        path=(path.replace_full_path or "/") if path and path.type == "ReplaceFullPath" else "",
        authority=rewrite.hostname,
        by_segment=True,
    )


def _mirrors(route: AnyRoute, rule: AnyRule, maker: Maker) -> tuple[Mirror, ...]:
    found = []
    for one in rule.filters:
        mirror = one.request_mirror
        if mirror is not None and mirror.backend_ref is not None and mirror.share > 0:
            target = target_of(route, mirror.backend_ref, maker)
            if target.host:
                found.append(Mirror(target, min(mirror.share, 100.0)))
    return tuple(found)


# --- headers -------------------------------------------------------------------------------------------------------


def _headers(filters: Iterable[RouteFilter]) -> Headers:
    made = Headers()
    for one in filters:
        if one.request_header_modifier is not None:
            changes, authority = _changes(one.request_header_modifier)
            made = replace(made, request=changes, authority=authority)
        if one.response_header_modifier is not None:
            made = replace(made, response=_changes(one.response_header_modifier)[0])
    return made


def _changes(spec: HeaderFilter) -> tuple[HeaderChanges, str]:
    """The changes, and the request's new host, which is no header among others."""
    pairs: dict[str, list[tuple[str, str]]] = {"set": [], "add": [], "join": []}
    authority = ""
    for verb, headers in (("set", spec.set), ("add", spec.add)):
        for one in headers:
            if one.name.lower() == "host":
                authority = authority or one.value
            else:
                # `%` begins a command of the proxy's, as Istio's users know it; else it means itself
                value = one.value if not header_value(one.value) else one.value.replace("%", "%%")
                pairs["join" if verb == "add" and _joins(one.name) else verb].append((one.name, value))
    removed = tuple(name for name in spec.remove if name.lower() != "host")
    return HeaderChanges(tuple(pairs["set"]), tuple(pairs["add"]), tuple(pairs["join"]), removed), authority


# Their values hold commas of their own, or are parted by `;` (RFC 6265, 9110 section 5.3).
_OWN_LINES = frozenset({"cookie", "set-cookie"})


def _joins(name: str) -> bool:
    """Whether what is added goes behind what is there, in one line with a comma (HTTPHeaderFilter, add)."""
    return name.lower() not in _OWN_LINES and re.fullmatch(r"[A-Za-z0-9._-]+", name) is not None


def _cors(filters: Iterable[RouteFilter]) -> Cors | None:
    cors: CORS | None = next((one.cors for one in filters if one.cors), None)
    if cors is None:
        return None
    return Cors(
        origins=tuple(_origin(one) for one in cors.allow_origins),
        methods=cors.allow_methods,
        request_headers=cors.allow_headers,
        exposed_headers=cors.expose_headers,
        max_age=float(cors.max_age),
        credentials=cors.allow_credentials,
        forward_unmatched=False,
    )


def _origin(text: str) -> Text:
    """An origin, in which `*` stands for any host or for any labels before one."""
    if text == "*":
        return Text("regex", ".*")
    if "*" not in text:
        return Text("exact", text)
    return Text("regex", ".+".join(re.escape(part) for part in text.split("*")))
