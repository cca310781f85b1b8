// Who calls whom: boxes for services with a row a workload, lines between them; or the same as a table.

import { h, rove } from "./dom.js";
import { bytes, health, ms, percent, plural, rate } from "./format.js";
import { layout } from "./layout.js";
import * as model from "./model.js";

const WIDTH = 232, HEAD = 54, ROW = 30, FOOT = 10, MOST = 60, PAGE = 200;
const WINDOWS = [[60, "1 min"], [300, "5 min"], [900, "15 min"], [3600, "1 h"]];
const ICONS = {
  service: "M8 1.2 14 4.6v6.8l-6 3.4-6-3.4V4.6Z",
  workload: "M2.5 2.5h11v11h-11Z",
  gateway: "M2 8h8.5M7.5 4.5 11 8l-3.5 3.5M13.5 2v12",
  outside: "M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13ZM1.5 8h13M8 1.5c4.5 4 4.5 9 0 13-4.5-4-4.5-9 0-13Z",
};
const KINDS = { service: "Service", workload: "workload", gateway: "Gateway", outside: "outside the mesh" };
let zoom = 0;

export const wants = (at) => ({ traffic: `api/traffic?seconds=${window_of(at)}` });
const window_of = (at) => (WINDOWS.some(([seconds]) => String(seconds) === at.params.window) ? Number(at.params.window) : 60);

/** What is shown: the nodes that meet the filter and their neighbours, the busiest first. */
function chosen(whole, at) {
  const meets = (node) => (!at.params.ns || node.namespace === at.params.ns)
    && (!at.q || [node.name, node.namespace, node.host || "", ...node.rows.map((one) => one.name)].some((text) => text.toLowerCase().includes(at.q)));
  const filtered = Boolean(at.params.ns || at.q);
  const core = new Set(whole.nodes.filter(meets));
  const near = new Set(core);
  if (filtered) for (const edge of whole.edges) { if (core.has(edge.from)) near.add(edge.to); if (core.has(edge.to)) near.add(edge.from); }
  const linked = new Map();
  for (const edge of whole.edges) for (const node of [edge.from, edge.to]) linked.set(node, (linked.get(node) || 0) + 1);
  const ranked = [...near].sort((a, b) => core.has(b) - core.has(a) || b.rate - a.rate || (linked.get(b) || 0) - (linked.get(a) || 0) || (a.id < b.id ? -1 : 1));
  const nodes = new Set(ranked.slice(0, MOST));
  if (at.node) { const picked = ranked.find((one) => one.id === at.node); if (picked) nodes.add(picked); }
  const edges = whole.edges.filter((edge) => nodes.has(edge.from) && nodes.has(edge.to) && (!filtered || core.has(edge.from) || core.has(edge.to)));
  return { nodes: [...nodes].sort((a, b) => (a.id < b.id ? -1 : 1)), edges, all: near.size, core };
}

export function view(state, at) {
  const { services, traffic, proxies, problems } = state.data;
  const whole = model.graph(state.data);
  const table = at.params.as === "table";
  const parts = chosen(whole, at);
  const none = !whole.nodes.length;
  return [
    h("h1", { class: "hidden" }, "Graph"),
    vitals(state, whole),
    h("section", { class: "panel", "aria-label": "Who calls whom" },
      h("div", { class: "panel-head" },
        h("h2", {}, whole.calls || waiting(state) ? "Who calls whom" : "What is configured"),
        h("span", { class: "muted count" }, services && !waiting(state) ? told(whole, parts) : ""),
        h("div", { class: "push" }),
        whole.calls || traffic?.prometheus ? segments("window", "Time", WINDOWS.map(([seconds, words]) => [String(seconds), words]), String(window_of(at))) : null,
        segments("as", "Shown as", [["", "Graph"], ["table", "Table"]], table ? "table" : "")),
      !whole.calls && traffic ? h("p", { class: "note info", "data-key": "why" }, h("strong", {}, "No calls are known. "),
        traffic.prometheus && !traffic.why?.startsWith("Prometheus ") ? `Prometheus ${traffic.prometheus}: ` : "", traffic.why || "nobody called anybody in this time", ". Shown is where rules and gateways send.") : null,
      traffic?.left_off ? h("p", { class: "note" }, `${plural(traffic.left_off, "call")} of the least traffic are left off.`) : null,
      waiting(state) ? h("p", { class: "empty" }, "Asking …") : none ? empty(services, state.failed) : table ? asTable(parts, whole, at) : drawn(parts, whole, at)),
  ];
}

