"""Fixtures: network namespaces, made for one test and gone after it."""

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.kernel.init.namespace import VARIANTS, Namespace, namespace

BACKENDS = {
    "iptables-nft": "--force-iptables-binary=nft",
    "iptables-legacy": "--force-iptables-binary=legacy",
    "nftables": "--native-nftables",
    "python-iptables": "--backend=python-iptables",
}


@pytest.fixture
def pod() -> Iterator[Namespace]:
    """A namespace with an IPv4 address."""
    with namespace("10.244.0.5/24") as there:
        yield there


@pytest.fixture
def dual() -> Iterator[Namespace]:
    """A namespace with an IPv4 and an IPv6 address."""
    with namespace("10.244.0.5/24", "2001:db8:1::5/64") as there:
        yield there


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    """Each variant of iptables."""
    return str(request.param)


@pytest.fixture(scope="session", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """A backend's flag; skipped where this machine has no legacy tables or no python-iptables."""
    name = request.param
    legacy = shutil.which("iptables-legacy-save")
    if name in ("iptables-legacy", "python-iptables") and (
        not legacy or subprocess.run([legacy], capture_output=True, check=False).returncode
    ):
        pytest.skip("this machine has no legacy iptables: install iptables, modprobe ip_tables")
    if name == "python-iptables":
        pytest.importorskip("iptc", reason="pip install python-iptables")
    return BACKENDS[name]
