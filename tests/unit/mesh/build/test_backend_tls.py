"""BackendTLSPolicy: whom gateways trust at a Service's port, which policy holds, and what it is told."""

from __future__ import annotations

from typing import Any

from mesh.build.policystatus import policy_status
from mesh.model.meta import ObjectRef
from mesh.world.proxy import Proxy
from mesh.world.world import World
from mesh.xds.types import CDS
from tests.unit.mesh.build.test_gateway_api import POD, api, bodies, gateway, route
from tests.unit.mesh.objects import Object, authorities, certificate, service, world_of

NOW = "2026-01-02T00:00:00Z"
A = service("a", "10.96.0.1", ("http", 80), ("other", 81), namespace="gateways")
GATEWAY = gateway("name: http, port: 80, protocol: HTTP")
ROUTE = route("r", "parentRefs: [{name: gw}]")
CA = authorities("ca", "gateways")
NAME = "outbound|80||a.gateways.svc.cluster.local"


def policy(
    name: str = "p", section: str = "", ref: str = "{group: '', kind: ConfigMap, name: ca}", more: str = ""
) -> Object:
    at = f", sectionName: {section}" if section else ""
    made = api(
        "BackendTLSPolicy",
        name,
        f"{{targetRefs: [{{group: '', kind: Service, name: a{at}}}], "
        f"validation: {{hostname: {name}.example, caCertificateRefs: [{ref}]{more}}}}}",
    )
    made["metadata"] |= {"creationTimestamp": NOW, "generation": 2}
    return made


def sni(world: World, name: str = NAME) -> str:
    cluster = bodies(world, CDS).get(name)
    if cluster is None:
        return "none"
    return str(cluster.get("transport_socket", {}).get("typed_config", {}).get("sni", "plain"))


def told(world: World, name: str = "p") -> dict[str, str]:
    ref = ObjectRef("BackendTLSPolicy", "gateways", name)
    status = policy_status(world, ref, world.get(*ref).meta, NOW, {})
    if status is None:
        return {}
    [one] = status["ancestors"]
    assert one["ancestorRef"]["name"] == "gw"
    return {c["type"]: f"{c['status']} {c['reason']}" for c in one["conditions"]}


GOOD = {"Accepted": "True Accepted", "ResolvedRefs": "True ResolvedRefs"}


def test_gateways_speak_tls_to_the_service_and_look_at_its_name() -> None:
    world = world_of(POD, A, GATEWAY, ROUTE, CA, policy())
    context = bodies(world, CDS)[NAME]["transport_socket"]["typed_config"]
    assert context["sni"] == "p.example"
    validation: dict[str, Any] = context["common_tls_context"]["validation_context"]
    assert validation["match_typed_subject_alt_names"] == [{"san_type": "DNS", "matcher": {"exact": "p.example"}}]
    assert validation["trusted_ca"]["inline_bytes"]
    assert told(world) == GOOD
    sidecar = Proxy("sidecar", "s-1", "gateways", ("10.0.0.4",))
    assert "transport_socket" not in bodies(world, CDS, sidecar)[NAME]


def test_names_of_the_certificate_stand_in_the_place_of_the_hostname() -> None:
    names = "subjectAltNames: [{type: URI, uri: 'spiffe://x/y'}, {type: Hostname, hostname: h.example}]"
    world = world_of(POD, A, GATEWAY, ROUTE, CA, policy(more=f", {names}"))
    context = bodies(world, CDS)[NAME]["transport_socket"]["typed_config"]
    wanted = context["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"]
    assert [(one["san_type"], one["matcher"]["exact"]) for one in wanted] == [
        ("URI", "spiffe://x/y"),
        ("DNS", "h.example"),
    ]


def test_nobody_is_sent_where_nobody_can_be_trusted() -> None:
    for ref, reason, objects in (
        ("{group: '', kind: ConfigMap, name: none}", "InvalidCACertificateRef", ()),
        ("{group: '', kind: ConfigMap, name: bad}", "InvalidCACertificateRef", (authorities("bad", "gateways", b"x"),)),
        ("{group: x.io, kind: Strange, name: ca}", "InvalidKind", ()),
    ):
        world = world_of(POD, A, GATEWAY, ROUTE, CA, policy(ref=ref), *objects)
        assert sni(world) == "none"
        assert told(world) == {"Accepted": "False NoValidCACertificate", "ResolvedRefs": f"False {reason}"}


def test_one_good_authority_is_enough() -> None:
    both = "{group: '', kind: ConfigMap, name: none}, {group: '', kind: ConfigMap, name: ca}"
    world = world_of(POD, A, GATEWAY, ROUTE, CA, policy(ref=both))
    assert sni(world) == "p.example"
    assert told(world) == {"Accepted": "True Accepted", "ResolvedRefs": "False InvalidCACertificateRef"}


def test_the_port_comes_before_the_service_and_the_first_before_the_second() -> None:
    world = world_of(
        POD, A, GATEWAY, ROUTE, CA, policy("whole"), policy("x", "http"), policy("y", "http"), policy("zwhole")
    )
    assert sni(world) == "x.example"
    assert sni(world, NAME.replace("|80|", "|81|")) == "whole.example"
    assert told(world, "x") == told(world, "whole") == GOOD
    assert told(world, "y")["Accepted"] == told(world, "zwhole")["Accepted"] == "False Conflicted"


def test_a_gateway_shows_a_certificate_of_its_own() -> None:
    def shown(secrets: tuple[Object, ...]) -> list[str]:
        own = gateway(
            "name: http, port: 80, protocol: HTTP", more="tls: {backend: {clientCertificateRef: {name: mine}}},"
        )
        world = world_of(POD, A, own, ROUTE, CA, policy(), *secrets)
        context = bodies(world, CDS)[NAME]["transport_socket"]["typed_config"]["common_tls_context"]
        return [one["name"] for one in context.get("tls_certificate_sds_secret_configs", ())]

    assert shown((certificate("mine", "gateways"),)) == ["kubernetes-gateway://gateways/mine"]
    assert shown((certificate("mine", "elsewhere"),)) == []
