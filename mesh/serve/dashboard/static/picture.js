// One service as a picture: port ──▶ rules in order ──▶ destinations with weights ──▶ endpoints.

import { h } from "./dom.js";
import { named, percent, plural, same } from "./format.js";
import { problem } from "./problems.js";

const ENDPOINTS = 8;

export function picture(service, at, proxies) {
  const port = service.ports.find((one) => String(one.number) === at.params.port) || service.ports[0];
  const placed = new Set();
  const drawing = port ? drawn(service, port, proxies, placed, at) : h("p", { class: "empty" }, "It has no port.");
  const rest = service.problems.filter((one) => !placed.has(one));
  const [head, ...tail] = service.host.split(".");
  return h("section", { class: "panel", "aria-label": `Service ${service.host}` },
    h("div", { class: "panel-head tall" },
      h("div", {}, h("h2", {}, head, tail.length ? h("span", { class: "tail" }, `.${tail.join(".")}`) : null),
        h("p", { class: "muted" }, [named(service.object), service.addresses.join(", "), RESOLVED[service.resolution] || service.resolution].filter(Boolean).join(" · ")))),
    h("dl", { class: "facts" },
      h("dt", {}, "Routed by"), h("dd", {}, service.routes.length ? service.routes.map((ref) => h("span", { class: `ref ${ref.heard ? "" : "off"}`, title: ref.heard ? "" : "not heard: the first is for the same host" }, named(ref), ref.heard ? null : " (not heard)")) : h("span", { class: "muted" }, port?.rules.length ? named(port.rules[0].origins[0].object) : "nothing: requests go to the Service as it is")),
      h("dt", {}, "Policy by"), h("dd", {}, service.rules.length ? service.rules.map((ref) => h("span", { class: "ref" }, named(ref))) : h("span", { class: "muted" }, "no DestinationRule: the mesh's defaults"))),
    rest.length ? h("div", { class: "beside", "aria-label": "Problems" }, h("h3", {}, "Problems beside"), rest.map((one) => h("div", {}, h("p", { class: "muted of" }, named(one.object)), problem(one)))) : null,
    service.ports.length > 1 ? h("div", { class: "tabs", role: "tablist", "aria-label": "Ports", "data-keys": "tabs" }, service.ports.slice(0, 40).map((one) => h("button", { type: "button", role: "tab", "data-key": one.number, "data-act": "set", "data-name": "port", "data-value": one.number, "aria-selected": String(one === port), tabindex: one === port ? 0 : -1 }, `${one.number}`, h("span", { class: "sub" }, `${one.name || ""} ${one.protocol}`)))) : null,
    drawing);
}

const RESOLVED = { ClientSideLB: "balanced by the proxy", Passthrough: "to where the client meant to go", DNSLB: "by DNS", DNSRoundRobinLB: "by DNS, the first address", DynamicDNS: "what the client asked for, by DNS", Alias: "another name" };

function drawn(service, port, proxies, placed, at) {
  const rules = port.rules.length ? port.rules : [{ conditions: ["every request"], all: true, action: "forward", status: 0, besides: [], origins: [], implied: true, backends: [{ host: service.host, port: port.number, subset: "", weight: 1, share: 100 }] }];
  const targets = new Map();
  for (const rule of rules) for (const one of rule.backends) if (!targets.has(keyOf(one))) targets.set(keyOf(one), { ...one, used: true });
  for (const subset of service.subsets) {
    const spare = { host: service.host, port: port.number, subset: subset.name, used: false };
    if (!targets.has(keyOf(spare))) targets.set(keyOf(spare), spare);
  }
  const rank = (one) => (one.host === service.host && one.subset ? 1 + service.subsets.findIndex((each) => each.name === one.subset) : 0);
  const sorted = [...targets.values()].sort((a, b) => b.used - a.used || rank(a) - rank(b));
  return h("div", { class: "picture", "data-key": `picture ${port.number}` },
    h("svg", { class: "wires", "aria-hidden": "true", "data-opaque": true, "data-key": "wires" }),
    h("div", { class: "column entry" }, h("h3", {}, "Requests to"), h("div", { class: "node entry", "data-out": rules.map((_, index) => `rule ${index}`).join("|") }, h("strong", {}, `:${port.number}`), h("span", { class: "sub" }, [port.name, port.protocol].filter(Boolean).join(" · ")))),
    h("div", { class: "column" }, h("h3", {}, "Rules, the first that fits"), h("ol", { class: "rules" }, rules.map((one, index) => rule(one, index, service, placed)))),
    h("div", { class: "column wide" }, h("h3", {}, "Destinations and endpoints"), h("ul", { class: "targets" }, sorted.map((one) => target(one, service, port, proxies, placed, at)))));
}

