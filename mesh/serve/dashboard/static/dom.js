// Elements from values. Every text becomes a text node: names and messages come from whoever writes objects.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "path", "g", "circle", "rect", "line", "title", "use"]);

/** An element: attributes from `props` (null and false are left out, true is empty), `css` sets custom properties. */
export function h(tag, props, ...children) {
  const made = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(props || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "css") for (const [key, each] of Object.entries(value)) made.style.setProperty(key, each);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  append(made, children);
  return made;
}

function append(parent, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false || child === "") continue;
    if (Array.isArray(child)) append(parent, child);
    else parent.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/** Makes `parent` have these children and leaves alone what is the same: focus, selection and scrolling stay.
 *  An element with data-key is found again wherever it moved; what is in one with data-opaque is its own affair. */
export function sync(parent, fresh) {
  const keyed = new Map();
  for (const child of parent.children) if (child.dataset.key !== undefined) keyed.set(child.dataset.key, child);
  let at = parent.firstChild;
  for (const want of fresh.flat(Infinity)) {
    if (!(want instanceof Node)) continue;
    const key = want.dataset?.key;
    let have = key !== undefined ? keyed.get(key) : at && at.dataset?.key === undefined ? at : null;
    if (have && !alike(have, want)) have = null;
    if (!have) {
      parent.insertBefore(want, at);
      continue;
    }
    if (have === at) at = at.nextSibling;
    else parent.insertBefore(have, at);
    update(have, want);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

const alike = (one, other) => one.nodeType === other.nodeType && one.nodeName === other.nodeName;

function update(have, want) {
  if (have.nodeType !== Node.ELEMENT_NODE) {
    if (have.data !== want.data) have.data = want.data;
    return;
  }
  for (const { name } of [...have.attributes]) if (name !== "style" && !want.hasAttribute(name)) have.removeAttribute(name);
  for (const { name, value } of want.attributes) {
    if (name !== "style" && have.getAttribute(name) !== value) have.setAttribute(name, value);
  }
  // an attribute would be inline style, which the page's policy forbids
  if (have.style.cssText !== want.style.cssText) have.style.cssText = want.style.cssText;
  if (have.dataset.opaque === undefined) sync(have, [...want.childNodes]);
}

/** Moves the focus among elements of which one is in the tab order (WAI-ARIA: roving tabindex). */
export function rove(items, to) {
  if (!to) return;
  for (const one of items) one.tabIndex = one === to ? 0 : -1;
  to.focus();
  to.scrollIntoView({ block: "nearest", inline: "nearest" });
}
