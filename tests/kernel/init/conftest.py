"""Fixtures: network namespaces, made for one test and gone after it."""

import os
from collections.abc import Iterator

import pytest

from tests.kernel.init.namespace import VARIANTS, Namespace, namespace


@pytest.fixture(scope="session", autouse=True)
def _root() -> None:
    if os.geteuid() != 0:
        pytest.fail("kernel tests need root: sudo .venv/bin/pytest tests/kernel (make test does it)", pytrace=False)


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
