"""What /metrics says, and that alerts, dashboards and docs name what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from webhook.serving.metrics import ConnectionMetrics, ReviewMetrics, SupervisorMetrics

ROOT = Path(__file__).parents[4]
CHART = ROOT / "deploy" / "chart"
READERS = [CHART / "templates" / "prometheusrule.yaml", CHART / "dashboards" / "pyinject.json"]


def exported() -> set[str]:
    """The names of all time series."""
    reviews, supervisor = CollectorRegistry(), SupervisorMetrics()
    ConnectionMetrics(reviews).closed("full")
    ReviewMetrics(reviews).count("injected", "policy", 0.001)
    supervisor.reloaded("settings", applied=True)
    families = [*reviews.collect(), *supervisor.registry.collect()]
    return {sample.name for family in families for sample in family.samples if not sample.name.endswith("_created")}


@pytest.mark.parametrize("path", READERS, ids=lambda path: path.name)
def test_who_reads_metrics_names_exported_ones(path: Path) -> None:
    read = set(re.findall(r"\bpyinject_[a-z_]+", path.read_text()))
    assert read
    assert read <= exported()


def test_every_metric_is_documented() -> None:
    said = set(re.findall(r"`(pyinject_[a-z_]+)", (ROOT / "docs" / "webhook.md").read_text()))
    assert said == {re.sub("_(bucket|sum|count)$", "", name) for name in exported()}


def test_the_last_reload_is_told_until_one_is_taken_again() -> None:
    metrics = SupervisorMetrics()

    def last(what: str) -> float | None:
        return metrics.registry.get_sample_value("pyinject_last_reload_successful", {"what": what})

    metrics.reloaded("settings", applied=True)
    metrics.reloaded("certificate", applied=True)
    assert (last("settings"), last("certificate")) == (1, 1)
    metrics.reloaded("settings", applied=False)
    metrics.reloaded("settings", applied=False)
    assert (last("settings"), last("certificate")) == (0, 1)
    metrics.reloaded("settings", applied=True)
    assert last("settings") == 1