/** Calls come a moment after all else; what is configured would only flash up before them. */
const waiting = (state) => !state.data.traffic && !state.failed.traffic && !state.slow;

function told(whole, parts) {
  const shown = parts.nodes.length;
  if (shown < parts.all) return `the ${shown} busiest of ${parts.all.toLocaleString("en")} — filter, or see the table`;
  return `${plural(parts.nodes.length, "node")}, ${plural(parts.edges.length, "link")}`;
}

function vitals(state, whole) {
  const { proxies, problems, services, traffic } = state.data;
  const list = proxies?.proxies || [];
  const synced = list.filter((one) => model.worst(one) === "SYNCED").length;
  const total = whole.edges.reduce((sum, one) => sum + one.rate, 0), failed = whole.edges.reduce((sum, one) => sum + one.errors, 0);
  const errors = (problems || []).filter((one) => one.severity === "error").length;
  const share = total ? failed / total : 0;
  const tile = (href, label, value, words, tone) => h("a", { class: `tile ${tone || ""}`, href }, h("span", { class: "label" }, label), h("strong", {}, value), h("span", { class: "muted" }, words));
  return h("div", { class: "tiles" },
    whole.calls ? tile("#/graph?as=table", "Requests", rate(total), `across ${plural(whole.edges.length, "link")}`) : tile("#/services", "Requests", "–", traffic ? "no Prometheus is asked" : "…"),
    whole.calls ? tile("#/graph?as=table", "Errors", percent(share), `${rate(failed)} failed`, health(share)) : tile("#/services", "Services", services ? services.services.length.toLocaleString("en") : "–", services ? plural(services.entrances.length, "way in", "ways in") : "…"),
    tile("#/proxies", "Proxies in sync", proxies ? `${synced.toLocaleString("en")} of ${list.length.toLocaleString("en")}` : "–", proxies ? plural(proxies.control_planes.length, "control plane") : "…", proxies && synced < list.length ? "poor" : list.length ? "good" : ""),
    tile("#/problems", "Problems", problems ? errors.toLocaleString("en") : "–", problems ? `${plural(errors, "error")}, ${plural(problems.length - errors, "warning")}` : "…", errors ? "bad" : problems?.length ? "poor" : problems ? "good" : ""));
}

export function segments(name, label, options, chosen) {
  return h("div", { class: "segments", role: "group", "aria-label": label },
    options.map(([value, words]) => h("button", { type: "button", "data-key": value, "data-act": "set", "data-name": name, "data-value": value, "aria-pressed": String(value === chosen) }, words)));
}

function empty(services, failed) {
  if (!services) return h("p", { class: "empty" }, failed.services ? "Nothing is known yet." : "Asking …");
  return h("div", { class: "empty" }, h("strong", {}, "There is no Service."), h("p", {}, "The control plane reads Services, and knows of none: neither in the cluster, nor in its folder."));
}

// --- drawn ----------------------------------------------------------------------------------------------------------

const heightOf = (node) => HEAD + node.rows.length * ROW + (node.rows.length ? FOOT : 0);

