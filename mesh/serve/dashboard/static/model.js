// From the answers of the API to what is drawn: services with the workloads behind them, and who calls whom.

/** How far a proxy is as a whole: its worst type. */
export const worst = (proxy) => ["ERROR", "STALE", "NOT SENT", "SYNCED"].find((state) =>
  Object.values(proxy.types).some((of) => of.state === state && !(state === "NOT SENT" && of.why === "nothing to send"))) || "SYNCED";

export const STATES = ["ERROR", "STALE", "NOT SENT", "SYNCED"];

/** How bad a service's problems are, by object: {error, warning}. */
export function faultsOf(service, byObject) {
  const found = { error: 0, warning: 0 };
  for (const ref of [service.object, ...service.rules, ...service.routes]) {
    for (const one of byObject.get(keyOf(ref)) || []) found[one.severity] += 1;
  }
  return found;
}

export const keyOf = (ref) => `${ref.kind} ${ref.namespace}/${ref.name}`;

export function byObject(problems) {
  const found = new Map();
  for (const one of problems || []) {
    const key = keyOf(one.object);
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(one);
  }
  return found;
}

const nameOf = (service) => (service.object.kind === "Service" ? service.object.name : service.host);
const idOf = (namespace, name) => `service ${namespace}/${name}`;

/** {nodes, edges, calls}: `calls` tells whether the edges are requests or only what is configured. */
export function graph({ services, traffic, proxies, problems }) {
  const nodes = new Map(), edges = new Map(), home = new Map(), hosts = new Map();
  const faults = byObject(problems);
  const add = (id, fields) => {
    if (!nodes.has(id)) nodes.set(id, { id, rows: [], rate: 0, errors: 0, called: false, calling: false, faults: { error: 0, warning: 0 }, ...fields });
    return nodes.get(id);
  };
  const row = (node, name, namespace) => {
    let found = node.rows.find((one) => one.name === name && one.namespace === namespace);
    if (!found) node.rows.push(found = { name, namespace, rate: 0, errors: 0, endpoints: 0, state: "" });
    return found;
  };
  for (const service of services?.services || []) {
    const namespace = service.object.namespace, name = nameOf(service);
    const node = add(idOf(namespace, name), { kind: service.external ? "outside" : "service", name, namespace, host: service.host, service, faults: faultsOf(service, faults) });
    hosts.set(service.host, node);
    for (const one of service.workloads) {
      row(node, one.name, namespace).endpoints = one.endpoints;
      if (!home.has(`${namespace}/${one.name}`)) home.set(`${namespace}/${one.name}`, node);
    }
  }
  const states = new Map();
  for (const proxy of proxies?.proxies || []) {
    const key = `${proxy.namespace}/${proxy.workload}`, state = worst(proxy);
    if (proxy.workload && (!states.has(key) || STATES.indexOf(state) < STATES.indexOf(states.get(key)))) states.set(key, state);
  }
  const calls = Boolean(traffic?.edges?.length);
  if (calls) {
    // where a workload is called most is where it stands
    for (const one of traffic.edges) {
      const node = callee(one, add);
      if (one.workload.name !== "unknown") {
        const key = `${one.workload.namespace}/${one.workload.name}`;
        if (!home.has(key)) home.set(key, node);
      }
    }
    for (const one of traffic.edges) {
      const to = callee(one, add), from = caller(one, home, add);
      const edge = link(edges, from.node, from.row, to);
      edge.parts.push(one);
      edge.rate += one.rate; edge.errors += one.errors; edge.refused += one.refused; edge.sent += one.sent; edge.received += one.received; edge.opened += one.opened;
      edge.tcp = edge.tcp || one.protocol === "tcp";
      for (const name of ["p50", "p95", "p99"]) if (one[name] !== null) edge[name] = Math.max(edge[name] ?? 0, one[name]);
      to.rate += one.rate; to.errors += one.errors; to.called = true; from.node.calling = true;
      if (one.workload.name !== "unknown") {
        const mine = row(to, one.workload.name, one.workload.namespace);
        mine.rate += one.rate; mine.errors += one.errors;
      }
    }
  } else {
    for (const one of services?.entrances || []) {
      const gateway = add(`gateway ${one.gateway.namespace}/${one.gateway.name}`, { kind: "gateway", name: one.gateway.name, namespace: one.gateway.namespace, hosts: [] });
      gateway.hosts = [...new Set([...gateway.hosts, ...one.hosts])];
      for (const host of one.targets) if (hosts.has(host)) link(edges, gateway, "", hosts.get(host)).objects.add(keyOf(one.route));
    }
    for (const service of services?.services || []) {
      for (const host of service.targets) {
        if (host === service.host || !hosts.has(host)) continue;
        const edge = link(edges, hosts.get(service.host), "", hosts.get(host));
        for (const ref of service.routes.slice(0, 1)) edge.objects.add(keyOf(ref));
      }
    }
  }
  for (const node of nodes.values()) {
    node.rows.sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const one of node.rows) one.state = states.get(`${one.namespace}/${one.name}`) || "";
  }
  return { nodes: [...nodes.values()], edges: [...edges.values()], calls };
}

function callee(one, add) {
  const { name, namespace } = one.service;
  const lost = name === "unknown" || name === "PassthroughCluster" || name === "BlackHoleCluster";
  if (!lost) return add(idOf(namespace, name), { kind: "service", name, namespace });
  if (one.workload.name !== "unknown") return add(`workload ${one.workload.namespace}/${one.workload.name}`, { kind: "workload", name: one.workload.name, namespace: one.workload.namespace });
  return add(`outside ${name}`, { kind: "outside", name: name === "unknown" ? "unknown" : name, namespace: "" });
}

function caller(one, home, add) {
  const { workload, namespace } = one.source;
  if (workload === "unknown") return { node: add("outside callers", { kind: "outside", name: "outside the mesh", namespace: "" }), row: "" };
  const node = home.get(`${namespace}/${workload}`) || add(`workload ${namespace}/${workload}`, { kind: "workload", name: workload, namespace });
  return { node, row: workload };
}

function link(edges, from, row, to) {
  const id = `${from.id}|${row}|${to.id}`;
  if (!edges.has(id)) edges.set(id, { id, from, row, to, parts: [], objects: new Set(), rate: 0, errors: 0, refused: 0, sent: 0, received: 0, opened: 0, tcp: false, p50: null, p95: null, p99: null });
  return edges.get(id);
}
