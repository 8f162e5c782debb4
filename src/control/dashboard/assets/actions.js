// What can be done to an object: scale, restart, delete. Each only for who may.

import { json, may, patch } from "./api.js";
import { ask } from "./dialog.js";
import { announce, h } from "./dom.js";
import { ownerOf } from "./model.js";
import { object as pathOf } from "./paths.js";

const called = (kind, object) => `${kind.kind} ${object.metadata.name}`;

async function scale(kind, object) {
  const { namespace, name } = object.metadata;
  const field = h("input", { id: "replicas", type: "number", min: 0, max: 10000, step: 1, value: String(object.spec.replicas ?? 1) });
  const wanted = () => (/^\d+$/.test(field.value.trim()) ? Number(field.value) : null);
  const done = await ask({
    title: `Scale ${called(kind, object)}`,
    body: [h("p", {}, h("label", { for: "replicas" }, "Pods wanted "), field)],
    verb: "Scale",
    ready: () => wanted() !== null && wanted() <= 10000,
    act: () => patch(pathOf(kind, namespace, name, "scale"), { spec: { replicas: wanted() } }).then(() => wanted()),
  });
  if (done !== undefined) announce(`${called(kind, object)} is to have ${done} pods`);
}

async function restart(kind, object) {
  const { namespace, name } = object.metadata;
  // What `kubectl rollout restart` writes: another template makes other pods.
  const now = { "kubectl.kubernetes.io/restartedAt": new Date().toISOString().replace(/\.\d+Z$/, "Z") };
  const body = { spec: { template: { metadata: { annotations: now } } } };
  const done = await ask({
    title: `Restart ${called(kind, object)}?`,
    body: [h("p", {}, "Its pods are replaced by new ones, as its update strategy has it.")],
    verb: "Restart",
    act: () => patch(pathOf(kind, namespace, name), body),
  });
  if (done) announce(`${called(kind, object)} restarts`);
}

function warning(kind, object) {
  const owner = ownerOf(object);
  if (kind.plural === "pods" && owner) return `${owner.kind} ${owner.name} makes another one in its place.`;
  if (kind.plural === "namespaces") return "Everything in the namespace is deleted with it.";
  if (kind.plural === "nodes") return "Its pods are deleted with it. A node whose agent runs registers itself again.";
  if (kind.restarts || kind.scales || kind.plural === "jobs") return "Its pods are deleted with it.";
  return "This cannot be undone.";
}

async function remove(kind, object) {
  const { namespace, name, uid } = object.metadata;
  const body = [h("p", {}, namespace ? `Namespace ${namespace}. ` : "", warning(kind, object))];
  let ready = () => true;
  if (kind.plural === "namespaces") {
    const typed = h("input", { id: "typed", autocomplete: "off", spellcheck: "false" });
    body.push(h("p", {}, h("label", { for: "typed" }, `Type ${name} to confirm `), typed));
    ready = () => typed.value === name;
  }
  const done = await ask({
    title: `Delete ${called(kind, object)}?`,
    body, ready,
    verb: "Delete",
    danger: true,
    // Of this object and no later one of the same name.
    act: () => json("DELETE", pathOf(kind, namespace, name), {
      apiVersion: "v1", kind: "DeleteOptions", propagationPolicy: "Background", preconditions: { uid },
    }),
  });
  if (done) announce(`${called(kind, object)} is being deleted`);
  return Boolean(done);
}

// The buttons for an object; `current` gives it as it is when one is pressed.
export function actions(kind, current) {
  const { namespace, name } = current().metadata;
  const bar = h("div", { class: "actions", role: "group", "aria-label": "Actions" });
  const add = async (label, run, verb, subresource, look = "") => {
    const button = h("button", { type: "button", class: look, disabled: true, onclick: () => run(kind, current()) }, label);
    bar.append(button);
    try {
      const allowed = await may(verb, kind, namespace, name, subresource);
      button.disabled = !allowed;
      if (!allowed) button.title = `Your account may not ${verb} ${kind.plural}${subresource ? `/${subresource}` : ""} here`;
    } catch (error) {
      button.title = error.message;
    }
  };
  if (kind.scales) add("Scale", scale, "patch", "scale");
  if (kind.restarts) add("Restart", restart, "patch");
  add("Delete", remove, "delete", undefined, "danger");
  return bar;
}
