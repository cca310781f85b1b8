"""What Gateways, their listeners and routes are told of themselves, and what is made for a Gateway."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from mesh.build.deployment import hindrance, is_makeable, objects
from mesh.build.statuses import Standing, class_status, gateway_status, route_status
from mesh.model.meta import ObjectRef
from mesh.world.world import World
from tests.unit.mesh.objects import Object, service, world_of

THEN, NOW = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
CLASS = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "GatewayClass",
    "metadata": {"name": "pymesh", "generation": 3},
    "spec": {"controllerName": "pysidecar.io/gateway-controller"},
}
HTTP = "{name: http, port: 80, protocol: HTTP}"
REVIEWS = service("reviews", "10.96.0.1", ("http", 9080))
PARENT = "parentRefs: [{name: gw}]"
TO_REVIEWS = "rules: [{backendRefs: [{name: reviews, port: 9080}]}]"
ACKED = Standing(generation=2, proxies=1, accepted=1)


def api(kind: str, name: str, spec: str, namespace: str = "default", **more: Any) -> Object:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "generation": 2, "uid": "u-1"},
        "spec": yaml.safe_load(spec),
    } | more


def gateway(listeners: str = HTTP, more: str = "") -> Object:
    return api("Gateway", "gw", f"{{gatewayClassName: pymesh, listeners: [{listeners}]{more}}}")


def own_service(address: str = "10.96.0.9", **more: Any) -> Object:
    made = service("gw-pymesh", address, ("http", 80))
    made["metadata"]["labels"] = {"gateway.networking.k8s.io/gateway-name": "gw"}
    return made | more


def told(world: World, standing: Standing = ACKED, pods: int = 0, before: Any = None) -> dict[str, Any]:
    status = gateway_status(
        world, world.get("KubernetesGateway", "default", "gw"), standing, pods, "", NOW, before or {}
    )
    assert status is not None
    return status


def short(conditions: list[dict[str, Any]]) -> dict[str, str]:
    """Status and reason by type; all of the newest generation."""
    assert {one["observedGeneration"] for one in conditions} == {2}
    return {one["type"]: f"{one['status']} {one['reason']}" for one in conditions}


def route(spec: str, kind: str = "HTTPRoute", namespace: str = "default", *others: Object) -> dict[str, str]:
    """What a route is told at its first parent."""
    world = world_of(CLASS, gateway(), REVIEWS, api(kind, "r", f"{{{spec}}}", namespace), *others)
    ref = ObjectRef(kind, namespace, "r")
    status = route_status(world, ref, world.get(*ref).meta, NOW, {})
    return short(status["parents"][0]["conditions"]) if status else {}


def test_a_class_of_ours_is_accepted_and_one_of_others_is_not_ours() -> None:
    world = world_of(CLASS)
    found = class_status(world.get("GatewayClass", "", "pymesh"), NOW, {})
    assert found is not None
    assert found["conditions"][0]["status"] == "True"
    names = [one["name"] for one in found["supportedFeatures"]]
    assert names == sorted(names)
    other = CLASS | {"spec": {"controllerName": "example.com/gateway"}}
    assert class_status(world_of(other).get("GatewayClass", "", "pymesh"), NOW, {}) is None


def test_programmed_needs_an_address_and_the_acceptance_of_every_proxy_of_this_generation() -> None:
    world = world_of(CLASS, gateway(), own_service())
    assert short(told(world)["conditions"]) == {"Accepted": "True Accepted", "Programmed": "True Programmed"}
    for standing in (
        Standing(2, 0, 0),
        Standing(2, 2, 1),
        Standing(1, 1, 1),
        Standing(2, 1, 0).beside(Standing(2, 1, 1)),
        Standing(2, 1, 1).beside(Standing(1, 1, 1)),
    ):
        assert short(told(world, standing)["conditions"])["Programmed"] == "False Pending", standing
    refused = told(world, Standing(2, 1, 0, "no such cipher"))
    assert short(refused["conditions"])["Programmed"] == "False Invalid"
    without = world_of(CLASS, gateway())
    assert short(told(without)["conditions"])["Programmed"] == "False AddressNotAssigned"


def test_what_was_programmed_stays_so_while_proxies_are_told_of_other_things() -> None:
    world = world_of(CLASS, gateway(), own_service())
    before = told(world)
    assert short(told(world, Standing(2, 1, 0), 1, before)["conditions"])["Programmed"] == "True Programmed"
    assert short(told(world, Standing(2, 0, 0), 0, before)["conditions"])["Programmed"] == "False Pending"


def test_the_first_address_is_the_load_balancers_else_the_services_own() -> None:
    assert told(world_of(CLASS, gateway(), own_service()))["addresses"] == [{"type": "IPAddress", "value": "10.96.0.9"}]
    balanced = own_service(status={"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}, {"hostname": "lb.example"}]}})
    assert told(world_of(CLASS, gateway(), balanced))["addresses"] == [
        {"type": "IPAddress", "value": "192.0.2.7"},
        {"type": "Hostname", "value": "lb.example"},
    ]


def test_a_service_of_another_is_not_taken() -> None:
    world = world_of(CLASS, gateway(), service("gw-pymesh", "10.96.0.9", ("http", 80)))
    assert "already" in hindrance(world, world.get("KubernetesGateway", "default", "gw"))
    assert short(told(world)["conditions"])["Accepted"] == "False Invalid"
    assert told(world)["addresses"] == []


@pytest.mark.parametrize(
    ("listener", "expected"),
    [
        (HTTP, {"Accepted": "True Accepted", "ResolvedRefs": "True ResolvedRefs", "Programmed": "True Programmed"}),
        ("{name: x, port: 80, protocol: example.com/own}", {"Accepted": "False UnsupportedProtocol"}),
        (
            "{name: x, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: Strange}]}}",
            {"ResolvedRefs": "False InvalidRouteKinds", "Programmed": "False Invalid"},
        ),
        (
            "{name: x, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: nothing}]}}",
            {"ResolvedRefs": "False InvalidCertificateRef", "Programmed": "False Invalid"},
        ),
        (
            "{name: x, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: c, namespace: certs}]}}",
            {"ResolvedRefs": "False RefNotPermitted"},
        ),
        (
            "{name: x, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: c, kind: Strange}]}}",
            {"ResolvedRefs": "False InvalidCertificateRef"},
        ),
    ],
)
def test_a_listener_tells_what_is_wrong_with_it(listener: str, expected: dict[str, str]) -> None:
    [found] = told(world_of(CLASS, gateway(listener), own_service()))["listeners"]
    assert short(found["conditions"]).items() >= expected.items()


def test_of_two_listeners_that_exclude_each_other_the_first_stands() -> None:
    tcp = "{name: tcp, port: 80, protocol: TCP}"
    status = told(world_of(CLASS, gateway(f"{HTTP}, {tcp}"), own_service()))
    first, second = (short(one["conditions"]) for one in status["listeners"])
    assert (first["Conflicted"], first["Programmed"]) == ("False NoConflicts", "True Programmed")
    assert (second["Conflicted"], second["Accepted"]) == ("True ProtocolConflict", "False ProtocolConflict")
    assert short(status["conditions"])["Accepted"] == "True ListenersNotValid"


def test_a_listener_counts_the_routes_that_it_takes() -> None:
    routes = [api("HTTPRoute", name, f"{{{PARENT}, {TO_REVIEWS}}}") for name in "ab"]
    elsewhere = api("HTTPRoute", "c", "{parentRefs: [{name: gw, namespace: default}]}", "shop")
    [found] = told(world_of(CLASS, gateway(), REVIEWS, own_service(), *routes, elsewhere))["listeners"]
    assert found["attachedRoutes"] == 2
    assert [one["kind"] for one in found["supportedKinds"]] == ["HTTPRoute", "GRPCRoute"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (f"{PARENT}, {TO_REVIEWS}", {"Accepted": "True Accepted", "ResolvedRefs": "True ResolvedRefs"}),
        (f"parentRefs: [{{name: gw, sectionName: other}}], {TO_REVIEWS}", {"Accepted": "False NoMatchingParent"}),
        (f"parentRefs: [{{name: gw, port: 81}}], {TO_REVIEWS}", {"Accepted": "False NoMatchingParent"}),
        (
            f"{PARENT}, rules: [{{backendRefs: [{{name: nothing, port: 1}}]}}]",
            {"ResolvedRefs": "False BackendNotFound"},
        ),
        (
            f"{PARENT}, rules: [{{backendRefs: [{{name: reviews, port: 9080, namespace: shop}}]}}]",
            {"ResolvedRefs": "False RefNotPermitted"},
        ),
        (f"{PARENT}, rules: [{{backendRefs: [{{name: x, kind: Strange}}]}}]", {"ResolvedRefs": "False InvalidKind"}),
        (
            f"parentRefs: [{{group: '', kind: Service, name: reviews}}], {TO_REVIEWS}",
            {"Accepted": "True Accepted", "ResolvedRefs": "True ResolvedRefs"},
        ),
        (
            f"parentRefs: [{{group: '', kind: Service, name: reviews, port: 1}}], {TO_REVIEWS}",
            {"Accepted": "False NoMatchingParent"},
        ),
    ],
)
def test_a_route_is_told_how_it_stands_at_its_parent(spec: str, expected: dict[str, str]) -> None:
    assert route(spec).items() >= expected.items()


def test_a_route_of_a_namespace_or_host_that_no_listener_takes() -> None:
    where = "parentRefs: [{name: gw, namespace: default}]"
    assert route(where, namespace="shop")["Accepted"] == "False NotAllowedByListeners"
    narrow = api(
        "Gateway",
        "narrow",
        "{gatewayClassName: pymesh, listeners: [{name: a, port: 80, protocol: HTTP, hostname: a.b}]}",
    )
    found = route("parentRefs: [{name: narrow}], hostnames: [c.d]", "HTTPRoute", "default", narrow)
    assert found["Accepted"] == "False NoMatchingListenerHostname"


def test_what_others_wrote_stays_and_a_condition_keeps_its_time() -> None:
    world = world_of(CLASS, gateway(), own_service(), REVIEWS, api("HTTPRoute", "r", f"{{{PARENT}, {TO_REVIEWS}}}"))
    ref = ObjectRef("HTTPRoute", "default", "r")
    meta = world.get(*ref).meta
    theirs = {"controllerName": "example.com/other", "parentRef": {"name": "x"}, "conditions": []}
    first = route_status(world, ref, meta, THEN, {"parents": [theirs]})
    assert first is not None
    assert first["parents"][0] == theirs
    assert route_status(world, ref, meta, NOW, first) == first
    before = told(world, before={"conditions": [{"type": "Theirs", "status": "True", "observedGeneration": 2}]})
    assert [one["type"] for one in before["conditions"]] == ["Accepted", "Programmed", "Theirs"]


def test_a_route_that_leaves_takes_its_entry_with_it() -> None:
    world = world_of(CLASS, api("HTTPRoute", "r", "{parentRefs: [{name: elsewhere}]}"))
    ref = ObjectRef("HTTPRoute", "default", "r")
    meta = world.get(*ref).meta
    ours = {"controllerName": "pysidecar.io/gateway-controller", "parentRef": {"name": "gw"}, "conditions": []}
    assert route_status(world, ref, meta, NOW, {"parents": [ours]}) == {"parents": []}
    assert route_status(world, ref, meta, NOW, {}) is None


def test_a_gateway_is_run_by_objects_of_its_own() -> None:
    more = ", infrastructure: {labels: {team: web}, annotations: {note: x}}"
    world = world_of(CLASS, gateway(f"{HTTP}, {{name: u, port: 53, protocol: UDP}}", more))
    template = {"service": {"type": "ClusterIP"}, "deployment": {"replicas": 2, "template": {"spec": {"volumes": []}}}}
    one = world.get("KubernetesGateway", "default", "gw")
    account, before, runs = objects(one, one.listeners, template)
    assert [one["kind"] for one in (account, before, runs)] == ["ServiceAccount", "Service", "Deployment"]
    for one in (account, before, runs):
        assert one["metadata"]["labels"].items() >= {"team": "web"}.items()
        assert one["metadata"]["annotations"] == {"note": "x"}
        assert one["metadata"]["ownerReferences"][0]["uid"] == "u-1"
    assert before["spec"]["type"] == "ClusterIP"
    assert [one["port"] for one in before["spec"]["ports"]] == [80, 15021]
    pod = runs["spec"]["template"]
    assert pod["metadata"]["labels"].items() >= before["spec"]["selector"].items()
    assert runs["spec"]["selector"]["matchLabels"] == before["spec"]["selector"]
    assert (runs["spec"]["replicas"], pod["spec"]["serviceAccountName"]) == (2, "gw-pymesh")
    assert template["deployment"]["template"] == {"spec": {"volumes": []}}


def test_a_pod_starts_with_what_the_control_plane_writes_into_its_arguments() -> None:
    world = world_of(CLASS, gateway())
    one = world.get("KubernetesGateway", "default", "gw")
    spec = {"containers": [{"name": "istio-proxy", "args": ["--log-level", "warning"]}, {"name": "beside"}]}
    template = {"proxy": {"xdsAddress": "pymesh.system.svc:15012"}, "deployment": {"template": {"spec": spec}}}
    runs = objects(one, one.listeners, template)[2]
    first, second = runs["spec"]["template"]["spec"]["containers"]
    flag, told, *others = first["args"]
    assert (flag, others, second) == ("--config-yaml", ["--log-level", "warning"], {"name": "beside"})
    node = yaml.safe_load(told)["node"]
    assert node["id"] == "router~$(INSTANCE_IP)~$(POD_NAME).$(POD_NAMESPACE)~$(POD_NAMESPACE).svc.cluster.local"
    assert node["metadata"]["LABELS"]["gateway.networking.k8s.io/gateway-name"] == "gw"
    assert spec["containers"][0]["args"] == ["--log-level", "warning"]


@pytest.mark.parametrize(
    ("addresses", "makeable", "service"),
    [
        ("[{value: 10.96.0.77}]", True, {"clusterIP": "10.96.0.77", "clusterIPs": ["10.96.0.77"]}),
        ("[{value: 10.96.0.77}, {value: 'fd00::7'}]", True, {"clusterIPs": ["10.96.0.77", "fd00::7"]}),
        ("[{value: 10.96.0.77}, {value: 192.0.2.1}]", False, {}),
        ("[{type: strange/kind, value: x}]", False, {}),
        ("[{type: IPAddress}]", True, {}),
    ],
)
def test_addresses_asked_for(addresses: str, makeable: bool, service: dict[str, Any]) -> None:
    world = world_of(CLASS, gateway(HTTP, f", addresses: {addresses}"), own_service("10.96.0.77"))
    one = world.get("KubernetesGateway", "default", "gw")
    assert is_makeable(one) == makeable
    if makeable:
        inside = objects(one, one.listeners, {"service": {"type": "ClusterIP"}})[1]["spec"]
        assert inside.items() >= service.items()
        assert ("clusterIP" in inside) == bool(service)
        outside = objects(one, one.listeners, {"service": {"type": "LoadBalancer"}})[1]["spec"]
        assert outside.get("loadBalancerIP") == ("10.96.0.77" if service else None)
    programmed = short(told(world)["conditions"])["Programmed"]
    if "192.0.2.1" in addresses:
        assert programmed == "False AddressNotUsable"
    elif "strange" in addresses:
        assert short(told(world)["conditions"])["Accepted"] == "False UnsupportedAddress"


def test_what_could_not_be_made_is_told() -> None:
    world = world_of(CLASS, gateway())
    one = world.get("KubernetesGateway", "default", "gw")
    status = gateway_status(world, one, ACKED, 0, "exceeded quota", NOW, {})
    assert status is not None
    [_, programmed] = status["conditions"]
    assert (programmed["reason"], programmed["message"]) == ("NoResources", "exceeded quota")


def test_a_condition_that_nothing_asks_for_any_more_goes_and_keeps_its_time_till_then() -> None:
    more = ", tls: {backend: {clientCertificateRef: {name: none}}}"
    before = told(world_of(CLASS, gateway(HTTP, more), own_service()))
    assert short(before["conditions"])["ResolvedRefs"] == "False InvalidClientCertificateRef"
    for one in before["conditions"]:
        one["lastTransitionTime"] = THEN
    again = told(world_of(CLASS, gateway(HTTP, more), own_service()), before=before)
    assert {one["lastTransitionTime"] for one in again["conditions"]} == {THEN}
    assert "ResolvedRefs" not in short(told(world_of(CLASS, gateway(), own_service()), before=before)["conditions"])
