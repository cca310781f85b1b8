"""Ingresses: which are ours, what their paths take, and what several of them say of one host."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from mesh.encode import seats, snapshot
from mesh.encode.messages import decode
from mesh.routing.ingress import ingress_routes, ingresses
from mesh.routing.route import Forward, Respond, Target, Text
from mesh.world.proxy import Proxy, Scope
from mesh.world.world import World
from tests.unit.mesh.objects import Object, pod, service, world_of

GATE = Proxy("router", "gw-1", "istio-system", ("10.0.0.9",), labels={"istio": "ingressgateway"})
GATEWAY = Scope("router", "istio-system", (("istio", "ingressgateway"),))


def ingress(rules: str, name: str = "i", created: str = "", cls: str | None = "istio", more: str = "") -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {
            "name": name,
            "namespace": "default",
            "creationTimestamp": created,
            "annotations": {"kubernetes.io/ingress.class": cls} if cls else {},
        },
        "spec": yaml.safe_load(f"{{rules: {rules}{more}}}"),
    }


def to(name: str, port: str = "number: 80") -> str:
    return f"backend: {{service: {{name: {name}, port: {{{port}}}}}}}"


def paths(world: World, host: str) -> list[tuple[Text, str]]:
    found = ingress_routes(world, GATEWAY, host)
    return [
        (one.match.path, one.action.backends[0].target.host.partition(".")[0])
        for one in found
        if isinstance(one.action, Forward)
    ]


def rule(*paths: tuple[str, str, str], host: str = "") -> str:
    """A rule with paths, each with its type and the Service that it leads to."""
    every = ", ".join(f"{{path: '{path}', pathType: {kind}, {to(name)}}}" for path, kind, name in paths)
    return f"[{{{f'host: {host!r}, ' if host else ''}http: {{paths: [{every}]}}}}]"


def test_the_longer_path_first_then_the_exact_one_then_the_older_object() -> None:
    young = rule(("/", "Prefix", "young"), ("/a", "Prefix", "p"), host="h")
    old = rule(("/", "Prefix", "old"), ("/a", "Exact", "e"), ("/a/b/", "Prefix", "l"), host="h")
    world = world_of(
        ingress(young, "young", "2026-02-01T00:00:00Z"),
        ingress(old, "old", "2026-01-01T00:00:00Z"),
    )
    assert paths(world, "h") == [
        (Text("segments", "/a/b"), "l"),
        (Text("exact", "/a"), "e"),
        (Text("segments", "/a"), "p"),
        (Text("segments", "/"), "old"),
        (Text("segments", "/"), "young"),
    ]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/a", Text("exact", "/a")),
        ("/a/*", Text("segments", "/a")),
        ("/a.*", Text("segments", "/a")),
        ("", Text("prefix", "/")),
    ],
)
def test_a_path_of_no_type(path: str, text: Text) -> None:
    world = world_of(ingress(rule((path, "ImplementationSpecific", "a"))))
    assert paths(world, "*") == [(text, "a")]


def test_a_port_by_name_and_a_backend_for_the_rest() -> None:
    named = to("a", "name: web")
    missing = to("a", "name: other")
    default = f", defaultBackend: {to('rest').removeprefix('backend: ')}"
    world = world_of(
        service("a", "10.96.0.1", ("web", 8080)),
        ingress(
            f"[{{http: {{paths: [{{path: /a, pathType: Exact, {named}}}, {{path: /, pathType: Exact, {missing}}}]}}}}]",
            more=default,
        ),
    )
    actions = [one.action for one in ingress_routes(world, GATEWAY, "*")]
    assert isinstance(actions[0], Forward)
    assert actions[0].backends[0].target == Target("a.default.svc.cluster.local", 8080)
    assert actions[1] == Respond(503)
    assert isinstance(actions[2], Forward)
    assert actions[2].backends[0].target.host == "rest.default.svc.cluster.local"


def ingress_class(controller: str, default: bool = False) -> Object:
    annotations = {"ingressclass.kubernetes.io/is-default-class": "true"} if default else {}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": "c", "annotations": annotations},
        "spec": {"controller": controller},
    }


@pytest.mark.parametrize(
    ("cls", "named", "classes", "ours"),
    [
        ("istio", "", [], True),
        ("nginx", "", [], False),
        (None, "", [], False),
        (None, "c", [ingress_class("istio.io/ingress-controller")], True),
        (None, "c", [ingress_class("example.com/other")], False),
        (None, "c", [], False),
        (None, "", [ingress_class("istio.io/ingress-controller", default=True)], True),
    ],
)
def test_which_are_ours(cls: str | None, named: str, classes: list[Object], ours: bool) -> None:
    more = f", ingressClassName: {named}" if named else ""
    one = ingress(rule(("/", "Prefix", "a")), cls=cls, more=more)
    assert bool(ingresses(world_of(one, *classes))) == ours


def test_an_ingress_gateways_listeners_and_tables() -> None:
    tls = ", tls: [{hosts: [a.example.com], secretName: cert}]"
    rules = rule(("/", "Prefix", "a"), host="*.example.com")
    world = world_of(pod("gw-1", "10.0.0.9", "istio-system", istio="ingressgateway"), ingress(rules, more=tls))

    def tables(proxy: Proxy) -> dict[str, Any]:
        state = seats.state_of(world, seats.seat_of(world, seats.guest_of(proxy)))[snapshot.TABLES]
        kind = snapshot.TABLES.rpartition("/")[2]
        made = {name: decode(kind, one.body) for name in state.names() if (one := state.get(name))}
        return {
            name: {tuple(host["domains"]): len(host.get("routes", ())) for host in table["virtual_hosts"]}
            for name, table in made.items()
        }

    assert tables(GATE) == {
        "http.80": {("*.example.com",): 1},
        "https.443.https-443-ingress-i-default-0.ingress.istio-system": {("a.example.com",): 1},
    }
    assert tables(Proxy("router", "gw-2", "istio-system", ("10.0.0.8",), labels={"istio": "other"})) == {}
