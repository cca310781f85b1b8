"""Istio's CustomResourceDefinitions: the chart brings those that are not there, and takes none away."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mesh.model.openapi import DEFINED
from tests.cluster.charts import CHART, helm
from tests.cluster.harness import MANIFEST, Cluster

NAMES = {f"{plural}.networking.istio.io" for plural in (
    "virtualservices", "destinationrules", "serviceentries", "sidecars", "gateways", "workloadentries")}  # fmt: skip
NAMES |= {"telemetries.telemetry.istio.io"}
RELEASE = "definitions"
# nothing of it has to run for this
NONE = ("--set", "replicas=0", "--set", "mesh.enabled=true", "--set", "mesh.replicas=0", "--set", "revision=crds")
FOREIGN = "gateways.networking.istio.io"


def there(cluster: Cluster) -> set[str]:
    return {one["metadata"]["name"] for one in cluster.get("crd")} & NAMES


@pytest.fixture
def foreign(bare_cluster: Cluster) -> Iterator[Cluster]:
    """A cluster where another has defined one kind already."""
    bare_cluster.kubectl("delete", "crd", "--ignore-not-found", *NAMES)
    bare_cluster.kubectl("create", "-f", str(MANIFEST.with_name("crds")))
    bare_cluster.kubectl("delete", "crd", *(NAMES - {FOREIGN}))
    bare_cluster.kubectl("label", "crd", FOREIGN, "whose=another")
    try:
        yield bare_cluster
    finally:
        helm("uninstall", RELEASE, "--namespace", RELEASE, check=False)
        bare_cluster.kubectl("delete", "namespace", RELEASE, "--ignore-not-found", "--wait=false")
        bare_cluster.kubectl("delete", "crd", "--ignore-not-found", *NAMES)


def test_those_that_are_missing_come_with_it_and_stay_when_it_goes(foreign: Cluster) -> None:
    assert len(NAMES) == len(DEFINED)
    helm("install", RELEASE, str(CHART), "--namespace", RELEASE, "--create-namespace", *NONE)
    assert there(foreign) == NAMES
    before = foreign.get("crd", FOREIGN)["metadata"]
    helm("upgrade", RELEASE, str(CHART), "--namespace", RELEASE, *NONE)
    assert there(foreign) == NAMES
    helm("uninstall", RELEASE, "--namespace", RELEASE, "--wait")
    assert there(foreign) == NAMES
    after = foreign.get("crd", FOREIGN)["metadata"]
    assert after["labels"]["whose"] == "another"
    assert "meta.helm.sh/release-name" not in after.get("annotations", {})
    assert after["resourceVersion"] == before["resourceVersion"]