const keyOf = (one) => `target ${one.host}|${one.port}|${one.subset}`;

function rule(one, index, service, placed) {
  const faults = take(service, placed, one.origins.map((origin) => [origin.object, origin.path]));
  return h("li", { "data-key": `rule ${index}`, class: `node rule ${faults.some((each) => each.severity === "error") ? "bad" : faults.length ? "poor" : ""}`, "data-in": `rule ${index}`, "data-out": one.backends.map(keyOf).join("|"), "data-shares": one.backends.length > 1 ? one.backends.map((each) => percent(each.share / 100)).join("|") : "", "data-weights": one.backends.map((each) => each.share).join("|") },
    h("div", { class: "rule-head" }, one.implied ? null : h("span", { class: "ordinal" }, index + 1), h("div", { class: "chips" }, one.conditions.map((text) => h("code", { class: text === "/*" || one.all ? "any" : "" }, text === "/*" ? "any path" : text)))),
    one.action !== "forward" ? h("p", { class: "outcome" }, one.action === "redirect" ? `redirected with ${one.status}` : `answered with ${one.status}`) : one.backends.length ? null : h("p", { class: "outcome" }, `answered with ${one.status}`),
    one.backends.length > 1 ? h("ul", { class: "weights" }, one.backends.map((each) => h("li", {}, h("span", { class: "meter", css: { "--share": `${each.share}%` } }), h("b", {}, percent(each.share / 100)), h("span", {}, each.subset || each.host)))) : null,
    one.besides.length ? h("ul", { class: "besides" }, one.besides.map((text) => h("li", {}, text))) : null,
    one.implied ? h("p", { class: "from" }, "no rule") : one.origins.slice(0, 3).map((origin) => h("p", { class: "from", title: `${named(origin.object)} ${origin.path}` }, named(origin.object), h("span", {}, ` ${origin.path}${origin.rule ? ` (${origin.rule})` : ""}`))),
    faults.map(problem));
}

function target(one, service, port, proxies, placed, at) {
  const own = one.host === service.host;
  const subset = own && one.subset ? service.subsets.find((each) => each.name === one.subset) : null;
  const mine = own ? port.endpoints.filter((each) => !one.subset || each.subsets.includes(one.subset)) : [];
  const count = !own ? null : one.subset ? port.counts[one.subset] ?? 0 : port.count;
  const index = service.subsets.indexOf(subset);
  const faults = own && one.subset ? take(service, placed, service.rules.map((ref) => [ref, `spec.subsets[${index}]`])) : [];
  const missing = own && one.subset && !subset;
  const bad = missing || (own && one.used && !count);
  const open = at.params.all === one.subset;
  return h("li", { "data-key": keyOf(one), class: `node target ${one.used ? "" : "unused"} ${bad ? "bad" : faults.length ? "poor" : ""}`, "data-in": keyOf(one) },
    h("div", { class: "target-head" }, h("strong", {}, !one.host ? "nowhere" : own ? (one.subset || "the whole service") : one.host),
      own ? null : one.host ? h("a", { href: `#/services/${encodeURIComponent(one.host)}` }, "see its routes") : null,
      subset ? h("span", { class: "chips" }, Object.entries(subset.labels).map(([key, value]) => h("code", {}, `${key}=${value}`))) : null,
      h("div", { class: "push" }), count === null ? h("span", { class: "sub" }, `:${one.port}${one.subset ? ` · ${one.subset}` : ""}`) : h("span", { class: `tag ${count ? "" : "bad"}` }, plural(count, "endpoint"))),
    one.used ? null : h("p", { class: "muted" }, "No rule sends here."),
    missing ? h("p", { class: "outcome" }, "There is no such subset: requests are answered with 503.") : bad ? h("p", { class: "outcome" }, "Nobody is there: requests are answered with 503.") : null,
    mine.length ? h("ul", { class: "endpoints" }, (open ? mine : mine.slice(0, ENDPOINTS)).map((each) => endpoint(each, proxies)), mine.length > ENDPOINTS && !open ? h("li", {}, h("button", { type: "button", class: "link", "data-act": "set", "data-name": "all", "data-value": one.subset }, `and ${(count - ENDPOINTS).toLocaleString("en")} more`)) : count > mine.length && open ? h("li", { class: "muted" }, `${(count - mine.length).toLocaleString("en")} more are not listed`) : null) : null,
    faults.map(problem));
}

