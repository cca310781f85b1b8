// The page: what the address says is shown, by what the store knows; clicks and keys come here.

import { rove, sync, h } from "./dom.js";
import { age, plural, ticks } from "./format.js";
import * as graph from "./graph.js";
import { worst } from "./model.js";
import * as problems from "./problems.js";
import * as proxies from "./proxies.js";
import * as services from "./services.js";
import { Store } from "./store.js";

const VIEWS = { graph, services, proxies, problems };
const ALWAYS = { proxies: "api/proxies", services: "api/services", problems: "api/problems", traffic: "api/traffic?seconds=60" };
const KEPT = ["ns", "q"];
const TITLES = { graph: "Graph", services: "Services", proxies: "Proxies", problems: "Problems" };
const $ = (id) => document.getElementById(id);

let at = read();
const store = new Store(() => soon());

/** The address: #/view/item?ns=&q=&… */
function read() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [view, ...rest] = path.split("/");
  const params = Object.fromEntries(new URLSearchParams(query || ""));
  let item = rest.join("/");
  try { item = decodeURIComponent(item); } catch { /* as it is */ }
  return { view: VIEWS[view] ? view : "graph", item, params, q: (params.q || "").toLowerCase(), node: params.node || "", more: params.more };
}

function write(params, { push = false, view = at.view, item = at.item } = {}) {
  const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value)).toString();
  const hash = `#/${view}${item ? `/${encodeURIComponent(item)}` : ""}${query ? `?${query}` : ""}`;
  if (hash === location.hash) return;
  if (push) history.pushState(null, "", hash);
  else history.replaceState(null, "", hash);
  go();
}

function go() {
  const before = at;
  at = read();
  // the filter stays where a link says nothing of it
  const carried = KEPT.filter((name) => before.params[name] && !(name in at.params) && before.view !== at.view);
  if (carried.length) {
    const params = { ...at.params, ...Object.fromEntries(carried.map((name) => [name, before.params[name]])) };
    return write(params);
  }
  if ($("search").value.toLowerCase() !== at.q) $("search").value = at.params.q || "";
  render();
  if (before.view !== at.view || before.item !== at.item || before.params.window !== at.params.window) store.refresh();
  if (before.view !== at.view) { scrollTo(0, 0); }
}

let due = 0;
function soon() {
  if (!due) due = requestAnimationFrame(() => { due = 0; render(); });
}

function render() {
  const view = VIEWS[at.view];
  const main = $("main");
  sync($("nav"), nav());
  namespaces();
  sync($("banner"), banner());
  live();
  sync(main, view.view(store, at));
  document.title = `${at.item ? `${at.item} · ` : ""}${TITLES[at.view]} · pymesh`;
  view.after?.();
}

function nav() {
  const { proxies: known, problems: faults, services: all } = store.data;
  const behind = (known?.proxies || []).filter((one) => ["ERROR", "STALE"].includes(worst(one)));
  const errors = (faults || []).filter((one) => one.severity === "error").length;
  const counts = {
    services: all ? [all.services.length, ""] : null,
    proxies: known ? [known.proxies.length, behind.some((one) => worst(one) === "ERROR") ? "bad" : behind.length ? "poor" : ""] : null,
    problems: faults ? [faults.length, errors ? "bad" : faults.length ? "poor" : ""] : null,
  };
  return Object.keys(VIEWS).map((name) => h("a", { href: `#/${name}`, "aria-current": at.view === name ? "page" : null, "data-key": name }, TITLES[name],
    counts[name] ? h("span", { class: `count ${counts[name][1]}` }, counts[name][0].toLocaleString("en")) : null));
}

function namespaces() {
  const select = $("namespace");
  const found = new Set([...(store.data.services?.services || []).map((one) => one.object.namespace), ...(store.data.proxies?.proxies || []).map((one) => one.namespace), ...(store.data.problems || []).map((one) => one.object.namespace)]);
  if (at.params.ns) found.add(at.params.ns);
  found.delete("");
  sync(select, [h("option", { value: "" }, "All namespaces"), ...[...found].sort().map((name) => h("option", { value: name }, name))]);
  if (select.value !== (at.params.ns || "")) select.value = at.params.ns || "";
}

function banner() {
  const failed = Object.entries(store.failed);
  if (failed.length) {
    const [name, { since, why }] = failed.sort((a, b) => a[1].since - b[1].since)[0];
    const some = Object.keys(store.data).length > 0;
    return [h("p", { class: "note bad" }, h("strong", {}, "The control plane does not answer"), ` since ${new Date(since).toLocaleTimeString()}${failed.length < Object.keys(store.wanted()).length ? ` (${name})` : ""}: ${why}. `,
      some ? "Shown is what was known last; it is asked again and again." : "It is asked again and again.")];
  }
  const away = (store.data.proxies?.control_planes || []).filter((one) => one.error || !one.ready);
  return away.map((one) => h("p", { class: "note poor" }, h("strong", {}, one.name), one.error ? ` does not answer: ${one.error}` : ` is not ready, it waits for ${one.waits_for.join("; ")}`));
}

