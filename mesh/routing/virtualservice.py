"""VirtualService ──▶ routes, for one who asks: its rules that can hold for that proxy, at that port, in their order."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from mesh.model.common import Destination, StringMatch
from mesh.model.httprule import CorsPolicy, HeaderOperations, HTTPMatchRequest, HTTPRetry
from mesh.model.httprule import Headers as HeadersSpec
from mesh.model.virtualservice import HTTPRoute, RouteDestination, VirtualService
from mesh.routing.backends import MESH, Asker, gateway_name, shared, target_of
from mesh.routing.delegate import FindDelegate, Rule, rules_of
from mesh.routing.route import (
    ANY_PATH,
    ANYTHING,
    NO_HEADERS,
    PRESENT,
    Action,
    Backend,
    ConnectionRoute,
    Cors,
    Fault,
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
    Text,
)

REDIRECT_STATUS = (301, 302, 303, 307, 308)


def gateways_of(service: VirtualService) -> tuple[str, ...]:
    """The gateways that it holds for, as NAMESPACE/NAME; `mesh` is all sidecars."""
    return tuple(gateway_name(one, service.meta.namespace) for one in service.gateways) or (MESH,)


# --- http ----------------------------------------------------------------------------------------------------------


def http_routes(service: VirtualService, asker: Asker, find: FindDelegate) -> tuple[Route, ...]:
    """The routes of its http rules. None at all means that it says nothing to this asker."""
    found: list[Route] = []
    for rule in rules_of(service, find):
        for route in _routes_of(rule, asker):
            found.append(route)
            if route.match.is_catch_all:
                return tuple(found)
    return tuple(found)


def _routes_of(rule: Rule, asker: Asker) -> Iterable[Route]:
    http = rule.http
    matches = [
        (_match(one), f"{http.name}.{one.name}".strip(".") if one.name else http.name, one.stat_prefix)
        for one in http.match
        if _holds(one, asker, rule.origins[0].ref.namespace)
    ]
    if not http.match:
        matches.append((ANYTHING, http.name, ""))
    if not matches:
        return
    action = _action(rule, asker)
    headers = _headers(http.headers)
    fault, cors = _fault(http), _cors(http.cors_policy)
    for match, name, stat_prefix in matches:
        yield Route(
            match=match,
            action=action,
            origins=rule.origins,
            name=name,
            headers=headers,
            fault=fault,
            cors=cors,
            stat_prefix=stat_prefix,
        )


def _holds(match: Any, asker: Asker, namespace: str) -> bool:
    """What is known before any request comes: port, gateway, and whose proxy it is."""
    if match.port and match.port != asker.port:
        return False
    if match.gateways and isinstance(match, HTTPMatchRequest):
        # Istio's: where gateways are named, an http rule does not look at its source any more
        return asker.gateway in (gateway_name(one, namespace) for one in match.gateways)
    if match.gateways and asker.gateway not in (gateway_name(one, namespace) for one in match.gateways):
        return False
    if asker.gateway != MESH and not isinstance(match, HTTPMatchRequest):
        return True  # of what a gateway passes on nobody asks whose proxy it came from (Istio's l4SingleMatch)
    return asker.scope.matches(match.source_labels) and match.source_namespace in ("", asker.scope.namespace)


def _match(match: HTTPMatchRequest) -> Match:
    return Match(
        path=_path(match.uri, match.ignore_uri_case),
        method=_text(match.method),
        authority=_text(match.authority),
        scheme=_text(match.scheme),
        headers=_named(match.headers),
        without_headers=_named(match.without_headers),
        query=_named(match.query_params),
    )


def _path(uri: StringMatch | None, ignore_case: bool) -> Text:
    if uri is None:
        return ANY_PATH
    if uri.exact is not None:
        return Text("exact", uri.exact, ignore_case)
    if uri.prefix is not None:
        return Text("prefix", uri.prefix or "/", ignore_case)
    return Text("regex", uri.regex) if uri.regex is not None else ANY_PATH


def _text(match: StringMatch | None) -> Text | None:
    if match is None:
        return None
    if match.exact is not None:
        return Text("exact", match.exact)
    if match.prefix is not None:
        return Text("prefix", match.prefix)
    # Istio's: `*` alone, which is no regular expression, means that it is there at all
    return PRESENT if match.regex is None or match.regex == "*" else Text("regex", match.regex)


def _named(matches: Mapping[str, StringMatch]) -> Named:
    return tuple((name, _text(match) or PRESENT) for name, match in sorted(matches.items()))


def _action(rule: Rule, asker: Asker) -> Action:
    http = rule.http
    if http.redirect is not None:
        redirect = http.redirect
        port = Redirect.REQUEST_PORT if redirect.derive_port == "FROM_REQUEST_PORT" else redirect.port
        return Redirect(
            status=redirect.redirect_code if redirect.redirect_code in REDIRECT_STATUS else 301,
            scheme=redirect.scheme,
            authority=redirect.authority,
            port=port,
            path=redirect.uri,
        )
    if http.direct_response is not None:
        body = http.direct_response.body
        if body is not None and body.bytes is not None:
            return Respond(http.direct_response.status, _base64(body.bytes))
        return Respond(http.direct_response.status, (body.string or "") if body else "")
    return Forward(
        backends=shared(
            Backend(target_of(one.destination, rule.namespace, asker), one.weight, _headers(one.headers))
            for one in http.route
        ),
        timeout=http.timeout,
        retry=retry_of(http.retries),
        rewrite=_rewrite(http),
        mirrors=_mirrors(rule, asker),
    )


def _base64(text: str) -> bytes:
    return base64.b64decode(text.translate(str.maketrans("-_", "+/")) + "=" * (-len(text) % 4))


def retry_of(retries: HTTPRetry | None) -> Retry | None:
    """What is said of retries; None where nothing is."""
    if retries is None:
        return None
    return Retry(
        attempts=retries.attempts,
        on=retries.retry_on,
        per_try_timeout=retries.per_try_timeout,
        backoff=retries.backoff,
        ignore_previous_hosts=retries.retry_ignore_previous_hosts,
        other_localities=bool(retries.retry_remote_localities),
    )


def _rewrite(http: HTTPRoute) -> Rewrite | None:
    rewrite = http.rewrite
    if rewrite is None:
        return None
    regex = rewrite.uri_regex_rewrite
    return Rewrite(
        prefix=rewrite.uri,
        pattern=regex.match if regex else "",
        replacement=regex.rewrite if regex else "",
        authority=rewrite.authority,
    )


def _mirrors(rule: Rule, asker: Asker) -> tuple[Mirror, ...]:
    http = rule.http
    found: list[tuple[Destination, float]] = []
    if http.mirror is not None:
        share = 100.0 if http.mirror_percent is None else float(http.mirror_percent)
        found.append((http.mirror, http.mirror_percentage.value if http.mirror_percentage else share))
    found += ((one.destination, one.percentage.value if one.percentage else 100.0) for one in http.mirrors)
    return tuple(
        Mirror(target_of(destination, rule.namespace, asker), share) for destination, share in found if share > 0
    )


def _headers(spec: HeadersSpec | None) -> Headers:
    if spec is None:
        return NO_HEADERS
    return Headers(_changes(spec.request), _changes(spec.response), spec.authority)


def _changes(operations: HeaderOperations | None) -> HeaderChanges:
    if operations is None:
        return HeaderChanges()
    return HeaderChanges(
        set=tuple(sorted(pair for pair in operations.set.items() if not _is_host(pair[0]))),
        add=tuple(sorted(pair for pair in operations.add.items() if not _is_host(pair[0]))),
        remove=tuple(name for name in operations.remove if not _is_host(name)),
    )


def _is_host(name: str) -> bool:
    """The request's host is no header among others: it is rewritten (`Headers.authority`)."""
    return name.startswith(":") or name.lower() == "host"


