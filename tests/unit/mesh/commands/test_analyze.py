"""`pymesh analyze`: what is told, and how it ends."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
import yaml

from mesh.cli import run
from tests.unit.mesh.sources.rigs import ServerRig

OBJECTS = """
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {clusterIP: 10.0.0.1, selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: 10.0.0.2, ports: [{name: tcp, port: 3306}]}
---
apiVersion: v1
kind: Pod
metadata: {name: reviews-1, namespace: shop, labels: {app: reviews, version: v1}}
status: {podIP: 10.1.0.1}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
"""
RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: NAME, namespace: shop}
spec: SPEC
"""


def rule(spec: str, name: str = "a") -> str:
    return RULE.replace("NAME", name).replace("SPEC", spec)


def told(tmp_path: Path, capsys: pytest.CaptureFixture[str], *documents: str, code: int = 0) -> list[str]:
    (tmp_path / "objects.yaml").write_text("---".join([OBJECTS, *documents]))
    assert run(["analyze", "-f", str(tmp_path), "-o", "json"]) == code
    found = json.loads(capsys.readouterr().out)
    return [f"{one['code']} {one['kind']} {one['name']} {one['path']}" for one in found]


UNUSED = "no-endpoints DestinationRule reviews spec.subsets[1].labels"


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ("{hosts: [reviews], http: [{route: [{destination: {host: reviews, subset: v1}}]}]}", ""),
        ("{hosts: [reviews], http: [{route: [{destination: {host: nobody}}]}]}",
         "no-host VirtualService a spec.http[0].route[0].destination.host"),
        ("{hosts: [reviews], http: [{route: [{destination: {host: reviews, subset: v3}}]}]}",
         "no-subset VirtualService a spec.http[0].route[0].destination.subset"),
        ("{hosts: [reviews], http: [{route: [{destination: {host: reviews, port: {number: 1}}}]}]}",
         "no-port VirtualService a spec.http[0].route[0].destination.port.number"),
        ("{hosts: [reviews], gateways: [gw], http: [{route: [{destination: {host: reviews}}]}]}",
         "no-gateway VirtualService a spec.gateways[0]"),
        ("{hosts: [reviews], http: [{delegate: {name: b}}]}", "no-delegate VirtualService a spec.http[0].delegate"),
        ("{hosts: [db], http: [{route: [{destination: {host: db}}]}]}",
         "hidden-protocol VirtualService a spec.hosts[0]"),
    ],
)  # fmt: skip
def test_names_that_nobody_has(tmp_path: Path, capsys: pytest.CaptureFixture[str], spec: str, wanted: str) -> None:
    found = told(tmp_path, capsys, rule(spec))
    assert [one for one in found if one != UNUSED] == ([wanted] if wanted else [])
    assert UNUSED in found


def test_two_for_one_host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = "{hosts: [reviews], http: [{route: [{destination: {host: reviews}}]}]}"
    found = told(tmp_path, capsys, rule(spec, "b"), rule(spec, "a"))
    assert "two-for-one-host VirtualService b spec.hosts[0]" in found
    assert "two-for-one-host VirtualService a spec.hosts[0]" not in found


def test_a_gateway_that_takes_none_of_the_hosts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gateway = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: shop}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [HOSTS]}]}
"""
    spec = "{hosts: [a.example.com], gateways: [gw], http: [{route: [{destination: {host: reviews}}]}]}"
    for hosts, is_told in {'"*"': False, '"*.example.com"': False, "b.example.com": True, '"other/*"': True}.items():
        found = told(tmp_path, capsys, rule(spec), gateway.replace("HOSTS", hosts))
        assert ("never-matches VirtualService a spec.gateways[0]" in found) == is_told, hosts


def test_errors_end_with_5_and_warnings_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(rule("{hosts: [a], http: [{route: [{destination: {host: a}, weight: x}]}]}"))
    assert run(["analyze", "-f", str(path)]) == 5
    shown = capsys.readouterr()
    assert shown.out.splitlines()[1].split()[:4] == [
        "error",
        "VirtualService",
        "shop/a",
        "spec.http[0].route[0].weight",
    ]
    assert shown.err == "1 object: 1 error, 0 warnings\n"
    assert run(["analyze", "-f", str(path), "--fail-on", "never"]) == 0
    path.write_text(rule("{hosts: [a], http: [{route: [{destination: {host: a}}]}]}"))
    assert run(["analyze", "-f", str(path)]) == 0
    assert run(["analyze", "-f", str(path), "--fail-on", "warning"]) == 5


def test_stdin_and_what_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stdin:
        buffer = io.BytesIO(b"a: b: c")

    monkeypatch.setattr(sys, "stdin", Stdin)
    assert run(["analyze", "-f", "-"]) == 5
    assert "not-yaml" in capsys.readouterr().out
    assert run(["analyze", "-f", str(tmp_path / "none.yaml")]) == 2
    assert run(["analyze"]) == 2
    assert "give -f FILE, or -A" in capsys.readouterr().err


def test_the_clusters_objects_with_a_file_over_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rig = ServerRig(tmp_path)
    for thing in yaml.safe_load_all(OBJECTS):
        if thing["kind"] == "Service":
            rig.put(thing)
    path = tmp_path / "a.yaml"
    route = "{hosts: [reviews], http: [{route: [{destination: {host: HOST}}]}]}"
    rig.put(yaml.safe_load(rule(route.replace("HOST", "nobody"))))
    asked = ["analyze", "-A", "--kubeconfig", str(tmp_path / "kubeconfig"), "-o", "json", "-n", "shop"]
    assert run(asked) == 0
    assert [one["code"] for one in json.loads(capsys.readouterr().out)] == ["no-host"]
    path.write_text(rule(route.replace("HOST", "reviews")))
    assert run([*asked, "-f", str(path)]) == 0
    assert json.loads(capsys.readouterr().out) == []
    rig.close()
    assert run(asked) == 8


def thing(kind: str, name: str, spec: str, **metadata: str) -> str:
    more = "".join(f", {key}: {value}" for key, value in metadata.items())
    return f"""
