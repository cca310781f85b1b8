"""What all kernel tests need."""

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def _root() -> None:
    if os.geteuid() != 0:
        pytest.fail("kernel tests need root: sudo .venv/bin/pytest tests/kernel (make test does it)", pytrace=False)
