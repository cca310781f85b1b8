"""What Prometheus and Grafana are given, judged by Prometheus' own engine: alerts come, panels show something."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.charts import CHART, rendered
from tests.cluster.harness import NAMESPACE, ROOT
from tests.parts import path

DASHBOARDS = sorted((CHART / "dashboards").glob("*.json"))
PROGRAMS = ("pyinject", "pymesh")
# a sample of everything that a panel reads
SERIES = {
    "pyinject_build_info": "1x60",
    "pyinject_certificate_expiry_timestamp_seconds": "7776000x60",
    "pyinject_connections": "1x60",
    "pyinject_connections_refused_total": "0+1x60",
    "pyinject_last_reload_successful": "1x60",
    "pyinject_reloads_total": "0+1x60",
    "pyinject_reviews_total": "0+1x60",
    "pyinject_requests_in_flight": "1x60",
    "pyinject_review_seconds_bucket": "0+1x60",
    "pyinject_worker_restarts_total": "0+1x60",
}
PLAIN = 'result="applied"'
LABELS = {
    "pyinject_review_seconds_bucket": 'le="+Inf"',
    "pyinject_connections_refused_total": 'reason="full"',
    "pyinject_reviews_total": 'result="refused",reason="annotation"',
}


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run([path("promtool"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def rules(*settings: str, name: str = "pyinject") -> dict[str, Any]:
    told = ("prometheusRule.enabled=true", "mesh.enabled=true")
    spec: dict[str, Any] = rendered(*told, *settings)["PrometheusRule", name]["spec"]
    return spec


def cases(program: str) -> Path:
    return Path(__file__).with_name("alerts.yaml" if program == "pyinject" else f"alerts-{program}.yaml")


@pytest.mark.parametrize("program", PROGRAMS)
def test_alerts_come_when_they_should_and_not_otherwise(program: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules(name=program)))
    shutil.copy(cases(program), tmp_path)
    promtool("check", "rules", tmp_path / "rules.yaml")
    promtool("test", "rules", tmp_path / cases(program).name)


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_alert_is_seen_to_come(program: str) -> None:
    """By the file of tests above, so that a new one is not forgotten."""
    tests = yaml.safe_load(cases(program).read_text())["tests"]
    come = {
        alert["alertname"] for test in tests for alert in test.get("alert_rule_test", ()) if alert.get("exp_alerts")
    }
    assert come == {rule["alert"] for group in rules(name=program)["groups"] for rule in group["rules"]}


def test_every_alert_is_documented() -> None:
    said = re.findall(r"^\| `((?:Pyinject|Pymesh|Mesh)\w+)` \|", (ROOT / "docs" / "chart.md").read_text(), re.MULTILINE)
    groups = [group for name in PROGRAMS for group in rules(name=name)["groups"]]
    assert list(dict.fromkeys(rule["alert"] for group in groups for rule in group["rules"])) == said


def test_thresholds_and_labels_are_the_user_s(tmp_path: Path) -> None:
    labels = {"severity": "page", "team": "mesh"}
    options = {"certificateDays": 30.5, "refusedShare": 0.5, "latencySeconds": 2, "alertLabels": labels}
    settings = [f"prometheusRule.{name}={json.dumps(value)}" for name, value in options.items()]
    found = rules(*settings, 'revision="canary"', name="pyinject-canary")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(found))
    promtool("check", "rules", tmp_path / "rules.yaml")
    (group,) = found["groups"]
    expressions = " ".join(rule["expr"] for rule in group["rules"])
    assert all(text in expressions for text in ("< 30.5 * 86400", "> 0.5", "> 2", 'service="pyinject-canary"'))
    assert {rule["labels"]["team"] for rule in group["rules"]} == {"mesh"}
    # how bad an alert is stays the chart's to say: Alertmanager's routes read it
    assert {rule["labels"]["severity"] for rule in group["rules"]} == {"warning", "critical"}


def test_panels_show_something(tmp_path: Path) -> None:
    """Each query, its variables filled in as Grafana does, finds something where there is a sample of all metrics.

    Those of the mesh: `test_telemetry`, with real ones."""
    file = CHART / "dashboards" / "pyinject.json"
    variables = {"$namespace": NAMESPACE, "$service": "pyinject", "$__rate_interval": "5m"}
    panels = json.loads(file.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    queries = [re.sub(r"\$\w+", lambda found: variables[found[0]], query) for query in queries]
    labels = f'namespace="{NAMESPACE}",service="pyinject",pod="a",what="settings"'
    series = {f"{name}{{{labels},{LABELS.get(name, PLAIN)}}}": values for name, values in SERIES.items()}
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": f"count({query}) > bool 0", "eval_time": "1h", "exp_samples": [{"labels": "{}", "value": 1}]}
            for query in queries
        ],
    }
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [test]}))
    promtool("test", "rules", tmp_path / "tests.yaml")


def test_grafana_finds_each_dashboard_by_its_label() -> None:
    found = rendered("dashboards.enabled=true", "mesh.enabled=true")
    for file in DASHBOARDS:
        made = found["ConfigMap", f"{file.stem}-dashboard"]
        assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert json.loads(made["data"][file.name]) == json.loads(file.read_text())
