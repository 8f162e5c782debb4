// What a container prints, as it prints it.

import { send } from "./api.js";
import { everyFrame, h, text } from "./dom.js";
import { KINDS } from "./kinds.js";
import { Lines, readText, unstyled } from "./lines.js";
import { object as pathOf, withQuery } from "./paths.js";

// Lines that are kept, and those asked for of what was printed before.
const MOST = 5000;
const BEFORE = 1000;
// So near the end counts as its end, in pixels.
const NEAR = 40;

export const containersOf = (pod) => [
  ...(pod.spec.containers || []), ...(pod.spec.initContainers || []), ...(pod.spec.ephemeralContainers || []),
].map((one) => one.name);

export function chooseContainer(pod, change) {
  const names = containersOf(pod);
  const chosen = pod.metadata.annotations?.["kubectl.kubernetes.io/default-container"];
  return h("select", { "aria-label": "Container", onchange: change, value: undefined },
    ...names.map((name) => h("option", { value: name, selected: name === chosen }, name)));
}

export function logs(content, pod) {
  const { namespace, name } = pod.metadata;
  const container = chooseContainer(pod, begin);
  const flag = (label) => {
    const field = h("input", { type: "checkbox", onchange: begin });
    return { field, element: h("label", {}, field, ` ${label}`) };
  };
  const previous = flag("of its last life");
  const stamps = flag("with times");
  const state = h("span", { class: "count", role: "status" });
  const pane = h("div", { class: "log", role: "log", "aria-live": "off", "aria-label": `Log of ${name}`, tabindex: "0" });
  content.append(h("div", { class: "bar" }, container, previous.element, stamps.element, state), pane);

  let stop = new AbortController();
  let coming = [];

  const draw = everyFrame(() => {
    const end = pane.scrollHeight - pane.scrollTop - pane.clientHeight < NEAR;
    const lines = coming.slice(-MOST);
    coming = [];
    pane.append(...lines.map((line) => h("div", {}, unstyled(line) || "\u200b")));
    while (pane.childElementCount > MOST) pane.firstChild.remove();
    if (end) pane.scrollTop = pane.scrollHeight;
  });

  function begin() {
    stop.abort();
    stop = new AbortController();
    coming = [];
    pane.replaceChildren();
    follow(stop.signal);
  }

  async function follow(signal) {
    const past = previous.field.checked;
    const path = withQuery(pathOf(KINDS.get("pods"), namespace, name, "log"), {
      container: container.value, tailLines: BEFORE, follow: past ? undefined : "true",
      previous: past ? "true" : undefined, timestamps: stamps.field.checked ? "true" : undefined,
    });
    text(state, "reading …");
    try {
      const answer = await send("GET", path, { signal });
      text(state, past ? "" : "following");
      const lines = new Lines();
      await readText(answer.body, (piece) => {
        coming.push(...lines.feed(piece));
        // Behind another window nothing is drawn, and the log goes on.
        if (coming.length > 2 * MOST) coming = coming.slice(-MOST);
        draw();
      });
      const rest = lines.rest();
      if (rest) coming.push(rest);
      draw();
      text(state, "the log has ended");
    } catch (error) {
      if (!signal.aborted) text(state, error.message || "the connection was cut");
    }
  }

  begin();
  return { update() {}, end() { stop.abort(); } };
}
