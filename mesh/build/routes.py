"""Route ──▶ Envoy's routes (config.route.v3.Route). The only place where routing meets Envoy's words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from common.envoy.parts import Message, Shared, extension, typed
from mesh.model.httprule import GRPC_STATUS
from mesh.model.names import ClusterName
from mesh.routing.route import (
    Cors,
    Fault,
    Forward,
    HeaderChanges,
    Headers,
    Match,
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

# What a table must allow for the bodies of direct responses (RouteConfiguration, max_direct_response_body_size_bytes).
MAX_BODY = 1 << 20
# The name of the cluster of a target that there is not; nothing has this name, so Envoy answers for it.
UNKNOWN = "UnknownService"
CORS, FAULT = "envoy.filters.http.cors", "envoy.filters.http.fault"
SESSION = "envoy.filters.http.stateful_session"

RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
PREVIOUS_HOSTS = extension(
    "envoy.retry_host_predicates.previous_hosts", "retry.host.previous_hosts.v3.PreviousHostsPredicate"
)
PREVIOUS_PRIORITIES = extension(
    "envoy.retry_priorities.previous_priorities",
    "retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
    update_frequency=2,
)
DEFAULT_RETRY = Retry()
EVERYTHING = Shared(prefix="/")
STATUS_CODES = frozenset(int(one) for one in HTTPStatus)
SCHEME_PORTS = {"http": 80, "https": 443}

HashPolicy = Callable[[Target], "Message | None"]
"""The route's hash policy for a target whose DestinationRule balances by a hash (RouteAction.HashPolicy)."""


def no_hash(_: Target) -> None:
    """No target balances by a hash."""


@lru_cache(1024)
def seconds(value: float) -> str:
    """A protobuf Duration's JSON form."""
    return f"{value:.9f}".rstrip("0").rstrip(".") + "s"


def render(
    route: Route,
    port: int,
    *,
    tls: bool = False,
    default_retry: Retry = DEFAULT_RETRY,
    hash_policy: HashPolicy = no_hash,
) -> Message:
    """One route. `port` is the port that the request came to, `tls` whether by TLS.

    `default_retry` is the mesh's, for routes that say nothing of retries.
    """
    made: Message = {"match": match(route.match)}
    if route.name:
        made["name"] = route.name
    if route.stat_prefix:
        made["stat_prefix"] = route.stat_prefix
    headers = [route.headers]
    action = route.action
    if isinstance(action, Forward) and action.backends:
        if len(action.backends) == 1:
            headers.append(action.backends[0].headers)
        made["route"] = _forward(action, route, default_retry, hash_policy)
    elif isinstance(action, Forward):
        made["direct_response"] = {"status": action.missing_status}
    elif isinstance(action, Redirect):
        made["redirect"] = _redirect(action, route.match, port, tls)
    else:
        made["direct_response"] = _respond(action)
    made |= _headers(*headers)
    filters: Message = {}
    if route.fault and (fault := _fault(route.fault)):
        filters[FAULT] = fault
    if route.cors:
        filters[CORS] = _cors(route.cors)
    if route.session and isinstance(action, Forward):
        filters[SESSION] = _session(route.session)
    if filters:
        made["typed_per_filter_config"] = filters
    made["decorator"] = {"operation": _operation(route, port)}
    if route.origins:
        made["metadata"] = metadata(*route.origins)
    return made


def default_route(
    target: Target, *, default_retry: Retry = DEFAULT_RETRY, hash_policy: HashPolicy = no_hash
) -> Message:
    """The route to a host that no object rules."""
    policy = hash_policy(target)
    return {
        "name": "default",
        "match": EVERYTHING,
        "route": {
            "cluster": cluster_of(target),
            **_timeouts(None),
            **({"retry_policy": made} if (made := retry_policy(default_retry, hashed=False)) else {}),
            **({"hash_policy": [policy]} if policy else {}),
        },
        "decorator": {"operation": f"{target.host}:{target.port}/*"},
    }


def cluster_of(target: Target) -> str:
    """The cluster's name."""
    return str(ClusterName("outbound", target.port, target.subset, target.host)) if target.host else UNKNOWN