function endpoint(one, proxies) {
  const address = one.address.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
  const proxy = proxies.get(address);
  const tone = proxy ? { SYNCED: "good", ERROR: "bad" }[proxy.state] || "poor" : "";
  return h("li", { "data-key": one.address, class: one.healthy ? "" : "off" }, h("i", { class: `dot ${tone}`, title: proxy ? `its proxy: ${proxy.state}` : "no proxy of it is connected" }), h("code", {}, one.address),
    proxy ? h("a", { href: `#/proxies/${encodeURIComponent(proxy.name)}` }, one.workload || proxy.name) : h("span", {}, one.workload), h("span", { class: "sub" }, [one.locality, one.healthy ? "" : "unhealthy"].filter(Boolean).join(" · ")));
}

/** The problems at these places, each told once. */
function take(service, placed, places) {
  const found = service.problems.filter((one) => !placed.has(one) && places.some(([ref, path]) => same(ref, one.object) && path && (one.path === path || one.path.startsWith(`${path}.`) || one.path.startsWith(`${path}[`))));
  for (const one of found) placed.add(one);
  return found;
}

/** Draws the lines between what is there now. */
export function connect() {
  const whole = document.querySelector(".picture");
  if (!whole) return;
  const wires = whole.querySelector(".wires");
  const frame = whole.getBoundingClientRect();
  const to = new Map([...whole.querySelectorAll("[data-in]")].map((one) => [one.dataset.in, one]));
  const fresh = [];
  if (getComputedStyle(wires).display !== "none") {
    for (const from of whole.querySelectorAll("[data-out]")) {
      const outs = from.dataset.out ? from.dataset.out.split("|") : [];
      const names = from.dataset.out ? split(from.dataset.out) : outs;
      const shares = (from.dataset.weights || "").split("|");
      const a = from.getBoundingClientRect();
      names.forEach((name, index) => {
        const end = to.get(name);
        if (!end) return;
        const b = end.getBoundingClientRect();
        const share = from.dataset.weights ? Number(shares[index]) : 100;
        const y1 = from.classList.contains("rule") ? a.top - frame.top + Math.min(26, a.height / 2) : a.top - frame.top + a.height / 2;
        const y2 = b.top - frame.top + Math.min(24, b.height / 2);
        const x1 = a.right - frame.left, x2 = b.left - frame.left - 6, mid = (x2 - x1) / 2;
        const off = share === 0;
        fresh.push(h("path", { class: `wire ${off ? "off" : ""} ${end.classList.contains("bad") ? "bad" : ""}`, d: `M${x1} ${y1}C${x1 + mid} ${y1} ${x2 - mid} ${y2} ${x2} ${y2}`, "stroke-width": off ? 1 : (1.2 + (share / 100) * 2.6).toFixed(2) }),
          h("path", { class: `head ${end.classList.contains("bad") ? "bad" : ""}`, d: `M${x2 - 1} ${y2 - 4}L${x2 - 1} ${y2 + 4}L${x2 + 6} ${y2}Z` }));
      });
    }
  }
  wires.setAttribute("width", whole.clientWidth);
  wires.setAttribute("height", whole.clientHeight);
  wires.replaceChildren(...fresh);
}

/** Names of targets have bars in them: they begin with "target " or "rule ". */
function split(text) {
  return text.split(/\|(?=target |rule )/);
}
