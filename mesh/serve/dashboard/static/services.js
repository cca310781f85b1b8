// All Services, and of one what its rules do with requests, as a picture.

import { h } from "./dom.js";
import { plural } from "./format.js";
import { PAGE, more } from "./graph.js";
import { byObject, faultsOf, worst } from "./model.js";
import { connect, picture } from "./picture.js";

export const wants = (at) => (at.item ? { service: `api/service?host=${encodeURIComponent(at.item)}` } : {});

export function view(state, at) {
  const { services, problems } = state.data;
  const faults = byObject(problems);
  const list = services?.services || [];
  const text = (one) => [one.host, one.object.name, ...one.workloads.map((each) => each.name), ...[...one.rules, ...one.routes].map((ref) => ref.name)].join(" ").toLowerCase();
  const shown = list.filter((one) => (!at.params.ns || one.object.namespace === at.params.ns) && (!at.q || text(one).includes(at.q)));
  const most = PAGE * Number(at.more || 1);
  let last = null;
  const rows = shown.slice(0, most).map((one) => {
    const heading = one.object.namespace !== last ? h("li", { class: "group", "data-key": `ns ${one.object.namespace}`, role: "presentation" }, one.object.namespace) : null;
    last = one.object.namespace;
    return [heading, item(one, one.host === at.item, faultsOf(one, faults))];
  });
  return [
    h("h1", { class: "hidden" }, "Services"),
    h("div", { class: `split ${at.item ? "has-item" : ""}` },
      h("section", { class: "panel list", "aria-label": "Services", "data-key": "list" },
        h("div", { class: "panel-head" }, h("h2", {}, "Services"), h("span", { class: "muted count" }, services ? plural(shown.length, "service") : "")),
        !services ? h("p", { class: "empty" }, state.failed.services ? "Nothing is known yet." : "Asking …")
          : !list.length ? h("div", { class: "empty" }, h("strong", {}, "There is no Service."), h("p", {}, "The control plane reads Services and ServiceEntries, and knows of none."))
            : !shown.length ? h("div", { class: "empty" }, h("strong", {}, "No service meets the filter."), h("p", {}, h("button", { type: "button", class: "link", "data-act": "clear" }, "Take it away")))
              : [h("ul", { class: "items", "data-keys": "rows" }, rows), more(shown.length, most)]),
      h("div", { class: "item", "data-key": "item" }, at.item ? one(state, at) : h("section", { class: "panel hint" }, h("p", { class: "empty" }, h("strong", {}, "Choose a service"), h("span", {}, " to see what its rules do with requests: matches in order, weights, subsets, endpoints."))))),
  ];
}

function item(one, on, faults) {
  const count = Math.max(0, ...one.ports.map((port) => port.endpoints));
  return h("li", { "data-key": one.host }, h("a", { href: `#/services/${encodeURIComponent(one.host)}`, class: on ? "on" : "", "aria-current": on ? "true" : null, "data-row": true },
    h("span", { class: "names" }, h("span", { class: "name" }, one.object.kind === "Service" ? one.object.name : one.host), h("span", { class: "sub" }, [one.ports.map((port) => `${port.number}/${port.protocol}`).slice(0, 3).join(", ") || "no port", one.ports.length > 3 ? `and ${one.ports.length - 3} more` : ""].filter(Boolean).join(" "))),
    h("span", { class: "tags" },
      faults.error ? h("span", { class: "tag bad" }, plural(faults.error, "error")) : null, faults.warning ? h("span", { class: "tag poor" }, plural(faults.warning, "warning")) : null,
      one.routes.length ? h("span", { class: "tag", title: one.routes.map((ref) => `${ref.kind} ${ref.namespace}/${ref.name}`).join(", ") }, "routed") : null, one.external ? h("span", { class: "tag" }, "external") : null,
      h("span", { class: `tag ${count ? "" : "poor"}` }, plural(count, "endpoint")))));
}

function one(state, at) {
  const service = state.data.service;
  const back = h("a", { class: "back", href: "#/services" }, "‹ All services");
  if (service === null) return [back, h("section", { class: "panel" }, h("div", { class: "empty" }, h("strong", {}, `Nobody has the host ${at.item}.`), h("p", {}, "Neither a Service nor a ServiceEntry (any more).")))];
  if (!service || service.host !== at.item) return [back, h("section", { class: "panel" }, h("p", { class: "empty" }, state.failed.service ? state.failed.service.why : "Asking …"))];
  return [back, picture(service, at, proxiesOf(state))];
}

function proxiesOf(state) {
  const found = new Map();
  for (const proxy of state.data.proxies?.proxies || []) if (proxy.address) found.set(proxy.address, { name: proxy.name, state: worst(proxy) });
  return found;
}

export const after = connect;
