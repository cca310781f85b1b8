"""VirtualServices: which rules hold for whom, in which order, and to where they send."""

from __future__ import annotations

import pytest
import yaml

from mesh.model.meta import ObjectRef
from mesh.routing.attach import (
    hosts_beside,
    http_routes,
    rulers_of,
    tcp_routes,
    tls_routes,
    virtual_service_for,
)
from mesh.routing.route import Forward, Route, Target, Text
from mesh.world.events import Key, Remove
from mesh.world.index import service_of
from mesh.world.proxy import Scope
from mesh.world.world import World
from tests.unit.mesh.objects import Object, event, service, world_of

CLIENT = Scope("sidecar", "default", (("app", "client"),))
SHOP = Scope("sidecar", "shop")
GATEWAY = Scope("router", "gateways", (("istio", "ingressgateway"),))
REVIEWS = "reviews.default.svc.cluster.local"


def vs(text: str, name: str = "reviews", namespace: str = "default", created: str = "") -> Object:
    """A VirtualService from its spec as YAML."""
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": created},
        "spec": yaml.safe_load(text),
    }


def ref(name: str = "reviews", namespace: str = "default") -> ObjectRef:
    return ObjectRef("VirtualService", namespace, name)


def routes(
    world: World, scope: Scope = CLIENT, at: ObjectRef | None = None, gateway: str = "mesh", port: int = 9080
) -> tuple[Route, ...]:
    return http_routes(world, scope, at or ref(), gateway, port)


def targets(found: tuple[Route, ...]) -> list[tuple[str, Text, list[Target]]]:
    return [
        (one.name, one.match.path, [backend.target for backend in one.action.backends])
        for one in found
        if isinstance(one.action, Forward)
    ]


def to(text: str) -> str:
    return f"{{hosts: [reviews], http: [{text}]}}"


def test_rules_keep_their_order_and_end_at_the_first_that_takes_all() -> None:
    world = world_of(
        service("reviews", "10.96.0.1", ("http", 9080)),
        vs("""
        hosts: [reviews]
        http:
        - name: a
          match: [{uri: {prefix: /a}, name: x}, {uri: {exact: /b}}]
          route: [{destination: {host: reviews, subset: v2}}]
        - route: [{destination: {host: reviews, subset: v1}}]
        - match: [{uri: {prefix: /c}}]
          route: [{destination: {host: reviews, subset: v3}}]
        """),
    )
    v2 = [Target(REVIEWS, 9080, "v2")]
    assert targets(routes(world)) == [
        ("a.x", Text("prefix", "/a"), v2),
        ("a", Text("exact", "/b"), v2),
        ("", Text("prefix", "/"), [Target(REVIEWS, 9080, "v1")]),
    ]


@pytest.mark.parametrize(
    ("match", "scope", "port", "holds"),
    [
        ("{port: 9080}", CLIENT, 9080, True),
        ("{port: 80}", CLIENT, 9080, False),
        ("{sourceLabels: {app: client}}", CLIENT, 9080, True),
        ("{sourceLabels: {app: other}}", CLIENT, 9080, False),
        ("{sourceNamespace: default}", CLIENT, 9080, True),
        ("{sourceNamespace: default}", SHOP, 9080, False),
        ("{gateways: [mesh]}", CLIENT, 9080, True),
        ("{gateways: [gw]}", CLIENT, 9080, False),
        # Istio's: gateways that are named make an http match forget its source labels
        ("{gateways: [mesh], sourceLabels: {app: other}}", CLIENT, 9080, True),
    ],
)
def test_what_is_known_before_a_request_comes_is_decided_before(
    match: str, scope: Scope, port: int, holds: bool
) -> None:
    world = world_of(
        vs(f"{{hosts: [reviews], gateways: [mesh, gw], http: [{{match: [{match}], directResponse: {{status: 200}}}}]}}")
    )
    assert bool(routes(world, scope, port=port)) == holds


