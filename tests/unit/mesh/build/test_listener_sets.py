"""ListenerSets: which listeners a Gateway has beside its own, who wins, and what they are told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from common import tls
from mesh.build.statuses import Standing, gateway_status, listener_set_status, sets_of
from mesh.encode import snapshot
from mesh.model.meta import ObjectRef
from mesh.world.world import World
from tests.unit.mesh.build.test_gateway_api import POD, TO, api, bodies, hosts
from tests.unit.mesh.objects import Object, authorities, authority, certificate, service, world_of

NOW = "2026-01-02T00:00:00Z"
GATEWAY = ObjectRef("KubernetesGateway", "gateways", "gw")
OWN = service("gw-istio", "10.96.0.9", ("http", 80), namespace="gateways")
OWN["metadata"]["labels"] = {"gateway.networking.k8s.io/gateway-name": "gw"}


def gateway(allowed: str = "{from: All}", listeners: str = "", more: str = "") -> Object:
    own = listeners or "{name: own, port: 80, protocol: HTTP, hostname: own.example}"
    return api(
        "Gateway",
        "gw",
        f"{{gatewayClassName: istio, listeners: [{own}], allowedListeners: {{namespaces: {allowed}}}{more}}}",
    )


def extra(name: str, listeners: str, namespace: str = "shop", created: str = NOW) -> Object:
    parent = "parentRef: {name: gw, namespace: gateways}"
    made = api("ListenerSet", name, f"{{{parent}, listeners: [{listeners}]}}", namespace)
    made["metadata"] |= {"creationTimestamp": created, "generation": 3}
    return made


def http(name: str, host: str, port: int = 80, allowed: str = "Same") -> str:
    routes = f"allowedRoutes: {{namespaces: {{from: {allowed}}}}}"
    return f"{{name: {name}, port: {port}, protocol: HTTP, hostname: {host}, {routes}}}"


def route(name: str, parent: str, namespace: str = "shop") -> Object:
    return api("HTTPRoute", name, f"{{parentRefs: [{parent}], rules: [{{{TO}}}]}}", namespace)


TO_SET = "{kind: ListenerSet, name: more, namespace: shop}"


def told(world: World, name: str = "more", namespace: str = "shop") -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Status and reason by type, of the ListenerSet and of its listeners."""
    standing = Standing(0, 1, 1, "", sets_of(world, GATEWAY))
    status = listener_set_status(world, world.get("ListenerSet", namespace, name), standing, 0, NOW, {})
    assert status is not None
    return short(status["conditions"]), {one["name"]: short(one["conditions"]) for one in status["listeners"]}


def short(conditions: list[dict[str, Any]]) -> dict[str, str]:
    assert {one["observedGeneration"] for one in conditions} == {3}
    return {one["type"]: f"{one['status']} {one['reason']}" for one in conditions}


NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "a"}}}


@pytest.mark.parametrize(
    ("allowed", "namespace", "lets_in"),
    [
        ("{}", "gateways", False),
        ("{from: Same}", "gateways", True),
        ("{from: Same}", "shop", False),
        ("{from: Selector, selector: {matchLabels: {team: a}}}", "shop", True),
        ("{from: Selector, selector: {matchLabels: {team: b}}}", "shop", False),
        ("{from: All}", "shop", True),
    ],
)
def test_a_gateway_says_whose_listeners_it_takes(allowed: str, namespace: str, lets_in: bool) -> None:
    parent = f"{{kind: ListenerSet, name: more, namespace: {namespace}}}"
    world = world_of(
        POD,
        OWN,
        NAMESPACE,
        gateway(allowed),
        extra("more", http("a", "a.example"), namespace),
        route("to-a", parent, namespace),
    )
    assert ("a.example" in hosts(world)) == lets_in
    of_set, of_listeners = told(world, namespace=namespace)
    if lets_in:
        assert of_set == {"Accepted": "True Accepted", "Programmed": "True Programmed"}
        assert of_listeners["a"]["Programmed"] == "True Programmed"
    else:
        assert of_set == {"Accepted": "False NotAllowed", "Programmed": "False NotAllowed"}
        assert of_listeners == {}


