"""What objects become: defaults, protocols, durations, Services of both kinds."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from mesh.model.fields import regex, seconds, subnet, wildcard_fqdn
from mesh.model.formats import header_value
from mesh.model.kinds import BY_KEY, kind_of
from mesh.model.meshconfig import mesh_config
from mesh.model.meta import ObjectRef
from mesh.model.protocol import Protocol, protocol_of
from mesh.model.service import Resolution
from mesh.model.workload import Locality


def value(kind: str, text: str, **metadata: Any) -> Any:
    thing = {"metadata": {"name": "a", "namespace": "shop", **metadata}, **yaml.safe_load(text)}
    parsed = BY_KEY[kind].parse(thing)
    assert not [problem for problem in parsed.problems if problem.severity == "error"], parsed.problems
    return parsed.value


@pytest.mark.parametrize(
    ("port", "name", "transport", "app_protocol", "wanted"),
    [
        (80, "", "TCP", None, Protocol.AUTO),
        (80, "http", "TCP", None, Protocol.HTTP),
        (80, "HTTP-web", "TCP", None, Protocol.HTTP),
        (80, "httpweb", "TCP", None, Protocol.AUTO),
        (80, "http2-a", "TCP", None, Protocol.HTTP2),
        (80, "grpc", "TCP", None, Protocol.GRPC),
        (80, "grpc-web-a", "TCP", None, Protocol.GRPC_WEB),
        (80, "grpc-a", "TCP", None, Protocol.GRPC),
        (443, "https", "TCP", None, Protocol.HTTPS),
        (443, "tls-a", "TCP", None, Protocol.TLS),
        (1, "mongo", "TCP", None, Protocol.MONGO),
        (53, "dns", "UDP", None, Protocol.UDP),
        (53, "dns", "TCP", None, Protocol.TCP),
        (3306, "", "TCP", None, Protocol.TCP),
        (3306, "http", "TCP", None, Protocol.HTTP),
        (80, "udp-a", "TCP", None, Protocol.UDP),
        (80, "tcp", "TCP", "http", Protocol.HTTP),
        (80, "http", "TCP", "HTTP2", Protocol.HTTP2),
        (80, "http", "TCP", "kubernetes.io/h2c", Protocol.HTTP2),
        (80, "x", "TCP", "kubernetes.io/ws", Protocol.HTTP),
        (80, "x", "TCP", "kubernetes.io/wss", Protocol.HTTPS),
        (80, "http", "TCP", "example.com/own", Protocol.AUTO),
    ],
)
def test_protocols(port: int, name: str, transport: str, app_protocol: str | None, wanted: Protocol) -> None:
    assert protocol_of(port, name, transport, app_protocol) is wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("1.5s", 1.5), ("250ms", 0.25), ("1h2m3s", 3723.0), ("0", 0.0), ("-1s", -1.0), (".5s", 0.5), ("1", None),
     ("1 s", None), ("s", None), ("", None), ("1d", None)],
)  # fmt: skip
def test_durations(text: str, wanted: float | None) -> None:
    assert seconds(text) == wanted


@pytest.mark.parametrize("text", ["*", "*.a", "*.a.b", "*-a.b", "a", "a.b.", "A.b"])
def test_hosts(text: str) -> None:
    assert not wildcard_fqdn(text)


@pytest.mark.parametrize("text", ["", "a*", "a.*", "*.*", "a..b", "-a", "a_b", "**.a", "a/b", "*."])
def test_no_hosts(text: str) -> None:
    assert wildcard_fqdn(text)


def test_services() -> None:
    spec = "{clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1, 'fd00::1'], ports: [{name: http, port: 80, targetPort: web}]}"
    found = value("Service", f"spec: {spec}", annotations={"networking.istio.io/exportTo": "., b"})
    assert (found.hostname, found.name, found.namespace) == ("a.shop.svc.cluster.local", "a", "shop")
    assert found.addresses == ("10.0.0.1", "fd00::1")
    assert found.export_to == (".", "b")
    assert found.resolution is Resolution.CLIENT_SIDE
    assert found.port(80).target_port == "web"
    headless = value("Service", "spec: {clusterIP: None}")
    assert (headless.resolution, headless.is_headless, headless.addresses) == (Resolution.PASSTHROUGH, True, ())
    alias = value("Service", "spec: {type: ExternalName, externalName: x.y.}")
    assert (alias.resolution, alias.external_name) == (Resolution.ALIAS, "x.y")
    sticky = value("Service", "spec: {clusterIP: 1.2.3.4, sessionAffinity: ClientIP}")
    assert sticky.session_affinity == 10800.0


def test_the_domain_is_asked_for() -> None:
    thing = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"clusterIP": "1.2.3.4"}}
    kind = kind_of(thing)
    assert kind is not None
    assert kind.parse(thing, "corp").value.hostname == "a.default.svc.corp"


def test_service_entries_become_services() -> None:
    entry = value("ServiceEntry", """
        spec:
          hosts: [A.example.com, b.example.com]
          addresses: [240.0.0.1, 10.0.0.0/8]
          ports: [{number: 80, name: web, protocol: http, targetPort: 8080}]
          location: MESH_INTERNAL
          resolution: STATIC
          endpoints: [{address: 1.2.3.4, ports: {web: 81}, labels: {v: '1'}}]
    """)  # fmt: skip
    one, two = entry.services()
    assert (one.hostname, two.hostname, one.name) == ("a.example.com", "b.example.com", "a.example.com")
    assert one.ref == ObjectRef("ServiceEntry", "shop", "a")
    assert (one.ports[0].protocol, one.ports[0].target_port) == (Protocol.HTTP, 8080)
    assert not one.mesh_external
    assert one.endpoints[0].ports == {"web": 81}


def test_endpoint_slices() -> None:
    found = value("EndpointSlice", """
        addressType: IPv4
        endpoints:
        - {addresses: [1.2.3.4]}
        - {addresses: [1.2.3.5], conditions: {ready: false, serving: true, terminating: true}, zone: z}
        - {addresses: [1.2.3.6], conditions: {ready: false}, targetRef: {kind: Pod, name: p, namespace: shop}}
        ports: [{name: http, port: 80}, {name: all}]
    """, labels={"kubernetes.io/service-name": "a"})  # fmt: skip
    states = [(one.ready, one.serving, one.terminating) for one in found.endpoints]
    assert states == [(True, True, False), (False, True, True), (False, False, False)]
    assert found.endpoints[2].target == ObjectRef("Pod", "shop", "p")
    assert (found.service, found.ports[1].port) == ("a", None)


def test_localities() -> None:
    assert Locality.parse("r/z/s") == ("r", "z", "s")
    assert Locality.parse("r.z") == ("r", "z", "")
    assert str(Locality("r", "z")) == "r/z"
    node = value("Node", "{}", labels={"topology.kubernetes.io/region": "r", "topology.istio.io/subzone": "s"})
    assert node.locality == Locality("r", "", "s")


def test_the_api_servers_defaults() -> None:
    route = value("HTTPRoute", "spec: {parentRefs: [{name: gw}], rules: [{backendRefs: [{name: b, port: 80}]}]}")
    (rule,) = route.rules
    assert (rule.matches[0].path.type, rule.matches[0].path.value, rule.matches[0].method) == ("PathPrefix", "/", None)
    assert (rule.backend_refs[0].kind, rule.backend_refs[0].weight) == ("Service", 1)
    assert route.parent_refs[0].kind == "Gateway"
    assert len(value("HTTPRoute", "spec: {parentRefs: [{name: gw}]}").rules) == 1
    text = "spec: {gatewayClassName: a, listeners: [{name: a, port: 80, protocol: HTTP}]}"
    assert value("KubernetesGateway", text).listeners[0].allowed_routes.namespaces.from_ == "Same"


def test_what_is_unset_is_none_where_zero_says_something() -> None:
    rule = value("DestinationRule", "spec: {host: a, trafficPolicy: {outlierDetection: {consecutive5xxErrors: 0}}}")
    found = rule.traffic_policy.outlier_detection
    assert (found.consecutive_5xx_errors, found.consecutive_gateway_errors) == (0, None)
    service = value("VirtualService", "spec: {hosts: [a], http: [{redirect: {uri: /b}}]}")
    assert service.http[0].redirect.derive_port is None


def test_the_mesh_configuration() -> None:
    config, problems = mesh_config({"default_config": {"proxy_metadata": {"A_b": "c"}}, "connectTimeout": "2s"})
    assert not problems
    assert config is not None
    assert (config.connect_timeout, config.default_config.proxy_metadata) == (2.0, {"A_b": "c"})
    assert config.outbound_traffic_policy.mode == "ALLOW_ANY"
    thing = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio", "namespace": "istio-system"},
             "data": {"mesh": "accessLogFile: [\n"}}  # fmt: skip
    kind = kind_of(thing)
    assert kind is not None
    assert kind.key == "MeshConfig"
    assert [problem.code for problem in kind.parse(thing).problems] == ["not-yaml"]


def test_a_key_is_never_shown() -> None:
    text = "{type: kubernetes.io/tls, stringData: {tls.crt: '-----BEGIN CERTIFICATE', tls.key: '-----BEGIN X secret'}}"
    found = value("Secret", text)
    assert b"secret" in found.key
    assert "secret" not in repr(found).lower().replace("secret(", "").replace("kind='secret'", "")
    wrong = BY_KEY["Secret"].parse({"metadata": {"name": "a"}, "data": {"tls.key": "not base64 secret!"}})
    assert wrong.value is None
    assert "secret!" not in str(wrong)


def test_a_value_is_equal_when_it_says_the_same() -> None:
    one = value("Namespace", "{}", resourceVersion="1", labels={"a": "b"})
    two = value("Namespace", "{}", resourceVersion="2", labels={"a": "b"})
    assert one == two
    assert hash(one) == hash(two)


@pytest.mark.parametrize(
    "text",
    [
        ".*",
        "[*+]+",
        "a{1,1000}",
        "(?i)x",
        "a(?i)b",
        "[[:alpha:]]+",
        "[a&&b]",
        r"\d+\.[^/]+",
        r"\pL",
        "[]a]",
        r"[\]]",
        "(?P<n>x)",
        r"^(.*?;)?\s*$",
        "((a{10}){10}){10}",
        "(a{100}b{100}){10}",
    ],
)
def test_what_re2_takes(text: str) -> None:
    assert not regex(text)


@pytest.mark.parametrize(
    "text",
    [
        "(",
        "(?=a)",
        "(?<!a)b",
        r"(a)\1",
        "a*+",
        "a{1001}",
        "[z-a]",
        "a**",
        r"\Z",
        "[a",
        "x" * 1025,
        "[[:foo:]]",
        "((x{100}){100}){100}",
        "(?:x{2,32}){32}",
    ],
)
def test_what_re2_does_not_take(text: str) -> None:
    assert regex(text)


# each was shown to a real Envoy 1.40, in a route's response_headers_to_add
@pytest.mark.parametrize(
    "text",
    [
        "",
        "é",
        "100%%",
        "%REQ(x)%",
        "%REQ(X?Y):10%%PROTOCOL%",
        "%START_TIME(%Y-%m-%d)%",
        "%PATH%",
        "%METADATA(ROUTE:a:b)%",
    ],
)
def test_what_header_values_envoy_takes(text: str) -> None:
    assert not header_value(text)


@pytest.mark.parametrize(
    "text",
    [
        "%",
        "%x%",
        "%REQ(%",
        "%NOPE%",
        "%REQ%",
        "%REQ()%",
        "%REQ(X?Y?Z)%",
        "%RESPONSE_CODE:5%",
        "%PROTOCOL(x)%",
        "%DYNAMIC_METADATA()%",
        "%FILE_CONTENT(/etc/passwd)%",
        "a\nb",
        "%A(" * 5000,
    ],
)
def test_what_header_values_envoy_does_not_take(text: str) -> None:
    assert header_value(text)


@pytest.mark.parametrize("text", ["9223372037s", "315576000001s", "9" * 60 + "h"])
def test_longer_than_any_duration_of_gos_and_envoys(text: str) -> None:
    assert seconds(text) is None


@pytest.mark.parametrize("text", ["10.0.0.0/255.0.0.0", "fe80::1%eth0", "10.0.0.0/33", "x"])
def test_no_networks(text: str) -> None:
    assert subnet(text)


def test_digits_that_are_no_numbers() -> None:
    thing = {"metadata": {"name": "a"}, "spec": {"ports": [{"port": 10**5000}, {"port": 1, "targetPort": "\u00b2"}]}}
    assert [problem.path for problem in BY_KEY["Service"].parse(thing).problems] == ["spec.ports[0].port"]
    rule = {"hosts": ["a"], "http": [{"retries": {"attempts": 1, "retryOn": "\u00b2"}, "timeout": "1" * 100000}]}
    assert BY_KEY["VirtualService"].parse({"metadata": {"name": "a"}, "spec": rule}).value is None
