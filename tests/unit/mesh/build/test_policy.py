"""DestinationRules as clusters and routes are told them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from common.envoy.parts import Message, typed
from mesh.build.policy import HTTP_OPTIONS, hash_policy, tcp_fields, with_policy
from mesh.build.rules import policy_of, rule_of, subset_labels, subsets_of
from mesh.encode import check, encode
from mesh.model.meshconfig import MeshConfig
from mesh.routing.route import Target
from mesh.world.index import service_of
from mesh.world.proxy import Scope
from mesh.world.world import World
from tests.unit.mesh.objects import Object, service, world_of

KIND = "envoy.config.cluster.v3.Cluster"
CLIENT = Scope("sidecar", "default", (("app", "client"),))
SHOP = Scope("sidecar", "shop")
A = "a.default.svc.cluster.local"


def rule(name: str = "a", namespace: str = "default", created: str = "", **spec: Any) -> Object:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": created},
        "spec": {"host": A, **spec},
    }


def cluster(world: World, config: MeshConfig | None = None, *, scope: Scope = CLIENT, **fields: Any) -> Message:
    """The cluster of port 80, after Envoy's own rules said yes."""
    found = service_of(world, scope, A)
    assert found is not None
    made: Message = {
        "name": f"outbound|80||{A}",
        "type": "EDS",
        "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"}},
        **fields,
    }
    before = str(made)
    done = with_policy(made, policy_of(world, scope, A, 80), config or MeshConfig(), found, found.port(80))
    assert str(made) == before
    assert check(KIND, done) == ()
    encode(KIND, done)
    return done


def at(made: Any, path: str) -> Any:
    if path.startswith("options"):
        made, path = made.get("typed_extension_protocol_options", {}), path.replace("options", HTTP_OPTIONS, 1)
    for step in path.split("/"):
        made = made[int(step)] if step.isdigit() else made.get(step)
        if made is None:
            return None
    return made


CASES = yaml.safe_load((Path(__file__).parent / "cases" / "destinationrule-clusters.yaml").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['at']} {case['policy']}")
def test_a_traffic_policy(case: dict[str, Any]) -> None:
    world = world_of(
        service("a", "10.96.0.1", ("http", 80)), rule(trafficPolicy=case["policy"]) if case["policy"] else rule()
    )
    assert at(cluster(world), case["at"]) == case["is"]


def test_what_was_said_of_the_protocol_stays_beside_what_a_policy_adds() -> None:
    world = world_of(service("a", "10.96.0.1", ("http", 80)), rule(trafficPolicy={"tls": {"mode": "SIMPLE"}}))
    http2 = typed("upstreams.http.v3.HttpProtocolOptions", explicit_http_config={"http2_protocol_options": {}})
    made = cluster(world, typed_extension_protocol_options={HTTP_OPTIONS: http2})
    assert at(made, "options/explicit_http_config") == {"http2_protocol_options": {}}
    assert at(made, "options/upstream_http_protocol_options/auto_sni") is True


def test_the_mesh_says_what_no_rule_says() -> None:
    world = world_of(service("a", "10.96.0.1", ("http", 80)))
    made = cluster(world, MeshConfig(connect_timeout=3.0, h2_upgrade_policy="UPGRADE"))
    assert made["connect_timeout"] == "3s"
    assert at(made, "options/explicit_http_config") == {"http2_protocol_options": {}}


def lb(name: str) -> dict[str, Any]:
    return {"loadBalancer": {"simple": name}}


def test_a_ports_settings_replace_the_hosts_and_a_subsets_join_them() -> None:
    pool = {"connectionPool": {"tcp": {"maxConnections": 1}}}
    world = world_of(
        service("a", "10.96.0.1", ("http", 80), ("http-b", 81)),
        rule(
            trafficPolicy={
                **lb("RANDOM"),
                **pool,
                "portLevelSettings": [{"port": {"number": 81}, **lb("ROUND_ROBIN")}],
            },
            subsets=[
                {"name": "v1", "labels": {"version": "v1"}, "trafficPolicy": lb("ROUND_ROBIN")},
                {
                    "name": "v2",
                    "labels": {"version": "v2"},
                    "trafficPolicy": {"portLevelSettings": [{"port": {"number": 80}, **lb("LEAST_REQUEST")}]},
                },
            ],
        ),
    )

    def of(port: int, subset: str = "") -> tuple[str, bool]:
        found = policy_of(world, CLIENT, A, port, subset)
        assert found.load_balancer is not None
        return str(found.load_balancer.simple), found.connection_pool is not None

    assert of(80) == ("RANDOM", True)
    assert of(81) == ("ROUND_ROBIN", False)
    assert of(80, "v1") == ("ROUND_ROBIN", True)
    assert of(80, "v2") == ("LEAST_REQUEST", False)
    assert of(81, "v2") == ("ROUND_ROBIN", False)
    assert of(80, "unknown") == ("RANDOM", True)


def names(world: World, scope: Scope) -> list[str]:
    found = rule_of(world, scope, A)
    return [f"{ref.namespace}/{ref.name}" for ref in found.refs] if found else []