def test_a_short_host_is_of_the_objects_namespace_and_a_dotted_one_is_not_completed() -> None:
    world = world_of(
        service("reviews", "10.96.0.1", ("http", 9080)),
        vs("{hosts: [reviews], http: [{route: [{destination: {host: ratings}}]}]}", namespace="shop"),
        vs("{hosts: [reviews.default], http: [{directResponse: {status: 200}}]}", name="dotted"),
    )
    assert targets(routes(world, at=ref(namespace="shop")))[0][2] == [Target("ratings.shop.svc.cluster.local", 9080)]
    assert virtual_service_for(world, CLIENT, REVIEWS) is None
    assert virtual_service_for(world, CLIENT, "reviews.shop.svc.cluster.local") == ref(namespace="shop")


def test_without_a_port_a_sidecar_takes_the_requests_and_a_gateway_the_only_one() -> None:
    world = world_of(
        service("reviews", "10.96.0.1", ("http", 9080)),
        vs("{hosts: [reviews], gateways: [mesh, gateways/gw], http: [{route: [{destination: {host: reviews}}]}]}"),
    )
    assert targets(routes(world, port=80))[0][2] == [Target(REVIEWS, 80)]
    assert targets(routes(world, GATEWAY, gateway="gateways/gw", port=80))[0][2] == [Target(REVIEWS, 9080)]


def test_weights_leave_out_who_has_none_but_not_who_is_alone() -> None:
    world = world_of(
        vs(
            to(
                "{route: [{destination: {host: a}, weight: 0}, {destination: {host: b}, weight: 3},"
                " {destination: {host: c}, weight: 1}]}"
            )
        ),
        vs("{hosts: [one], http: [{route: [{destination: {host: a}}]}]}", name="one"),
    )
    (found,) = routes(world)
    assert isinstance(found.action, Forward)
    assert [(one.target.host.partition(".")[0], one.weight) for one in found.action.backends] == [("b", 3), ("c", 1)]
    assert len(targets(routes(world, at=ref("one")))[0][2]) == 1


def test_of_two_for_a_host_the_older_counts_and_the_more_specific_before_both() -> None:
    fixed = "http: [{directResponse: {status: 200}}]"
    world = world_of(
        vs(f"{{hosts: ['*.default.svc.cluster.local'], {fixed}}}", "wide", created="2026-01-01T00:00:00Z"),
        vs(f"{{hosts: [reviews], {fixed}}}", "young", created="2026-03-01T00:00:00Z"),
        vs(f"{{hosts: [reviews], {fixed}}}", "old", created="2026-02-01T00:00:00Z"),
    )
    assert [one.name for one in rulers_of(world, CLIENT, REVIEWS)] == ["old", "young", "wide"]
    assert virtual_service_for(world, CLIENT, "ratings.default.svc.cluster.local") == ref("wide")
    assert virtual_service_for(world, CLIENT, "default.svc.cluster.local") is None


@pytest.mark.parametrize(
    ("export_to", "seen_from"),
    [
        ("[]", {"default", "shop", "other"}),
        ("['.']", {"default"}),
        ("[shop]", {"shop"}),
        ("['*']", {"default", "shop", "other"}),
        ("['~']", set()),
    ],
)
def test_export_to_says_who_sees_it(export_to: str, seen_from: set[str]) -> None:
    world = world_of(vs(f"{{hosts: [reviews], exportTo: {export_to}, http: [{{directResponse: {{status: 200}}}}]}}"))
    found = {one for one in ("default", "shop", "other") if virtual_service_for(world, Scope("sidecar", one), REVIEWS)}
    assert found == seen_from


def test_what_is_private_comes_before_what_is_older_and_public() -> None:
    fixed = "hosts: [reviews.default.svc.cluster.local], http: [{directResponse: {status: 200}}]"
    world = world_of(
        vs(f"{{{fixed}}}", "public", created="2026-01-01T00:00:00Z"),
        vs(f"{{{fixed}, exportTo: ['.']}}", "private", "shop", created="2026-02-01T00:00:00Z"),
    )
    assert virtual_service_for(world, SHOP, REVIEWS) == ref("private", "shop")
    assert virtual_service_for(world, CLIENT, REVIEWS) == ref("public")


