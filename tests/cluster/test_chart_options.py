"""What each of the chart's options renders to."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from tests.cluster.charts import CHART, refusal, rendered
from tests.cluster.harness import ROOT, TAG

DIGEST = "sha256:" + "1" * 64
OPTIONAL = {"NetworkPolicy", "HorizontalPodAutoscaler", "ServiceMonitor", "PrometheusRule"}


def pod(found: dict[tuple[str, str], Any]) -> dict[str, Any]:
    spec: dict[str, Any] = found["Deployment", "pyinject"]["spec"]["template"]["spec"]
    return spec


def test_nothing_optional_comes_unasked() -> None:
    found = rendered()
    assert not OPTIONAL & {kind for kind, _ in found}
    assert not [name for kind, name in found if kind == "ConfigMap" and "dashboard" in name]
    assert "events" not in json.dumps(found["ClusterRole", "pyinject"])


def test_images_by_digest_the_injected_ones_too() -> None:
    found = rendered("image=" + json.dumps({"hub": "r.example/p", "digests": {"webhook": DIGEST, "init": DIGEST}}))
    assert pod(found)["containers"][0]["image"] == f"r.example/p/webhook:{TAG}@{DIGEST}"
    values = json.loads(found["ConfigMap", "istio-sidecar-injector"]["data"]["values"])["global"]
    assert values["proxy_init"] == {"image": f"r.example/p/init:{TAG}@{DIGEST}"}
    assert "proxy" not in values  # no digest: by hub and tag


def test_one_s_own_image_in_settings_wins_over_the_digest() -> None:
    own = {"global": {"proxy": {"image": "mine.example/envoy:1"}}}
    digests = json.dumps({"proxy": DIGEST})
    found = rendered(f"image.digests={digests}", "settings.values=" + json.dumps(own))
    values = json.loads(found["ConfigMap", "istio-sidecar-injector"]["data"]["values"])["global"]
    assert values["proxy"]["image"] == "mine.example/envoy:1"


def test_selectors_narrow_every_webhook_and_widen_none() -> None:
    plain = rendered()["MutatingWebhookConfiguration", "pyinject"]["webhooks"]
    batch = {"key": "batch", "operator": "DoesNotExist"}
    condition = {"name": "no-ci", "expression": "request.userInfo.username != 'ci'"}
    narrowed = rendered(
        'webhook.namespaceSelector={"matchLabels":{"team":"shop"}}',
        "webhook.objectSelector=" + json.dumps({"matchExpressions": [batch]}),
        "webhook.matchConditions=" + json.dumps([condition]),
    )["MutatingWebhookConfiguration", "pyinject"]["webhooks"]
    assert len(plain) == len(narrowed) == 4
    for before, after in zip(plain, narrowed, strict=True):
        assert after["namespaceSelector"] == before["namespaceSelector"] | {"matchLabels": {"team": "shop"}}
        assert after["objectSelector"]["matchExpressions"] == [*before["objectSelector"]["matchExpressions"], batch]
        assert after["matchConditions"] == [*before["matchConditions"], condition]


def test_arguments_and_environment_come_after_the_chart_s_own() -> None:
    container = pod(rendered('extraArgs=["--log-level=debug"]', 'extraEnv=[{"name":"A","value":"b"}]'))["containers"][0]
    assert container["args"][-2:] == ["--log-level=info", "--log-level=debug"]
    assert container["env"] == [{"name": "A", "value": "b"}]


def test_an_autoscaler_takes_the_place_of_replicas() -> None:
    found = rendered('autoscaling={"enabled":true,"minReplicas":3}', "replicas=1")
    assert "replicas" not in found["Deployment", "pyinject"]["spec"]
    scaled = found["HorizontalPodAutoscaler", "pyinject"]["spec"]
    assert (scaled["scaleTargetRef"]["name"], scaled["minReplicas"]) == ("pyinject", 3)
    assert ("PodDisruptionBudget", "pyinject") in found  # by minReplicas, not by replicas
    assert "resources.requests.cpu" in refusal('autoscaling={"enabled":true}', 'resources={"requests":null}')
    assert "autoscaling.minReplicas is 9" in refusal('autoscaling={"enabled":true,"minReplicas":9}')


def test_a_spread_counts_the_webhook_s_own_pods() -> None:
    constraint = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    own = {"app.kubernetes.io/name": "pyinject", "app.kubernetes.io/instance": "pyinject"}
    given = constraint | {"labelSelector": {"matchLabels": {"team": "mesh"}}}
    spread = pod(rendered(f"topologySpreadConstraints={json.dumps([constraint, given])}"))["topologySpreadConstraints"]
    assert spread == [constraint | {"labelSelector": {"matchLabels": own}}, given]


def test_the_network_policy_lets_in_reviews_and_scrapes_alone() -> None:
    servers, scrapers = {"ipBlock": {"cidr": "192.0.2.1/32"}}, {"namespaceSelector": {"matchLabels": {"name": "mon"}}}
    options = {"enabled": True, "apiServers": [servers], "scrapers": [scrapers]}
    found = rendered(f"networkPolicy={json.dumps(options)}")
    policy = found["NetworkPolicy", "pyinject"]["spec"]
    labels = found["Deployment", "pyinject"]["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"] == [
        {"ports": [{"port": "https"}], "from": [servers]},
        {"ports": [{"port": "metrics"}], "from": [scrapers]},
    ]
    assert policy["egress"] == [{"ports": [{"port": 443}, {"port": 6443}], "to": [servers]}]
    # the ports are the container's by name
    assert {port["name"] for port in pod(found)["containers"][0]["ports"]} == {"https", "metrics"}


def test_a_service_monitor_finds_the_service() -> None:
    found = rendered('serviceMonitor={"enabled":true,"labels":{"release":"prometheus"}}')
    monitor, service = found["ServiceMonitor", "pyinject"], found["Service", "pyinject"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}


def test_events_may_be_written_and_not_read() -> None:
    rules = rendered("events.enabled=true")["ClusterRole", "pyinject"]["rules"]
    assert [rule["verbs"] for rule in rules if rule["resources"] == ["events"]] == [["create"]]


@pytest.mark.parametrize(
    "setting", ['serviceAccount={"annotations":{"eks.amazonaws.com/role-arn":"arn:aws:iam::1:role/a"}}']
)
def test_the_service_account_s_annotations(setting: str) -> None:
    annotations = rendered(setting)["ServiceAccount", "pyinject"]["metadata"]["annotations"]
    assert annotations == {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/a"}


def test_a_second_revision_has_names_of_its_own_throughout() -> None:
    everything = [
        f"{name}.enabled=true" for name in ("networkPolicy", "autoscaling", "serviceMonitor", "prometheusRule")
    ]
    everything += ["dashboards.enabled=true", "events.enabled=true"]
    first, second = rendered(*everything), rendered(*everything, 'revision="canary"')
    assert len(first) == len(second)
    assert not first.keys() & second.keys()


def test_what_the_docs_show_is_taken() -> None:
    text = (ROOT / "docs" / "chart.md").read_text().replace("sha256:…", DIGEST)
    examples = [yaml.safe_load(example) for example in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    assert len(examples) > 5
    for values in examples:
        rendered(*(f"{name}={json.dumps(value)}" for name, value in values.items()))


def test_every_value_is_in_the_schema_and_has_a_type() -> None:
    """So that a misspelt one is refused at any depth, but for what is Kubernetes' or Istio's own."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def compare(values: dict[str, Any], schema: dict[str, Any]) -> None:
        assert values.keys() <= schema["properties"].keys()
        assert schema["additionalProperties"] is False
        for name, value in values.items():
            if isinstance(value, dict) and "properties" in schema["properties"][name]:
                compare(value, schema["properties"][name])

    compare(values, schema)
    # `global` is what Helm gives to every chart
    assert schema["properties"].keys() - values.keys() == {"global"}
