"""A VirtualService whose rules stand in another (networking.istio.io Delegate): both are joined, rule by rule.

The root says which requests are the delegate's, the delegate what becomes of them. A rule of the delegate's that no
request of the root's could meet is left out, and so is the root's rule where the delegate is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple, TypeVar

from mesh.model.common import Destination, StringMatch
from mesh.model.fields import Table
from mesh.model.httprule import HTTPMatchRequest
from mesh.model.reading import DOMAIN
from mesh.model.shape import EMPTY
from mesh.model.virtualservice import HTTPRoute, VirtualService
from mesh.routing.backends import whole_name
from mesh.routing.route import Origin

V = TypeVar("V")

FindDelegate = Callable[[str, str], "VirtualService | None"]
"""(namespace, name) ──▶ the delegate, if there is one and the root may use it."""


class Rule(NamedTuple):
    """An http rule as it holds; short hosts belong to `namespace`."""

    http: HTTPRoute
    namespace: str
    origins: tuple[Origin, ...]


def rules_of(service: VirtualService, find: FindDelegate) -> Iterator[Rule]:
    """The http rules of a VirtualService, with its delegates' in their places."""
    namespace = service.meta.namespace
    for index, rule in enumerate(service.http):
        origin = Origin(service.meta.ref, f"spec.http[{index}]", rule.name)
        if rule.delegate is None:
            yield Rule(rule, namespace, (origin,))
            continue
        delegate = find(rule.delegate.namespace or namespace, rule.delegate.name)
        if delegate is None:
            continue
        for number, leaf in enumerate(delegate.http):
            if leaf.delegate is not None:
                continue
            joined = _join(_mirroring(rule, namespace), leaf)
            if joined is not None:
                leaf_origin = Origin(delegate.meta.ref, f"spec.http[{number}]", leaf.name)
                yield Rule(joined, delegate.meta.namespace, (origin, leaf_origin))


def _mirroring(root: HTTPRoute, namespace: str) -> HTTPRoute:
    """The rule with its mirrors' hosts whole, so that they mean the same in the delegate's namespace."""

    def whole(one: Destination) -> Destination:
        return replace(one, host=whole_name(one.host, namespace, DOMAIN))

    return replace(
        root,
        mirror=whole(root.mirror) if root.mirror else None,
        mirrors=tuple(replace(one, destination=whole(one.destination)) for one in root.mirrors),
    )


def _join(root: HTTPRoute, leaf: HTTPRoute) -> HTTPRoute | None:
    matches = _join_matches(root.match, leaf.match)
    if matches is None:
        return None
    return replace(
        leaf,
        match=matches,
        name="-".join(name for name in (root.name, leaf.name) if name),
        rewrite=leaf.rewrite or root.rewrite,
        timeout=leaf.timeout if leaf.timeout is not None else root.timeout,
        retries=leaf.retries or root.retries,
        fault=leaf.fault or root.fault,
        direct_response=leaf.direct_response or root.direct_response,
        # each for itself, as Istio has it: a root's share holds for a leaf's mirror
        mirror=leaf.mirror or root.mirror,
        mirrors=leaf.mirrors or root.mirrors,
        mirror_percent=leaf.mirror_percent if leaf.mirror_percent is not None else root.mirror_percent,
        mirror_percentage=leaf.mirror_percentage or root.mirror_percentage,
        cors_policy=leaf.cors_policy or root.cors_policy,
        headers=leaf.headers or root.headers,
    )


def _join_matches(
    root: tuple[HTTPMatchRequest, ...], leaf: tuple[HTTPMatchRequest, ...]
) -> tuple[HTTPMatchRequest, ...] | None:
    if not root or not leaf:
        return root or leaf
    found: list[HTTPMatchRequest] = []
    for one in leaf:
        fitting = [outer for outer in root if not _conflict(outer, one)]
        if not fitting:
            return None  # Istio's: one match that cannot be met takes the whole rule away
        found += (_join_match(outer, one) for outer in fitting)
    return tuple(found)


def _join_match(root: HTTPMatchRequest, leaf: HTTPMatchRequest) -> HTTPMatchRequest:
    return replace(
        leaf,
        name="-".join(name for name in (root.name, leaf.name) if name),
        uri=leaf.uri or root.uri,
        scheme=leaf.scheme or root.scheme,
        method=leaf.method or root.method,
        authority=leaf.authority or root.authority,
        headers=_both(root.headers, leaf.headers),
        without_headers=_both(root.without_headers, leaf.without_headers),
        query_params=_both(root.query_params, leaf.query_params),
        source_labels=_both(root.source_labels, leaf.source_labels),
        port=leaf.port or root.port,
        gateways=leaf.gateways or root.gateways,
        source_namespace=leaf.source_namespace or root.source_namespace,
        stat_prefix=leaf.stat_prefix or root.stat_prefix,
    )


def _both(root: Mapping[str, V], leaf: Mapping[str, V]) -> Mapping[str, V]:
    return Table({**root, **leaf}) if root or leaf else EMPTY


def _conflict(root: HTTPMatchRequest, leaf: HTTPMatchRequest) -> bool:
    """No request can meet both, as far as Istio looks: the leaf's condition must lie within the root's."""
    pairs = [
        (root.uri, leaf.uri),
        (root.scheme, leaf.scheme),
        (root.method, leaf.method),
        (root.authority, leaf.authority),
    ]
    for outer, inner in (
        (root.headers, leaf.headers),
        (root.without_headers, leaf.without_headers),
        (root.query_params, leaf.query_params),
    ):
        pairs += ((outer.get(name), text) for name, text in inner.items())
    return (
        any(_outside(outer, inner) for outer, inner in pairs)
        or root.ignore_uri_case != leaf.ignore_uri_case
        or (0 < root.port != leaf.port > 0)
        or any(root.source_labels.get(key, value) != value for key, value in leaf.source_labels.items())
        # Istio's: a leaf that does not repeat it conflicts
        or ("" != root.source_namespace != leaf.source_namespace)
        or (bool(root.gateways) and not set(leaf.gateways) <= set(root.gateways))
    )


def _outside(outer: StringMatch | None, inner: StringMatch | None) -> bool:
    if outer is None or inner is None:
        return False
    if outer.regex or inner.regex:
        return True  # whether one lies within the other cannot be told
    if outer.exact:
        return inner.exact != outer.exact
    if outer.prefix:
        within = inner.prefix or inner.exact
        return not within or not within.startswith(outer.prefix)
    return True
