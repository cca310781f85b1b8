// How far each proxy is with each type, since when, and why it is no further.

import { h } from "./dom.js";
import { plural, since } from "./format.js";
import { PAGE, more, segments } from "./graph.js";
import { STATES, worst } from "./model.js";

const TYPES = ["CDS", "LDS", "EDS", "RDS"];
const LONG = { CDS: "clusters", LDS: "listeners", EDS: "endpoints", RDS: "routes", SDS: "secrets" };
const TONES = { SYNCED: "good", STALE: "poor", "NOT SENT": "idle", ERROR: "bad" };

export const wants = () => ({});

export function view(state, at) {
  const { proxies } = state.data;
  const list = proxies?.proxies || [];
  const open = at.item ? list.find((one) => one.name === at.item) : null;
  const text = (one) => [one.name, one.control_plane, one.envoy, ...Object.values(one.types).flatMap((of) => [of.why, of.object])].join(" ").toLowerCase();
  const near = list.filter((one) => (!at.params.ns || one.namespace === at.params.ns) && (!at.q || text(one).includes(at.q)));
  const counts = Object.fromEntries(STATES.map((name) => [name, near.filter((one) => worst(one) === name).length]));
  const shown = near.filter((one) => !at.params.state || worst(one) === at.params.state).sort((a, b) => STATES.indexOf(worst(a)) - STATES.indexOf(worst(b)) || (a.namespace + a.pod < b.namespace + b.pod ? -1 : 1));
  const most = PAGE * Number(at.more || 1);
  const types = [...TYPES, ...new Set(list.flatMap((one) => Object.keys(one.types)).filter((name) => !TYPES.includes(name)))].slice(0, 6);
  return [
    h("h1", { class: "hidden" }, "Proxies"),
    planes(proxies),
    h("section", { class: "panel", "aria-label": "Proxies" },
      h("div", { class: "panel-head" }, h("h2", {}, "Proxies"), h("span", { class: "muted count" }, proxies ? plural(near.length, "proxy", "proxies") : ""), h("div", { class: "push" }),
        segments("state", "State", [["", "All"], ...STATES.filter((name) => counts[name] || at.params.state === name).map((name) => [name, `${name} ${counts[name].toLocaleString("en")}`])], at.params.state || "")),
      open ? detail(open) : at.item && proxies ? h("p", { class: "note" }, h("strong", {}, at.item), " is not connected (any more).") : null,
      !proxies ? h("p", { class: "empty" }, state.failed.proxies ? "Nothing is known yet." : "Asking …")
        : !list.length ? h("div", { class: "empty" }, h("strong", {}, "No proxy is connected."), h("p", {}, "Pods get one in a namespace labelled ", h("code", {}, "istio-injection=enabled"), "; on this machine ", h("code", {}, "pymesh bootstrap"), " says what an Envoy starts with."))
          : !shown.length ? h("div", { class: "empty" }, h("strong", {}, "No proxy meets the filter."), h("p", {}, h("button", { type: "button", class: "link", "data-act": "clear" }, "Take it away")))
            : [h("div", { class: "scroll" }, h("table", { class: "grid stack", "data-keys": "rows" }, h("caption", { class: "hidden" }, "Proxies and how far each is"),
              h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Proxy"), types.map((name) => h("th", { scope: "col", title: LONG[name] || name }, name)), h("th", { scope: "col" }, "Control plane"), h("th", { scope: "col" }, "Envoy"), h("th", { scope: "col" }, "Connected"))),
              h("tbody", {}, shown.slice(0, most).map((one) => h("tr", { "data-key": `${one.name} ${one.control_plane} ${one.connected}`, class: one.name === at.item ? "on" : "" },
                h("th", { scope: "row" }, h("a", { href: `#/proxies/${encodeURIComponent(one.name)}`, "data-row": true }, one.pod), h("span", { class: "sub" }, `${one.namespace}${one.kind === "router" ? " · gateway" : ""}`)),
                types.map((name) => h("td", { "data-label": name }, cell(one.types[name]))),
                h("td", { "data-label": "Control plane" }, one.control_plane), h("td", { "data-label": "Envoy" }, one.envoy || "–"), h("td", { "data-label": "Connected" }, since(one.connected))))))), more(shown.length, most)]),
  ];
}

function cell(of) {
  if (!of) return h("span", { class: "muted" }, "–");
  return h("span", { class: `state ${TONES[of.state]}`, title: of.why }, h("i", { class: "dot" }), of.state, of.since ? h("span", { class: "age" }, since(of.since)) : null);
}

function planes(proxies) {
  const bad = (proxies?.control_planes || []).filter((one) => one.error || !one.ready);
  return bad.map((one) => h("p", { class: "note bad", role: "status" }, h("strong", {}, one.name), one.error ? ` does not answer: ${one.error}` : ` is not ready, it waits for ${one.waits_for.join("; ")}`));
}

function detail(one) {
  return h("section", { class: "detail", "aria-label": `Proxy ${one.name}`, "data-key": `detail ${one.name}` },
    h("div", { class: "detail-head" }, h("div", {}, h("h3", {}, one.name), h("p", { class: "muted" }, [one.kind === "router" ? "gateway" : "sidecar", one.address, `Envoy ${one.envoy || "?"}`, one.protocol === "delta" ? "delta xDS" : "state of the world", `at ${one.control_plane}`].filter(Boolean).join(" · "))), h("a", { class: "icon", href: "#/proxies", "aria-label": "Close", title: "Close (Esc)", "data-close": true }, "✕")),
    h("div", { class: "cards" }, Object.entries(one.types).map(([name, of]) => h("div", { class: `card ${TONES[of.state]}`, "data-key": name },
      h("div", { class: "card-head" }, h("strong", {}, name), h("span", { class: "muted" }, LONG[name] || ""), h("div", { class: "push" }), cell(of)),
      h("p", { class: "muted" }, `${plural(of.resources, "resource")}${of.sent ? ` · sent ${of.sent}, accepted ${of.acked || "none"}` : ""}`),
      of.why ? h("blockquote", {}, of.why) : null,
      of.object ? h("p", {}, h("span", { class: "label" }, "Because of "), h("a", { href: `#/problems?q=${encodeURIComponent(of.object.split(",")[0].split(" ").pop())}` }, of.object)) : null,
      of.refused.length ? h("p", {}, h("span", { class: "label" }, "Refused "), h("code", {}, of.refused.slice(0, 20).join(", ")), of.refused.length > 20 ? ` and ${of.refused.length - 20} more` : "") : null))));
}
