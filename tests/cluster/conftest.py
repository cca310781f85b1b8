"""One cluster for the session, with the project installed from deploy/; namespaces for each test module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.harness import MANIFEST, NAMESPACE, Cluster, running_cluster


@pytest.fixture(scope="session")
def bare_cluster() -> Iterator[Cluster]:
    """A cluster with the project's images and nothing installed."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def cluster(bare_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with deploy/pysidecar.yaml installed and serving; by module, since others install by the chart."""
    manifest = MANIFEST.read_text()
    bare_cluster.install(manifest)
    try:
        bare_cluster.wait("condition=Available", "deployment/pyinject", NAMESPACE)
        yield bare_cluster
    finally:
        bare_cluster.uninstall(manifest)
    left = bare_cluster.labelled("app.kubernetes.io/part-of=pysidecar").split()
    # definitions stay, and with them everybody's objects
    assert [name for name in left if not name.startswith("customresourcedefinition.")] == []


@pytest.fixture(scope="module")
def injected(cluster: Cluster) -> Iterator[str]:
    """A namespace whose pods get the sidecar."""
    with cluster.namespace({"istio-injection": "enabled"}) as name:
        yield name


@pytest.fixture(scope="module")
def plain(cluster: Cluster) -> Iterator[str]:
    """A namespace that says nothing about injection."""
    with cluster.namespace() as name:
        yield name