def metadata(origin: Origin, *inner: Origin) -> Message:
    """Which object a route comes from, as Istio writes it; `rule` is ours, for `describe` and `proxy-config route`: its
    path there, and that of the delegate's rule.
    """
    kind = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", origin.ref.kind).lower()
    group = "networking.istio.io" if kind == "virtual-service" else GATEWAY_API.get(kind, "networking.k8s.io")
    path = f"/apis/{group}/v1/namespaces/{origin.ref.namespace}/{kind}/{origin.ref.name}"
    return {"filter_metadata": {"istio": {"config": path, "rule": " > ".join([origin.path, *map(str, inner)])}}}


GATEWAY_API = dict.fromkeys(("http-route", "grpc-route", "tls-route", "tcp-route"), "gateway.networking.k8s.io")


# --- match ---------------------------------------------------------------------------------------------------------


def match(one: Match) -> Message:
    """A RouteMatch."""
    made: Message = {}
    match one.path.how:
        case "exact":
            made["path"] = one.path.value
        case "segments" if one.path.value != "/":
            made["path_separated_prefix"] = one.path.value
        case "regex":
            made["safe_regex"] = {"regex": one.path.value}
        case _:
            made["prefix"] = one.path.value or "/"
    if one.path.ignore_case:
        made["case_sensitive"] = False
    headers = sorted(
        [(name, text, False) for name, text in one.headers]
        + [(name, text, True) for name, text in one.without_headers],
        key=lambda it: (it[0], it[2]),
    )
    found = [_header(name, text, inverted) for name, text, inverted in headers]
    for name, text in ((":method", one.method), (":authority", one.authority), (":scheme", one.scheme)):
        if text is not None:
            found.append(_header(name, text, False))
    if found:
        made["headers"] = found
    if one.query:
        made["query_parameters"] = [{"name": name, **_text(text)} for name, text in sorted(one.query)]
    return made


def _header(name: str, text: Text, inverted: bool) -> Message:
    made: Message = {"name": name, **_text(text)}
    if inverted:
        made["invert_match"] = True
        if text.how != "present":
            # else a request without the header would not fit, though it has no such value
            made["treat_missing_header_as_empty"] = True
    return made


def _text(text: Text) -> Message:
    return {"present_match": True} if text.how == "present" else {"string_match": string_match(text)}


def string_match(text: Text) -> Message:
    """A StringMatcher."""
    made: Message = {"safe_regex": {"regex": text.value}} if text.how == "regex" else {text.how: text.value}
    if text.ignore_case and text.how != "regex":
        made["ignore_case"] = True
    return made


# --- actions -------------------------------------------------------------------------------------------------------


def _forward(action: Forward, route: Route, default_retry: Retry, hash_policy: HashPolicy) -> Message:
    made: Message = {}
    backends = action.backends
    authority = route.headers.authority
    if len(backends) == 1:
        made["cluster"] = cluster_of(backends[0].target)
        authority = authority or backends[0].headers.authority
    else:
        made["weighted_clusters"] = {
            "clusters": [
                {
                    "name": cluster_of(one.target),
                    "weight": one.weight,
                    **_headers(one.headers),
                    **({"host_rewrite_literal": one.headers.authority} if one.headers.authority else {}),
                }
                for one in backends
            ]
        }
    if action.missing_status == HTTPStatus.INTERNAL_SERVER_ERROR:
        made["cluster_not_found_response_code"] = "INTERNAL_SERVER_ERROR"
    made |= _timeouts(action.timeout)
    if action.rewrite:
        made |= _rewrite(action.rewrite, route.match.path)
        authority = action.rewrite.authority or authority
    if authority:
        made["host_rewrite_literal"] = authority
    mirrors = [
        {
            "cluster": cluster_of(one.target),
            "runtime_fraction": {"default_value": percent(one.percent)},
            "trace_sampled": False,
            "disable_shadow_host_suffix_append": True,
        }
        for one in action.mirrors
        if one.percent > 0
    ]
    if mirrors:
        made["request_mirror_policies"] = mirrors
    hashes = [policy for one in backends if (policy := hash_policy(one.target))]
    if hashes:
        made["hash_policy"] = hashes
    # who is sent by a hash is to stay with its pod when tried again
    retry = retry_policy(action.retry or default_retry, hashed=bool(hashes) and len(backends) == 1)
    if retry:
        made["retry_policy"] = retry
    return made


def _timeouts(timeout: float | None) -> Message:
    # No timeout unless asked for, where Envoy's own default is 15 s; gRPC's own deadline counts as far as that allows.
    limit = seconds(timeout or 0)
    return {"timeout": limit, "max_grpc_timeout": limit}