def _fault(http: HTTPRoute) -> Fault | None:
    if http.fault is None:
        return None
    delay, abort = http.fault.delay, http.fault.abort
    delay_share = 0.0
    if delay is not None:
        delay_share = delay.percentage.value if delay.percentage else float(delay.percent)
    return Fault(
        delay=delay.fixed_delay if delay else None,
        delay_percent=delay_share,
        abort_status=abort.http_status if abort else None,
        abort_grpc=(abort.grpc_status or "") if abort else "",
        abort_percent=abort.percentage.value if abort and abort.percentage else 0.0,
    )


def _cors(cors: CorsPolicy | None) -> Cors | None:
    if cors is None:
        return None
    origins = [text for one in cors.allow_origins if (text := _text(one)) and text.how != "present"]
    return Cors(
        origins=tuple(origins or (Text("exact", one) for one in cors.allow_origin)),
        methods=cors.allow_methods,
        request_headers=cors.allow_headers,
        exposed_headers=cors.expose_headers,
        max_age=cors.max_age,
        credentials=cors.allow_credentials,
        forward_unmatched=cors.unmatched_preflights != "IGNORE",
    )


# --- tcp and tls ---------------------------------------------------------------------------------------------------


def tcp_routes(service: VirtualService, asker: Asker) -> tuple[ConnectionRoute, ...]:
    """The routes of its tcp rules, up to the first that takes every connection."""
    found: list[ConnectionRoute] = []
    for index, rule in enumerate(service.tcp):
        origins = (Origin(service.meta.ref, f"spec.tcp[{index}]"),)
        fitting = [one for one in rule.match if _holds(one, asker, service.meta.namespace)]
        if rule.match and not fitting:
            continue
        backends = _backends(rule.route, service, asker)
        # a gateway's server is bound to its port alone: there no connection is told apart by its address
        everywhere = not rule.match or asker.gateway != MESH or any(not one.destination_subnets for one in fitting)
        if everywhere:
            found.append(ConnectionRoute(backends, origins))
            break
        subnets = dict.fromkeys(subnet for one in fitting for subnet in one.destination_subnets)
        found.append(ConnectionRoute(backends, origins, subnets=tuple(subnets)))
    return tuple(found)


def tls_routes(service: VirtualService, asker: Asker) -> tuple[ConnectionRoute, ...]:
    """The routes of its tls rules; of two for the same names and addresses the first alone."""
    found: dict[tuple[tuple[str, ...], tuple[str, ...]], ConnectionRoute] = {}
    for index, rule in enumerate(service.tls):
        origins = (Origin(service.meta.ref, f"spec.tls[{index}]"),)
        for one in rule.match:
            if not _holds(one, asker, service.meta.namespace):
                continue
            at = (one.sni_hosts, one.destination_subnets)
            if at not in found:
                found[at] = ConnectionRoute(_backends(rule.route, service, asker), origins, *at)
    return tuple(found.values())


def _backends(route: Iterable[RouteDestination], service: VirtualService, asker: Asker) -> tuple[Backend, ...]:
    namespace = service.meta.namespace
    return shared(Backend(target_of(one.destination, namespace, asker, connection=True), one.weight) for one in route)
