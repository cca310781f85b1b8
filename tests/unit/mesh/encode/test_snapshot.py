"""What a proxy is to have: the same bytes however it came about, a change costs what it reaches, a bad one is alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.envoy.parts import Message
from mesh.build import hostroutes
from mesh.encode import seats, snapshot
from mesh.encode.messages import decode
from mesh.encode.resource import State
from mesh.model.names import ClusterName
from mesh.routing.route import Target
from mesh.world.events import Key, Remove
from mesh.world.proxy import Proxy, Scope
from mesh.world.scopes import scope_of
from mesh.world.world import World
from tests.unit.mesh.objects import Object, endpoints, event, istio, pod, service, sidecar, world_of

ME = sidecar(app="a")
CLUSTERS, ASSIGNMENTS, LISTENERS, TABLES = (
    snapshot.CLUSTERS,
    snapshot.ASSIGNMENTS,
    snapshot.LISTENERS,
    snapshot.TABLES,
)


def state(world: World, proxy: Proxy = ME) -> State:
    return seats.state_of(world, seats.seat_of(world, seats.guest_of(proxy)))


def bodies(world: World, proxy: Proxy = ME) -> dict[str, dict[str, bytes]]:
    return {
        type_url: {name: of_type.get(name).body for name in of_type.names()}  # type: ignore[union-attr]
        for type_url, of_type in state(world, proxy).items()
    }


def body(world: World, type_url: str, name: str) -> dict[str, Any]:
    found = state(world)[type_url].get(name)
    assert found is not None, list(state(world)[type_url].names())
    return decode(type_url.removeprefix("type.googleapis.com/"), found.body)


THINGS = [
    service("a", "10.96.0.1", ("http", 80)),
    service("a", "10.96.0.1", ("tcp", 80)),
    service("b", "10.96.0.2", ("http", 80), ("", 81)),
    service("b", "10.96.0.1", ("tcp-x", 82)),
    service("c", "None", ("tcp", 90)),
    service("c", "None", ("http", 80)),
    service("a", "10.96.0.9", ("grpc", 80), namespace="shop"),
    endpoints("a", "10.0.0.1"),
    endpoints("a", "10.0.0.1", "10.0.0.2"),
    endpoints("a", "10.0.0.3", conditions={"ready": False}),
    endpoints("c", "10.0.0.4", "10.0.0.5", ports=[("tcp", 90)]),
    endpoints("a", "10.0.0.6", namespace="shop", ports=[("grpc", 8080)]),
    pod("a-10.0.0.1", "10.0.0.1", app="a"),
    pod("client", "10.0.0.1", app="b"),
]


@given(st.lists(st.tuples(st.integers(0, len(THINGS) - 1), st.booleans(), st.booleans()), max_size=30))
@settings(deadline=None)
def test_events_one_by_one_give_the_bytes_of_a_full_build(steps: list[tuple[int, bool, bool]]) -> None:
    world, there = world_of(), {}
    for index, remove, look in steps:
        thing = event(THINGS[index])
        at = (thing.kind, thing.key)
        if remove:
            there.pop(at, None)
            world.apply([Remove(*at)])
        else:
            there[at] = thing
            world.apply([thing])
        if look:
            bodies(world)
            world.collect()
    fresh = world_of()
    fresh.apply(there.values())
    assert bodies(world) == bodies(fresh)


def test_an_endpoint_that_comes_costs_its_own_assignment() -> None:
    many = [service(f"s{i}", f"10.96.1.{i}", ("http", 80)) for i in range(50)]
    world = world_of(*many, *(endpoints(f"s{i}", f"10.1.0.{i}") for i in range(50)))
    before = state(world)
    computed = world.computed
    world.apply([event(endpoints("s7", "10.1.0.7", "10.1.9.9"))])
    after = state(world)
    # the endpoints, the assignment, those of its group, and the part that collects all
    assert world.computed - computed == 4
    changes = after[ASSIGNMENTS].parts[0].changes_since(before[ASSIGNMENTS].parts[0])
    assert [one.name for one in changes.changed] == ["outbound|80||s7.default.svc.cluster.local"]
    assert changes.removed == ()
    for type_url in (CLUSTERS, LISTENERS, TABLES):
        assert all(new is old for new, old in zip(after[type_url].parts, before[type_url].parts, strict=True))


def test_a_change_has_few_of_many_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [service(f"s{i}", f"10.96.{i // 250}.{i % 250}", ("http", 80)) for i in range(500)]
    world = world_of(*many, endpoints("s7", "10.1.0.7"))
    state(world)
    asked = []
    original = snapshot.assignment_unit

    def counted(world: World, scope: Scope, name: ClusterName) -> snapshot.Unit:
        asked.append(name.host)
        return original(world, scope, name)

    monkeypatch.setattr(snapshot, "assignment_unit", counted)
    world.apply([event(endpoints("s7", "10.1.0.8"))])
    state(world)
    assert "s7.default.svc.cluster.local" in asked
    assert len(asked) < 2 * snapshot.GROUP


def test_what_cannot_be_built_is_left_out_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(service("a", "10.96.0.1", ("http", 80)), service("b", "10.96.0.2", ("http", 80)))
    right = hostroutes.default_route

    def wrong(to: Target, **more: Any) -> Message:
        return right(to, **more) | ({"match": {}} if to.host[0] == "a" else {})

    monkeypatch.setattr(hostroutes, "default_route", wrong)
    table = body(world, TABLES, "80")
    assert [host["name"] for host in table["virtual_hosts"]] == ["b.default.svc.cluster.local:80", "allow_any"]
    scope = scope_of(world, ME)
    unit = next(snapshot.virtual_host_units(world, scope, "80"))()
    assert unit.resource is None
    assert "path_specifier" in str(unit.problems[0])
    assert [str(one.ref) for one in unit.problems] == ["Service default/a"]


def test_nothing_stays_of_what_was_there() -> None:
    world = world_of(service("a", "10.96.0.1", ("http", 80)))
    seat = seats.seat_of(world, seats.guest_of(ME))
    seats.hold(world, seat)
    sizes = set()
    for round_ in range(20):
        world.apply(
            [event(service(f"s{round_}", "10.96.0.7", ("http", 80))), event(endpoints(f"s{round_}", "10.0.0.3"))]
        )
        state(world)
        world.apply(
            [
                Remove("Service", Key("default", f"s{round_}")),
                Remove("EndpointSlice", Key("default", f"s{round_}-1")),
            ]
        )
        state(world)
        world.collect()
        sizes.add(len(world))
    assert len(sizes) == 1
    seats.release(world, seat)
    world.collect()
    assert len(world) == 0


def test_a_pods_own_labels_count_more_than_what_its_proxy_says() -> None:
    world = world_of(service("a", "10.96.0.1", ("http", 8080)))
    told = sidecar(app="other")
    assert not any("inbound" in name for name in state(world, told)[CLUSTERS].names())
    world.apply([event(pod("client", "10.0.0.1", app="a"))])
    assert "inbound|8080||" in set(state(world, told)[CLUSTERS].names())


def test_each_resource_names_the_objects_it_is_made_of() -> None:
    def rule(kind: str, name: str, **spec: Any) -> Object:
        meta = {"name": name, "namespace": "default"}
        return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": meta, "spec": spec}

    http = [{"match": [{"uri": {"prefix": "/a"}}], "delegate": {"name": "part"}}, {"directResponse": {"status": 200}}]
    world = world_of(
        service("a", "10.96.0.1", ("http", 80)),
        endpoints("a", "10.0.0.2"),
        rule("VirtualService", "root", hosts=["a"], http=http),
        rule("VirtualService", "part", http=[{"directResponse": {"status": 201}}]),
        rule("DestinationRule", "d", host="a", subsets=[{"name": "v1"}]),
    )
    scope = scope_of(world, ME)

    def origins(unit: snapshot.Unit) -> list[str]:
        assert unit.resource is not None
        return [str(one) for one in unit.resource.origins]

    host = next(snapshot.virtual_host_units(world, scope, "80"))()
    assert origins(host) == ["VirtualService default/root", "VirtualService default/part"]
    name = ClusterName("outbound", 80, "v1", "a.default.svc.cluster.local")
    assert origins(snapshot.cluster_unit(world, scope, name)) == ["DestinationRule default/d", "Service default/a"]
    assert origins(snapshot.assignment_unit(world, scope, name)) == ["DestinationRule default/d", "Service default/a"]


def test_a_refused_table_is_blamed_on_the_virtual_hosts_that_changed() -> None:
    world = world_of(*(service(name, f"10.96.0.{i}", ("http", 80)) for i, name in enumerate("abc")))
    before = state(world)[TABLES].get("80")
    assert before is not None
    assert len(before.blamed(None)) == 3
    world.apply([event(service("b", "10.96.0.77", ("http", 80)))])
    after = state(world)[TABLES].get("80")
    assert after is not None
    assert [str(one) for one in after.blamed(before)] == ["Service default/b"]
    assert after.blamed(after) == ()


def test_listeners_and_the_apps_own_ports_name_their_objects() -> None:
    world = world_of(service("a", "10.96.0.1", ("tcp", 90)), service("b", "10.96.0.2", ("http", 80)))
    of_type = state(world)
    origins = {
        name: [str(one) for one in found.origins]
        for url in (LISTENERS, CLUSTERS)
        for name in of_type[url].names()
        if (found := of_type[url].get(name)) is not None
    }
    assert origins["10.96.0.1_90"] == ["Service default/a"]
    assert origins["0.0.0.0_80"] == ["Service default/b"]
    assert origins["virtualInbound"] == ["Service default/a"]
    assert origins["inbound|90||"] == ["Service default/a"]


def test_what_is_left_out_of_a_table_is_told_by_the_part(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(service("a", "10.96.0.1", ("http", 80)))
    monkeypatch.setattr(hostroutes, "default_route", lambda _to, **_more: {"match": {}})
    (problem,) = seats.problems_of([state(world), state(world)])
    assert (problem.code, str(problem.ref)) == ("refused-by-envoy", "Service default/a")


def test_namespaces_that_nothing_tells_apart_share_what_is_made() -> None:
    world = world_of(*(service(f"s{i}", f"10.96.1.{i}", ("http", 80), namespace=f"n{i}") for i in range(20)))
    first, second = sidecar(namespace="n1"), sidecar(namespace="n2")
    states = [state(world, one) for one in (first, second)]
    for type_url in (CLUSTERS, ASSIGNMENTS):
        shared = [[id(part) for part in one[type_url].parts[:2]] for one in states]
        assert shared[0] == shared[1]
    tables_ = [decode(snapshot.TABLE, one[TABLES].get("80").body) for one in states]  # type: ignore[union-attr]
    short = [[host["name"] for host in one["virtual_hosts"] if "s1" in host["domains"]] for one in tables_]
    # a short name is that of the own namespace alone
    assert short == [["s1.n1.svc.cluster.local:80"], []]
    before = world.computed
    state(world, sidecar(namespace="n3"))
    # its table, its listeners, of each service where it binds; no cluster, no endpoints, 1 host of 20
    assert world.computed - before < 100


SLOW = {"timeout": "1s", "route": [{"destination": {"host": "s2"}}]}
HTTP_PORT = {"number": 80, "name": "http", "protocol": "HTTP"}
RANDOM = {"loadBalancer": {"simple": "RANDOM"}}
HIDDEN = {"name": "hidden", "namespace": "n1", "annotations": {"networking.istio.io/exportTo": "."}}


@pytest.mark.parametrize(
    "thing",
    [
        istio("Sidecar", "default", "n1", egress=[{"hosts": ["./*"]}]),
        istio("DestinationRule", "d", "n1", host="*.local", trafficPolicy=RANDOM),
        istio("VirtualService", "v", "n2", hosts=["s2"], exportTo=["n1"], http=[SLOW]),
        istio("VirtualService", "v", "n2", hosts=["s2"], http=[{"match": [{"sourceNamespace": "n1"}], **SLOW}]),
        istio("ServiceEntry", "e", "n2", hosts=["e.org"], ports=[HTTP_PORT], resolution="NONE", exportTo=["n1"]),
        service("hidden", "10.96.2.1", ("http", 80), namespace="n1") | {"metadata": HIDDEN},
    ],
)
def test_what_tells_a_namespace_apart_is_served_there(thing: dict[str, Any]) -> None:
    world = world_of(*(service(f"s{i}", f"10.96.1.{i}", ("http", 80), namespace=f"n{i}") for i in range(1, 4)), thing)
    told, others = bodies(world, sidecar(namespace="n1")), bodies(world, sidecar(namespace="n3"))
    assert told[CLUSTERS] != others[CLUSTERS] or _routes(told) != _routes(others)
    # and nothing else: a world asked by one alone gives the same
    alone = world_of(*(service(f"s{i}", f"10.96.1.{i}", ("http", 80), namespace=f"n{i}") for i in range(1, 4)), thing)
    assert bodies(alone, sidecar(namespace="n1")) == told


def _routes(of: dict[str, dict[str, bytes]]) -> list[Any]:
    table = decode(snapshot.TABLE, of[TABLES]["80"])
    return [(host["name"], host.get("routes")) for host in table["virtual_hosts"]]


def test_a_new_service_builds_none_of_the_others_anew() -> None:
    def computed(size: int) -> int:
        world = world_of(*(service(f"s{number}", f"10.96.1.{number}", ("http", 80)) for number in range(size)))
        state(world)
        before = world.computed
        world.apply([event(service("new", "10.96.2.1", ("http", 80)))])
        assert "outbound|80||new.default.svc.cluster.local" in set(state(world)[CLUSTERS].names())
        return world.computed - before

    # for each of the others it is looked up whether it is still the same
    assert computed(60) - computed(40) == 20


def test_the_order_in_which_an_object_names_its_hosts_leaves_no_trace() -> None:
    def hosts(*named: str) -> Object:
        route = [{"destination": {"host": "a"}}]
        return istio("VirtualService", "v", hosts=list(named), http=[{"route": route}])

    server = service("a", "10.96.0.1", ("http", 80))
    world = world_of(server, hosts("x.com", "y.com"))
    state(world)
    world.apply([event(hosts("y.com", "x.com"))])
    assert bodies(world) == bodies(world_of(server, hosts("y.com", "x.com")))


def test_more_levels_than_envoy_takes_cost_that_cluster_alone_and_say_so() -> None:
    labels = [f"l{number}" for number in range(130)]
    rule = {
        "outlierDetection": {"consecutive5xxErrors": 1},
        "loadBalancer": {"localityLbSetting": {"enabled": True, "failoverPriority": labels}},
    }
    # each pod has one label less than the one before as the client has them
    me = sidecar(**dict.fromkeys(labels, "x"))
    pods = [
        pod(f"a-10.0.1.{number}", f"10.0.1.{number}", **dict.fromkeys(labels[:number], "x")) for number in range(131)
    ]
    things = [
        service("a", "10.96.0.1", ("http", 80)),
        service("b", "10.96.0.2", ("http", 80)),
        endpoints("a", *(f"10.0.1.{number}" for number in range(131))),
        endpoints("b", "10.0.0.9"),
        istio("DestinationRule", "a", host="a", trafficPolicy=rule),
    ]
    world = world_of(*things, *pods)
    made = state(world, me)
    assert made[ASSIGNMENTS].get("outbound|80||b.default.svc.cluster.local") is not None
    assert made[ASSIGNMENTS].get("outbound|80||a.default.svc.cluster.local") is None
    [message] = {one.message for one in seats.problems_of([made]) if one.ref.kind == "DestinationRule"}
    assert "a priority of 129; 0 to 128 are allowed" in message