def _rewrite(rewrite: Rewrite, path: Text) -> Message:
    if rewrite.pattern:
        return {"regex_rewrite": _substitution(rewrite.pattern, rewrite.replacement)}
    if rewrite.path:
        return {"regex_rewrite": _substitution("/.*", rewrite.path.replace("\\", "\\\\"))}
    if not rewrite.prefix:
        return {}
    return _by_segment(rewrite.prefix, path) if rewrite.by_segment else {"prefix_rewrite": rewrite.prefix}


def _by_segment(prefix: str, path: Text) -> Message:
    """Another prefix in the place of the one that matched; between it and what follows stands one slash."""
    if path.value == "/":
        return {"prefix_rewrite": prefix.rstrip("/") + "/"}
    if prefix.rstrip("/"):
        return {"prefix_rewrite": prefix.rstrip("/")}
    return {"regex_rewrite": _substitution(f"^{re.escape(path.value)}(/?)(.*)", r"/\2")}


def _substitution(pattern: str, replacement: str) -> Message:
    return {"pattern": {"regex": pattern}, "substitution": replacement}


def _redirect(action: Redirect, match: Match, port: int, tls: bool) -> Message:
    made: Message = {"response_code": REDIRECTS[action.status]}
    if action.authority:
        made["host_redirect"] = action.authority
    if action.scheme:
        made["scheme_redirect"] = action.scheme
    scheme = action.scheme or ("https" if tls else "http")
    at = port if action.port == Redirect.REQUEST_PORT else action.port
    if at and at != SCHEME_PORTS.get(scheme):
        made["port_redirect"] = at
    if action.prefix is not None:
        made |= _by_segment(action.prefix or "/", match.path)
    elif action.path:
        made["path_redirect"] = action.path
    return made


REDIRECTS = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}


def _respond(action: Respond) -> Message:
    made: Message = {"status": action.status}
    if action.body:
        made["body"] = {"inline_bytes" if isinstance(action.body, bytes) else "inline_string": action.body}
    return made


# --- what goes with them -------------------------------------------------------------------------------------------


@lru_cache(256)
def retry_policy(retry: Retry, *, hashed: bool) -> Shared | None:
    """A RetryPolicy; None where nothing is tried again."""
    if retry.attempts <= 0 and retry.per_try_timeout is None:
        return None
    on, codes = _retry_on(retry.on)
    made: Message = {
        "retry_on": on,
        "num_retries": max(retry.attempts, 0),
        "host_selection_retry_max_attempts": 5,
    }
    if codes:
        made["retriable_status_codes"] = codes
    if retry.per_try_timeout is not None:
        made["per_try_timeout"] = seconds(retry.per_try_timeout)
    if retry.ignore_previous_hosts if retry.ignore_previous_hosts is not None else not hashed:
        made["retry_host_predicate"] = [PREVIOUS_HOSTS]
    if retry.other_localities:
        made["retry_priority"] = PREVIOUS_PRIORITIES
    if retry.backoff is not None:
        made["retry_back_off"] = {"base_interval": seconds(retry.backoff)}
    return Shared(**made)


def _retry_on(text: str) -> tuple[str, list[int]]:
    """Conditions and status codes, which Istio writes in one list."""
    if not text:
        return RETRY_ON, []
    parts = [part for one in text.split(",") if (part := one.strip())]
    codes = [int(part) for part in parts if part.isdecimal() and int(part) in STATUS_CODES]
    conditions = [part for part in parts if not (part.isdecimal() and int(part) in STATUS_CODES)]
    if codes and "retriable-status-codes" not in conditions:
        conditions.append("retriable-status-codes")
    return ",".join(conditions), codes


def _headers(*changes: Headers) -> Message:
    """The four lists, for a route or a weighted cluster. Later changes win, for Envoy applies them in order."""
    made: Message = {}
    for direction in ("request", "response"):
        every: list[HeaderChanges] = [getattr(one, direction) for one in changes]
        added = [one for pairs in every for one in _set_and_added(pairs)] + _joined(direction, every)
        removed = [name for one in every for name in one.remove]
        if added:
            made[f"{direction}_headers_to_add"] = added
        if removed:
            made[f"{direction}_headers_to_remove"] = removed
    return made


def _set_and_added(changes: HeaderChanges) -> Iterable[Message]:
    for action, pairs in (("OVERWRITE_IF_EXISTS_OR_ADD", changes.set), ("APPEND_IF_EXISTS_OR_ADD", changes.add)):
        for name, value in pairs:
            yield _header_value(name, value, action)