ROOT = """
hosts: [reviews]
http:
- name: root
  match: [{uri: {prefix: /a}, headers: {x-a: {exact: "1"}}}]
  delegate: {name: part, namespace: shop}
  timeout: 1s
  headers: {request: {set: {x-set: root}}}
- route: [{destination: {host: reviews, subset: v1}}]
"""


def test_a_delegates_rules_stand_in_the_roots_place() -> None:
    world = world_of(
        vs(ROOT),
        vs(
            """
            http:
            - {name: leaf, match: [{uri: {prefix: /a/b}}, {uri: {exact: /a}}], route: [{destination: {host: cart}}]}
            - {match: [{uri: {prefix: /z}}], route: [{destination: {host: cart}}]}
            - {match: [{uri: {regex: "/a.*"}}], route: [{destination: {host: cart}}]}
            - {match: [{headers: {x-a: {exact: "2"}}}], route: [{destination: {host: cart}}]}
            - {timeout: 2s, route: [{destination: {host: cart}}]}
            """,
            "part",
            "shop",
        ),
    )
    cart = [Target("cart.shop.svc.cluster.local", 9080)]
    found = routes(world)
    assert targets(found) == [
        ("root-leaf", Text("prefix", "/a/b"), cart),
        ("root-leaf", Text("exact", "/a"), cart),
        ("root", Text("prefix", "/a"), cart),
        ("", Text("prefix", "/"), [Target(REVIEWS, 9080, "v1")]),
    ]
    assert all(one.match.headers == (("x-a", Text("exact", "1")),) for one in found[:3])
    assert [one.action.timeout for one in found if isinstance(one.action, Forward)] == [1.0, 1.0, 2.0, None]
    assert found[0].headers.request.set == (("x-set", "root"),)
    assert [str(one) for one in found[0].origins] == [
        "VirtualService default/reviews spec.http[0] (root)",
        "VirtualService shop/part spec.http[0] (leaf)",
    ]


@pytest.mark.parametrize(
    "spec",
    [
        None,
        "{exportTo: ['.'], http: [{directResponse: {status: 200}}]}",
        "{hosts: [x], http: [{directResponse: {status: 200}}]}",
    ],
)
def test_a_delegate_that_is_none_or_not_seen_falls_through(spec: str | None) -> None:
    world = world_of(vs(ROOT), *([vs(spec, "part", "shop")] if spec else []))
    assert [len(one.origins) for one in routes(world)] == [1]


def test_a_change_of_a_delegate_reaches_its_root() -> None:
    world = world_of(vs(ROOT), vs("{http: [{directResponse: {status: 200}}]}", "part", "shop"))
    assert len(routes(world)) == 2
    world.apply([Remove("VirtualService", Key("shop", "part"))])
    assert len(routes(world)) == 1


def test_a_change_computes_the_rules_of_its_own_object_alone() -> None:
    one = to("{route: [{destination: {host: reviews}}], timeout: 1s}")
    others = [
        vs(f"{{hosts: [s{n}], http: [{{route: [{{destination: {{host: s{n}}}}}]}}]}}", f"s{n}") for n in range(50)
    ]
    world = world_of(vs(one), *others)

    def ask() -> None:
        for name in ["reviews", *(f"s{n}" for n in range(50))]:
            found = virtual_service_for(world, CLIENT, f"{name}.default.svc.cluster.local")
            assert found
            routes(world, at=found)

    ask()
    before = world.computed
    world.apply([event(vs(one.replace("1s", "2s")))])
    ask()
    # the index of all, its answer for the mesh, and this one's routes
    assert world.computed - before <= 4


TCP = """
hosts: [db]
tcp:
- match: [{destinationSubnets: [10.0.0.0/8], port: 3306}, {destinationSubnets: [10.1.0.0/16]}]
  route: [{destination: {host: db, subset: v2}}]
- match: [{sourceLabels: {app: x}}]
  route: [{destination: {host: db, subset: v3}}]
- route: [{destination: {host: db, port: {number: 1}}, weight: 20}, {destination: {host: other}, weight: 80}]
- route: [{destination: {host: never}}]
"""
DB = "db.default.svc.cluster.local"


