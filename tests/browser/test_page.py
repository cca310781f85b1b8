"""The page in a real browser, over a real control plane, real Envoys and a real Prometheus."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.chromium import Watched
from tests.browser.conftest import dashboard
from tests.browser.world import World, istio, thing
from tests.kernel.netns import wait

VIEWS = ["#/graph", "#/graph?as=table", "#/services", "#/proxies", "#/problems"]
REVIEWS = "#/services/reviews.bookinfo.svc.cluster.local"
HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>'


def names(page: Page, selector: str) -> list[str]:
    return [text.strip() for text in page.locator(selector).all_inner_texts()]


def test_the_graph_shows_who_calls_whom_by_prometheus(page: Watched) -> None:
    shown = page.open("#/graph?as=table")
    expect(shown.locator("tbody tr")).to_have_count(6)
    rows = {tuple(re.sub(r"\s+", " ", cell) for cell in row.split("\t")[:2]) for row in names(shown, "tbody tr")}
    assert {(a.split()[0], b.split()[0]) for a, b in rows} == {
        ("istio-ingressgateway", "productpage"), ("productpage", "details"), ("productpage", "reviews"),
        ("reviews", "ratings"),
    }  # fmt: skip
    # jason's ratings are aborted, and he gets version 2 alone
    failed = shown.locator("tr", has_text="reviews-v2").locator(".tone")
    assert failed.inner_text() != "0%"
    assert shown.locator("tr", has_text="reviews-v1").locator(".tone").inner_text() == "0%"


def test_the_graph_is_walked_with_arrow_keys(page: Watched) -> None:
    shown = page.open()
    boxes = shown.locator(".box")
    expect(boxes).to_have_count(5)
    # one of them is in the tab order
    assert shown.locator(".box[tabindex='0']").count() == 1
    shown.locator(".box", has_text="istio-ingressgateway").first.focus()
    walked = []
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowRight", "ArrowLeft", "Home"):
        shown.keyboard.press(key)
        walked.append(shown.evaluate("document.activeElement.querySelector('.name').textContent"))
    assert walked[0] == "productpage"
    assert {walked[1], walked[2]} == {"details", "reviews"}
    assert walked[3:5] == ["ratings", "reviews"]
    shown.keyboard.press("End")
    shown.locator(".box", has_text="reviews").first.focus()
    shown.keyboard.press("Enter")
    side = shown.get_by_role("complementary")
    expect(side).to_contain_text("reviews")
    expect(side).to_contain_text("p95")
    assert "node=" in shown.url
    shown.keyboard.press("Escape")
    expect(side).to_have_count(0)
    assert shown.evaluate("document.activeElement.dataset.id") == "service bookinfo/reviews"


def test_a_service_is_a_picture_of_its_rules(page: Watched) -> None:
    shown = page.open(REVIEWS)
    rules = shown.locator(".node.rule")
    expect(rules).to_have_count(2)
    expect(rules.nth(0)).to_contain_text("end-user: jason")
    expect(rules.nth(0)).to_contain_text("VirtualService bookinfo/reviews spec.http[0] (beta)")
    assert names(shown, ".node.rule >> nth=1 >> .weights li") == ["60%\nv1", "30%\nv2", "10%\nv3"]
    assert names(shown, ".besides li") == ["timeout 3s", "2 retries on 5xx"]
    assert [one.split("\n")[0] for one in names(shown, ".node.target")] == ["v1", "v2", "v3"]
    assert names(shown, ".endpoints code") == ["10.78.0.22:9080", "10.78.0.23:9080", "10.78.0.24:9080"]
    # port to two rules, the first to one subset, the second to three
    expect(shown.locator(".wires .wire")).to_have_count(6)


def test_problems_stand_beside_the_rule_that_has_them(page: Watched) -> None:
    shown = page.open("#/services/productpage.bookinfo.svc.cluster.local")
    first = shown.locator(".node.rule").first
    expect(first).to_contain_text("no DestinationRule has subset v9")
    expect(shown.locator(".node.target.bad")).to_contain_text("There is no such subset")
    shown = page.open("#/services/details.bookinfo.svc.cluster.local")
    expect(shown.get_by_label("Problems", exact=True)).to_contain_text("Invalid filter state serialize type")


def test_a_proxy_says_in_envoy_s_words_why_it_is_not_in_sync(page: Watched) -> None:
    shown = page.open("#/proxies")
    expect(shown.locator("tbody tr")).to_have_count(7)
    shown.get_by_role("button", name="ERROR 6").click()
    expect(shown.locator("tbody tr")).to_have_count(6)
    shown.get_by_role("link", name="productpage-v1-6d5f8c").click()
    detail = shown.get_by_role("region", name="Proxy productpage-v1-6d5f8c.bookinfo")
    expect(detail.locator(".card.bad")).to_contain_text("Invalid filter state serialize type")
    expect(detail.locator(".card.bad")).to_contain_text("9080/details.bookinfo.svc.cluster.local:9080")
    detail.get_by_role("link", name="VirtualService bookinfo/details").click()
    expect(shown.locator(".faults li")).to_contain_text(["Invalid filter state serialize type"])


def test_problems_are_filtered_by_severity_namespace_and_words(page: Watched) -> None:
    shown = page.open("#/problems")
    assert names(shown, ".faults h3") == [
        "VirtualServicedetailsbookinfo", "VirtualServicedetails-typobookinfo", "VirtualServiceproductpagebookinfo",
    ]  # fmt: skip
    shown.get_by_role("button", name="Warnings").click()
    expect(shown.locator(".fault.bad")).to_have_count(0)
    shown.keyboard.press("/")
    shown.keyboard.type("v9")
    expect(shown.locator(".faults li")).to_have_count(1)
    shown.keyboard.press("Escape")
    shown.get_by_label("Namespace").select_option("istio-ingress")
    expect(shown.locator(".empty")).to_contain_text("No problem meets the filter.")
    shown.get_by_role("button", name="Take it away").click()
    expect(shown.locator(".fault")).to_have_count(4)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1600])
def test_each_view_fits_and_can_be_read(browser: Browser, url: str, scheme: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    watched = Watched(context.new_page(), url)
    for view in (*VIEWS, REVIEWS, "#/graph?node=service+bookinfo%2Freviews", "#/proxies/ratings-v1-6d5f8c.bookinfo"):
        shown = watched.open(view)
        assert shown.evaluate("document.documentElement.scrollWidth") == width, view
        assert shown.evaluate(UNREADABLE) == [], view
        assert shown.evaluate(NAMELESS) == [], view
    context.close()
    assert watched.said == []


# Text whose contrast with what is behind it is less than 4.5 (WCAG 2.2, 1.4.3), or 3 where it is large.
UNREADABLE = """() => {
  const rgba = (text) => { const found = text.match(/[\\d.]+/g).map(Number); return found.length < 4 ? [...found, 1] : found; };
  const over = (a, b) => a.slice(0, 3).map((one, index) => one * a[3] + b[index] * (1 - a[3]));
  const light = (c) => { const [r, g, b] = c.map((one) => { one /= 255; return one <= .03928 ? one / 12.92 : ((one + .055) / 1.055) ** 2.4; }); return .2126 * r + .7152 * g + .0722 * b; };
  const ground = (one) => { const layers = []; for (let at = one; at; at = at.parentElement) { const c = rgba(getComputedStyle(at).backgroundColor); layers.push(c); if (c[3] === 1) break; } return layers.reverse().reduce((below, c) => over(c, below), [255, 255, 255]); };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walk.nextNode());) {
    const one = node.parentElement;
    if (!node.data.trim() || one.closest(".hidden, noscript, option, .skip") || !one.checkVisibility({ visibilityProperty: true })) continue;
    const style = getComputedStyle(one);
    let opacity = 1;
    for (let at = one; at; at = at.parentElement) opacity *= Number(getComputedStyle(at).opacity);
    const behind = ground(one), c = rgba(style.color);
    const front = over([c[0], c[1], c[2], c[3] * opacity], behind);
    const [a, b] = [light(front), light(behind)].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5)) found.push(`${node.data.trim().slice(0, 40)}: ${ratio.toFixed(2)} (${one.className})`);
  }
  return found;
}"""  # noqa: E501

# What can be clicked or filled in and has no name; ids that are there twice; focus that cannot be seen.
NAMELESS = """() => {
  const found = [];
  for (const one of document.querySelectorAll("a[href], button, input, select, [role=tab], [tabindex='0']")) {
    const label = one.getAttribute("aria-label") || one.labels?.[0]?.textContent || one.textContent || one.title;
    if (!label.trim()) found.push(`no name: ${one.outerHTML.slice(0, 90)}`);
  }
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  found.push(...ids.filter((id, index) => ids.indexOf(id) !== index).map((id) => `twice: ${id}`));
  if (document.querySelectorAll("h1").length !== 1) found.push("not one h1");
  for (const one of document.querySelectorAll("table")) if (!one.caption || [...one.querySelectorAll("thead th")].some((th) => th.scope !== "col")) found.push("a table without caption or scope");
  for (const one of document.querySelectorAll("img")) if (!one.hasAttribute("alt")) found.push("an image without alt");
  return found;
}"""  # noqa: E501


# What has the focus, and whether one sees that; what only scrolls has the browser's own mark.
FOCUS = """() => {
  const one = document.activeElement;
  if (one === document.body) return null;
  const style = getComputedStyle(one);
  const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  return [one.id || one.className + one.textContent.slice(0, 30), seen || one.classList.contains("scroll")];
}"""


def test_the_whole_page_is_reached_by_tab_and_the_focus_is_seen(page: Watched) -> None:
    for view in (*VIEWS, REVIEWS):
        shown = page.open(view)
        shown.evaluate("document.activeElement.blur()")
        reached, seen = set(), 0
        for _ in range(120):
            shown.keyboard.press("Tab")
            told = shown.evaluate(FOCUS)
            if told is None or told[0] in reached:
                break
            assert told[1], f"{view}: the focus on {told[0]} is not seen"
            reached.add(told[0])
            seen += 1
        assert {"search", "namespace", "live", "theme"} <= reached, view
        assert seen > 8


def test_the_skip_link_leads_to_the_content(page: Watched) -> None:
    shown = page.open("#/services")
    shown.evaluate("document.activeElement.blur()")
    shown.keyboard.press("Tab")
    assert shown.evaluate("document.activeElement.textContent") == "Skip to the content"
    shown.keyboard.press("Enter")
    assert shown.evaluate("document.activeElement.id") == "main"
    assert shown.url.endswith("#/services")


def test_the_theme_is_switched_and_remembered(page: Watched) -> None:
    shown = page.open()
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = shown.evaluate(ground)
    shown.get_by_role("button", name="Theme: as the system").click()
    shown.get_by_role("button", name="Theme: light").click()
    expect(shown.get_by_role("button", name="Theme: dark")).to_be_visible()
    dark = shown.evaluate(ground)
    assert dark != light
    shown.reload()
    assert shown.evaluate(ground) == dark


def test_an_address_brings_one_back_to_where_one_was(page: Watched) -> None:
    shown = page.open("#/services?ns=bookinfo&q=rev")
    expect(shown.locator(".items a")).to_have_count(1)
    assert (shown.locator("#search").input_value(), shown.locator("#namespace").input_value()) == ("rev", "bookinfo")
    shown.locator(".items a").click()
    expect(shown.locator(".picture")).to_be_visible()
    shown.go_back()
    expect(shown.locator(".hint")).to_be_visible()
    # the filter goes along to another view
    shown.get_by_role("link", name=re.compile("^Proxies")).click()
    expect(shown.locator("tbody tr")).to_have_count(3)
    assert "q=rev" in shown.url
    for odd in (
        "#/services/nobody",
        "#/services/%E0%A4%A",
        "#/nothing",
        "#/proxies/nobody.here",
        "#/services/x?port=y",
        "#%00/&&=%",
    ):
        page.open(odd)
    # the browser itself says that a host is not there
    page.said = [one for one in page.said if "404" not in one]


def test_what_changes_comes_by_itself_and_pausing_holds_it(page: Watched, world: World) -> None:
    shown = page.open("#/services")
    expect(shown.locator(".items a")).to_have_count(5)
    more = thing("v1", "Service", "later", spec={"clusterIP": "10.97.0.99", "ports": [{"name": "http", "port": 80}]})
    world.write("later", [more])
    expect(shown.locator(".items a")).to_have_count(6)
    shown.get_by_role("button", name="Live").click()
    expect(shown.get_by_role("button", name="Paused")).to_be_visible()
    (world.objects / "later.yaml").unlink()
    wait(lambda: b"later" not in (world.get("http://127.0.0.1:15014/dashboard/api/services") or b"later"), world.log)
    shown.wait_for_timeout(6000)
    expect(shown.locator(".items a")).to_have_count(6)
    shown.get_by_role("button", name="Paused").click()
    expect(shown.locator(".items a")).to_have_count(5)


def test_names_and_words_are_text_whatever_is_in_them(page: Watched, world: World) -> None:
    spec = {"clusterIP": "10.97.0.98", "selector": {"a": HOSTILE}, "ports": [{"name": "http", "port": 80}]}
    world.write("hostile", [
        thing("v1", "Service", "</script><script>alert(3)", HOSTILE, spec=spec),
        istio("VirtualService", HOSTILE, hosts=[HOSTILE], http=[{"route": [{"destination": {"host": HOSTILE}}]}]),
        istio("DestinationRule", "odd", host="ratings", subsets=[{"name": "v1", "labels": {"version": HOSTILE}}]),
        istio("VirtualService", "odd\u202e\u0007", hosts=["odd"], http=[{"route": 7}]),
    ])  # fmt: skip
    wait(lambda: b"alert(2)" in (world.debug("problems") or b""), world.log)
    try:
        shown = page.open("#/problems")
        expect(shown.locator(".faults").first).to_contain_text("<img src=x onerror=alert(1)>")
        for view in (
            *VIEWS,
            "#/services/ratings.bookinfo.svc.cluster.local",
            "#/problems?q=%3Cscript%3E&ns=" + HOSTILE,
        ):
            shown = page.open(view)
            assert (
                shown.evaluate("document.querySelectorAll('main img, main script, header script, main iframe').length")
                == 0
            )
        page.open("#/services")
        shown.locator(".items a", has_text="alert(3)").first.click()
        expect(shown.locator("h2").nth(1)).to_contain_text("alert(3)")
    finally:
        (world.objects / "hostile.yaml").unlink()


def test_without_prometheus_what_is_configured_is_shown_and_why(browser: Browser, world: World) -> None:
    url = dashboard(world, port=15017)
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    watched = Watched(context.new_page(), url)
    shown = watched.open()
    expect(shown.locator(".note.info")).to_contain_text("no Prometheus is named; start with --prometheus URL")
    expect(shown.get_by_role("heading", name="What is configured")).to_be_visible()
    expect(shown.locator(".box.gateway")).to_contain_text("bookinfo-gateway")
    expect(shown.locator(".canvas .line.planned")).to_have_count(1)
    # the control plane's own page says the same of itself
    watched = Watched(context.new_page(), "http://127.0.0.1:15014/dashboard/")
    expect(watched.open().locator(".note.info")).to_contain_text("open the page with pymesh dashboard")
    context.close()
    assert watched.said == []


def test_another_site_reads_nothing(browser: Browser, world: World, url: str) -> None:
    """A page of another origin on this machine, and a name of elsewhere that leads here (DNS rebinding)."""
    context = browser.new_context()
    evil = context.new_page()
    evil.goto("http://127.0.0.1:9090/-/ready")  # Prometheus: another origin
    got = evil.evaluate(f"fetch('{url}api/proxies').then((one) => one.text(), (error) => 'refused')")
    assert got == "refused"
    assert "refused" not in evil.evaluate(
        f"fetch('{url}api/proxies', {{mode: 'no-cors'}}).then((one) => one.type, (error) => 'opaque')"
    )
    frame = evil.evaluate(
        f"new Promise((done) => {{ const one = document.createElement('iframe'); one.src = '{url}';"
        " one.onload = () => { try { done(one.contentDocument ? 'read' : 'kept'); } catch { done('kept'); } };"
        " document.body.append(one); setTimeout(() => done('kept'), 5000); })"
    )
    assert frame == "kept"
    context.close()
    assert world.get(f"{url}api/proxies", {"Host": "evil.example:15016"}) is None
    assert json.loads(world.get(f"{url}api/proxies") or b"{}")["proxies"]


def test_a_control_plane_that_goes_is_told_and_the_last_picture_stays(
    page: Watched, world: World, browser: Browser, url: str
) -> None:
    shown = page.open("#/services")
    other = Watched(browser.new_page(), url)
    second = other.open("#/proxies")
    world.kill()
    for tab in (shown, second):
        expect(tab.locator("#banner")).to_contain_text("The control plane does not answer since")
        expect(tab.locator("#banner")).to_contain_text("Connection refused")
    expect(shown.locator(".items a")).to_have_count(5)
    expect(second.locator("tbody tr")).to_have_count(7)
    expect(shown.locator("#live")).to_contain_text("Not answered")
    # a tab that is opened meanwhile says so, too
    late = Watched(browser.new_page(), url)
    late.page.goto(f"{url}#/services")
    expect(late.page.locator("#banner")).to_contain_text("is asked again and again")
    world.serve()
    for tab in (shown, second, late.page):
        expect(tab.locator("#banner")).to_be_empty(timeout=60_000)
    expect(late.page.locator(".items a")).to_have_count(5)
    expect(second.locator("tbody tr")).to_have_count(7, timeout=60_000)
    # answers of 502 are told on the console by the browser itself
    page.said = [one for one in page.said if "502" not in one and "503" not in one]
