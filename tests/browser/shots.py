"""The screenshots of docs/dashboard.md, made anew: `python -m tests.browser.shots`."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser

from tests.browser.chromium import Watched, chromium
from tests.browser.conftest import dashboard
from tests.browser.world import PROMETHEUS, ROOT, World, faults
from tests.kernel.netns import wait

FOLDER = ROOT / "docs" / "dashboard"
# name, address, width, height, theme; first while all is well, then with the faults
WELL = [
    ("graph", "#/graph", 1280, 620, "light"),
    ("call", "#/graph?node=service+bookinfo%2Freviews", 1280, 620, "dark"),
    ("service", "#/services/reviews.bookinfo.svc.cluster.local", 1280, 590, "light"),
]
FAULTY = [
    ("proxy", "#/proxies/productpage-v1-6d5f8c.bookinfo", 1280, 640, "light"),
    ("problems", "#/problems", 1280, 560, "dark"),
]
LINKS = 6
BUSY = (
    "count(sum by (source_workload, destination_service_name)"
    f' (rate(istio_requests_total{{reporter="source"}}[1m])) > 0.2) >= {LINKS}'
)


def main() -> int:
    """Writes them; 0."""
    FOLDER.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="browser-") as folder, World(Path(folder)) as world:
        world.load()
        wait(world.is_counted, world.log)
        assert world.prometheus is not None
        wait(lambda: world.prometheus.query(BUSY), world.log)
        url = dashboard(world, "--prometheus", f"http://127.0.0.1:{PROMETHEUS}")
        with chromium(world.wire) as browser:
            shoot(browser, url, WELL)
            world.write("faults", faults())
            wait(lambda: b"refused-by-envoy" in (world.debug("problems") or b""), world.log)
            shoot(browser, url, FAULTY)
    return 0


def shoot(browser: Browser, url: str, shots: list[tuple[str, str, int, int, str]]) -> None:
    """Takes these."""
    for name, where, width, height, scheme in shots:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
            device_scale_factor=1.5,
        )
        watched = Watched(context.new_page(), url)
        page = watched.open(where)
        page.wait_for_timeout(400)
        page.screenshot(path=FOLDER / f"{name}.png")
        context.close()
        print(FOLDER / f"{name}.png", *watched.said, flush=True)


if __name__ == "__main__":
    sys.exit(main())
