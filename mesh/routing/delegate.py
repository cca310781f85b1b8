"""A VirtualService whose rules stand in another (networking.istio.io Delegate): both are joined, rule by rule.

The root says which requests are the delegate's, the delegate what becomes of them. A rule of the delegate's that no
request of the root's could meet is left out, and so is the root's rule where the delegate is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple, TypeVar

from mesh.model.common import StringMatch
from mesh.model.fields import Table
from mesh.model.httprule import HTTPMatchRequest
from mesh.model.shape import EMPTY
from mesh.model.virtualservice import HTTPRoute, VirtualService
from mesh.routing.route import Origin

V = TypeVar("V")

FindDelegate = Callable[[str, str], "VirtualService | None"]
"""(namespace, name) ──▶ the delegate, if there is one and the root may use it."""


class Rule(NamedTuple):
    """An http rule as it holds; short hosts belong to `namespace`, those of its mirrors to `mirror_namespace`."""

    http: HTTPRoute
    namespace: str
    mirror_namespace: str
    origins: tuple[Origin, ...]


def rules_of(service: VirtualService, find: FindDelegate) -> Iterator[Rule]:
    """The http rules of a VirtualService, with its delegates' in their places."""
    namespace = service.meta.namespace
    for index, rule in enumerate(service.http):
        origin = Origin(service.meta.ref, f"spec.http[{index}]", rule.name)
        if rule.delegate is None:
            yield Rule(rule, namespace, namespace, (origin,))
            continue
        delegate = find(rule.delegate.namespace or namespace, rule.delegate.name)
        if delegate is None:
            continue
        for number, leaf in enumerate(delegate.http):
            if leaf.delegate is not None:
                continue
            joined = _join(rule, leaf)
            if joined is not None:
                mirrored = namespace if _inherits_mirror(rule, leaf) else delegate.meta.namespace
                leaf_origin = Origin(delegate.meta.ref, f"spec.http[{number}]", leaf.name)
                yield Rule(joined, delegate.meta.namespace, mirrored, (origin, leaf_origin))


def _inherits_mirror(root: HTTPRoute, leaf: HTTPRoute) -> bool:
    return bool(root.mirror or root.mirrors) and not (leaf.mirror or leaf.mirrors)


def _join(root: HTTPRoute, leaf: HTTPRoute) -> HTTPRoute | None:
    matches = _join_matches(root.match, leaf.match)
    if matches is None:
        return None
    mirrors = root if _inherits_mirror(root, leaf) else leaf
    return replace(
        leaf,
        match=matches,
        name="-".join(name for name in (root.name, leaf.name) if name),
        rewrite=leaf.rewrite or root.rewrite,
        timeout=leaf.timeout if leaf.timeout is not None else root.timeout,
        retries=leaf.retries or root.retries,
        fault=leaf.fault or root.fault,
        mirror=mirrors.mirror,
        mirrors=mirrors.mirrors,
        mirror_percent=mirrors.mirror_percent,
        mirror_percentage=mirrors.mirror_percentage,
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
    for outer, inner in ((root.headers, leaf.headers), (root.query_params, leaf.query_params)):
        pairs += ((outer.get(name), text) for name, text in inner.items())
    # a header that must not be there, where the root wants it
    pairs += ((root.headers.get(name), text) for name, text in leaf.without_headers.items())
    return (
        any(_outside(outer, inner) for outer, inner in pairs)
        or root.ignore_uri_case != leaf.ignore_uri_case
        or (0 < root.port != leaf.port > 0)
        or any(root.source_labels.get(key, value) != value for key, value in leaf.source_labels.items())
        or ("" != root.source_namespace != leaf.source_namespace != "")
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