apiVersion: networking.istio.io/v1
kind: {kind}
metadata: {{name: {name}, namespace: shop{more}}}
spec: {spec}
"""


SECRET = """
apiVersion: v1
kind: Secret
metadata: {name: here, namespace: shop}
type: kubernetes.io/tls
stringData: {tls.crt: '-----BEGIN CERTIFICATE', tls.key: '-----BEGIN X'}
"""
TLS = (
    "{{selector: {{{}}}, servers: [{{port: {{number: 443, name: https, protocol: HTTPS}}, hosts: [a.com], "
    "tls: {{mode: SIMPLE, credentialName: {}}}}}]}}"
)
ENTRY = (
    "{{hosts: [{}], resolution: {}, location: MESH_INTERNAL, ports: [{{number: 80, name: http, protocol: HTTP}}], "
    "endpoints: [{{address: 10.9.0.1}}]}}"
)
RESPOND = "directResponse: {status: 200}"
MESH_CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "extensionProviders: [{name: z, zipkin: {service: z.a, port: 1}}]"}
"""


def telemetry(name: str, provider: str) -> str:
    spec = f"{{tracing: [{{providers: [{{name: {provider}}}]}}]}}"
    return thing("Telemetry", name, spec).replace("networking.istio.io", "telemetry.istio.io")


@pytest.mark.parametrize(
    ("documents", "wanted"),
    [
        ([thing("Gateway", "a", TLS.format("app: nobody", "here"))], "no-workload Gateway a spec.selector"),
        ([thing("Gateway", "a", TLS.format("app: reviews", "gone")), SECRET],
         "no-secret Gateway a spec.servers[0].tls.credentialName"),
        ([thing("Gateway", "a", TLS.format("app: reviews", "gone"))], ""),  # without any Secret nobody can tell
        ([thing("Gateway", "a", TLS.format("app: reviews", "here")),
          thing("Gateway", "b", TLS.format("app: reviews", "here")), SECRET],
         "two-certificates Gateway b spec.servers[0].hosts[0]"),
        ([thing("Sidecar", "a", "{egress: [{hosts: ['*/*']}]}"), thing("Sidecar", "b", "{egress: [{hosts: [./*]}]}")],
         "two-sidecars Sidecar b spec"),
        ([telemetry("a", "z"), telemetry("b", "z"), MESH_CONFIG], "two-telemetries Telemetry b spec"),
        ([telemetry("a", "nobody"), MESH_CONFIG], "no-provider Telemetry a spec.tracing[0].providers[0].name"),
        ([telemetry("a", "nobody")], ""),  # without the mesh configuration nobody can tell
        ([thing("ServiceEntry", "a", ENTRY.format("x.com", "STATIC")),
          thing("ServiceEntry", "b", ENTRY.format("x.com", "STATIC"))], ""),
        ([thing("ServiceEntry", "a", ENTRY.format("x.com", "STATIC")),
          thing("ServiceEntry", "b", ENTRY.format("x.com", "DNS"))],
         "two-for-one-host ServiceEntry b spec.hosts[0]"),
        ([thing("ServiceEntry", "a", ENTRY.format("reviews.shop.svc.cluster.local", "STATIC"))],
         "two-for-one-host ServiceEntry a spec.hosts[0]"),
        ([thing("DestinationRule", "sooner", "{host: reviews, subsets: [{name: v2, labels: {version: v1}}]}")],
         "no-effect DestinationRule sooner spec.subsets[0]"),
        ([thing("DestinationRule", "z", "{host: reviews, trafficPolicy: {tls: {mode: SIMPLE, credentialName: here}}}")],
         "no-effect DestinationRule z spec.trafficPolicy.tls.credentialName"),
        ([thing("VirtualService", "leaf", "{http: [{" + RESPOND + "}]}")], "no-effect VirtualService leaf spec"),
        ([thing("VirtualService", "root", "{hosts: [reviews], http: [{delegate: {name: leaf}}]}"),
          thing("VirtualService", "leaf", "{http: [{" + RESPOND + "}], exportTo: [other]}")],
         "no-delegate VirtualService root spec.http[0].delegate"),
        ([thing("VirtualService", "root", "{hosts: [reviews], http: [{delegate: {name: leaf}}]}"),
          thing("VirtualService", "leaf", "{hosts: [b.com], http: [{" + RESPOND + "}]}")],
         "no-delegate VirtualService root spec.http[0].delegate"),
        ([thing("VirtualService", "root",
                "{hosts: [reviews], http: [{match: [{uri: {prefix: /a}}], delegate: {name: leaf}}]}"),
          thing("VirtualService", "leaf",
                "{http: [{match: [{uri: {prefix: /b}}], " + RESPOND + "}, {" + RESPOND + "}]}")],
         "never-matches VirtualService root spec.http[0].delegate"),
    ],
)  # fmt: skip
def test_rivals_and_what_nobody_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], documents: list[str], wanted: str
) -> None:
    found = told(tmp_path, capsys, *documents)
    assert [one for one in found if one != UNUSED] == ([wanted] if wanted else [])
