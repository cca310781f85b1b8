"""Debian's Chromium, driven by Playwright, in a network namespace: what it cannot reach there, it cannot reach."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, Page, expect, sync_playwright

PROGRAM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
WAIT = 30_000
expect.set_options(timeout=WAIT)
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip


@contextmanager
def chromium(netns: str) -> Iterator[Browser]:
    """A browser whose only network is that of the namespace."""
    with TemporaryDirectory(prefix="chromium-") as folder, sync_playwright() as playwright:
        start = Path(folder, "chromium")
        start.write_text(f'#!/bin/sh\nexec ip netns exec {shlex.quote(netns)} {shlex.quote(PROGRAM)} "$@"\n')
        start.chmod(0o755)
        browser = playwright.chromium.launch(executable_path=start, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page, and all that it should not have done: words on the console, requests elsewhere, dialogs."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page, self.origin = page, origin
        self.said: list[str] = []
        page.on("console", lambda message: self.said.append(f"console {message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        page.on("dialog", lambda dialog: self.said.append(f"dialog: {dialog.message}"))
        page.on("request", self._asked)

    def _asked(self, request: object) -> None:
        url = str(request.url)  # type: ignore[attr-defined]
        if not url.startswith(self.origin):
            self.said.append(f"asked {url}")

    def open(self, where: str = "#/graph") -> Page:
        """The page at an address, with its first answers."""
        self.page.goto("about:blank")
        self.said = [one for one in self.said if one != "asked about:blank"]
        self.page.goto(f"{self.origin}{where}")
        expect(self.page.locator("#main .panel:visible").first).to_be_visible(timeout=WAIT)
        expect(self.page.locator("#main")).not_to_contain_text("Asking …", timeout=WAIT)
        return self.page