function drawn(parts, whole, at) {
  if (!parts.nodes.length) return h("div", { class: "empty" }, h("strong", {}, "Nothing meets the filter."), h("p", {}, h("button", { type: "button", class: "link", "data-act": "clear" }, "Take it away")));
  const picked = parts.nodes.find((node) => node.id === at.node);
  const down = innerWidth < 720, wide = WIDTH;
  const room = (document.getElementById("main").clientWidth || innerWidth) - (down ? 62 : 106);
  const across = Math.max(WIDTH, room - (picked && innerWidth > 1000 ? 330 : 0));
  const boxes = parts.nodes.map((node) => ({ id: node.id, width: wide, height: heightOf(node) }));
  const { places, width, height } = layout(boxes, parts.edges.map((edge) => [edge.from.id, edge.to.id]), { down, across });
  const scale = zoom || Math.max(0.75, Math.min(1, across / width));
  const touches = (edge) => picked && (edge.from === picked || edge.to === picked);
  const lines = parts.edges.filter((edge) => edge.from !== edge.to).map((edge) => curve(edge, places, wide, down));
  const busiest = Math.max(1e-9, ...parts.edges.map((edge) => edge.rate));
  place(lines.length <= 80 ? lines : lines.filter(({ edge }) => touches(edge)), boxes.map((one) => ({ ...places.get(one.id), w: one.width, h: one.height })));
  const labelled = lines.filter((one) => one.label && one.at);
  const current = picked || parts.nodes[0];
  return h("div", { class: `graph ${picked ? "has-side" : ""}` },
    h("div", { class: "stage", "data-key": "stage" },
      h("div", { class: "zoom", role: "group", "aria-label": "Zoom" },
        [["out", "−", "Smaller"], ["fit", `${Math.round(scale * 100)}%`, "Fit the width"], ["in", "+", "Larger"]].map(([to, sign, words]) => h("button", { type: "button", "data-act": "zoom", "data-to": to, "data-now": scale, "aria-label": to === "fit" ? `${words}, now ${sign}` : words, title: words }, sign))),
      h("div", { class: "scroll", "data-key": "scroll" },
        h("div", { class: "sheet", css: { width: `${width * scale}px`, height: `${height * scale}px` } },
          h("div", { class: `canvas ${picked ? "picking" : ""}`, role: "group", "aria-label": "Services and who calls them. Arrow keys move, Enter shows more.", "data-keys": "graph", css: { width: `${width}px`, height: `${height}px`, transform: `scale(${scale})` } },
            h("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
              lines.map(({ edge, path, head }) => h("g", { class: `line ${toneOf(edge)} ${edge.parts.length ? "" : "planned"} ${touches(edge) ? "on" : ""}`, "data-key": edge.id },
                h("path", { class: "wire", d: path, "stroke-width": (1.4 + 3.2 * Math.sqrt(edge.rate / busiest)).toFixed(2) }),
                h("path", { class: "head", d: head })))),
            labelled.map(({ edge, label, at: [x, y] }) => h("span", { class: `pill ${toneOf(edge)} ${touches(edge) ? "on" : ""}`, "data-key": `pill ${edge.id}`, "aria-hidden": "true", css: { left: `${x}px`, top: `${y}px` } }, label)),
            parts.nodes.map((node) => box(node, places.get(node.id), wide, node === picked, node === current, whole.calls, parts.core.has(node))))))),
    picked ? side(picked, whole) : null,
    legend(whole));
}

function legend(whole) {
  const key = (tone, words) => h("span", { class: `key ${tone}` }, h("svg", { width: 26, height: 8, viewBox: "0 0 26 8", "aria-hidden": "true" }, h("g", { class: `line ${tone}` }, h("path", { class: "wire", d: "M0 4H26", "stroke-width": 2.4 }))), words);
  return h("p", { class: "legend" }, whole.calls
    ? [key("good", "requests"), key("poor", "0.5% and more fail"), key("bad", "5% and more fail"), h("span", {}, "A label: requests a second, 95th percentile.")]
    : [key("planned", "a rule or a gateway sends there")],
    h("span", { class: "key" }, h("i", { class: "dot good" }), "proxies in sync"), h("span", { class: "key" }, h("i", { class: "dot poor" }), "behind"), h("span", { class: "key" }, h("i", { class: "dot bad" }), "refused"), h("span", { class: "key" }, h("i", { class: "dot" }), "no proxy"));
}

