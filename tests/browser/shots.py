"""The screenshots of docs/dashboard.md, made anew: `python -m tests.browser.shots`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.browser.chromium import Watched, chromium
from tests.browser.conftest import dashboard
from tests.browser.world import PROMETHEUS, ROOT, World, faults, wait

FOLDER = ROOT / "docs" / "dashboard"
# name, address, width, height, theme
SHOTS = [
    ("graph", "#/graph", 1280, 620, "light"),
    ("call", "#/graph?node=service+bookinfo%2Freviews", 1280, 680, "dark"),
    ("service", "#/services/reviews.bookinfo.svc.cluster.local", 1280, 620, "light"),
    ("proxy", "#/proxies/productpage-v1-6d5f8c.bookinfo", 1280, 760, "light"),
    ("problems", "#/problems", 1280, 620, "dark"),
    ("narrow", "#/services/reviews.bookinfo.svc.cluster.local", 400, 860, "light"),
]


def main() -> int:
    """Writes them; 0."""
    FOLDER.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="browser-") as folder, World(Path(folder)) as world:
        world.load()
        wait(world.is_counted, world.log)
        time.sleep(60)  # until the window has nothing but calls at rest
        world.write("faults", faults())
        wait(lambda: b"refused-by-envoy" in (world.debug("problems") or b""), world.log)
        url = dashboard(world, "--prometheus", f"http://127.0.0.1:{PROMETHEUS}")
        with chromium(world.wire) as browser:
            for name, where, width, height, scheme in SHOTS:
                context = browser.new_context(
                    viewport={"width": width, "height": height},
                    color_scheme="dark" if scheme == "dark" else "light",
                    device_scale_factor=1.5 if width > 1000 else 2,
                )
                watched = Watched(context.new_page(), url)
                page = watched.open(where)
                page.wait_for_timeout(400)
                page.screenshot(path=FOLDER / f"{name}.png")
                context.close()
                print(FOLDER / f"{name}.png", *watched.said)
    return 0


if __name__ == "__main__":
    sys.exit(main())