def _header_value(name: str, value: str, action: str) -> Message:
    return {"header": {"key": name, "value": value}, "append_action": action}


def _joined(direction: str, changes: Iterable[HeaderChanges]) -> list[Message]:
    """Values behind what is there, in one line. `%REQ()%` would tell the first of several lines, `%CEL()%` tells all.

    Envoy finds all values out before it changes anything: what is set and joined at once is written as a whole.
    """
    written: dict[str, str] = {}
    values: dict[str, tuple[str, list[str]]] = {}
    for one in changes:
        written.update((name.lower(), value) for name, value in one.set)
        for name, value in one.join:
            values.setdefault(name.lower(), (name, []))[1].append(value)
    made = []
    for key, (name, more) in values.items():
        text = ",".join(more)
        if key in written:
            made.append(_header_value(name, f"{written[key]},{text}", "OVERWRITE_IF_EXISTS_OR_ADD"))
        else:
            made.append(_header_value(name, f"%CEL({direction}.headers['{key}'])%,{text}", "OVERWRITE_IF_EXISTS"))
            made.append(_header_value(name, text, "ADD_IF_ABSENT"))
    return made


def percent(value: float) -> Message:
    """A FractionalPercent, exact to a ten-thousandth of a percent."""
    return {"numerator": int(value * 10_000 + 1e-6), "denominator": "MILLION"}


def _fault(fault: Fault) -> Message | None:
    made: dict[str, Any] = {}
    if fault.delay is not None:
        made["delay"] = {"fixed_delay": seconds(fault.delay), "percentage": percent(fault.delay_percent)}
    if fault.abort_status is not None:
        made["abort"] = {"http_status": fault.abort_status, "percentage": percent(fault.abort_percent)}
    elif fault.abort_grpc:
        made["abort"] = {
            "grpc_status": GRPC_STATUS[fault.abort_grpc],
            "percentage": percent(fault.abort_percent),
        }
    return typed("filters.http.fault.v3.HTTPFault", **made) if made else None


def _cors(cors: Cors) -> Message:
    made: Message = {
        "allow_origin_string_match": [string_match(one) for one in cors.origins],
        "filter_enabled": {"default_value": {"numerator": 100, "denominator": "HUNDRED"}},
        "forward_not_matching_preflights": cors.forward_unmatched,
    }
    for name, values in (
        ("allow_methods", cors.methods),
        ("allow_headers", cors.request_headers),
        ("expose_headers", cors.exposed_headers),
    ):
        if values:
            made[name] = ",".join(values)
    if cors.max_age is not None:
        made["max_age"] = str(int(cors.max_age))
    if cors.credentials is not None:
        made["allow_credentials"] = cors.credentials
    return typed("filters.http.cors.v3.CorsPolicy", **made)


def _session(session: Session) -> Message:
    """How a client stays with its pod (StatefulSessionPerRoute)."""
    if session.is_cookie:
        cookie: Message = {"name": session.name, "path": session.path}
        if session.lifetime:
            cookie["ttl"] = seconds(session.lifetime)
        kept = extension(
            "envoy.http.stateful_session.cookie",
            "http.stateful_session.cookie.v3.CookieBasedSessionState",
            cookie=cookie,
        )
    else:
        told = typed("http.stateful_session.header.v3.HeaderBasedSessionState", name=session.name)
        kept = {"name": "envoy.http.stateful_session.header", "typed_config": told}
    return typed("filters.http.stateful_session.v3.StatefulSessionPerRoute", stateful_session={"session_state": kept})


def _operation(route: Route, port: int) -> str:
    """What the route is called in traces."""
    path = route.match.path
    said = {"exact": path.value, "prefix": f"{path.value}*", "regex": path.value}.get(path.how, "/*")
    if isinstance(route.action, Forward) and len(route.action.backends) == 1:
        target = route.action.backends[0].target
        return f"{target.host}:{target.port}{said}"
    return f"{route.origins[0].ref.name if route.origins else route.name}:{port}{said}"


def weighted_tcp(backends: Iterable[Any]) -> Message:
    """For the TCP proxy: {"cluster": …} or {"weighted_clusters": …}."""
    every = tuple(backends)
    if len(every) == 1:
        return {"cluster": cluster_of(every[0].target)}
    return {
        "weighted_clusters": {"clusters": [{"name": cluster_of(one.target), "weight": one.weight} for one in every]}
    }
