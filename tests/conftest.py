"""What more than one layer asks of pytest: how long drills take, and their figures below the results."""

from __future__ import annotations

from collections.abc import Callable

import pytest

FIGURES = pytest.StashKey[list[str]]()

LONG_SECONDS = 60

Tell = Callable[[str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long drills take that could go on."""
    parser.addoption("--drill-seconds", type=float, default=10, help="how long a drill goes on (default %(default)s)")


def pytest_configure(config: pytest.Config) -> None:
    """The marker."""
    config.addinivalue_line("markers", "long: a drill that is run from --drill-seconds 60 on")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Takes out the drills that are for longer runs."""
    if config.getoption("--drill-seconds") < LONG_SECONDS:
        out = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


@pytest.fixture(scope="session")
def seconds(request: pytest.FixtureRequest) -> float:
    """How long to go on."""
    return float(request.config.getoption("--drill-seconds"))


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Tell:
    """Keeps a figure, to be shown with its test's name below all results."""
    lines = request.config.stash.setdefault(FIGURES, [])
    return lambda text: lines.append(f"{request.node.name}: {text}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The figures."""
    if lines := config.stash.get(FIGURES, []):
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.line(line)
