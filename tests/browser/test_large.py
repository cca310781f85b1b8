"""A large mesh: 1,000 services, 500 proxies, 2,000 links; and a Prometheus that is slow, or talks nonsense."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from mesh.commands.traffic import LABELS
from tests.browser.chromium import Watched, chromium
from tests.browser.conftest import dashboard
from tests.browser.world import PROMETHEUS, ROOT, XDS, World, istio, thing
from tests.kernel.netns import inside, wait

SERVICES, PROXIES, LINKS, NAMESPACES = 1000, 500, 2000, 20


def services() -> list[dict[str, Any]]:
    found = []
    for number in range(SERVICES):
        name, namespace = f"service-{number}", f"team-{number % NAMESPACES}"
        where = f"10.98.{number // 250}.{number % 250 + 1}"
        spec = {"clusterIP": where, "ports": [{"name": "http", "port": 80}]}
        found.append(thing("v1", "Service", name, namespace, spec=spec))
        found.append(
            thing(
                "discovery.k8s.io/v1", "EndpointSlice", name, namespace, addressType="IPv4",
                labels={"kubernetes.io/service-name": name}, ports=[{"name": "http", "port": 80}],
                endpoints=[{"addresses": [f"10.99.{number // 250}.{number % 250 + 1}"], "conditions": {"ready": True}}],
            )
        )  # fmt: skip
        if number % 2:
            gone = {"destination": {"host": name, "subset": "gone"}}
            found.append(istio("VirtualService", name, namespace, hosts=[name], http=[{"route": [gone]}]))
    return found


class Prometheus(ThreadingHTTPServer):
    """Answers queries as `mode` says: with 2,000 links, never, with nonsense, or with 40 MB."""

    daemon_threads = True
    mode = "good"

    def __init__(self, netns: str) -> None:
        with inside(netns):
            super().__init__(("127.0.0.1", PROMETHEUS), Answer)
        self.free = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_: object) -> None:
        return


class Answer(BaseHTTPRequestHandler):
    server: Prometheus

    def do_GET(self) -> None:
        if self.server.mode == "hangs":
            self.server.free.wait(60)
            return
        body = {"good": links, "nonsense": lambda _: b"<h1>Sign in</h1>", "huge": lambda _: b" " * (40 << 20)}[
            self.server.mode
        ](parse_qs(urlsplit(self.path).query)["query"][0])
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


def links(query: str) -> bytes:
    result = []
    for number in range(LINKS):
        source, to = number % SERVICES, (number * 7 + number // SERVICES * 13 + 3) % SERVICES
        of = [(f"service-{one}", f"team-{one % NAMESPACES}") for one in (source, to, to)]
        values = ("source", *(text for pair in of for text in pair))
        result.append({"metric": dict(zip(LABELS, values, strict=True)), "value": [0, str(number % 97 + 0.5)]})
    if "tcp" in query or "response_code" in query:
        result = result[: LINKS // 10]
    return json.dumps({"data": {"resultType": "vector", "result": result}}).encode()


@pytest.fixture(scope="module")
def large() -> Iterator[tuple[World, Prometheus]]:
    with TemporaryDirectory(prefix="browser-") as folder, ExitStack() as stack:
        made = World(Path(folder), with_proxies=False)
        made.objects.mkdir()
        made.write("many", services())
        stack.enter_context(made)
        prometheus = Prometheus(made.wire)
        stack.callback(prometheus.server_close)
        stack.callback(prometheus.shutdown)
        # half a thousand streams of the real protocol: they ask, and never answer
        streams = [sys.executable, "-m", "tests.browser.streams", str(made.folder / XDS), str(PROXIES)]
        process = subprocess.Popen(streams, cwd=ROOT, stdin=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.kill)
        wait(lambda: (made.debug("proxies") or b"").count(b'"stream-') >= 2 * PROXIES, made.log)
        yield made, prometheus


@pytest.fixture(scope="module")
def page(large: tuple[World, Prometheus]) -> Iterator[Watched]:
    world, _ = large
    url = dashboard(world, "--prometheus", f"http://127.0.0.1:{PROMETHEUS}")
    with chromium(world.wire) as browser:
        watched = Watched(browser.new_page(viewport={"width": 1440, "height": 900}), url)
        yield watched
        assert watched.said == []


def test_a_large_mesh_is_shown_in_parts_with_the_count(page: Watched) -> None:
    shown = page.open("#/graph")
    expect(shown.get_by_label("Who calls whom")).to_contain_text("the 60 busiest of 1,00")
    expect(shown.locator(".box")).to_have_count(60)
    shown = page.open("#/graph?as=table")
    expect(shown.locator("tbody tr")).to_have_count(200)
    expect(shown.locator(".more")).to_contain_text("200 of 2,000 are shown")
    shown.get_by_role("button", name="Show 200 more").click()
    expect(shown.locator("tbody tr")).to_have_count(400)
    shown = page.open("#/services")
    expect(shown.locator(".list")).to_contain_text("1,00")
    expect(shown.locator(".items a")).to_have_count(200)
    shown = page.open("#/proxies")
    expect(shown.locator("tbody tr")).to_have_count(200)
    expect(shown.locator(".more")).to_contain_text("200 of 500")
    shown = page.open("#/problems")
    expect(shown.locator(".faults > li")).to_have_count(200)


def test_what_is_looked_for_in_it_is_found(page: Watched) -> None:
    shown = page.open("#/services")
    shown.keyboard.press("/")
    shown.keyboard.type("service-977")
    expect(shown.locator(".items a")).to_have_count(1)
    shown.get_by_role("link", name="Graph", exact=True).click()
    expect(shown.locator(".box.service", has_text="service-977")).to_have_count(1)
    shown = page.open("#/graph?ns=team-3")
    expect(shown.locator(".box").first).to_be_visible()


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("nonsense", "answers what is none of its answers"),
        ("huge", "answers with more than 32 MiB"),
        ("hangs", "nothing within 10 s"),
    ],
)
def test_a_prometheus_at_fault_is_named_and_costs_the_calls_alone(
    page: Watched, large: tuple[World, Prometheus], mode: str, words: str
) -> None:
    _, prometheus = large
    prometheus.mode = mode
    prometheus.free.clear()
    try:
        shown: Page = page.page
        shown.goto("about:blank")
        page.said = [one for one in page.said if one != "asked about:blank"]
        shown.goto(f"{page.origin}#/graph?window=900")
        # all else is there meanwhile
        expect(shown.locator(".tile", has_text="Proxies in sync")).to_contain_text("of 500")
        expect(shown.locator(".note.info")).to_contain_text(words, timeout=60_000)
        expect(shown.locator(".box").first).to_be_visible()
    finally:
        prometheus.mode = "good"
        prometheus.free.set()