const toneOf = (edge) => (edge.parts.length ? health(edge.rate ? edge.errors / edge.rate : 0) : "planned");

function pill(edge) {
  if (edge.tcp && !edge.rate) return bytes(edge.sent + edge.received);
  const parts = [rate(edge.rate)];
  if (edge.errors) parts.push(`${percent(edge.errors / edge.rate)} fail`);
  else if (edge.p95 !== null) parts.push(ms(edge.p95));
  return parts.join(" · ");
}

function curve(edge, places, wide, down) {
  const from = places.get(edge.from.id), to = places.get(edge.to.id);
  const index = edge.from.rows.findIndex((row) => row.name === edge.row);
  let a, b, c, d;
  if (down) {
    a = [from.x + wide / 2, from.y + heightOf(edge.from)];
    d = [to.x + wide / 2, to.y - 7];
    const pull = Math.max(34, Math.abs(d[1] - a[1]) / 2);
    b = [a[0], a[1] + pull]; c = [d[0], d[1] - pull];
  } else {
    a = [from.x + wide, from.y + (index < 0 ? HEAD / 2 : HEAD + index * ROW + ROW / 2)];
    d = [to.x - 7, to.y + HEAD / 2];
    const back = d[0] < a[0];
    const pull = back ? 120 : Math.max(46, (d[0] - a[0]) / 2);
    b = [a[0] + pull, a[1] + (back ? 60 : 0)]; c = [d[0] - pull, d[1] + (back ? 60 : 0)];
  }
  const at = (t) => [0, 1].map((axis) => (1 - t) ** 3 * a[axis] + 3 * (1 - t) ** 2 * t * b[axis] + 3 * (1 - t) * t * t * c[axis] + t ** 3 * d[axis]);
  const fix = (point) => point.map((one) => one.toFixed(1)).join(" ");
  const [x, y] = d;
  return {
    edge,
    path: `M${fix(a)}C${fix(b)} ${fix(c)} ${fix(d)}`,
    head: down ? `M${x - 5} ${y - 1}L${x + 5} ${y - 1}L${x} ${y + 7}Z` : `M${x - 1} ${y - 5}L${x - 1} ${y + 5}L${x + 7} ${y}Z`,
    label: edge.parts.length ? pill(edge) : "",
    along: (t) => at(t).map(Math.round),
  };
}

/** Labels stand on their lines, where no other label and no box is; else there is none. The busiest choose first. */
function place(lines, boxes) {
  const taken = boxes.map((one) => [one.x, one.y, one.x + one.w, one.y + one.h]);
  for (const one of lines.filter(({ label }) => label).sort((a, b) => b.edge.rate - a.edge.rate)) {
    const half = one.label.length * 3.05 + 10;
    for (const t of [0.5, 0.42, 0.58, 0.34, 0.66, 0.27, 0.74, 0.2, 0.8]) {
      const [x, y] = one.along(t);
      const mine = [x - half, y - 10, x + half, y + 10];
      if (taken.some((other) => mine[0] < other[2] && mine[2] > other[0] && mine[1] < other[3] && mine[3] > other[1])) continue;
      taken.push(mine);
      one.at = [x, y];
      break;
    }
  }
}

