"""What is wrong in an object alone: each line a spec, and the problems it has as `code path`."""

# ruff: noqa: E501

from __future__ import annotations

from typing import Any

import pytest
import yaml

from mesh.model.kinds import BY_KEY
from mesh.model.problem import CODES

ROUTE = "route: [{destination: {host: a}}]"

CASES: dict[str, list[tuple[str, list[str]]]] = {
    "VirtualService": [
        (f"{{hosts: [a], http: [{{{ROUTE}}}]}}", []),
        ("{}", ["missing spec.http"]),
        (f"{{hosts: [a], htpp: [], http: [{{{ROUTE}}}]}}", ["unknown-field spec.htpp"]),
        ("{hosts: [a], http: [{}]}", ["missing spec.http[0].route"]),
        ("{hosts: [a], http: {}}", ["wrong-type spec.http"]),
        ("{hosts: [a, a_b., 'x..y'], http: [{" + ROUTE + "}]}", ["not-allowed spec.hosts[1]", "not-allowed spec.hosts[2]"]),
        (f"{{hosts: ['*'], http: [{{{ROUTE}}}]}}", ["not-allowed spec.hosts[0]"]),
        (f"{{hosts: ['*'], gateways: [gw], http: [{{{ROUTE}}}]}}", []),
        (f"{{hosts: [a, a], http: [{{{ROUTE}}}]}}", ["conflict spec.hosts[1]"]),
        (f"{{hosts: [a], gateways: [x/y/z], http: [{{{ROUTE}}}]}}", ["not-allowed spec.gateways[0]"]),
        (f"{{hosts: [a], exportTo: ['*', b], http: [{{{ROUTE}}}]}}", ["conflict spec.exportTo[0]"]),
        ("{hosts: [a], http: [{route: [{destination: {}}]}]}", ["missing spec.http[0].route[0].destination.host"]),
        ("{hosts: [a], http: [{route: [{destination: {host: a}, weight: -1}]}]}",
         ["not-allowed spec.http[0].route[0].weight"]),
        ("{hosts: [a], http: [{route: [{destination: {host: a}}, {destination: {host: b}}]}]}",
         ["not-allowed spec.http[0].route"]),
        ("{hosts: [a], http: [{route: [{destination: {host: a}, weight: 1}, {destination: {host: b}, weight: 2}]}]}",
         ["weights spec.http[0].route"]),
        ("{hosts: [a], http: [{route: [{destination: {host: a}, weight: 2147483647}, "
         "{destination: {host: b}, weight: 2147483647}, {destination: {host: c}, weight: 2}]}]}",
         ["not-allowed spec.http[0].route"]),
        ("{hosts: ['', a], http: [{" + ROUTE + "}]}", ["not-allowed spec.hosts[0]"]),
        ("{hosts: [a], http: [{redirect: {uri: /b}, " + ROUTE + "}]}", ["conflict spec.http[0].route"]),
        ("{hosts: [a], http: [{redirect: {}}]}", ["missing spec.http[0].redirect"]),
        ("{hosts: [a], http: [{redirect: {uri: /b, redirectCode: 200}}]}",
         ["not-allowed spec.http[0].redirect.redirectCode"]),
        ("{hosts: [a], http: [{delegate: {name: b}, " + ROUTE + "}]}", ["conflict spec.http[0].route"]),
        ("{gateways: [gw], http: [{" + ROUTE + "}]}", ["conflict spec.gateways"]),
        ("{hosts: [a], http: [{timeout: 5, " + ROUTE + "}]}", ["wrong-type spec.http[0].timeout"]),
        ("{hosts: [a], http: [{timeout: 0s, " + ROUTE + "}]}", ["not-allowed spec.http[0].timeout"]),
        ("{hosts: [a], http: [{timeout: 1.5ms, " + ROUTE + "}]}", ["not-allowed spec.http[0].timeout"]),
        ("{hosts: [a], http: [{match: [{uri: {regex: '(?=x)'}}], " + ROUTE + "}]}",
         ["not-allowed spec.http[0].match[0].uri.regex"]),
        ("{hosts: [a], http: [{match: [{uri: {exact: a, prefix: b}}], " + ROUTE + "}]}",
         ["conflict spec.http[0].match[0].uri.prefix"]),
        ("{hosts: [a], http: [{match: [{headers: {'x y': {exact: a}}}], " + ROUTE + "}]}",
         ['not-allowed spec.http[0].match[0].headers["x y"]']),
        ("{hosts: [a], http: [{match: [{gateways: [gw]}], " + ROUTE + "}]}",
         ["never-matches spec.http[0].match[0].gateways"]),
        ("{hosts: [a], http: [{retries: {attempts: 1, retryOn: '5xx,nothing'}, " + ROUTE + "}]}",
         ["not-allowed spec.http[0].retries.retryOn"]),
        ("{hosts: [a], http: [{retries: {attempts: 2, retryOn: '5xx,418'}, " + ROUTE + "}]}", []),
        ("{hosts: [a], http: [{retries: {retryOn: 5xx}, " + ROUTE + "}]}", ["conflict spec.http[0].retries.attempts"]),
        ("{hosts: [a], http: [{fault: {abort: {httpStatus: 503}}, " + ROUTE + "}]}",
         ["no-effect spec.http[0].fault.abort.percentage"]),
        ("{hosts: [a], http: [{fault: {delay: {percentage: {value: 101}, fixedDelay: 1s}}, " + ROUTE + "}]}",
         ["not-allowed spec.http[0].fault.delay.percentage.value"]),
        ("{hosts: [a], http: [{fault: {abort: {percentage: {value: 1}}}, " + ROUTE + "}]}",
         ["missing spec.http[0].fault.abort.httpStatus"]),
        ("{hosts: [a], http: [{headers: {request: {set: {x: 'a%b'}}}, " + ROUTE + "}]}",
         ["not-allowed spec.http[0].headers.request.set.x"]),
        ("{hosts: [a], http: [{headers: {request: {set: {x: '%REQ(a)% 100%%'}}}, " + ROUTE + "}]}", []),
        ("{hosts: [a], http: [{headers: {response: {remove: [Host]}}, " + ROUTE + "}]}",
         ["not-allowed spec.http[0].headers.response.remove[0]"]),
        ("{hosts: [a], http: [{" + ROUTE + "}, {" + ROUTE + "}]}", ["shadowed spec.http[1]"]),
        ("{hosts: [a], http: [{match: [{uri: {prefix: /a}}], " + ROUTE + "}, {match: [{uri: {exact: /ab}}], " + ROUTE + "}]}",
         ["shadowed spec.http[1].match[0]"]),
        ("{hosts: [a], http: [{match: [{uri: {prefix: /a}, method: {exact: GET}}], " + ROUTE
         + "}, {match: [{uri: {exact: /ab}}], " + ROUTE + "}]}", []),
        ("{hosts: [a.b], tls: [{match: [{sniHosts: [c.d]}], " + ROUTE + "}]}",
         ["not-allowed spec.tls[0].match[0].sniHosts[0]"]),
        ("{hosts: ['*.b'], tls: [{match: [{sniHosts: [x.b]}], " + ROUTE + "}]}", []),
        ("{hosts: [a], tls: [{" + ROUTE + "}]}", ["missing spec.tls[0].match"]),
    ],
    "DestinationRule": [
        ("{host: a}", []),
        ("{}", ["missing spec.host"]),
        ("{host: a, subsets: [{name: v1, labels: {a: b}}, {name: v1, labels: {a: c}}]}", ["conflict spec.subsets[1].name"]),
        ("{host: a, trafficPolicy: {}}", ["missing spec.trafficPolicy"]),
        ("{host: a, trafficPolicy: {loadBalancer: {simple: FAST}}}", ["not-allowed spec.trafficPolicy.loadBalancer.simple"]),
        ("{host: a, trafficPolicy: {loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}}}",
         ["conflict spec.trafficPolicy.loadBalancer.consistentHash"]),
        ("{host: a, trafficPolicy: {loadBalancer: {consistentHash: {}}}}",
         ["missing spec.trafficPolicy.loadBalancer.consistentHash"]),
        ("{host: a, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 1000}}}}}",
         ["not-allowed spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize"]),
        ("{host: a, trafficPolicy: {outlierDetection: {maxEjectionPercent: 101}}}",
         ["not-allowed spec.trafficPolicy.outlierDetection.maxEjectionPercent"]),
        ("{host: a, trafficPolicy: {tls: {mode: MUTUAL}}}",
         ["missing spec.trafficPolicy.tls.clientCertificate", "missing spec.trafficPolicy.tls.privateKey"]),
        ("{host: a, trafficPolicy: {portLevelSettings: [{port: {number: 80}}, {port: {number: 80}}]}}",
         ["conflict spec.trafficPolicy.portLevelSettings[1].port.number"]),
        ("{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {b: 50}}]}}}}",
         ["not-allowed spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to"]),
    ],
    "ServiceEntry": [
        ("{hosts: [a.b], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}", []),
        ("{ports: []}", ["missing spec.hosts"]),
        ("{hosts: ['*'], resolution: NONE}", ["not-allowed spec.hosts[0]"]),
        ("{hosts: ['*.a.b'], resolution: DNS}", ["conflict spec.hosts[0]"]),
        ("{hosts: [a.b], addresses: [10.0.0.0/8], resolution: DNS}", ["conflict spec.addresses[0]"]),
        ("{hosts: [a.b], addresses: [x], resolution: NONE}", ["not-allowed spec.addresses[0]"]),
        ("{hosts: [a.b], resolution: NONE, endpoints: [{address: 1.2.3.4}]}", ["conflict spec.endpoints"]),
        ("{hosts: [a.b], resolution: STATIC, endpoints: [{address: x.y}]}", ["not-allowed spec.endpoints[0].address"]),
        ("{hosts: [a.b], resolution: STATIC, endpoints: [{address: 1.2.3.4}], workloadSelector: {labels: {a: b}}}",
         ["conflict spec.workloadSelector"]),
        ("{hosts: [a.b], resolution: DNS, ports: [{number: 80, name: a}, {number: 80, name: b}]}",
         ["conflict spec.ports[1].number"]),
        ("{hosts: [a.b], resolution: DNS, ports: [{number: 80, name: a, protocol: SMTP}]}",
         ["not-allowed spec.ports[0].protocol"]),
        ("{hosts: [a.b], ports: [{number: 80, name: tcp, protocol: TCP}]}", ["no-addresses spec.addresses"]),
    ],
    "Sidecar": [
        ("{egress: [{hosts: ['./*', 'istio-system/*']}]}", []),
        ("{egress: [{hosts: [a]}]}", ["not-allowed spec.egress[0].hosts[0]"]),
        ("{egress: [{hosts: ['*/*']}, {hosts: ['*/*']}]}", ["conflict spec.egress[1]"]),
        ("{egress: [{hosts: ['*/*'], bind: 127.0.0.1}]}", ["missing spec.egress[0].port"]),
        ("{ingress: [{port: {number: 80}, defaultEndpoint: '10.0.0.1:80'}]}",
         ["not-allowed spec.ingress[0].defaultEndpoint"]),
        ("{workloadSelector: {labels: {a: '*'}}}", ["not-allowed spec.workloadSelector.labels.a"]),
    ],
    "Gateway": [
        ("{selector: {a: b}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}", []),
        ("{selector: {a: b}, servers: []}", ["missing spec.servers"]),
        ("{servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}", ["selects-all spec.selector"]),
        ("{selector: {a: b}, servers: [{port: {number: 443, name: s, protocol: HTTPS}, hosts: ['*']}]}",
         ["missing spec.servers[0].tls"]),
        ("{selector: {a: b}, servers: [{port: {number: 443, name: s, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE}}]}",
         ["missing spec.servers[0].tls.privateKey", "missing spec.servers[0].tls.serverCertificate"]),
        ("{selector: {a: b}, servers: [{port: {number: 80, name: h, protocol: HTTP}, hosts: ['a/b/c', '*a.*']}]}",
         ["not-allowed spec.servers[0].hosts[0]", "not-allowed spec.servers[0].hosts[1]"]),
    ],
    "HTTPRoute": [
        ("{parentRefs: [{name: gw}], rules: [{backendRefs: [{name: a, port: 80}]}]}", []),
        ("{parentRefs: [{name: gw}], rules: [{backendRefs: [{name: a}]}]}", ["missing spec.rules[0].backendRefs[0].port"]),
        ("{rules: []}", ["no-effect spec.parentRefs"]),
        ("{parentRefs: [{name: gw}], rules: [{matches: [{path: {value: a}}]}]}",
         ["not-allowed spec.rules[0].matches[0].path.value"]),
        ("{parentRefs: [{name: gw}], rules: [{filters: [{type: URLRewrite}]}]}",
         ["missing spec.rules[0].filters[0].urlRewrite"]),
        ("{parentRefs: [{name: gw}], rules: [{matches: [{path: {type: Exact, value: /a}}], filters: "
         "[{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]}]}",
         ["conflict spec.rules[0].filters[0].urlRewrite.path"]),
        ("{parentRefs: [{name: gw}], rules: [{timeouts: {request: 1s, backendRequest: 2s}}]}",
         ["conflict spec.rules[0].timeouts.backendRequest"]),
    ],
    "KubernetesGateway": [
        ("{gatewayClassName: a, listeners: [{name: a, port: 80, protocol: HTTP}]}", []),
        ("{gatewayClassName: a, listeners: [{name: a, port: 80, protocol: HTTP}, {name: a, port: 80, protocol: HTTP}]}",
         ["conflict spec.listeners[1]", "conflict spec.listeners[1].name"]),
        ("{gatewayClassName: a, listeners: [{name: a, port: 443, protocol: HTTPS, tls: {}}]}",
         ["missing spec.listeners[0].tls.certificateRefs"]),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "spec", "wanted"), [(kind, *case) for kind, cases in CASES.items() for case in cases])
