// What is wrong in objects: the field, the words, and what the code means.

import { h } from "./dom.js";
import { named, plural } from "./format.js";
import { PAGE, more, segments } from "./graph.js";
import { keyOf } from "./model.js";

export const wants = () => ({});

export function view(state, at) {
  const { problems } = state.data;
  const near = (problems || []).filter((one) => (!at.params.ns || one.object.namespace === at.params.ns) && (!at.q || [named(one.object), one.code, one.path, one.message].join(" ").toLowerCase().includes(at.q)));
  const shown = near.filter((one) => !at.params.severity || one.severity === at.params.severity);
  const objects = new Map();
  for (const one of shown) { const key = keyOf(one.object); if (!objects.has(key)) objects.set(key, []); objects.get(key).push(one); }
  const groups = [...objects.values()].sort((a, b) => worse(b) - worse(a) || (named(a[0].object) < named(b[0].object) ? -1 : 1));
  const most = PAGE * Number(at.more || 1);
  const count = (severity) => near.filter((one) => one.severity === severity).length.toLocaleString("en");
  return [
    h("h1", { class: "hidden" }, "Problems"),
    h("section", { class: "panel", "aria-label": "Problems" },
      h("div", { class: "panel-head" }, h("h2", {}, "Problems"), h("span", { class: "muted count" }, problems ? `${plural(shown.length, "problem")} in ${plural(groups.length, "object")}` : ""), h("div", { class: "push" }),
        segments("severity", "Severity", [["", "All"], ["error", `Errors ${count("error")}`], ["warning", `Warnings ${count("warning")}`]], at.params.severity || "")),
      !problems ? h("p", { class: "empty" }, state.failed.problems ? "Nothing is known yet." : "Asking …")
        : !problems.length ? h("div", { class: "empty" }, h("strong", {}, "No object is at fault."), h("p", {}, "Before you apply one: ", h("code", {}, "pymesh analyze -f FILE")))
          : !shown.length ? h("div", { class: "empty" }, h("strong", {}, "No problem meets the filter."), h("p", {}, h("button", { type: "button", class: "link", "data-act": "clear" }, "Take it away")))
            : [h("ul", { class: "faults" }, groups.slice(0, most).map((group) => h("li", { "data-key": keyOf(group[0].object), class: worse(group) ? "bad" : "poor" },
              h("h3", {}, h("span", { class: "kindname" }, group[0].object.kind), group[0].object.name, group[0].object.namespace ? h("span", { class: "sub" }, group[0].object.namespace) : null),
              worse(group) ? h("p", { class: "muted lead" }, "What has an error is left out, alone.") : null,
              group.map((one) => problem(one))))), more(groups.length, most)]),
  ];
}

const worse = (group) => Number(group.some((one) => one.severity === "error"));

export function problem(one) {
  return h("div", { class: `fault ${one.severity === "error" ? "bad" : "poor"}`, "data-key": `${one.code} ${one.path} ${one.message}` },
    h("span", { class: "sign" }, one.severity === "error" ? "Error" : "Warning"),
    h("div", {}, h("p", {}, one.message), h("p", { class: "where" }, one.path ? h("code", {}, one.path) : null, h("span", { class: "code", title: one.means }, one.code), h("span", { class: "muted" }, one.means))));
}
