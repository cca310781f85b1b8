"""What is counted, logged and traced at the proxies of a scope: Telemetry objects over the mesh's defaults.

    MeshConfig.defaultProviders ◀ the root namespace's Telemetry ◀ the namespace's ◀ the one that selects the pod

What is nearer wins, field by field. Of several at one level the oldest counts, as with Istio. A scope has one answer
for each side: the client's (what its pods send; also a gateway's) and the server's (what comes to them).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from mesh.model.provider import BUILT_IN, ExtensionProvider, Otel, OtelLog, Zipkin
from mesh.model.telemetry import METRICS, CustomTag, Telemetry
from mesh.world.index import service_of
from mesh.world.memo import query
from mesh.world.proxy import GATEWAY_NAME, Scope
from mesh.world.sidecars import mesh_config
from mesh.world.world import World

Side = Literal["CLIENT", "SERVER"]
MESH_LOG = ""
"""The log of MeshConfig.accessLogFile among the providers."""
SAMPLING = 1.0
"""Of 100 requests, where nobody says how many."""


@query
def telemetries(world: World, scope: Scope) -> tuple[Telemetry, ...]:
    """Those that hold for the scope, the nearest last."""
    root = mesh_config(world).root_namespace
    found: dict[int, Telemetry] = {}
    for one in sorted(world.all("Telemetry").values(), key=lambda each: each.meta.age):
        level = _level(one, scope, root)
        if level is not None:
            found.setdefault(level, one)
    return tuple(found[level] for level in sorted(found))


def _level(one: Telemetry, scope: Scope, root: str) -> int | None:
    if one.meta.namespace == scope.namespace and (one.labels or one.targets):
        named = {each.name for each in one.targets if each.kind == "Gateway"}
        picked = dict(scope.labels).get(GATEWAY_NAME) in named if one.targets else scope.matches(one.labels)
        return 2 if picked else None
    if one.labels or one.targets:
        return None
    if one.meta.namespace == scope.namespace:
        return 1
    return 0 if one.meta.namespace == root else None


def _meant(mode: str, side: Side) -> bool:
    return mode in (side, "CLIENT_AND_SERVER")


def _names(refs: Iterable[Any]) -> tuple[str, ...]:
    return tuple(one.name for one in refs)


@query
def provider_named(world: World, name: str) -> ExtensionProvider | None:
    """The extension provider of this name."""
    own = mesh_config(world).extension_providers
    return next((one for one in (*own, *BUILT_IN) if one.name == name), None)


Metered = Mapping[str, Mapping[str, str]]
"""The metrics that are made, each with the labels that are other than usual: CEL, or empty where one is left out."""


@query
def metered(world: World, scope: Scope, side: Side) -> Metered:
    """Istio's metrics as this side makes them; empty where nobody asks for any."""
    names = mesh_config(world).default_providers.metrics
    made: dict[str, dict[str, str]] = {metric: {} for metric in METRICS.values()}
    off: dict[str, bool] = {}
    for asked in (each for one in telemetries(world, scope) for each in one.metrics):
        names = _names(asked.providers) or names
        for override in asked.overrides:
            if not _meant(override.match.mode, side) or override.match.counts_nothing:
                continue
            for metric in (override.match.name,) if override.match.name else tuple(made):
                if override.disabled is not None:
                    off[metric] = override.disabled
                for tag, change in override.tag_overrides.items():
                    made[metric][tag] = change.value if change.operation == "UPSERT" else ""
    providers = (provider_named(world, name) for name in names)
    if not any(one is not None and one.prometheus is not None for one in providers):
        return {}
    return {metric: tags for metric, tags in made.items() if not off.get(metric)}


@query
def peers_told(world: World) -> bool:
    """Whether anybody counts requests, so that proxies tell one another who they are."""
    return bool(mesh_config(world).default_providers.metrics) or any(
        asked.providers for one in world.all("Telemetry").values() for asked in one.metrics
    )


class Logging(NamedTuple):
    """A log: its provider's name (empty for MeshConfig.accessLogFile), and which requests are written."""

    provider: str
    filter: str = ""


@query
def logged(world: World, scope: Scope, side: Side) -> tuple[Logging, ...]:
    """The logs of this side."""
    config = mesh_config(world)
    default = config.default_providers.access_logging or ((MESH_LOG,) if config.access_log_file else ())
    made = dict.fromkeys(default, "")
    for one in telemetries(world, scope):
        named = False
        for asked in one.access_logging:
            if not _meant(asked.match.mode, side):
                continue
            names = _names(asked.providers)
            if asked.disabled:
                made = {name: said for name, said in made.items() if names and name not in names}
                continue
            if names and not named:
                made, named = {}, True
            for name in names or tuple(made) or default:
                made[name] = asked.filter.expression if asked.filter else made.get(name, "")
    return tuple(Logging(name, said) for name, said in made.items())


class Traced(NamedTuple):
    """How requests are traced: to which provider, how many of 100, with which further tags."""

    provider: Otel | Zipkin
    sampling: float
    tags: tuple[tuple[str, CustomTag], ...] = ()


@query
def traced(world: World, scope: Scope, side: Side) -> Traced | None:
    """The tracing of this side; None where nothing is traced, or the collector is not known."""
    config = mesh_config(world)
    names, tags, disabled = config.default_providers.tracing, {}, False
    sampling = config.default_config.tracing.sampling if config.default_config.tracing else None
    for asked in (each for one in telemetries(world, scope) for each in one.tracing):
        if not _meant(asked.match.mode, side):
            continue
        names = _names(asked.providers) or names
        if asked.random_sampling_percentage is not None:
            sampling = asked.random_sampling_percentage
        if asked.disable_span_reporting is not None:
            disabled = asked.disable_span_reporting
        if asked.custom_tags:
            tags = dict(asked.custom_tags)
    for one in (provider_named(world, name) for name in names):
        found = (one.zipkin or one.opentelemetry) if one else None
        if found and not disabled and collector(world, scope, found):
            return Traced(found, SAMPLING if sampling is None else sampling, tuple(sorted(tags.items())))
    return None


def collector(world: World, scope: Scope, provider: Otel | Zipkin | OtelLog) -> str:
    """The host of a collector, if proxies of the scope know it by that port: Envoy refuses an unknown cluster."""
    host = provider.service.rpartition("/")[2]
    service = service_of(world, scope, host)
    return host if service and service.port(provider.port) else ""


@query
def traces_name_services(world: World) -> bool:
    """Whether spans carry the name of the app that made them, which OpenTelemetry's do and Zipkin's need not."""
    named = {name for one in mesh_config(world).extension_providers if one.opentelemetry for name in (one.name,)}
    if not named:
        return False
    used = {*mesh_config(world).default_providers.tracing}
    used.update(ref.name for one in world.all("Telemetry").values() for each in one.tracing for ref in each.providers)
    return bool(named & used)
