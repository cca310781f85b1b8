"""What more than one layer asks of the command line."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long drills take that could go on."""
    parser.addoption("--drill-seconds", type=float, default=10, help="how long a drill goes on (default %(default)s)")


@pytest.fixture(scope="session")
def seconds(request: pytest.FixtureRequest) -> float:
    """How long to go on."""
    return float(request.config.getoption("--drill-seconds"))