function live() {
  const button = $("live"), failed = Object.keys(store.failed).length > 0;
  button.setAttribute("aria-pressed", String(store.paused));
  button.className = `live ${store.paused ? "paused" : failed ? "bad" : "good"}`;
  button.title = store.paused ? "Go on (Space on this button)" : "Stop asking every 5 seconds";
  const told = store.updated ? `${age(store.updated)} ago` : "";
  sync(button, [h("i", { class: "dot" }), h("span", {}, store.paused ? "Paused" : failed ? "Not answered" : "Live"), told && (store.paused || failed) ? h("span", { class: "age" }, told) : null]);
}

// --- what is done ---------------------------------------------------------------------------------------------------

const acts = {
  skip: () => $("main").focus(),
  pause: () => store.pause(!store.paused),
  theme: () => theme(true),
  clear: () => write(Object.fromEntries(Object.entries(at.params).filter(([name]) => !["q", "ns", "state", "severity"].includes(name)))),
  set: (target) => write({ ...at.params, [target.dataset.name]: target.dataset.value }),
  more: () => write({ ...at.params, more: Number(at.more || 1) + 1 }),
  pick: (target) => write({ ...at.params, as: "", node: at.node === target.dataset.id ? "" : target.dataset.id }, { push: true }),
  unpick: () => { const id = at.node; write({ ...at.params, node: "" }); focusBox(id); },
  zoom: (target) => { graph.acts.zoom(target); render(); },
};

function focusBox(id) {
  const box = [...document.querySelectorAll(".box")].find((one) => one.dataset.id === id);
  box?.focus();
}

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-act]");
  if (!target || !acts[target.dataset.act]) return;
  event.preventDefault();
  acts[target.dataset.act](target);
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.closest("input, select, textarea");
  if (event.key === "/" && !typing) { event.preventDefault(); $("search").focus(); $("search").select(); return; }
  if (event.key === "Escape") {
    if (typing && $("search").value) { $("search").value = ""; write({ ...at.params, q: "" }); }
    else if (typing) $("main").focus();
    else if (at.node) acts.unpick();
    else if (at.item) write(Object.fromEntries(Object.entries(at.params).filter(([name]) => KEPT.includes(name))), { push: true, item: "" });
    return;
  }
  const area = event.target.closest("[data-keys]");
  if (area && !typing && keys[area.dataset.keys]?.(event, area)) event.preventDefault();
});

const keys = {
  graph: graph.key,
  rows: (event, area) => along(event, [...area.querySelectorAll("[data-row]")], "ArrowDown", "ArrowUp"),
  tabs: (event, area) => {
    const tabs = [...area.querySelectorAll("[role=tab]")];
    if (!along(event, tabs, "ArrowRight", "ArrowLeft")) return false;
    const key = document.activeElement.dataset.value;
    write({ ...at.params, port: key });
    return true;
  },
};

function along(event, items, forth, back) {
  const now = items.indexOf(document.activeElement);
  const to = { [forth]: Math.min(items.length - 1, now + 1), [back]: Math.max(0, now - 1), Home: 0, End: items.length - 1 }[event.key];
  if (now < 0 || to === undefined) return false;
  if (items[0].getAttribute("role") === "tab") rove(items, items[to]);
  else { items[to].focus(); items[to].scrollIntoView({ block: "nearest" }); }
  return true;
}

let typed = 0;
$("search").addEventListener("input", () => {
  clearTimeout(typed);
  typed = setTimeout(() => write({ ...at.params, q: $("search").value.trim(), more: "" }), 120);
});
document.querySelector("form.filter").addEventListener("submit", (event) => event.preventDefault());
$("namespace").addEventListener("change", () => write({ ...at.params, ns: $("namespace").value, more: "" }));
addEventListener("hashchange", go);
addEventListener("popstate", go);
addEventListener("resize", () => soon());
addEventListener("online", () => store.refresh());

// --- the theme ------------------------------------------------------------------------------------------------------

const THEMES = { "": ["as the system", "M8 2a6 6 0 1 0 0 12V2Z"], light: ["light", "M8 4.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7ZM8 .5v2M8 13.5v2M.5 8h2M13.5 8h2M2.7 2.7l1.4 1.4M11.9 11.9l1.4 1.4M13.3 2.7l-1.4 1.4M4.1 11.9l-1.4 1.4"], dark: ["dark", "M13.5 9.6A6 6 0 0 1 6.4 2.5a6 6 0 1 0 7.1 7.1Z"] };

function theme(next) {
  const root = document.documentElement, order = Object.keys(THEMES);
  let now = root.dataset.theme || "";
  if (next) {
    now = order[(order.indexOf(now) + 1) % order.length];
    if (now) root.dataset.theme = now;
    else delete root.dataset.theme;
    try { localStorage.setItem("pymesh.theme", now); } catch { /* it is forgotten with the page */ }
  }
  const button = $("theme");
  const words = `Theme: ${THEMES[now][0]}`;
  button.setAttribute("aria-label", words);
  button.title = words;
  sync(button, [h("svg", { width: 16, height: 16, viewBox: "0 0 16 16", class: `theme-${now || "auto"}`, "aria-hidden": "true" }, h("path", { d: THEMES[now][1] }))]);
}

theme(false);
$("search").value = at.params.q || "";
render();
store.start(() => ({ ...ALWAYS, ...graph.wants(at), ...VIEWS[at.view].wants(at) }));
setInterval(() => { ticks(); live(); }, 1000);