function box(node, place, wide, isPicked, isCurrent, calls, isCore) {
  const share = node.rate ? node.errors / node.rate : 0;
  const troubled = node.faults.error ? "bad" : node.faults.warning ? "poor" : "";
  return h("button", {
    type: "button", class: `box ${node.kind} ${isPicked ? "on" : ""} ${isCore ? "" : "beside"} ${calls && !node.called && !node.calling ? "idle" : ""}`, "data-key": `box ${node.id}`, "data-act": "pick", "data-id": node.id,
    "aria-label": spoken(node, calls), "aria-pressed": String(isPicked), tabindex: isCurrent ? 0 : -1,
    css: { left: `${place.x}px`, top: `${place.y}px`, width: `${wide}px`, height: `${heightOf(node)}px` },
  },
    h("span", { class: "box-head" },
      h("svg", { class: "kind", width: 16, height: 16, viewBox: "0 0 16 16" }, h("path", { d: ICONS[node.kind] })),
      h("span", { class: "names" }, h("span", { class: "name", title: node.name }, node.name), h("span", { class: "sub" }, node.namespace || KINDS[node.kind])),
      troubled ? h("span", { class: `flag ${troubled}`, title: `${plural(node.faults.error, "error")}, ${plural(node.faults.warning, "warning")}` }, "!") : null,
      calls && node.called ? h("span", { class: `figure ${health(share)}` }, rate(node.rate)) : null),
    node.rows.map((row) => h("span", { class: "row" }, h("i", { class: `dot ${dot(row.state)}` }), h("span", { class: "name", title: row.name }, row.name),
      calls && row.rate ? h("span", { class: `figure ${health(row.errors / row.rate)}` }, rate(row.rate)) : h("span", { class: "figure muted" }, row.endpoints ? `${row.endpoints} ep` : ""))));
}

const dot = (state) => ({ SYNCED: "good", STALE: "poor", "NOT SENT": "poor", ERROR: "bad" })[state] || "";

function spoken(node, calls) {
  const parts = [`${node.name}${node.namespace ? ` in ${node.namespace}` : ""}, ${KINDS[node.kind]}`];
  if (node.rows.length) parts.push(plural(node.rows.length, "workload"));
  if (calls && node.called) parts.push(`${rate(node.rate)} requests`, `${percent(node.errors / (node.rate || 1))} fail`);
  if (node.faults.error || node.faults.warning) parts.push(`${plural(node.faults.error, "error")}, ${plural(node.faults.warning, "warning")}`);
  return parts.join(", ");
}

function side(node, whole) {
  const into = whole.edges.filter((edge) => edge.to === node), out = whole.edges.filter((edge) => edge.from === node);
  const list = (title, edges, other) => [h("h4", {}, title), edges.length
    ? h("ul", { class: "calls" }, edges.sort((a, b) => b.rate - a.rate).slice(0, 30).map((edge) => h("li", { "data-key": edge.id },
      h("button", { type: "button", class: "link", "data-act": "pick", "data-id": other(edge).id }, other(edge).name), edge.row && edge.row !== edge.from.name ? h("span", { class: "muted" }, other(edge) === edge.from ? edge.row : `from ${edge.row}`) : null,
      edge.parts.length ? h("span", { class: "figures" }, h("b", { class: `tone ${toneOf(edge)}` }, rate(edge.rate)), h("span", {}, edge.errors ? `${percent(edge.errors / edge.rate)} fail` : "none fail"), h("span", {}, edge.tcp ? bytes(edge.sent + edge.received) : `p50 ${ms(edge.p50)} · p95 ${ms(edge.p95)} · p99 ${ms(edge.p99)}`)) : h("span", { class: "figures" }, [...edge.objects].join(", ")))),
      edges.length > 30 ? h("li", { class: "muted" }, `and ${edges.length - 30} more, in the table`) : null)
    : h("p", { class: "muted" }, "Nobody.")];
  return h("aside", { class: "side", "aria-label": `More of ${node.name}`, "data-key": "side" },
    h("div", { class: "side-head" }, h("div", {}, h("h3", {}, node.name), h("p", { class: "muted" }, [KINDS[node.kind], node.namespace].filter(Boolean).join(" · "))), h("button", { type: "button", class: "icon", "data-act": "unpick", "aria-label": "Close", title: "Close (Esc)" }, "✕")),
    node.host ? h("p", {}, h("a", { class: "button", href: `#/services/${encodeURIComponent(node.host)}` }, "Routes and endpoints")) : null,
    node.hosts?.length ? h("p", {}, "Hosts: ", node.hosts.join(", ")) : null,
    list(whole.calls ? "Called by" : "Sent to by", into, (edge) => edge.from), list(whole.calls ? "Calls" : "Sends to", out, (edge) => edge.to));
}