EVERYWHERE = [
    rule("client", "shop"),
    rule("service", "default"),
    rule("root", "istio-system"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "scope", "holds"),
    [
        (EVERYWHERE, SHOP, ["shop/client"]),
        (EVERYWHERE[1:], SHOP, ["default/service"]),
        (EVERYWHERE[2:], SHOP, ["istio-system/root"]),
        # what is in the root namespace for all does not come before a Service's own there
        (EVERYWHERE, Scope("router", "istio-system"), ["default/service"]),
        ([rule("service", exportTo=["."]), *EVERYWHERE[2:]], SHOP, ["istio-system/root"]),
        ([rule("service", exportTo=["shop"])], SHOP, ["default/service"]),
        ([rule("service", exportTo=["other"])], SHOP, []),
        # the most specific host of a namespace alone
        ([rule("w", host="*.local"), rule("near", host="*.default.svc.cluster.local")], CLIENT, ["default/near"]),
        ([rule("wide", host="*.local"), rule("short", host="a")], CLIENT, ["default/short"]),
        ([rule("other", host="aa.default.svc.cluster.local")], CLIENT, []),
        # a wildcard at the client's comes before the very host at the Service's
        ([rule("wide", "shop", host="*.local"), rule("service")], SHOP, ["shop/wide"]),
        # a selector picks clients of its own namespace
        ([rule("all"), rule("some", workloadSelector={"matchLabels": {"app": "client"}})], CLIENT, ["default/some"]),
        ([rule("all"), rule("some", workloadSelector={"matchLabels": {"app": "x"}})], CLIENT, ["default/all"]),
        ([rule("some", workloadSelector={"matchLabels": {"app": "x"}})], CLIENT, []),
    ],
)  # fmt: skip
def test_which_rule_holds(rules: list[Object], scope: Scope, holds: list[str]) -> None:
    world = world_of(service("a", "10.96.0.1", ("http", 80)), *rules)
    assert names(world, scope) == holds


def test_rules_for_one_host_are_joined_and_the_older_one_has_the_say() -> None:
    world = world_of(
        service("a", "10.96.0.1", ("http", 80)),
        rule("young", created="2026-02-01T00:00:00Z", trafficPolicy=lb("RANDOM"),
             subsets=[{"name": "v1", "labels": {"version": "x"}}, {"name": "v2", "labels": {"version": "v2"}}]),
        rule("old", created="2026-01-01T00:00:00Z", subsets=[{"name": "v1", "labels": {"version": "v1"}}]),
    )  # fmt: skip
    assert names(world, CLIENT) == ["default/old", "default/young"]
    assert subsets_of(world, CLIENT, A) == ("v1", "v2")
    assert subset_labels(world, CLIENT, A, "v1") == (("version", "v1"),)
    assert subset_labels(world, CLIENT, A, "v3") is None
    assert subset_labels(world, CLIENT, A, "") == ()
    assert cluster(world)["lb_policy"] == "RANDOM"


@pytest.mark.parametrize(
    ("said", "policy"),
    [
        ({"httpHeaderName": "x-user"}, {"header": {"header_name": "x-user"}}),
        ({"httpQueryParameterName": "user"}, {"query_parameter": {"name": "user"}}),
        ({"useSourceIp": True}, {"connection_properties": {"source_ip": True}}),
        ({"httpCookie": {"name": "u", "ttl": "9s", "path": "/"}}, {"cookie": {"name": "u", "ttl": "9s", "path": "/"}}),
        ({"httpCookie": {"name": "user", "ttl": "0s"}}, {"cookie": {"name": "user", "ttl": "0s"}}),
        ({"httpCookie": {"name": "user"}}, {"cookie": {"name": "user"}}),
    ],
)  # fmt: skip
def test_what_a_request_is_hashed_by(said: dict[str, Any], policy: Message) -> None:
    world = world_of(
        service("a", "10.96.0.1", ("http", 80)), rule(trafficPolicy={"loadBalancer": {"consistentHash": said}})
    )
    assert hash_policy(world, CLIENT, Target(A, 80)) == policy
    assert check("envoy.config.route.v3.RouteAction.HashPolicy", policy) == ()
    assert hash_policy(world, CLIENT, Target("other", 80)) is None


def test_what_a_connection_is_told() -> None:
    policy = {
        "connectionPool": {"tcp": {"idleTimeout": "90s"}},
        "loadBalancer": {"consistentHash": {"useSourceIp": True}},
        "tunnel": {"protocol": "POST", "targetHost": "out.example.com", "targetPort": 443},
    }
    world = world_of(service("a", "10.96.0.1", ("tcp", 80)), rule(trafficPolicy=policy))
    assert tcp_fields(world, CLIENT, Target(A, 80)) == {
        "idle_timeout": "90s",
        "hash_policy": [{"source_ip": {}}],
        "tunneling_config": {"hostname": "out.example.com:443", "use_post": True},
    }
    assert tcp_fields(world, CLIENT, Target("", 0)) == {}
