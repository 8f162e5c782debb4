// One object: what it is, how it is, what belongs to it, and what can be done.

import { actions } from "./actions.js";
import { h, text } from "./dom.js";
import { KINDS } from "./kinds.js";
import { logs } from "./logs.js";
import { collection } from "./paths.js";
import { annotationsOf, podState } from "./model.js";
import { address } from "./route.js";
import { sections } from "./sections.js";
import { shell } from "./shell.js";
import { yaml } from "./yaml.js";

const TABS = [["", "Overview"], ["yaml", "YAML"]];
const POD_TABS = [["logs", "Logs"], ["terminal", "Terminal"]];

export function detail(main, cx, kind, { namespace, name, tab }) {
  const badge = h("span", { class: "badge", role: "status" });
  const trouble = h("p", { class: "trouble", role: "status" }, "reading …");
  const bar = h("div", { class: "bar" },
    h("p", { class: "way" }, h("a", { href: address("list", kind.plural) }, kind.title)),
    h("h1", {}, name), namespace ? h("span", { class: "of" }, `namespace ${namespace}`) : null, badge);
  const tabs = h("nav", { class: "tabs", "aria-label": "Parts" }, h("ul", {},
    ...[...TABS, ...(kind.plural === "pods" ? POD_TABS : [])].map(([id, title]) =>
      h("li", {}, h("a", { href: address("object", kind.plural, namespace, name, ...(id ? [id] : [])), "aria-current": id === tab ? "page" : null }, title)))));
  const content = h("div", { class: "content" });
  main.append(bar, tabs, trouble, content);

  let object = null;
  let shown = { update() {}, end() {} };
  let bound = "";
  const selector = { fieldSelector: `metadata.name=${name}` };
  const { copy, end } = cx.live.follow(collection(kind, namespace), look, selector);

  function look() {
    const [now] = copy.all();
    if (!now) {
      text(trouble, copy.state === "refused" ? copy.error.message : copy.state === "empty" ? "reading …" : `There is no ${kind.kind} ${name}${object ? " any more" : ""}.`);
      bar.querySelector(".actions")?.remove();
      bound = "";
      if (!object || copy.state !== "live") return;
      text(badge, "deleted");
      badge.dataset.health = "done";
      return;
    }
    text(trouble, "");
    const first = !object;
    object = now;
    // Under the name of an object that is gone there may be another.
    if (bound !== now.metadata.uid) {
      bound = now.metadata.uid;
      bar.querySelector(".actions")?.remove();
      bar.append(actions(kind, () => object));
    }
    text(badge, state(now));
    badge.dataset.health = kind.health?.(now) || "";
    if (first) shown = open();
    shown.update(now);
  }

  function state(now) {
    if (now.metadata.deletionTimestamp) return "Terminating";
    if (kind.plural === "pods") return podState(now);
    const column = kind.columns.find((one) => one.title === "Status" || one.title === "Ready");
    return column ? column.of(now) : "";
  }

  function open() {
    if (tab === "yaml") return readable(content, kind);
    if (tab === "logs" && kind === KINDS.get("pods")) return logs(content, object);
    if (tab === "terminal" && kind === KINDS.get("pods")) return shell(content, object);
    return sections(content, cx, kind, object);
  }

  look();
  return { end() { end(); shown.end(); } };
}

function readable(content, kind) {
  const pre = h("pre", { class: "yaml", tabindex: "0", "aria-label": "YAML" });
  const hide = kind.plural === "secrets";
  content.append(pre);
  let version = "";
  return {
    update(object) {
      if (object.metadata.resourceVersion === version) return;
      version = object.metadata.resourceVersion;
      const data = hide ? { data: Object.fromEntries(Object.keys(object.data || {}).map((key) => [key, "(hidden)"])) } : {};
      const { apiVersion, kind: name, metadata, ...rest } = object;
      const shown = hide ? { ...metadata, annotations: annotationsOf(object) } : metadata;
      text(pre, yaml({ apiVersion, kind: name, metadata: shown, ...rest, ...data }));
    },
    end() {},
  };
}
