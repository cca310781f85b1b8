// What the page knows: asked for every few seconds, kept when nobody answers.

const EVERY = 5000;
const WITHIN = 25000;
const SOON = 2500;

/** `data` has the newest answers by name, `failed` since when one is not to be had and why. */
export class Store {
  constructor(changed) {
    this.data = {};
    this.failed = {};
    this.paused = false;
    this.updated = 0;
    this.tags = {};
    this.changed = changed;
    this.wanted = () => ({});
    this.timer = 0;
    this.round = 0;
    this.slow = false;
    setTimeout(() => { this.slow = true; this.changed([]); }, SOON);
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.refresh(); });
  }

  /** `wanted` gives the paths to ask, by name. */
  start(wanted) {
    this.wanted = wanted;
    this.refresh();
  }

  pause(paused) {
    this.paused = paused;
    if (paused) clearTimeout(this.timer);
    else this.refresh();
    this.changed([]);
  }

  /** Asks at once; paused, only for what is not there at all. */
  async refresh() {
    clearTimeout(this.timer);
    const round = ++this.round;
    const wanted = Object.entries(this.wanted()).filter(([name, path]) => !this.paused || this.tags[name]?.path !== path);
    for (const [name, path] of wanted) {
      // another host or window: what is there is not its answer
      if (this.tags[name] && this.tags[name].path !== path) { delete this.data[name]; delete this.failed[name]; delete this.tags[name]; }
    }
    const before = JSON.stringify(this.failed);
    const changes = [];
    await Promise.all(wanted.map(async ([name, path]) => {
      const changed = await this.ask(name, path);
      if (changed && round === this.round) this.changed([name]);
      if (changed) changes.push(name);
    }));
    if (round !== this.round) return;
    if (!Object.keys(this.failed).length) this.updated = Date.now();
    if (before !== JSON.stringify(this.failed) || !changes.length) this.changed(changes);
    if (!this.paused && !document.hidden) this.timer = setTimeout(() => this.refresh(), EVERY);
  }

  async ask(name, path) {
    try {
      const answer = await fetch(path, { signal: AbortSignal.timeout(WITHIN), headers: { Accept: "application/json" } });
      if (answer.status === 404) return this.take(name, path, "", null);
      if (!answer.ok) throw new Error(`${(await answer.text()).trim().slice(0, 600) || answer.status}`);
      const tag = answer.headers.get("etag") || "";
      if (tag && this.tags[name]?.tag === tag && this.tags[name].path === path) {
        delete this.failed[name];
        return false;
      }
      return this.take(name, path, tag, await answer.json());
    } catch (error) {
      const why = error.name === "TimeoutError" ? `no answer within ${WITHIN / 1000} s` : error instanceof TypeError ? "nobody answers at this address" : error.message;
      const known = this.failed[name];
      this.failed[name] = { since: known?.since ?? Date.now(), why };
      return false;
    }
  }

  take(name, path, tag, value) {
    this.tags[name] = { tag, path };
    this.data[name] = value;
    delete this.failed[name];
    return true;
  }
}
