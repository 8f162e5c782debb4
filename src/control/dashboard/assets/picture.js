// The picture: nodes with their pods, Services and Ingresses, and who points to whom. It moves
// as the cluster moves.

import { attribute, everyFrame, h, svg, text } from "./dom.js";
import { KINDS } from "./kinds.js";
import { arrange, curve, neighbour } from "./layout.js";
import { backendsOf, endpointsOf, keyOf, nodeHealth, nodeState, podHealth, podReady, podState } from "./model.js";
import { collection } from "./paths.js";
import { toObject } from "./route.js";

const FOLLOWED = ["nodes", "pods", "services", "endpointslices", "ingresses"];
// A Service with more pods than this points to their nodes.
const MANY = 60;
const HOMELESS = "\u0000waiting";
const MARKS = { ok: "", busy: "…", bad: "!", done: "✓" };
const LEGEND = [["ok", "running"], ["busy", "on its way"], ["bad", "in trouble"], ["done", "done"]];

export function picture(main, cx) {
  const summary = h("p", { class: "count" });
  const lines = svg("svg", { class: "lines", "aria-hidden": "true" });
  const stage = h("div", { class: "stage", onkeydown: keys, onfocusin: (e) => light(e.target), onfocusout: () => light(null), onmouseover: (e) => light(e.target), onmouseleave: () => light(null) }, lines);
  const hint = h("p", { class: "legend" }, ...LEGEND.map(([health, words]) =>
    h("span", {}, h("span", { class: `tile sample ${health}`, "aria-hidden": "true" }, MARKS[health]), ` ${words}`)),
    h("span", {}, "Arrow keys move, Enter opens."));
  main.append(h("div", { class: "bar" }, h("h1", {}, "Picture"), summary), hint, stage);

  const elements = new Map();
  const paths = new Map();
  let boxes = new Map();
  // For each element, what it is tied to: pods of a Service, Services of a pod.
  let ties = new Map();
  let active = "";
  let lit = "";

  const followed = {};
  const draw = everyFrame(update);
  for (const plural of FOLLOWED) followed[plural] = cx.live.follow(collection(KINDS.get(plural), cx.namespace), draw);
  const resized = new ResizeObserver(draw);
  resized.observe(main);

  const all = (plural) => followed[plural].copy.all();
  const sorted = (plural) => all(plural).sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));

  function update() {
    const pods = sorted("pods");
    const services = sorted("services");
    const ingresses = sorted("ingresses");
    const { nodes, homes } = homesOf(pods);
    const laid = arrange({
      width: Math.max(320, main.clientWidth - 8),
      services: services.map(keyOf), ingresses: ingresses.map(keyOf),
      nodes: nodes.map((node) => ({ key: node.key, pods: homes.get(node.key) || [] })),
    });
    stage.classList.toggle("named", laid.named);
    stage.style.height = `${laid.height}px`;
    attribute(lines, "width", String(laid.width));
    attribute(lines, "height", String(laid.height));
    boxes = new Map();
    const wanted = new Set();
    const put = (key, box, make, look) => {
      wanted.add(key);
      let element = elements.get(key);
      if (!element) {
        element = make();
        element.dataset.key = key;
        elements.set(key, element);
        stage.append(element);
      }
      place(element, box);
      look(element);
      return element;
    };
    for (const node of nodes) putNode(put, node, laid.nodes.get(node.key), (homes.get(node.key) || []).length);
    const reach = (kind, objects, where) => {
      for (const object of objects) {
        const key = `${kind.kind} ${keyOf(object)}`;
        boxes.set(key, where.get(keyOf(object)));
        put(key, where.get(keyOf(object)), () => h("a", { class: `box ${kind.kind}`, href: toObject(kind, object), tabindex: "-1" }, h("span")), (element) => {
          text(element.firstChild, object.metadata.name);
          const words = `${kind.kind} ${keyOf(object)}`;
          attribute(element, "title", words);
          attribute(element, "aria-label", words);
        });
      }
    };
    reach(KINDS.get("ingresses"), ingresses, laid.ingresses);
    reach(KINDS.get("services"), services, laid.services);
    const behind = endpointsOf(all("endpointslices"));
    ties = tiesOf(behind, ingresses);
    for (const pod of pods) putPod(put, pod, laid.pods.get(keyOf(pod)));
    for (const [key, element] of elements) {
      if (wanted.has(key)) continue;
      element.remove();
      elements.delete(key);
    }
    drawLines(behind, ingresses, laid, pods);
    rove();
    tell(nodes, pods, services);
  }

  // Which nodes there are, and who lives where.
  function homesOf(pods) {
    const nodes = new Map(sorted("nodes").map((node) => [node.metadata.name, { key: node.metadata.name, node }]));
    const homes = new Map();
    for (const pod of pods) {
      const home = pod.spec.nodeName || HOMELESS;
      if (!nodes.has(home)) nodes.set(home, { key: home });
      if (!homes.has(home)) homes.set(home, []);
      homes.get(home).push(keyOf(pod));
    }
    const list = [...nodes.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
    return { nodes: list, homes };
  }

  function putNode(put, { key, node }, box, count) {
    const href = node ? toObject(KINDS.get("nodes"), node) : undefined;
    put(`Node ${key}`, box, () => h("div", { class: "node" }, href ? h("a", { href, tabindex: "-1", "data-key": `Node ${key}` }) : h("span")), (element) => {
      const state = node ? nodeState(node) : "";
      const name = key === HOMELESS ? "Not on a node yet" : `${key} ${state}`;
      text(element.firstChild, `${name} · ${count}`);
      attribute(element.firstChild, "aria-label", `${node ? "Node " : ""}${name}, ${count} pods`);
      element.className = `node ${node ? nodeHealth(node) : "busy"}`;
      if (href) boxes.set(`Node ${key}`, { ...box, height: 24 });
    });
  }

  function putPod(put, pod, box) {
    const key = `Pod ${keyOf(pod)}`;
    boxes.set(key, box);
    put(key, box, () => h("a", { class: "tile", href: toObject(KINDS.get("pods"), pod), tabindex: "-1" }, h("b", { "aria-hidden": "true" }), h("span")), (element) => {
      const health = podHealth(pod);
      const { ready, all: count } = podReady(pod);
      const services = [...(ties.get(key) || [])].map((tie) => tie.split("/")[1]).join(", ");
      const words = `Pod ${keyOf(pod)}, ${podState(pod)}, ${ready} of ${count} ready${services ? `, behind ${services}` : ""}`;
      if (element.title === words) return;
      element.title = words;
      element.setAttribute("aria-label", words);
      element.className = `tile ${health}`;
      text(element.firstChild, MARKS[health]);
      text(element.lastChild, pod.metadata.name);
    });
  }

  function drawLines(behind, ingresses, laid, pods) {
    const wanted = new Map();
    const home = new Map(pods.map((pod) => [keyOf(pod), pod.spec.nodeName || HOMELESS]));
    for (const [service, endpoints] of behind) {
      const from = laid.services.get(service);
      const there = [...endpoints.keys()].filter((pod) => laid.pods.has(pod));
      if (!from || there.length === 0) continue;
      const ends = there.length > MANY
        ? [...new Set(there.map((pod) => home.get(pod)))].map((node) => laid.nodes.get(node))
        : there.map((pod) => laid.pods.get(pod));
      wanted.set(`Service ${service}`, ends.map((box) => curve(from, box)).join(""));
    }
    for (const ingress of ingresses) {
      const from = laid.ingresses.get(keyOf(ingress));
      const ends = backendsOf(ingress).map((service) => laid.services.get(service)).filter(Boolean);
      if (ends.length > 0) wanted.set(`Ingress ${keyOf(ingress)}`, ends.map((box) => curve(from, box)).join(""));
    }
    for (const [key, d] of wanted) {
      if (!paths.has(key)) {
        paths.set(key, svg("path", { class: "line" }));
        lines.append(paths.get(key));
      }
      attribute(paths.get(key), "d", d);
    }
    for (const [key, path] of paths) {
      if (wanted.has(key)) continue;
      path.remove();
      paths.delete(key);
    }
  }

  // One of all is in the tab order; arrows do the rest.
  function rove() {
    if (!boxes.has(active)) active = boxes.keys().next().value || "";
    for (const [key, element] of elements) {
      const target = element.matches("a") ? element : element.querySelector("a");
      const index = key === active ? 0 : -1;
      if (target && target.tabIndex !== index) target.tabIndex = index;
    }
  }

  function keys(event) {
    const from = event.target.closest("[data-key]")?.dataset.key;
    if (!from || !event.key.startsWith("Arrow")) return;
    const next = neighbour(boxes, from, event.key);
    event.preventDefault();
    if (next === undefined) return;
    active = next;
    rove();
    const element = elements.get(next);
    (element.matches("a") ? element : element.querySelector("a")).focus();
  }

  // Shows what the pointed-at is tied to, and dims the rest.
  function light(target) {
    const key = target?.closest?.("[data-key]")?.dataset.key || "";
    const tied = ties.get(key);
    const now = tied ? key : "";
    if (now === lit) return;
    lit = now;
    stage.classList.toggle("pointing", Boolean(now));
    for (const element of stage.querySelectorAll(".lit")) element.classList.remove("lit");
    if (!now) return;
    for (const one of [key, ...tied]) {
      elements.get(one)?.classList.add("lit");
      if (one === key || key.startsWith("Pod")) paths.get(one)?.classList.add("lit");
    }
  }

  function tell(nodes, pods, services) {
    const trouble = FOLLOWED.map((plural) => followed[plural].copy).filter((copy) => copy.state === "refused");
    const counts = { ok: 0, busy: 0, bad: 0, done: 0 };
    for (const pod of pods) counts[podHealth(pod)] += 1;
    const states = LEGEND.filter(([health]) => counts[health] > 0).map(([health, words]) => `${counts[health]} ${words}`).join(", ");
    const many = (number, one) => `${number} ${one}${number === 1 ? "" : "s"}`;
    const told = [
      many(nodes.filter((node) => node.node).length, "node"), `${many(pods.length, "pod")}${states ? `: ${states}` : ""}`,
      many(services.length, "Service"),
      ...trouble.map((copy) => copy.error.message),
    ];
    text(summary, told.join(" · "));
  }

  update();
  return {
    end() {
      for (const { end } of Object.values(followed)) end();
      resized.disconnect();
    },
  };
}

function place(element, { x, y, width, height }) {
  const wanted = `${x} ${y} ${width} ${height}`;
  if (element.dataset.box === wanted) return;
  element.dataset.box = wanted;
  element.style.transform = `translate(${x}px, ${y}px)`;
  element.style.width = `${width}px`;
  element.style.height = `${height}px`;
}

function tiesOf(behind, ingresses) {
  const ties = new Map();
  const tie = (a, b) => {
    for (const [from, to] of [[a, b], [b, a]]) {
      if (!ties.has(from)) ties.set(from, new Set());
      ties.get(from).add(to);
    }
  };
  for (const [service, pods] of behind) for (const pod of pods.keys()) tie(`Service ${service}`, `Pod ${pod}`);
  for (const ingress of ingresses) for (const service of backendsOf(ingress)) tie(`Ingress ${keyOf(ingress)}`, `Service ${service}`);
  return ties;
}
