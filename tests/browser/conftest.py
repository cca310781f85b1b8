"""One world and one browser for all tests of the page."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from playwright.sync_api import Browser

from tests.browser.chromium import Watched, chromium
from tests.browser.world import DEBUG, PROMETHEUS, World, faults
from tests.kernel.netns import wait

PORT = 15016


def dashboard(world: World, *more: str, port: int = PORT) -> str:
    """Starts `pymesh dashboard` where the world is; the page's address."""
    command = ["dashboard", "--debug-address", f"127.0.0.1:{DEBUG}", "--port", str(port), "--no-browser", *more]
    world.start(f"dashboard-{port}", world.wire, 0, sys.executable, "-m", "mesh", *command)
    url = f"http://127.0.0.1:{port}/"
    wait(lambda: world.get(url) is not None, world.log)
    return url


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """Bookinfo under load that has come to rest, with its faults."""
    # not pytest's folder, which is root's alone: Envoy is another user, and has to reach the socket
    with TemporaryDirectory(prefix="browser-") as folder, World(Path(folder)) as made:
        made.write("faults", faults())
        made.load()
        wait(made.is_counted, made.log)
        wait(lambda: b"refused-by-envoy" in (made.debug("problems") or b""), made.log)
        yield made


@pytest.fixture(scope="session")
def url(world: World) -> str:
    """The page's address."""
    return dashboard(world, "--prometheus", f"http://127.0.0.1:{PROMETHEUS}")


@pytest.fixture(scope="session")
def browser(world: World) -> Iterator[Browser]:
    """Chromium on the world's wire."""
    with chromium(world.wire) as made:
        yield made


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Watched]:
    """A page of its own, that must not have said or asked anything in the end."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light")
    watched = Watched(context.new_page(), url)
    yield watched
    context.close()
    assert watched.said == []
