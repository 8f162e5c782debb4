// Where everything stands in the picture: who sends traffic on the left, nodes with their pods
// on the right. Pure.

const MARGIN = 16;
const GAP = 8;
const HEAD = 34;
const BOX = { width: 190, height: 30 };
// Room for the lines between both sides.
const LINES = 110;
const NARROWEST = 250;

// A pod's size by how many there are: with its name, as a square, as a small square.
export function tile(count) {
  if (count <= 60) return { width: 112, height: 24, gap: 6, named: true };
  if (count <= 300) return { width: 22, height: 22, gap: 5, named: false };
  return { width: 13, height: 13, gap: 3, named: false };
}

function stack(keys, x) {
  return new Map(keys.map((key, n) => [key, { x, y: MARGIN + n * (BOX.height + GAP), ...BOX }]));
}

// ingresses, services: keys. nodes: [{key, pods: [keys]}]. Gives boxes by key, and the size.
export function arrange({ width, ingresses, services, nodes }) {
  const columns = (ingresses.length > 0 ? 1 : 0) + (services.length > 0 ? 1 : 0);
  const narrow = width < columns * (BOX.width + LINES) + NARROWEST + 2 * MARGIN;
  let x = MARGIN;
  const place = (keys) => {
    const boxes = stack(keys, x);
    if (keys.length > 0) x += BOX.width + (narrow ? 24 : LINES);
    return boxes;
  };
  const left = { ingresses: place(ingresses), services: place(services) };
  const room = Math.max(width - x - MARGIN, NARROWEST);
  const size = tile(nodes.reduce((sum, node) => sum + node.pods.length, 0));
  const across = Math.max(1, Math.min(nodes.length, Math.floor((room + GAP) / (NARROWEST + GAP))));
  const wide = Math.floor((room - (across - 1) * GAP) / across);
  const inside = wide - 2 * GAP;
  const perRow = Math.max(1, Math.floor((inside + size.gap) / (size.width + size.gap)));
  const boxes = new Map();
  const pods = new Map();
  let top = MARGIN;
  for (let first = 0; first < nodes.length; first += across) {
    const row = nodes.slice(first, first + across);
    const rows = Math.max(1, ...row.map((node) => Math.ceil(node.pods.length / perRow)));
    const height = HEAD + rows * (size.height + size.gap) - size.gap + GAP;
    row.forEach((node, n) => {
      const box = { x: x + n * (wide + GAP), y: top, width: wide, height };
      boxes.set(node.key, box);
      node.pods.forEach((pod, m) => {
        pods.set(pod, {
          x: box.x + GAP + (m % perRow) * (size.width + size.gap),
          y: box.y + HEAD + Math.floor(m / perRow) * (size.height + size.gap),
          width: Math.min(size.width, inside),
          height: size.height,
        });
      });
    });
    top += height + GAP;
  }
  const stacked = MARGIN + Math.max(ingresses.length, services.length) * (BOX.height + GAP);
  return {
    ...left, nodes: boxes, pods, named: size.named,
    width: x + across * (wide + GAP) - GAP + MARGIN,
    height: Math.max(top, stacked) + MARGIN,
  };
}

// A line from the right side of one box to the left side of another, as SVG has it.
export function curve(from, to) {
  const x1 = Math.round(from.x + from.width);
  const y1 = Math.round(from.y + from.height / 2);
  const x2 = Math.round(to.x);
  const y2 = Math.round(to.y + to.height / 2);
  const bend = Math.max(24, Math.round((x2 - x1) / 2));
  return `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
}

// The key next to `from` in a direction ("ArrowLeft", …), by position; undefined at the edge.
export function neighbour(boxes, from, direction) {
  const here = boxes.get(from);
  if (!here) return undefined;
  const sideways = direction === "ArrowLeft" || direction === "ArrowRight";
  const sign = direction === "ArrowRight" || direction === "ArrowDown" ? 1 : -1;
  let best;
  let least = Infinity;
  for (const [key, box] of boxes) {
    const [dx, dy] = [box.x - here.x, box.y - here.y];
    const [ahead, aside] = sideways ? [dx * sign, Math.abs(dy)] : [dy * sign, Math.abs(dx)];
    if (key === from || ahead <= 0) continue;
    // What lies beside counts more than what lies near.
    const distance = ahead + 3 * aside;
    if (distance < least) [best, least] = [key, distance];
  }
  return best;
}
