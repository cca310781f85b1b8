"""Gateway API's routes: what they attach to, which match comes first, and where they send."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from mesh.build.routes import render
from mesh.encode import check
from mesh.model.meta import ObjectRef
from mesh.routing.attach import mesh_routes
from mesh.routing.parents import Section, listener_connections, listener_hosts, listener_routes, service_rulers
from mesh.routing.route import Forward, Redirect, Respond, Retry, Route, Session, Target, Text
from mesh.world.proxy import Scope
from mesh.world.world import World
from tests.unit.mesh.objects import Object, event, service, world_of

CLIENT, SHOP = Scope("sidecar", "default"), Scope("sidecar", "shop")
GATEWAY = Scope("router", "gateways")
HOST = "reviews.default.svc.cluster.local"
REVIEWS = service("reviews", "10.96.0.1", ("http", 9080), ("http-b", 9081))
PARENT = "parentRefs: [{group: '', kind: Service, name: reviews}]"


def route(spec: str, name: str = "r", namespace: str = "default", kind: str = "HTTPRoute", created: str = "") -> Object:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": created},
        "spec": yaml.safe_load(spec),
    }


def ruled(rules: str, kind: str = "HTTPRoute") -> tuple[Route, ...]:
    """The routes of a Service by one object with these rules; all of them as Envoy takes them."""
    world = world_of(REVIEWS, route(f"{{{PARENT}, rules: {rules}}}", kind=kind))
    found = mesh_routes(world, CLIENT, HOST, 9080)
    for one in found:
        assert check("envoy.config.route.v3.Route", render(one, 9080)) == ()
    return found


def to(name: str) -> str:
    return f"backendRefs: [{{name: {name}, port: 80}}]"


def paths(found: tuple[Route, ...]) -> list[str]:
    return [f"{one.match.path.how} {one.match.path.value}" for one in found]


def test_the_closer_match_comes_first() -> None:
    found = ruled(f"""[
        {{matches: [{{path: {{type: RegularExpression, value: '/aaaaaaaaaa.*'}}}}], {to("a")}}},
        {{matches: [{{path: {{value: /a}}}}, {{path: {{value: /a/b/}}}}], {to("b")}}},
        {{{to("c")}}},
        {{matches: [{{path: {{type: Exact, value: /}}}}], {to("d")}}},
    ]""")
    assert paths(found) == ["exact /", "segments /a/b", "segments /a", "segments /", "regex /aaaaaaaaaa.*"]


def test_of_equal_paths_method_then_headers_then_query_count() -> None:
    found = ruled(f"""[
        {{name: n0, {to("a")}}},
        {{name: q1, matches: [{{queryParams: [{{name: q, value: '1'}}]}}], {to("a")}}},
        {{name: h1, matches: [{{headers: [{{name: X-A, value: '1'}}]}}], {to("a")}}},
        {{name: h2, matches: [{{headers: [{{name: x-a, value: '1'}}, {{name: x-b, value: '1'}}]}}], {to("a")}}},
        {{name: m1, matches: [{{method: PUT}}], {to("a")}}},
    ]""")
    assert [one.origins[0].name for one in found] == ["m1", "h2", "h1", "q1", "n0"]
    assert found[2].match.headers == (("x-a", Text("exact", "1")),)


def test_of_two_objects_the_older_ones_equal_match_is_first() -> None:
    rules = f"{{{PARENT}, rules: [{{{to('a')}}}]}}"
    world = world_of(
        REVIEWS,
        route(rules, "young", created="2026-02-01T00:00:00Z"),
        route(rules, "old", created="2026-01-01T00:00:00Z"),
    )
    found = mesh_routes(world, CLIENT, HOST, 9080)
    assert [one.origins[0].ref.name for one in found] == ["old", "young"]


@pytest.mark.parametrize(
    ("rules", "targets", "status"),
    [
        ("[{name: a, port: 80, weight: 1}, {name: b, port: 81, weight: 3}]", [("a", 80, 1), ("b", 81, 3)], None),
        ("[{name: a, port: 80, weight: 0}, {name: b, port: 81}]", [("b", 81, 1)], None),
        ("[{name: a, port: 80, weight: 0}]", [], 500),
        ("[]", [], 500),
        ("[{group: x.io, kind: Other, name: a}, {name: b, port: 80}]", [("", 0, 1), ("b", 80, 1)], None),
        ("[{name: a, port: 80, filters: [{type: RequestMirror, requestMirror: *m}]}]", [("", 0, 1)], None),
    ],
)
def test_backends(rules: str, targets: list[tuple[str, int, int]], status: int | None) -> None:
    mirror = "{backendRef: {name: m, port: 80}}"
    (found,) = ruled(f"[{{backendRefs: {rules.replace('*m', mirror)}}}]")
    if status is not None:
        assert found.action == Respond(status)
    else:
        assert isinstance(found.action, Forward)
        assert found.action.missing_status == 500
        got = [(one.target.host.partition(".")[0], one.target.port, one.weight) for one in found.action.backends]
        assert got == targets


def test_a_step_that_nobody_can_take_is_not_left_out_in_silence() -> None:
    step = "{type: ExtensionRef, extensionRef: {group: x.io, kind: X, name: x}}"
    (found,) = ruled(f"[{{filters: [{step}], {to('a')}}}]")
    assert found.action == Respond(500)


def one(rule: str) -> Any:
    (found,) = ruled(f"[{{{rule}, {to('a')}}}]")
    return found.action


def test_timeouts_and_retries() -> None:
    assert one("timeouts: {request: 3s, backendRequest: 400ms}").timeout == 3.0
    assert one("timeouts: {request: 3s, backendRequest: 400ms}").retry == Retry(per_try_timeout=0.4)
    assert one("timeouts: {request: 0s}").timeout is None
    assert one("timeouts: {request: 0s}").retry is None
    retry = one("retry: {attempts: 3, codes: [500, 503], backoff: 100ms}").retry
    assert (retry.attempts, retry.backoff) == (3, 0.1)
    assert retry.on == "connect-failure,refused-stream,unavailable,cancelled,500,503"


def test_steps() -> None:
    (found,) = ruled(f"""[{{
        matches: [{{path: {{value: /p}}}}],
        filters: [
          {{type: RequestHeaderModifier, requestHeaderModifier: {{
            set: [{{name: X-Set, value: 100%}}, {{name: Host, value: h}}],
            add: [{{name: x-add, value: '%REQ(x)%'}}], remove: [x-gone]}}}},
          {{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: x-out, value: '1'}}]}}}},
          {{type: URLRewrite, urlRewrite: {{
            hostname: h.example.com, path: {{type: ReplacePrefixMatch, replacePrefixMatch: /new}}}}}},
          {{type: RequestMirror, requestMirror: {{
            backendRef: {{name: m, port: 80}}, fraction: {{numerator: 1, denominator: 4}}}}}},
          {{type: CORS, cors: {{allowOrigins: ['https://*.example.com', 'https://a.example.com'], maxAge: 60}}}},
        ],
        {to("a")}}}]""")
    assert found.headers.request.set == (("X-Set", "100%%"),)
    assert found.headers.request.join == (("x-add", "%REQ(x)%"),)
    assert found.headers.request.remove == ("x-gone",)
    assert found.headers.authority == "h"
    assert found.headers.response.set == (("x-out", "1"),)
    assert isinstance(found.action, Forward)
    assert found.action.rewrite is not None
    assert (found.action.rewrite.prefix, found.action.rewrite.authority) == ("/new", "h.example.com")
    assert [(str(each.target.host), each.percent) for each in found.action.mirrors] == [
        ("m.default.svc.cluster.local", 25.0)
    ]
    assert found.cors is not None
    assert found.cors.origins == (Text("regex", "https://.+\\.example\\.com"), Text("exact", "https://a.example.com"))
    assert not found.cors.forward_unmatched


@pytest.mark.parametrize(
    ("spec", "redirect"),
    [
        ("{statusCode: 301}", Redirect(301, port=Redirect.REQUEST_PORT)),
        ("{scheme: https}", Redirect(302, scheme="https")),
        ("{scheme: https, port: 8443, hostname: h.example.com}", Redirect(302, "https", "h.example.com", 8443)),
        ("{path: {type: ReplaceFullPath, replaceFullPath: /x}}", Redirect(302, port=-1, path="/x")),
        ("{path: {type: ReplacePrefixMatch, replacePrefixMatch: /x}}", Redirect(302, port=-1, prefix="/x")),
    ],
)
def test_redirects(spec: str, redirect: Redirect) -> None:
    (found,) = ruled(f"[{{filters: [{{type: RequestRedirect, requestRedirect: {spec}}}]}}]")
    assert found.action == redirect


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("{service: pkg.S, method: M}", Text("exact", "/pkg.S/M")),
        ("{service: pkg.S}", Text("segments", "/pkg.S")),
        ("{method: M}", Text("regex", "/[^/]+/M")),
        ("{type: RegularExpression, service: 'pkg\\..*', method: M}", Text("regex", "/pkg\\..*/M")),
    ],
)
def test_grpc_methods_are_paths(method: str, path: Text) -> None:
    (found,) = ruled(
        f"[{{matches: [{{method: {method}, headers: [{{name: x, value: '1'}}]}}], {to('a')}}}]", "GRPCRoute"
    )
    assert found.match.path == path
    assert found.match.headers == (("x", Text("exact", "1")),)


# --- in the mesh


def rulers(world: World, scope: Scope, port: int = 9080) -> list[str]:
    return [f"{each.ref.namespace}/{each.ref.name}" for each in service_rulers(world, scope, HOST, port)]


def test_a_producers_route_holds_for_all_and_a_consumers_for_its_own_namespace() -> None:
    rules = f"rules: [{{{to('a')}}}]"
    consumer = "parentRefs: [{group: '', kind: Service, name: reviews, namespace: default}]"
    world = world_of(
        REVIEWS,
        route(f"{{{PARENT}, {rules}}}", "producer"),
        route(f"{{{consumer}, {rules}}}", "consumer", "shop"),
    )
    assert rulers(world, CLIENT) == ["default/producer"]
    assert rulers(world, SHOP) == ["shop/consumer"]
    assert rulers(world, Scope("sidecar", "other")) == ["default/producer"]


def test_a_port_is_all_ports_unless_it_is_named() -> None:
    spec = "parentRefs: [{group: '', kind: Service, name: reviews, port: 9081}]"
    world = world_of(REVIEWS, route(f"{{{spec}, rules: [{{{to('a')}}}]}}"))
    assert rulers(world, CLIENT, 9081) == ["default/r"]
    assert rulers(world, CLIENT, 9080) == []
    assert mesh_routes(world, CLIENT, HOST, 9080) == ()


VS = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": "vs", "namespace": "default", "creationTimestamp": "2026-01-02T00:00:00Z"},
    "spec": {"hosts": ["reviews"], "http": [{"directResponse": {"status": 299}}]},
}


@pytest.mark.parametrize(
    ("created", "export_to", "scope", "wins"),
    [
        ("2026-01-03T00:00:00Z", ["*"], CLIENT, "HTTPRoute"),
        ("2026-01-03T00:00:00Z", ["*"], SHOP, "VirtualService"),
        ("2026-01-01T00:00:00Z", ["*"], SHOP, "HTTPRoute"),
        ("2026-01-01T00:00:00Z", ["."], CLIENT, "VirtualService"),
    ],
)
def test_an_httproute_beside_a_virtual_service(created: str, export_to: list[str], scope: Scope, wins: str) -> None:
    vs = {**VS, "spec": {**VS["spec"], "exportTo": export_to}}  # type: ignore[dict-item]
    world = world_of(REVIEWS, vs, route(f"{{{PARENT}, rules: [{{{to('a')}}}]}}", created=created))
    assert mesh_routes(world, scope, HOST, 9080)[0].origins[0].ref.kind == wins


# --- at a Gateway


def gateway(*listeners: str) -> Object:
    spec = {"gatewayClassName": "istio", "listeners": [yaml.safe_load(one) for one in listeners]}
    meta = {"name": "gw", "namespace": "gateways"}
    return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": meta, "spec": spec}


ALL = "allowedRoutes: {namespaces: {from: All}}"
SECTION = Section(ObjectRef("KubernetesGateway", "gateways", "gw"), "http")
AT_GATEWAY = "parentRefs: [{name: gw, namespace: gateways}]"


@pytest.mark.parametrize(
    ("listener", "hostnames", "hosts"),
    [
        ("", "[]", ["*"]),
        ("hostname: '*.example.com',", "[]", ["*.example.com"]),
        ("", "[a.example.com]", ["a.example.com"]),
        ("hostname: '*.example.com',", "[a.example.com, example.com, a.example.org]", ["a.example.com"]),
        ("hostname: a.example.com,", "['*.example.com']", ["a.example.com"]),
        ("hostname: '*.example.com',", "['*.a.example.com', '*.com']", ["*.a.example.com", "*.example.com"]),
        ("hostname: '*.example.com',", "[a.b.example.com]", ["a.b.example.com"]),
        ("hostname: a.example.com,", "[b.example.com]", []),
    ],
)  # fmt: skip
def test_hosts_are_what_listener_and_route_allow(listener: str, hostnames: str, hosts: list[str]) -> None:
    world = world_of(
        gateway(f"{{name: http, port: 80, protocol: HTTP, {listener} {ALL}}}"),
        route(f"{{{AT_GATEWAY}, hostnames: {hostnames}, rules: [{{{to('a')}}}]}}"),
    )
    assert list(listener_hosts(world, SECTION)) == hosts


GW = "name: gw, namespace: gateways"


@pytest.mark.parametrize(
    ("allowed", "parent", "taken"),
    [
        ("{}", GW, False),
        ("{namespaces: {from: All}}", GW, True),
        ("{namespaces: {from: Selector, selector: {matchLabels: {a: b}}}}", GW, True),
        ("{namespaces: {from: Selector, selector: {matchLabels: {a: c}}}}", GW, False),
        ("{namespaces: {from: All}, kinds: [{kind: GRPCRoute}]}", GW, False),
        ("{namespaces: {from: All}}", f"{GW}, sectionName: http", True),
        ("{namespaces: {from: All}}", f"{GW}, sectionName: other", False),
        ("{namespaces: {from: All}}", f"{GW}, port: 81", False),
        ("{namespaces: {from: All}}", "name: gw", False),
    ],
)
def test_a_listener_takes_the_routes_that_it_allows(allowed: str, parent: str, taken: bool) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default", "labels": {"a": "b"}}}
    world = world_of(
        namespace,
        gateway(f"{{name: http, port: 80, protocol: HTTP, allowedRoutes: {allowed}}}"),
        route(f"{{parentRefs: [{{{parent}}}], rules: [{{{to('a')}}}]}}"),
    )
    assert bool(listener_hosts(world, SECTION)) == taken


def test_at_a_gateway_a_backend_elsewhere_needs_a_grant() -> None:
    backend = "backendRefs: [{name: cart, namespace: shop, port: 80}]"
    world = world_of(
        gateway(f"{{name: http, port: 80, protocol: HTTP, {ALL}}}"), route(f"{{{AT_GATEWAY}, rules: [{{{backend}}}]}}")
    )

    def target() -> Target:
        (found,) = listener_routes(world, GATEWAY, SECTION, "*")
        assert isinstance(found.action, Forward)
        return found.action.backends[0].target

    assert target().host == ""
    grant = {
        "apiVersion": "gateway.networking.k8s.io/v1beta1",
        "kind": "ReferenceGrant",
        "metadata": {"name": "g", "namespace": "shop"},
        "spec": {
            "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "default"}],
            "to": [{"group": "", "kind": "Service"}],
        },
    }
    world.apply([event(grant)])
    assert target() == Target("cart.shop.svc.cluster.local", 80)


def test_a_tls_route_by_server_name() -> None:
    one = f"{{{AT_GATEWAY}, hostnames: [a.example.com], rules: [{{{to('a')}}}]}}"
    two = f"{{{AT_GATEWAY}, hostnames: [a.example.com, b.example.com], rules: [{{{to('b')}}}]}}"
    world = world_of(
        gateway(f"{{name: tls, port: 443, protocol: TLS, tls: {{mode: Passthrough}}, {ALL}}}"),
        route(one, kind="TLSRoute", created="2026-01-01T00:00:00Z"),
        route(two, "b", kind="TLSRoute", created="2026-01-02T00:00:00Z"),
    )
    found = listener_connections(world, GATEWAY, Section(ObjectRef("KubernetesGateway", "gateways", "gw"), "tls"))
    assert [(each.sni_hosts, each.origins[0].ref) for each in found] == [
        (("a.example.com",), ObjectRef("TLSRoute", "default", "r")),
        (("b.example.com",), ObjectRef("TLSRoute", "default", "b")),
    ]


@pytest.mark.parametrize(
    ("spec", "session"),
    [
        ("{}", Session("session-default-r-0")),
        (
            "{sessionName: s, cookieConfig: {lifetimeType: Permanent}, absoluteTimeout: 1h}",
            Session("s", lifetime=3600.0),
        ),
        ("{sessionName: s, absoluteTimeout: 1h}", Session("s")),
        ("{type: Header, sessionName: x-s}", Session("x-s", is_cookie=False)),
    ],
)
def test_clients_stay_with_their_pods(spec: str, session: Session) -> None:
    (found,) = ruled(f"[{{sessionPersistence: {spec}, {to('a')}}}]")
    assert found.session == session