def test_routes_of_the_gateway_and_of_its_listener_sets_are_apart() -> None:
    world = world_of(
        POD,
        gateway(),
        extra("more", http("a", "a.example")),
        route("on-set", TO_SET),
        route("on-gateway", "{name: gw}", "gateways"),
        route("not-allowed", TO_SET, "gateways"),
    )
    assert hosts(world) == {"a.example": ["on-set"], "own.example": ["on-gateway"]}


def test_of_two_for_one_place_the_gateway_comes_first_then_the_older() -> None:
    world = world_of(
        POD,
        OWN,
        gateway(),
        extra("younger", http("x", "x.example"), created="2026-01-01T00:00:01Z"),
        extra("more", f"{http('x', 'x.example')}, {http('own', 'own.example')}", created="2026-01-01T00:00:00Z"),
        extra("tcp", "{name: t, port: 80, protocol: TCP}"),
    )
    assert told(world)[0]["Accepted"] == "True ListenersNotValid"
    assert told(world)[1] == {
        "x": {
            "Accepted": "True Accepted",
            "Conflicted": "False NoConflicts",
            "ResolvedRefs": "True ResolvedRefs",
            "Programmed": "True Programmed",
        },
        "own": {
            "Accepted": "False HostnameConflict",
            "Conflicted": "True HostnameConflict",
            "ResolvedRefs": "True ResolvedRefs",
            "Programmed": "False HostnameConflict",
        },
    }
    assert told(world, "younger")[0] == {
        "Accepted": "False ListenersNotValid",
        "Programmed": "False ListenersNotValid",
    }
    assert told(world, "tcp")[1]["t"]["Conflicted"] == "True ProtocolConflict"
    status = gateway_status(world, world.get(*GATEWAY), Standing(), 0, "", NOW, {})
    assert status is not None
    assert status["attachedListenerSets"] == 1
    assert [one["name"] for one in status["listeners"]] == ["own"]


def test_a_certificate_is_the_listener_sets_own_and_needs_its_grant_elsewhere() -> None:
    def https(name: str, secret: str) -> str:
        refs = f"tls: {{certificateRefs: [{secret}]}}"
        return f"{{name: {name}, port: 443, protocol: HTTPS, hostname: {name}.example, {refs}}}"

    listeners = ", ".join((https("mine", "{name: c}"), https("theirs", "{name: c, namespace: gateways}")))
    grant = "{from: [{group: gateway.networking.k8s.io, kind: KIND, namespace: shop}], to: [{group: '', kind: Secret}]}"
    for kind, secrets in (("Gateway", 1), ("ListenerSet", 2)):
        world = world_of(
            POD,
            OWN,
            gateway(),
            extra("more", listeners),
            certificate("c", "shop"),
            certificate("c", "gateways"),
            api("ReferenceGrant", "g", grant.replace("KIND", kind), "gateways"),
        )
        assert len(bodies(world, snapshot.SECRETS)) == secrets
        fault = "True ResolvedRefs" if secrets == 2 else "False RefNotPermitted"
        assert told(world)[1]["theirs"]["ResolvedRefs"] == fault


