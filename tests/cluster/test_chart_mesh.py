"""The chart's control plane: what it may, that pods ask it, and that its gateway is a proxy like those of pods."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from common.envoy.discovery import AUDIENCE, CA, CA_CONFIG_MAP, TOKEN
from mesh.cli import parser
from mesh.model.kinds import KINDS
from mesh.serve.admission import GROUPS
from tests.cluster.charts import refusal, rendered
from tests.cluster.harness import NAMESPACE
from webhook.settings import Settings

ON = 'mesh={"enabled":true}'
WITH_GATEWAY = 'mesh={"enabled":true,"gateway":{"enabled":true}}'


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str], Any]:
    return rendered(WITH_GATEWAY)


def pod_of(found: dict[tuple[str, str], Any], name: str) -> dict[str, Any]:
    spec: dict[str, Any] = found["Deployment", name]["spec"]["template"]["spec"]
    return spec


def test_without_it_the_chart_says_nothing_of_it() -> None:
    assert not [name for name in rendered() if "pymesh" in name[1]]


def test_pods_ask_the_control_plane_of_the_release(found: dict[tuple[str, str], Any]) -> None:
    values = json.loads(found["ConfigMap", "istio-sidecar-injector"]["data"]["values"])
    settings = Settings.load(values)
    assert settings.profile == "mesh"
    assert settings.proxy["discoveryAddress"] == f"pymesh.{NAMESPACE}.svc:15012"
    service = found["Service", "pymesh"]
    assert (service["metadata"]["namespace"], service["spec"]["ports"][0]["port"]) == (NAMESPACE, 15012)


def test_digests_of_images_stay_beside_the_address() -> None:
    digest = "sha256:" + "1" * 64
    values = rendered(ON, f'image.digests={{"proxy":"{digest}"}}')["ConfigMap", "istio-sidecar-injector"]["data"][
        "values"
    ]
    proxy = json.loads(values)["global"]["proxy"]
    assert proxy["image"].endswith(digest)
    assert proxy["discoveryAddress"] == f"pymesh.{NAMESPACE}.svc:15012"


def test_it_may_read_every_kind_and_write_little(found: dict[tuple[str, str], Any]) -> None:
    rules = found["ClusterRole", "pymesh"]["rules"]
    read = {
        (group, resource)
        for rule in rules
        if rule["verbs"] == ["list", "watch"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert read == {(kind.group, kind.plural) for kind in KINDS.values()}
    rest = [rule for rule in rules if rule["verbs"] != ["list", "watch"]]
    own = {
        "apiGroups": ["admissionregistration.k8s.io"], "resources": ["validatingwebhookconfigurations"],
        "resourceNames": ["pymesh"], "verbs": ["get", "patch"],
    }  # fmt: skip
    rest.remove(own)
    assert {verb for rule in rest for verb in rule["verbs"]} == {"create", "patch"}
    for rule in rest:
        status = all(resource.endswith("/status") for resource in rule["resources"])
        only = rule.get("resourceNames") == [CA_CONFIG_MAP]
        # what it makes for Gateways, and the class; deleting is the garbage collector's
        makes = rule["resources"] in (["services", "serviceaccounts"], ["deployments"])
        class_ = rule["resources"] == ["gatewayclasses"] and (
            rule["verbs"] == ["create"] or rule["resourceNames"] == ["pymesh"]
        )
        assert status or only or makes or class_ or rule["resources"] in (["tokenreviews"], ["configmaps"]), rule


def test_the_gateways_that_it_makes_run_as_the_charts_own_and_need_no_file_to_start(
    found: dict[tuple[str, str], Any],
) -> None:
    template = yaml.safe_load(found["ConfigMap", "pymesh-gateway"]["data"]["gateway.yaml"])
    spec = template["deployment"]["template"]["spec"]
    assert "initContainers" not in spec  # pymesh writes the bootstrap into the arguments, which begin with it
    [proxy], [own] = spec["containers"], pod_of(found, "istio-ingressgateway")["containers"]
    other = {name for name in proxy.keys() | own.keys() if proxy.get(name) != own.get(name)}
    assert other == {"args", "env", "volumeMounts"}
    assert own["args"] == ["-c", "/etc/envoy/envoy.json", *proxy["args"]]
    assert [one["name"] for one in own["volumeMounts"]] == ["envoy", *(one["name"] for one in proxy["volumeMounts"])]
    assert {"POD_NAME", "POD_NAMESPACE", "INSTANCE_IPS"} <= {one["name"] for one in proxy["env"]}
    told = pod_of(found, "pymesh")["containers"][0]["args"]
    flags = parser("serve").parse_args(told)
    assert flags.gateway_class == "pymesh"
    assert str(flags.gateway_template) == "/etc/pymesh/gateway.yaml"


def test_without_gateways_of_gateway_api_it_may_make_nothing() -> None:
    without = rendered('mesh={"enabled":true,"gatewayAPI":{"enabled":false}}')
    assert ("ConfigMap", "pymesh-gateway") not in without
    resources = {name for rule in without["ClusterRole", "pymesh"]["rules"] for name in rule["resources"]}
    assert "deployments" not in resources


def test_api_servers_ask_it_about_what_it_reads_and_do_without_it(found: dict[tuple[str, str], Any]) -> None:
    [webhook] = found["ValidatingWebhookConfiguration", "pymesh"]["webhooks"]
    assert (webhook["failurePolicy"], webhook["sideEffects"]) == ("Ignore", "None")
    asked = {
        (group, resource) for rule in webhook["rules"] for group in rule["apiGroups"] for resource in rule["resources"]
    }
    assert asked == {(kind.group, kind.plural) for kind in KINDS.values() if kind.group in GROUPS}
    called = webhook["clientConfig"]["service"]
    ports = {port["port"]: port["targetPort"] for port in found["Service", called["name"]]["spec"]["ports"]}
    [container] = pod_of(found, "pymesh")["containers"]
    at = {port["name"]: port["containerPort"] for port in container["ports"]}[ports[called["port"]]]
    args = parser("serve").parse_args(container["args"])
    assert args.admission_address == f"[::]:{at}"
    assert args.webhook_configuration == "pymesh"
    assert "caBundle" not in webhook["clientConfig"]


def test_its_ports_are_for_those_who_need_them() -> None:
    servers = '[{"ipBlock":{"cidr":"10.0.0.1/32"}}]'
    found = rendered(ON, f'networkPolicy={{"enabled":true,"apiServers":{servers}}}')
    policy = found["NetworkPolicy", "pymesh"]["spec"]
    [xds, webhook, metrics, replicas] = policy["ingress"]
    assert "from" not in xds
    assert webhook == {"ports": [{"port": "https-webhook"}], "from": json.loads(servers)}
    assert metrics["ports"] == replicas["ports"] == [{"port": "http-metrics"}]
    own = [{"podSelector": {"matchLabels": policy["podSelector"]["matchLabels"]}}]
    assert replicas["from"] == policy["egress"][0]["to"] == own


def test_without_a_cluster_to_look_at_no_definition_is_written(found: dict[tuple[str, str], Any]) -> None:
    assert not [name for name in found if name[0] == "CustomResourceDefinition"]


def test_its_pods_are_restricted_and_spread(found: dict[tuple[str, str], Any]) -> None:
    for name in ("pymesh", "istio-ingressgateway"):
        spec = pod_of(found, name)
        assert spec["securityContext"]["runAsNonRoot"] is True
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
        assert found["Deployment", name]["spec"]["replicas"] == 2
        assert found["PodDisruptionBudget", name]["spec"]["minAvailable"] == 1


def test_the_gateway_starts_with_a_bootstrap_that_pymesh_writes(found: dict[tuple[str, str], Any]) -> None:
    spec = pod_of(found, "istio-ingressgateway")
    [writer] = spec["initContainers"]
    args = parser("bootstrap").parse_args(writer["args"])
    assert (args.kind, args.tls_ca, args.token) == ("router", CA, TOKEN)
    assert args.xds_address == f"pymesh.{NAMESPACE}.svc:15012"
    fields = {one["name"]: one["valueFrom"]["fieldRef"]["fieldPath"] for one in writer["env"]}
    assert fields[args.service_account.strip("$()")] == "spec.serviceAccountName"
    labels = found["Deployment", "istio-ingressgateway"]["spec"]["template"]["metadata"]["labels"]
    assert labels["istio"] == "ingressgateway"
    told = dict(pair.split("=") for pair in args.labels.split(",") if pair)
    assert told.items() <= labels.items()
    assert spec["containers"][0]["args"][1] == args.output
    [volume] = [one for one in spec["volumes"] if one["name"] == "pymesh"]
    [token, authority] = volume["projected"]["sources"]
    assert token["serviceAccountToken"]["audience"] == AUDIENCE
    assert authority["configMap"]["name"] == CA_CONFIG_MAP


@pytest.mark.parametrize("tls", ["", "mine"])
def test_there_is_an_authority_and_it_may_be_read(tls: str) -> None:
    found = rendered(ON, json.dumps({"secretName": tls}).join(("tls=", "")))
    name = "pymesh-ca" if tls else "pyinject-ca"
    assert ("Secret", name) in found
    assert found["Role", "pymesh"]["rules"][0] == {
        "apiGroups": [""], "resources": ["secrets"], "resourceNames": [name], "verbs": ["get", "patch"],
    }  # fmt: skip
    assert f"--ca-secret={name}" in pod_of(found, "pymesh")["containers"][0]["args"]


@pytest.mark.parametrize(
    "setting",
    [
        'mesh={"enabled":"yes"}',
        'mesh={"replica":1}',
        'mesh={"gateway":{"service":{"type":"ExternalName"}}}',
        'mesh={"gateway":{"service":{"ports":[]}}}',
        'mesh={"gateway":{"name":"A"}}',
    ],
)
def test_values_that_mean_nothing_are_refused(setting: str) -> None:
    assert "values don't meet the specifications of the schema" in refusal(setting)


def test_a_revision_has_names_of_its_own() -> None:
    found = rendered(ON, 'revision="canary"')
    assert ("Deployment", "pymesh-canary") in found
    values = yaml.safe_load(found["ConfigMap", "istio-sidecar-injector-canary"]["data"]["values"])
    assert values["global"]["proxy"]["discoveryAddress"] == f"pymesh-canary.{NAMESPACE}.svc:15012"


def test_it_may_hold_the_lease_that_it_asks_for(found: dict[tuple[str, str], Any]) -> None:
    told = parser("serve").parse_args(pod_of(found, "pymesh")["containers"][0]["args"])
    [held] = [
        rule for rule in found["Role", "pymesh"]["rules"] if "leases" in rule["resources"] and "get" in rule["verbs"]
    ]
    assert held["resourceNames"] == [told.service]  # mesh.serve.cluster: the Lease has the Service's name
    assert {"get", "update"} <= set(held["verbs"])