def test_problems(kind: str, spec: str, wanted: list[str]) -> None:
    thing: dict[str, Any] = {"metadata": {"name": "a", "namespace": "default"}, "spec": yaml.safe_load(spec)}
    parsed = BY_KEY[kind].parse(thing)
    assert sorted(f"{one.code} {one.path}" for one in parsed.problems) == wanted
    assert (parsed.value is None) == any(one.severity == "error" for one in parsed.problems)


def test_a_misspelt_field_is_named() -> None:
    parsed = BY_KEY["DestinationRule"].parse({"metadata": {"name": "a"}, "spec": {"host": "a", "trafficPolcy": {}}})
    (problem,) = parsed.problems
    assert problem.message == "there is no such field, it has no effect; did you mean trafficPolicy?"
    assert str(problem).startswith("DestinationRule default/a: spec.trafficPolcy: ")


@pytest.mark.parametrize(
    ("metadata", "wanted"),
    [
        (None, ["not-an-object metadata"]),
        ({}, ["missing metadata.name"]),
        ({"name": "a", "labels": {"x": 1}}, ["wrong-type metadata.labels.x"]),
        ({"name": "a", "annotations": []}, ["wrong-type metadata.annotations"]),
    ],
)
def test_metadata(metadata: Any, wanted: list[str]) -> None:
    parsed = BY_KEY["Namespace"].parse({"metadata": metadata})
    assert [f"{one.code} {one.path}" for one in parsed.problems] == wanted
    assert parsed.value is None


def test_every_code_has_its_sentence() -> None:
    used = {case.split()[0] for cases in CASES.values() for _, wanted in cases for case in wanted}
    assert used <= set(CODES)
