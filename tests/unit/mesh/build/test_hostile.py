"""What Envoy would refuse a whole listener, table or response for: one object's oddity costs that object alone."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.encode import seats, snapshot
from mesh.encode.messages import decode
from mesh.model.kinds import kind_of
from mesh.routing.analysis import problems as analysed
from mesh.world.events import Key, Upsert
from mesh.world.index import new_world
from mesh.world.proxy import Proxy
from mesh.world.world import World
from tests.unit.mesh.objects import Object, endpoints, service, sidecar, world_of

ME = sidecar(app="client")
GATEWAY = Proxy("router", "gw", "default", ("10.0.0.9",), labels={"istio": "gw"})


def istio(kind: str, name: str, **spec: Any) -> Object:
    meta = {"name": name, "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": meta, "spec": spec}


def entry(name: str, host: str, *addresses: str, protocol: str = "TCP", port: int = 80) -> Object:
    ports = [{"name": "p", "protocol": protocol, "number": port}]
    return istio("ServiceEntry", name, hosts=[host], ports=ports, addresses=list(addresses))


def found(world: World, kind: str, proxy: Proxy = ME) -> dict[str, dict[str, Any]]:
    of_type = seats.state_of(world, seats.seat_of(world, seats.guest_of(proxy)))[f"type.googleapis.com/{kind}"]
    return {name: decode(kind, one.body) for name in of_type.names() if (one := of_type.get(name)) is not None}


def problems(world: World, proxy: Proxy = ME) -> list[str]:
    state = seats.state_of(world, seats.seat_of(world, seats.guest_of(proxy)))
    return [f"{one.ref}: {one.message}" for one in seats.problems_of([state])]


def test_a_wildcard_has_no_short_forms_and_nobody_takes_the_place_of_all_other_hosts() -> None:
    world = world_of(
        service("a", "10.96.0.1", ("http", 80)), entry("w", "*.default.svc.cluster.local", protocol="HTTP")
    )
    domains = [one for host in found(world, snapshot.TABLE)["80"]["virtual_hosts"] for one in host["domains"]]
    assert domains.count("*") == 1
    assert "*.default.svc.cluster.local" in domains
    assert len(domains) == len(set(domains))


@pytest.mark.parametrize("port", [15001, 15006, 15020, 15021, 15090])
def test_a_service_at_a_port_of_the_proxys_own_is_left_out_and_told(port: int) -> None:
    world = world_of(service("a", "10.96.0.1", ("http", port)), service("b", "10.96.0.2", ("tcp", port), ("http", 80)))
    names = set(found(world, snapshot.LISTENER))
    assert f"0.0.0.0_{port}" not in names
    assert {f"10.96.0.2_{port}", "0.0.0.0_80", "virtualOutbound", "virtualInbound", "ready"} <= names
    assert problems(world) == [
        f"Service default/a: 0.0.0.0_{port} is left out: OwnPortError: port {port} is the proxy's own"
    ]


def test_an_app_that_claims_the_proxys_own_port_gets_no_chain_for_it() -> None:
    world = world_of(service("client", "10.96.0.1", ("http", 15006), ("x", 80)))
    chains = found(world, snapshot.LISTENER)["virtualInbound"]["filter_chains"]
    ports = [chain["filter_chain_match"].get("destination_port") for chain in chains if chain["name"][0] == "0"]
    assert ports == [80, 80]
    assert "inbound|15006||" not in found(world, snapshot.CLUSTER)


@pytest.mark.parametrize("port", [15000, 15020, 15021, 15090])
def test_a_gateway_at_a_port_of_the_proxys_own_is_left_out_and_told(port: int) -> None:
    def server(number: int) -> dict[str, Any]:
        return {"port": {"number": number, "name": f"http-{number}", "protocol": "HTTP"}, "hosts": ["*"]}

    world = world_of(istio("Gateway", "g", selector={"istio": "gw"}, servers=[server(port), server(80)]))
    assert set(found(world, snapshot.LISTENER, GATEWAY)) == {"ready", "0.0.0.0_80"}
    assert problems(world, GATEWAY)[0].startswith(f"Gateway default/g: 0.0.0.0_{port} is left out")


def test_addresses_that_mean_the_same_are_one_listener() -> None:
    world = world_of(
        entry("s", "a.com", "fd00::1"),
        entry("t", "b.com", "FD00:0::1"),
        entry("u", "c.com", "::", port=81),
        entry("v", "d.com", "0:0::", "1.2.3.4", port=81),
        service("h", "None", ("tcp", 82)),
        endpoints("h", "fd00::7", "FD00::0:7", ports=[("tcp", 82)]),
    )
    names = set(found(world, snapshot.LISTENER)) - {"ready", "virtualOutbound", "virtualInbound"}
    assert names == {"fd00::1_80", "0.0.0.0_81", "1.2.3.4_81", "fd00::7_82"}


def test_of_tls_rules_that_overlap_the_first_has_the_name() -> None:
    def rule(name: str, *hosts: str) -> dict[str, Any]:
        return {"match": [{"sniHosts": list(hosts)}], "route": [{"destination": {"host": name}}]}

    tls = [rule("a.com", "a.com", "a.com"), rule("b.com", "A.com", "b.com")]
    entries = [entry("s", "a.com", protocol="TLS", port=443), entry("t", "b.com", protocol="TLS", port=443)]
    world = world_of(*entries, istio("VirtualService", "v", hosts=["a.com", "A.com", "b.com"], tls=tls))
    chains = found(world, snapshot.LISTENER)["0.0.0.0_443"]["filter_chains"]
    names = [name for chain in chains for name in chain["filter_chain_match"]["server_names"]]
    assert sorted(names) == ["a.com", "b.com"]


def test_a_gateways_tls_server_has_each_name_once() -> None:
    tls = [{"match": [{"sniHosts": ["A.com", "a.com"]}], "route": [{"destination": {"host": "a"}}]}]
    server = {"port": {"number": 443, "name": "tls", "protocol": "TLS"}, "hosts": ["*"], "tls": {"mode": "PASSTHROUGH"}}
    world = world_of(
        service("a", "10.96.0.1", ("tcp", 80)),
        istio("Gateway", "g", selector={"istio": "gw"}, servers=[server]),
        istio("VirtualService", "v", hosts=["a.com", "A.com"], gateways=["g"], tls=tls),
    )
    (chain,) = found(world, snapshot.LISTENER, GATEWAY)["0.0.0.0_443"]["filter_chains"]
    assert chain["filter_chain_match"]["server_names"] == ["a.com"]


TO_A = {"route": [{"destination": {"host": "a"}}]}
ODD: dict[str, list[Object]] = {
    "types": [istio("VirtualService", "x", hosts={"a": 1}, http="no")],
    "nulls": [istio("VirtualService", "x", hosts=None, http=None, gateways=None)],
    "a delegate of itself": [istio("VirtualService", "x", hosts=["b"], http=[{"delegate": {"name": "x"}}])],
    "delegates in a circle": [
        istio("VirtualService", "x", http=[{"delegate": {"name": "y"}}]),
        istio("VirtualService", "y", http=[{"delegate": {"name": "x"}}]),
    ],
    "another line": [istio("VirtualService", "x", hosts=["b"], http=[{"rewrite": {"uri": "/a\r\nx: y"}, **TO_A}])],
    "a large answer": [
        istio(
            "VirtualService",
            "x",
            hosts=["b"],
            http=[{"directResponse": {"status": 200, "body": {"string": "é" * 600_000}}}],
        )
    ],
    "an empty prefix": [
        istio("VirtualService", "x", hosts=["b"], http=[{"match": [{"headers": {"x": {"prefix": ""}}}], **TO_A}])
    ],
    "endless weights": [
        istio(
            "ServiceEntry",
            "x",
            hosts=["x.com"],
            resolution="STATIC",
            ports=[{"number": 80, "name": "http", "protocol": "HTTP"}],
            endpoints=[{"address": f"1.1.1.{one}", "weight": 2**32 - 1} for one in (1, 2)],
        )
    ],
    "all addresses": [
        istio(
            "ServiceEntry",
            "x",
            hosts=["x.com"],
            resolution="NONE",
            addresses=["0.0.0.0/0"],
            ports=[{"number": 80, "name": "t", "protocol": "TCP"}],
        )
    ],
    "names of nobody": [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": one, "namespace": "default"},
            "spec": {"type": "ExternalName", "externalName": f"{other}.default.svc.cluster.local"},
        }
        for one, other in ("pq", "qp", "ss")
    ],
    "a port of the proxy's own": [
        service("y", "10.96.0.9", ("http", 15090)),
        istio(
            "Sidecar",
            "x",
            egress=[
                {"port": {"number": 15090, "protocol": "HTTP", "name": "x"}, "bind": "127.0.0.1", "captureMode": "NONE",
                 "hosts": ["*/*"]},
                {"hosts": ["*/*"]},
            ],
        ),
    ],
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_object_costs_its_neighbours_nothing(odd: list[Object]) -> None:
    good = istio("VirtualService", "good", hosts=["a"], http=[{"directResponse": {"status": 203}}])
    things = [service("a", "10.96.0.1", ("http", 80)), service("b", "10.96.0.2", ("http", 80)), good, *odd]
    world = new_world()
    for thing in things:
        kind = kind_of(thing)
        assert kind is not None
        parsed = kind.parse(thing)
        world.apply([Upsert(kind.key, Key(parsed.ref.namespace, parsed.ref.name), parsed.value, parsed.problems)])
    [host] = [one for one in found(world, snapshot.TABLE)["80"]["virtual_hosts"] if one["name"].startswith("a.default")]
    assert host["routes"][0]["direct_response"]["status"] == 203
    assert {"0.0.0.0_80", "virtualInbound"} <= set(found(world, snapshot.LISTENER))
    assert "127.0.0.1_15090_bound" not in found(world, snapshot.LISTENER)
    analysed(world)
