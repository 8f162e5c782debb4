// The overview of an object, in sections that are drawn anew only when what they say changes.

import { h } from "./dom.js";
import { eventSeen, KINDS, kindOf } from "./kinds.js";
import { age, annotationsOf, nameOf, ownerOf, podHealth, podReady, podRestarts, podSelector, podState, selects } from "./model.js";
import { collection } from "./paths.js";
import { address, toObject } from "./route.js";

const PODS = KINDS.get("pods");
// Most pods told here; the list of pods has them all.
const MOST = 50;

export function sections(content, cx, kind, first) {
  const parts = Object.fromEntries(["facts", "containers", "data", "pods", "conditions", "events"].map((id) => {
    const element = h("section");
    content.append(element);
    return [id, element];
  }));
  const { namespace, name } = first.metadata;
  let object = first;
  const ends = [];
  const follow = (plural, where, look, selector) => {
    const { copy, end } = cx.live.follow(collection(KINDS.get(plural), where), () => look(), selector);
    ends.push(end);
    return copy;
  };
  let events;
  let pods;
  const told = () => events && renew(parts.events, eventRows(events), (rows) =>
    table("Events", ["Type", "Reason", "Message", "Times", "Seen"], rows, "No events."));
  const kept = () => pods && renew(parts.pods, podRows(pods, object), (rows) =>
    table("Pods", ["Name", "Ready", "Status", "Restarts", "Node", "Age"], rows, "No pods."));
  events = follow("events", namespace, told, { fieldSelector: `involvedObject.kind=${kind.kind},involvedObject.name=${name}` });
  if (kind.plural === "nodes") pods = follow("pods", "", kept, { fieldSelector: `spec.nodeName=${name}` });
  else if (podSelector(first)) pods = follow("pods", namespace, kept);
  // Ages go on without events.
  const clock = setInterval(() => { told(); kept(); }, 1000);

  return {
    update(now) {
      object = now;
      renew(parts.facts, facts(kind, now), (rows) => [h("dl", {}, ...rows.map(([title, value]) => [h("dt", {}, title), h("dd", {}, show(value))]))]);
      renew(parts.containers, kind.plural === "pods" ? containerRows(now) : null, (rows) =>
        table("Containers", ["Name", "Image", "State", "Restarts", "Ports"], rows));
      renew(parts.data, entries(kind, now), (rows) => [h("h2", {}, "Entries"), ...rows.map((row) => entry(row))]);
      renew(parts.conditions, conditionRows(now), (rows) => table("Conditions", ["Type", "Status", "Reason", "Message", "Since"], rows));
      kept();
    },
    end() {
      clearInterval(clock);
      for (const end of ends) end();
    },
  };
}

// Draws a section if what it says is new; null is nothing at all. Whoever had the focus on a
// link there has it still.
function renew(element, data, build) {
  const said = JSON.stringify(data);
  // No attribute: what a Secret holds is not for the page to show.
  if (element.said === said) return;
  element.said = said;
  const focused = element.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  element.replaceChildren(...(data === null ? [] : build(data)));
  if (!focused) return;
  for (const link of element.querySelectorAll("a")) {
    if (link.getAttribute("href") === focused) link.focus();
  }
}

// A cell is text, or {text, href, health}.
function show(value) {
  if (Array.isArray(value)) return value.map((one) => h("span", { class: "pair" }, show(one)));
  if (value === null || typeof value !== "object") return String(value ?? "");
  if (value.href) return h("a", { href: value.href }, value.text);
  return h("span", { class: "badge", "data-health": value.health }, value.text);
}

function table(title, heads, rows, none) {
  const id = `table-${title.toLowerCase()}`;
  if (rows.length === 0) return none ? [h("h2", {}, title), h("p", {}, none)] : [];
  return [
    h("h2", { id }, title),
    h("div", { class: "wide" }, h("table", { "aria-labelledby": id },
      h("thead", {}, h("tr", {}, ...heads.map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map((cell) => h("td", {}, show(cell)))))))),
  ];
}

const pairs = (map) => Object.entries(map || {}).map(([name, value]) => (value ? `${name}=${value}` : name));