OTHER = tls.issue(authority(), ["b.example.com"], datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "data", [{"crt": b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"}, {"key": OTHER.key}]
)
def test_a_certificate_that_is_none_spoils_its_own_listener_alone(data: dict[str, bytes]) -> None:
    one = "{name: NAME, port: 443, protocol: HTTPS, hostname: NAME.example, tls: {certificateRefs: [{name: NAME}]}}"
    both = ", ".join(one.replace("NAME", name) for name in ("good", "bad"))
    world = world_of(
        POD, gateway(listeners=both), certificate("good", "gateways"), certificate("bad", "gateways", **data)
    )
    [chain] = bodies(world, snapshot.LISTENERS)["0.0.0.0_443"]["filter_chains"]
    assert chain["filter_chain_match"]["server_names"] == ["good.example"]


def test_an_istio_gateway_cannot_name_a_secret_as_gateway_api_does() -> None:
    thief = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "thief", "namespace": "gateways"},
        "spec": {
            "servers": [
                {
                    "port": {"number": 444, "name": "https", "protocol": "HTTPS"},
                    "hosts": ["*"],
                    "tls": {"mode": "SIMPLE", "credentialName": "kubernetes-gateway://shop/c"},
                }
            ]
        },
    }
    world = world_of(POD, thief, certificate("c", "shop"))
    assert bodies(world, snapshot.SECRETS) == {}


def test_a_request_on_the_connection_of_another_listener_is_misdirected() -> None:
    tls = "port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: c}]}"
    listeners = (
        f"{{name: any, {tls}}}, {{name: a, hostname: a.example, {tls}}}, {{name: wild, hostname: '*.b.example', {tls}}}"
    )
    world = world_of(POD, gateway(listeners=listeners), certificate("c", "gateways"))
    found = bodies(world, snapshot.TABLES)

    def misdirected(listener: str) -> set[str]:
        return {
            host["domains"][0]
            for host in found[f"https.443.{listener}.gw.gateways"]["virtual_hosts"]
            if host.get("routes", [{}])[0].get("direct_response", {}).get("status") == 421
        }

    assert misdirected("any") == {"a.example", "*.b.example"}
    assert misdirected("a") == {"*", "*.b.example"}
    assert misdirected("wild") == {"*", "a.example"}


def test_clients_certificates_by_port() -> None:
    at = "protocol: HTTPS, tls: {certificateRefs: [{name: c}]}"
    listeners = f"{{name: a, port: 443, {at}}}, {{name: b, port: 8443, {at}}}, {{name: c, port: 9443, {at}}}"
    validation = "{validation: {caCertificateRefs: [{kind: ConfigMap, group: '', name: NAME}]MODE}}"
    strict, nobody = (validation.replace("NAME", name).replace("MODE", "") for name in ("ca", "none"))
    loose = validation.replace("NAME", "ca").replace("MODE", ", mode: AllowInsecureFallback")
    front = f"default: {strict}, perPort: [{{port: 8443, tls: {loose}}}, {{port: 9443, tls: {nobody}}}]"
    world = world_of(
        POD,
        OWN,
        certificate("c", "gateways"),
        authorities("ca", "gateways"),
        gateway(listeners=listeners, more=f", tls: {{frontend: {{{front}}}}}"),
    )
    found = bodies(world, snapshot.LISTENERS)
    contexts = {
        name: found[name]["filter_chains"][0]["transport_socket"]["typed_config"] for name in found if "443" in name
    }
    assert set(contexts) == {"0.0.0.0_443", "0.0.0.0_8443"}  # the third has nobody to trust
    assert contexts["0.0.0.0_443"]["require_client_certificate"]
    assert not contexts["0.0.0.0_8443"].get("require_client_certificate")
    combined = contexts["0.0.0.0_8443"]["common_tls_context"]["combined_validation_context"]
    assert combined["default_validation_context"] == {"trust_chain_verification": "ACCEPT_UNTRUSTED"}
    assert combined["validation_context_sds_secret_config"]["name"] == "kubernetes-gateway-cacert://gateways/gw/8443"
    assert "kubernetes-gateway-cacert://gateways/gw/443" in bodies(world, snapshot.SECRETS)
    status = gateway_status(world, world.get(*GATEWAY), Standing(), 0, "", NOW, {})
    assert status is not None
    assert {one["type"] for one in status["conditions"]} >= {"InsecureFrontendValidationMode"}
    third = status["listeners"][2]["conditions"]
    assert {one["reason"] for one in third if one["status"] == "False"} >= {
        "NoValidCACertificate",
        "InvalidCACertificateRef",
    }
