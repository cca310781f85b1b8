"""Gateways of Gateway API: which proxies serve them, and which listener has a host."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from mesh.encode import seats, snapshot
from mesh.encode.messages import decode
from mesh.world.proxy import Proxy
from mesh.world.world import World
from mesh.xds.types import CDS, EDS
from tests.unit.mesh.objects import Object, certificate, endpoints, pod, service, world_of

LABEL = {"gateway.networking.k8s.io/gateway-name": "gw"}
POD: Object = pod("gw-1", "10.0.0.9", "gateways") | {}
POD["metadata"]["labels"] = LABEL
GATE = Proxy("router", "gw-1", "gateways", ("10.0.0.9",), labels=LABEL)
TO = "backendRefs: [{name: a, port: 80}]"


def api(kind: str, name: str, spec: str, namespace: str = "gateways") -> Object:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": yaml.safe_load(spec),
    }


def gateway(*listeners: str, name: str = "gw", cls: str = "istio", more: str = "") -> Object:
    allowed = "allowedRoutes: {namespaces: {from: All}}"
    every = ", ".join(f"{{{one}, {allowed}}}" for one in listeners)
    return api("Gateway", name, f"{{gatewayClassName: {cls}, {more} listeners: [{every}]}}")


def route(name: str, spec: str) -> Object:
    return api("HTTPRoute", name, f"{{{spec}, rules: [{{{TO}}}]}}")


def bodies(world: World, type_url: str, proxy: Proxy = GATE) -> dict[str, Any]:
    state = seats.state_of(world, seats.seat_of(world, seats.guest_of(proxy)))[type_url]
    kind = type_url.rpartition("/")[2]
    return {name: decode(kind, one.body) for name in state.names() if (one := state.get(name))}


def hosts(world: World, table: str = "http.80") -> dict[str, list[str]]:
    """The virtual hosts of a table, each with the objects whose routes it has."""
    made = bodies(world, snapshot.TABLES)[table]
    return {
        domain: [one["metadata"]["filter_metadata"]["istio"]["config"].rpartition("/")[2] for one in host["routes"]]
        if "routes" in host
        else []
        for host in made["virtual_hosts"]
        for domain in host["domains"]
    }


@pytest.mark.parametrize(
    ("more", "listens"),
    [
        ([], True),
        ([api("GatewayClass", "istio", "{controllerName: example.com/other}", "")], False),
    ],
)
def test_a_class_of_anothers_is_left_to_it(more: list[Object], listens: bool) -> None:
    world = world_of(POD, gateway("name: http, port: 80, protocol: HTTP"), *more)
    assert ("0.0.0.0_80" in bodies(world, snapshot.LISTENERS)) == listens


def test_a_class_that_is_ours_by_its_controller() -> None:
    classes = api("GatewayClass", "mine", "{controllerName: istio.io/gateway-controller}", "")
    world = world_of(POD, gateway("name: http, port: 80, protocol: HTTP", cls="mine"), classes)
    assert "0.0.0.0_80" in bodies(world, snapshot.LISTENERS)


def test_pods_of_another_gateway_do_not_listen() -> None:
    world = world_of(POD, gateway("name: http, port: 80, protocol: HTTP", name="other"))
    assert set(bodies(world, snapshot.LISTENERS)) == {"ready"}


def test_pods_behind_the_service_that_a_gateway_names() -> None:
    front = service("front", "10.96.0.1", ("http", 80), namespace="gateways")
    front["spec"]["ports"][0]["targetPort"] = 8080
    named = "addresses: [{type: Hostname, value: front.gateways.svc.cluster.local}],"
    world = world_of(
        pod("gw-1", "10.0.0.9", "gateways", app="front"),
        front,
        gateway("name: http, port: 80, protocol: HTTP", name="other", more=named),
    )
    behind = Proxy("router", "gw-1", "gateways", ("10.0.0.9",), labels={"app": "front"})
    assert "0.0.0.0_8080" in bodies(world, snapshot.LISTENERS, behind)


def test_a_listeners_routes_are_joined_by_closeness() -> None:
    world = world_of(
        POD,
        gateway("name: http, port: 80, protocol: HTTP"),
        route("all", "parentRefs: [{name: gw}]"),
        api("HTTPRoute", "a", f"{{parentRefs: [{{name: gw}}], rules: [{{matches: [{{path: {{value: /a}}}}], {TO}}}]}}"),
    )
    assert hosts(world) == {"*": ["a", "all"]}


def test_the_closest_listener_has_a_host_alone() -> None:
    world = world_of(
        POD,
        gateway(
            "name: wide, port: 80, protocol: HTTP, hostname: '*.example.com'",
            "name: narrow, port: 80, protocol: HTTP, hostname: a.example.com",
            "name: bare, port: 80, protocol: HTTP, hostname: b.example.com",
        ),
        route("wide", "parentRefs: [{name: gw, sectionName: wide}], hostnames: ['*.example.com', a.example.com]"),
        route("narrow", "parentRefs: [{name: gw, sectionName: narrow}]"),
    )
    assert hosts(world) == {"*.example.com": ["wide"], "a.example.com": ["narrow"], "b.example.com": []}


SECRET = certificate("cert", "other")
GRANT = api(
    "ReferenceGrant",
    "g",
    "{from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: gateways}], to: [{group: '', kind: Secret}]}",
    "other",
)


@pytest.mark.parametrize(("more", "served"), [([], False), ([GRANT], True)])
def test_a_certificate_of_another_namespace_needs_a_grant(more: list[Object], served: bool) -> None:
    tls = "tls: {certificateRefs: [{name: cert, namespace: other}]}"
    world = world_of(POD, SECRET, gateway(f"name: https, port: 443, protocol: HTTPS, {tls}"), *more)
    assert set(bodies(world, snapshot.SECRETS)) == ({"kubernetes-gateway://other/cert"} if served else set())
    assert ("https.443.https.gw.gateways" in bodies(world, snapshot.TABLES)) == served


def test_a_gateway_chooses_among_the_pods_of_a_headless_service() -> None:
    headless = service("a", "None", ("http", 80), namespace="gateways")
    pods = endpoints("a", "10.0.0.3", ports=[("http", 80)], namespace="gateways")
    world = world_of(
        gateway("name: http, port: 80, protocol: HTTP"), POD, headless, pods, route("r", "parentRefs: [{name: gw}]")
    )
    name = "outbound|80||a.gateways.svc.cluster.local"
    assert bodies(world, CDS)[name]["type"] == "EDS"
    [group] = bodies(world, EDS)[name]["endpoints"]
    assert group["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]["address"] == "10.0.0.3"
    sidecar = Proxy("sidecar", "b-1", "gateways", ("10.0.0.4",))
    assert bodies(world, CDS, sidecar)[name]["type"] == "ORIGINAL_DST"


@pytest.mark.parametrize("protocol", ["TCP", "TLS, tls: {mode: Passthrough}"])
def test_a_listener_for_bytes_without_a_route_sends_away_who_comes(protocol: str) -> None:
    world = world_of(POD, gateway(f"name: t, port: 9000, protocol: {protocol}"))
    [chain] = bodies(world, snapshot.LISTENERS)["0.0.0.0_9000"]["filter_chains"]
    assert chain["filters"][-1]["typed_config"]["cluster"] == "BlackHoleCluster"


def test_the_share_of_a_backend_that_there_is_not_is_refused() -> None:
    backends = "[{name: a, port: 80, weight: 3}, {kind: Strange, group: x.io, name: b, port: 80}]"
    made = api("TCPRoute", "r", f"{{parentRefs: [{{name: gw}}], rules: [{{backendRefs: {backends}}}]}}")
    world = world_of(POD, gateway("name: t, port: 9000, protocol: TCP"), made)
    [chain] = bodies(world, snapshot.LISTENERS)["0.0.0.0_9000"]["filter_chains"]
    shares = chain["filters"][-1]["typed_config"]["weighted_clusters"]["clusters"]
    assert [(one["name"], one["weight"]) for one in shares] == [
        ("outbound|80||a.gateways.svc.cluster.local", 3),
        ("UnknownService", 1),
    ]


@pytest.mark.parametrize(("kind", "http2"), [("HTTPRoute", False), ("GRPCRoute", True)])
def test_what_is_spoken_to_a_port_that_does_not_say(kind: str, http2: bool) -> None:
    made = api(kind, "r", f"{{parentRefs: [{{name: gw}}], rules: [{{{TO}}}]}}")
    unnamed = service("a", "10.96.0.1", ("", 80), namespace="gateways")
    world = world_of(POD, gateway("name: http, port: 80, protocol: HTTP"), made, unnamed)
    name = "outbound|80||a.gateways.svc.cluster.local"
    options = bodies(world, CDS)[name].get("typed_extension_protocol_options", {})
    assert ("explicit_http_config" in str(options)) == http2
    sidecar = bodies(world, CDS, Proxy("sidecar", "b-1", "gateways", ("10.0.0.4",)))[name]
    assert "use_downstream_protocol_config" in str(sidecar)


def test_gateways_share_their_clusters_unless_one_has_a_certificate_of_its_own() -> None:
    other = Proxy("router", "x-1", "gateways", ("10.0.0.8",), labels={"gateway.networking.k8s.io/gateway-name": "x"})
    plain = world_of(
        gateway("name: http, port: 80, protocol: HTTP"), gateway("name: h, port: 81, protocol: HTTP", name="x")
    )
    assert seats.seat_of(plain, seats.guest_of(GATE)).view == seats.seat_of(plain, seats.guest_of(other)).view
    assert seats.seat_of(plain, seats.guest_of(GATE)).scope != seats.seat_of(plain, seats.guest_of(other)).scope
    shows = "tls: {backend: {clientCertificateRef: {name: c}}},"
    own = world_of(gateway("name: http, port: 80, protocol: HTTP", more=shows))
    assert seats.seat_of(own, seats.guest_of(GATE)).view != seats.seat_of(own, seats.guest_of(other)).view
