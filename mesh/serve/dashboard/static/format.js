// Numbers, times and names as people read them.

import { h } from "./dom.js";

export const plural = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

/** Requests a second. */
export function rate(value) {
  if (!value) return "0/s";
  if (value < 0.01) return "<0.01/s";
  return `${short(value)}/s`;
}

function short(value) {
  if (value >= 1e6) return `${digits(value / 1e6)}M`;
  if (value >= 1e3) return `${digits(value / 1e3)}k`;
  return digits(value);
}

const digits = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)).replace(/\.?0+$/, "") || "0";

/** Milliseconds. */
export function ms(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 1000) return `${digits(value / 1000)} s`;
  return `${value >= 10 ? Math.round(value) : Number(value.toPrecision(2))} ms`;
}

export const bytes = (value) => (value >= 1024 ** 2 ? `${digits(value / 1024 ** 2)} MiB/s` : value >= 1024 ? `${digits(value / 1024)} KiB/s` : `${digits(value)} B/s`);

/** A share, 0 to 1. */
export function percent(share) {
  if (!share) return "0%";
  const of = share * 100;
  return of < 0.1 ? "<0.1%" : `${of >= 99.95 ? "100" : of >= 10 ? of.toFixed(0) : of.toFixed(1).replace(/\.0$/, "")}%`;
}

/** How long ago, as kubectl writes it. */
export function age(moment, now = Date.now()) {
  const seconds = Math.max(0, Math.round((now - moment) / 1000));
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["m", 60]]) {
    if (seconds >= 2 * size) return `${Math.floor(seconds / size)}${unit}`;
  }
  return `${seconds}s`;
}

/** A <time> that `ticks` keeps true. */
export function since(text, after = "") {
  const moment = Date.parse(text);
  if (Number.isNaN(moment)) return null;
  const told = new Date(moment).toISOString();
  return h("time", { datetime: told, title: told.replace(/\.000Z$/, "Z"), "data-after": after }, age(moment) + after);
}

export function ticks() {
  for (const one of document.querySelectorAll("time[datetime]")) {
    const told = age(Date.parse(one.dateTime)) + (one.dataset.after || "");
    if (one.textContent !== told) one.textContent = told;
  }
}

/** An object, as describe and analyze write it. */
export const named = (ref) => (ref.namespace ? `${ref.kind} ${ref.namespace}/${ref.name}` : `${ref.kind} ${ref.name}`);
export const same = (one, other) => one.kind === other.kind && one.namespace === other.namespace && one.name === other.name;

/** Errors first: how bad a share of failed requests is. */
export const health = (share) => (share >= 0.05 ? "bad" : share >= 0.005 ? "poor" : "good");