// --- as a table -----------------------------------------------------------------------------------------------------

function asTable(parts, whole, at) {
  const edges = whole.edges.filter((edge) => (parts.core.has(edge.from) || parts.core.has(edge.to))).sort((a, b) => b.rate - a.rate || (a.id < b.id ? -1 : 1));
  const most = PAGE * Number(at.more || 1);
  const name = (node, row) => [node.host ? h("a", { href: `#/services/${encodeURIComponent(node.host)}` }, node.name) : node.name, h("span", { class: "sub" }, [node.namespace, row !== node.name && row].filter(Boolean).join(" · "))];
  if (!edges.length) return h("p", { class: "empty" }, whole.edges.length ? "No link meets the filter." : "There is no link yet.");
  const heads = whole.calls ? ["From", "To", "Requests", "Fail", "Refused (4xx)", "p50", "p95", "p99"] : ["From", "To", "By"];
  return [
    h("div", { class: "scroll" }, h("table", { class: "grid" }, h("caption", { class: "hidden" }, "Who calls whom"),
      h("thead", {}, h("tr", {}, heads.map((one, index) => h("th", { scope: "col", class: index > 1 && whole.calls ? "number" : "" }, one)))),
      h("tbody", {}, edges.slice(0, most).map((edge) => h("tr", { "data-key": edge.id },
        h("th", { scope: "row" }, name(edge.from, edge.row)), h("td", {}, name(edge.to)),
        whole.calls ? [
          h("td", { class: "number" }, edge.tcp && !edge.rate ? bytes(edge.sent + edge.received) : rate(edge.rate)), h("td", { class: `number tone ${toneOf(edge)}` }, percent(edge.rate ? edge.errors / edge.rate : 0)),
          h("td", { class: "number" }, percent(edge.rate ? edge.refused / edge.rate : 0)), ["p50", "p95", "p99"].map((one) => h("td", { class: "number" }, ms(edge[one])))] : h("td", {}, [...edge.objects].join(", "))))))),
    more(edges.length, most)];
}

export function more(count, shown) {
  if (count <= shown) return null;
  return h("p", { class: "more" }, `${shown.toLocaleString("en")} of ${count.toLocaleString("en")} are shown. `, h("button", { type: "button", "data-act": "more" }, `Show ${Math.min(PAGE, count - shown)} more`));
}

export { PAGE };

// --- what is done ---------------------------------------------------------------------------------------------------

export const acts = {
  zoom(target) {
    const now = Number(target.dataset.now);
    zoom = { in: Math.min(2, now * 1.2), out: Math.max(0.25, now / 1.2), fit: 0 }[target.dataset.to];
  },
};

/** Arrow keys: along a layer, and to the nearest box of the next. */
export function key(event, canvas) {
  const boxes = [...canvas.querySelectorAll(".box")];
  const now = boxes.indexOf(document.activeElement);
  if (now < 0) return false;
  const places = boxes.map((one) => ({ one, x: one.offsetLeft + one.offsetWidth / 2, y: one.offsetTop + one.offsetHeight / 2 }));
  const here = places[now];
  const ways = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
  if (event.key === "Home" || event.key === "End") { rove(boxes, boxes[event.key === "Home" ? 0 : boxes.length - 1]); return true; }
  const way = ways[event.key];
  if (!way) return false;
  let best = null, least = Infinity;
  for (const other of places) {
    const along = (other.x - here.x) * way[0] + (other.y - here.y) * way[1];
    const aside = Math.abs((other.x - here.x) * way[1]) + Math.abs((other.y - here.y) * way[0]);
    if (along > 4 && along + 2.5 * aside < least) { least = along + 2.5 * aside; best = other.one; }
  }
  rove(boxes, best);
  return true;
}