function facts(kind, object) {
  const { metadata, spec = {}, status = {} } = object;
  const owner = ownerOf(object);
  const ownerKind = owner && kindOf(owner.apiVersion, owner.kind);
  const rows = [
    ["Created", metadata.creationTimestamp],
    owner && ["Belongs to", ownerKind
      ? { text: `${owner.kind} ${owner.name}`, href: address("object", ownerKind.plural, metadata.namespace, owner.name) }
      : `${owner.kind} ${owner.name}`],
    spec.nodeName && kind.plural === "pods" && ["Node", { text: spec.nodeName, href: address("object", "nodes", "", spec.nodeName) }],
    status.podIP && ["Address", status.podIP],
    spec.serviceAccountName && ["Service account", spec.serviceAccountName],
    ...kind.columns.filter((column) => !column.link && !column.clock && kind.plural !== "pods")
      .map((column) => [column.title, column.of(object)]).filter(([, value]) => value !== ""),
    pairs(spec.nodeSelector).length > 0 && ["Node selector", pairs(spec.nodeSelector)],
    pairs(podSelector(object)?.matchLabels).length > 0 && ["Selects", pairs(podSelector(object).matchLabels)],
    pairs(metadata.labels).length > 0 && ["Labels", pairs(metadata.labels)],
    pairs(annotationsOf(object)).length > 0 && ["Annotations", pairs(annotationsOf(object)).map((text) => (text.length > 120 ? `${text.slice(0, 119)}…` : text))],
    kind.plural === "nodes" && ["Room", pairs(status.allocatable)],
  ];
  return rows.filter(Boolean);
}

function containerRows(pod) {
  const of = (specs, statuses, note) => (specs || []).map((spec) => {
    const status = (statuses || []).find((one) => one.name === spec.name);
    const [word] = Object.keys(status?.state || {});
    const detail = status?.state?.[word] || {};
    const state = detail.reason || word || "not yet";
    const health = word === "running" ? (status.ready ? "ok" : "busy") : word === "terminated" && detail.exitCode === 0 ? "done" : /Err|BackOff/.test(state) || detail.exitCode ? "bad" : "busy";
    const ports = (spec.ports || []).map((port) => `${port.containerPort}/${port.protocol || "TCP"}`).join(", ");
    return [spec.name + note, spec.image, { text: state, health }, String(status?.restartCount ?? 0), ports];
  });
  const { spec, status = {} } = pod;
  return [
    ...of(spec.initContainers, status.initContainerStatuses, " (init)"),
    ...of(spec.containers, status.containerStatuses, ""),
    ...of(spec.ephemeralContainers, status.ephemeralContainerStatuses, " (debug)"),
  ];
}

function podRows(copy, object) {
  const selector = podSelector(object);
  const all = copy.all().filter((pod) => !selector || selects(selector, pod.metadata.labels));
  // What needs attention comes first.
  const rank = (pod) => `${["bad", "busy", "ok", "done"].indexOf(podHealth(pod))} ${nameOf(pod)}`;
  const ranked = all.map((pod) => [rank(pod), pod]).sort(([a], [b]) => (a < b ? -1 : 1));
  const more = ranked.length > MOST ? [[{ text: `and ${ranked.length - MOST} more`, href: address("list", "pods") }, "", "", "", "", ""]] : [];
  return ranked.slice(0, MOST).map(([, pod]) => {
    const { ready, all: count } = podReady(pod);
    return [
      { text: nameOf(pod), href: toObject(PODS, pod) }, `${ready}/${count}`, { text: podState(pod), health: podHealth(pod) },
      String(podRestarts(pod)), pod.spec.nodeName || "", age(pod.metadata.creationTimestamp),
    ];
  }).concat(more);
}

function conditionRows(object) {
  const all = object.status?.conditions;
  if (!Array.isArray(all) || all.length === 0) return null;
  return all.map((one) => [one.type, one.status, one.reason || "", one.message || "", one.lastTransitionTime || ""]);
}

function eventRows(copy) {
  if (copy.state === "refused") return [["", "", copy.error.message, "", ""]];
  const all = copy.all().sort((a, b) => Date.parse(eventSeen(b)) - Date.parse(eventSeen(a)));
  return all.slice(0, 100).map((event) => [
    { text: event.type || "", health: event.type === "Warning" ? "bad" : "ok" }, event.reason || "", event.message || event.note || "",
    String(event.series?.count || event.count || 1), age(eventSeen(event)),
  ]);
}

// Keys of ConfigMaps and Secrets; a Secret's value is shown only when asked for.
function entries(kind, object) {
  if (kind.plural === "configmaps") {
    const binary = Object.keys(object.binaryData || {}).map((key) => [key, "(binary)", false]);
    return [...Object.entries(object.data || {}).map(([key, value]) => [key, value, false]), ...binary];
  }
  if (kind.plural === "secrets") return Object.entries(object.data || {}).map(([key, value]) => [key, value, true]);
  return null;
}

function entry([key, value, hidden]) {
  const pre = h("pre", {}, hidden ? "" : value);
  const read = () => { pre.textContent = plain(value); };
  return h("details", { open: !hidden && value.length < 400, ontoggle: hidden ? read : undefined },
    h("summary", {}, key), pre);
}

function plain(base64) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)));
  } catch {
    return `(binary, in base64) ${base64}`;
  }
}
