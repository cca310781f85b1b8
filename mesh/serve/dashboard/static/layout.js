// Places boxes in layers, so that what calls stands before what is called (after Sugiyama). Pure: sizes in, places out.

const GAP = { layer: 150, box: 22, column: 40 };
const TALLEST = 12;

/** `boxes` are {id, width, height}, `edges` [from, to]; `down` makes layers rows. The same input gives the same places. */
export function layout(boxes, edges, { down = false, across = 1e9 } = {}) {
  const ids = boxes.map((one) => one.id);
  const known = new Map(boxes.map((one) => [one.id, one]));
  const next = new Map(ids.map((id) => [id, []]));
  const prev = new Map(ids.map((id) => [id, []]));
  for (const [from, to] of withoutCycles(ids, edges.filter(([from, to]) => from !== to && known.has(from) && known.has(to)))) {
    next.get(from).push(to);
    prev.get(to).push(from);
  }
  const linked = ids.filter((id) => next.get(id).length || prev.get(id).length);
  const layers = ordered(layered(linked, next, prev), next, prev);
  const size = (id) => (down ? [known.get(id).height, known.get(id).width] : [known.get(id).width, known.get(id).height]);
  const places = new Map();
  let along = 0;
  const columns = layers.flatMap((layer) => split(layer, down ? Math.max(1, Math.floor((across + GAP.box) / (Math.max(...boxes.map((one) => one.width)) + GAP.box))) : TALLEST));
  const aligned = align(columns, (id) => size(id)[1], next, prev);
  columns.forEach((column) => {
    for (const id of column) places.set(id, [along, aligned.get(id)]);
    along += Math.max(...column.map((id) => size(id)[0])) + (down ? 56 : GAP.layer);
  });
  // those without a link: rows below
  const alone = ids.filter((id) => !places.has(id));
  const end = (axis) => Math.max(0, ...[...places].map(([id, place]) => place[axis] + size(id)[axis]));
  const found = new Map([...places].map(([id, [a, b]]) => [id, down ? { x: b, y: a } : { x: a, y: b }]));
  const top = down ? end(0) + (places.size ? GAP.column : 0) : end(1) + (places.size ? GAP.column : 0);
  const wide = down ? across : Math.max(end(0), Math.min(across, 4 * 260));
  let x = 0, y = top, row = 0;
  for (const id of alone) {
    const { width, height } = known.get(id);
    if (x && x + width > wide) { x = 0; y += row + GAP.box; row = 0; }
    found.set(id, { x, y });
    x += width + GAP.box;
    row = Math.max(row, height);
  }
  const all = [...found].map(([id, place]) => [known.get(id), place]);
  return {
    places: found,
    width: Math.max(0, ...all.map(([box, place]) => place.x + box.width)),
    height: Math.max(0, ...all.map(([box, place]) => place.y + box.height)),
  };
}

/** The edges without those that lead back to where one came from. */
function withoutCycles(ids, edges) {
  const out = new Map(ids.map((id) => [id, []]));
  const into = new Map(ids.map((id) => [id, 0]));
  for (const edge of edges) { out.get(edge[0]).push(edge); into.set(edge[1], into.get(edge[1]) + 1); }
  const state = new Map();
  const kept = [];
  // who is called by nobody comes first, so that it is no cycle's middle
  for (const root of [...ids].sort((a, b) => into.get(a) - into.get(b))) {
    if (state.has(root)) continue;
    state.set(root, 1);
    const stack = [[root, 0]];
    while (stack.length) {
      const top = stack[stack.length - 1];
      const edge = out.get(top[0])[top[1]++];
      if (!edge) { state.set(top[0], 2); stack.pop(); continue; }
      if (state.get(edge[1]) === 1) continue;
      kept.push(edge);
      if (!state.has(edge[1])) { state.set(edge[1], 1); stack.push([edge[1], 0]); }
    }
  }
  return kept;
}

/** Each as far from a beginning as its longest way. */
function layered(ids, next, prev) {
  const rank = new Map(), waits = new Map(ids.map((id) => [id, prev.get(id).length]));
  const ready = ids.filter((id) => !waits.get(id));
  for (const id of ready) rank.set(id, 0);
  while (ready.length) {
    const id = ready.pop();
    for (const to of next.get(id)) {
      rank.set(to, Math.max(rank.get(to) ?? 0, rank.get(id) + 1));
      waits.set(to, waits.get(to) - 1);
      if (!waits.get(to)) ready.push(to);
    }
  }
  const layers = [];
  for (const id of ids) (layers[rank.get(id) ?? 0] ??= []).push(id);
  return layers.filter(Boolean);
}

/** Fewer crossings: each layer sorted by where its neighbours stand, to and fro. */
function ordered(layers, next, prev) {
  for (let round = 0; round < 6; round++) {
    const forth = round % 2 === 0;
    const rows = forth ? layers : [...layers].reverse();
    const at = new Map();
    for (const layer of layers) layer.forEach((id, index) => at.set(id, index / Math.max(1, layer.length - 1)));
    for (const layer of rows) {
      const weight = new Map(layer.map((id, index) => {
        const near = (forth ? prev : next).get(id);
        return [id, near.length ? near.reduce((sum, one) => sum + at.get(one), 0) / near.length : index / Math.max(1, layer.length - 1)];
      }));
      layer.sort((a, b) => weight.get(a) - weight.get(b));
      layer.forEach((id, index) => at.set(id, index / Math.max(1, layer.length - 1)));
    }
  }
  return layers;
}

function split(layer, most) {
  const parts = Math.ceil(layer.length / most);
  const each = Math.ceil(layer.length / parts);
  return Array.from({ length: parts }, (_, index) => layer.slice(index * each, (index + 1) * each)).filter((one) => one.length);
}

/** Across a layer: near the middle of one's neighbours, nobody upon another. */
function align(columns, breadth, next, prev) {
  const at = new Map();
  for (const column of columns) {
    let y = 0;
    for (const id of column) { at.set(id, y); y += breadth(id) + GAP.box; }
  }
  const middle = (id) => at.get(id) + breadth(id) / 2;
  for (let round = 0; round < 10; round++) {
    for (const column of round % 2 ? [...columns].reverse() : columns) {
      const wish = new Map(column.map((id) => {
        const near = [...prev.get(id), ...next.get(id)];
        return [id, near.length ? near.reduce((sum, one) => sum + middle(one), 0) / near.length - breadth(id) / 2 : at.get(id)];
      }));
      // blocks that would overlap move as one, to the mean of their wishes
      const blocks = [];
      for (const id of column) {
        let block = { ids: [id], sum: wish.get(id), size: breadth(id) };
        for (let last; (last = blocks.at(-1)) && last.sum / last.ids.length + last.size + GAP.box > block.sum / block.ids.length; blocks.pop()) {
          const shift = last.size + GAP.box;
          block = { ids: [...last.ids, ...block.ids], sum: last.sum + block.sum - shift * block.ids.length, size: shift + block.size };
        }
        blocks.push(block);
      }
      for (const block of blocks) {
        let y = block.sum / block.ids.length;
        for (const id of block.ids) { at.set(id, y); y += breadth(id) + GAP.box; }
      }
    }
  }
  const top = Math.min(...at.values());
  for (const [id, y] of at) at.set(id, y - top);
  return at;
}