def test_tcp_rules_end_at_the_first_without_subnets() -> None:
    world = world_of(service("db", "10.96.0.1", ("tcp", 3306)), service("other", "10.96.0.2", ("tcp", 5432)), vs(TCP))
    found = tcp_routes(world, CLIENT, DB, 3306)
    assert [(one.subnets, [(b.target, b.weight) for b in one.backends]) for one in found] == [
        (("10.0.0.0/8", "10.1.0.0/16"), [(Target(DB, 3306, "v2"), 0)]),
        ((), [(Target(DB, 1), 20), (Target("other.default.svc.cluster.local", 5432), 80)]),
    ]


def test_tls_rules_keep_the_first_of_two_for_the_same_names() -> None:
    world = world_of(
        vs("""
        hosts: [web, a.example.com]
        tls:
        - match: [{sniHosts: [a.example.com], sourceLabels: {app: x}}, {sniHosts: [a.example.com], port: 443}]
          route: [{destination: {host: web, subset: v1}}]
        - match: [{sniHosts: [a.example.com]}]
          route: [{destination: {host: web, subset: v2}}]
        """)
    )
    found = tls_routes(world, CLIENT, "a.example.com", 443)
    assert [(one.sni_hosts, one.backends[0].target.subset) for one in found] == [(("a.example.com",), "v1")]
    assert tls_routes(world, CLIENT, "web.default.svc.cluster.local", 8443)[0].backends[0].target.subset == "v2"


@pytest.mark.parametrize(
    ("hosts", "port", "known", "beside"),
    [
        ("[books.example.com]", 80, set(), {"books.example.com"}),
        ("[books.example.com]", 9080, {REVIEWS}, set()),
        ("[reviews, books.example.com]", 9080, {REVIEWS}, {"books.example.com"}),
        ("[reviews]", 80, set(), {REVIEWS}),
        ("[reviews]", 9080, {REVIEWS}, set()),
        ("['*.default.svc.cluster.local']", 9080, {REVIEWS}, set()),
    ],
)
def test_hosts_that_no_service_has(hosts: str, port: int, known: set[str], beside: set[str]) -> None:
    world = world_of(vs(f"{{hosts: {hosts}, http: [{{directResponse: {{status: 200}}}}]}}"))
    assert set(hosts_beside(world, CLIENT, port, frozenset(known))) == beside


def test_a_sidecar_hides_the_namespaces_that_it_does_not_name() -> None:
    fixed = "hosts: [reviews.default.svc.cluster.local], http: [{directResponse: {status: 200}}]"
    hosts = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Sidecar",
        "metadata": {"name": "default", "namespace": "default"},
        "spec": {"egress": [{"hosts": ["shop/*"]}]},
    }
    world = world_of(
        vs(f"{{{fixed}}}", "old", "default", "2026-01-01T00:00:00Z"),
        vs(f"{{{fixed}}}", "shop", "shop", "2026-02-01T00:00:00Z"),
    )
    assert virtual_service_for(world, CLIENT, REVIEWS) == ref("old")
    world.apply([event(hosts)])
    assert virtual_service_for(world, CLIENT, REVIEWS) == ref("shop", "shop")
    assert virtual_service_for(world, SHOP, REVIEWS) == ref("old")


def test_a_delegates_destinations_are_let_in_with_its_root() -> None:
    sidecar = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Sidecar",
        "metadata": {"name": "default", "namespace": "default"},
        "spec": {"egress": [{"hosts": ["./*"]}]},
    }
    cart = "cart.shop.svc.cluster.local"
    things = [service("cart", "10.96.0.3", ("http", 80), namespace="shop"), sidecar, vs(ROOT)]
    assert service_of(world_of(*things), CLIENT, cart) is None
    part = vs("{http: [{route: [{destination: {host: cart}}]}]}", "part", "shop")
    assert service_of(world_of(*things, part), CLIENT, cart) is not None
