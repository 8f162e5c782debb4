// A terminal without a screen: a line is sent, what is printed is read out.

import * as channels from "./channels.js";
import { everyFrame, h } from "./dom.js";
import { unstyled } from "./lines.js";
import { connect } from "./shell.js";

const MOST = 2000;
// Characters that wait for a frame, at most: behind another window none is drawn.
const WAITING = 1 << 20;

export function plain(place, path, say) {
  const pane = h("div", { class: "log", role: "log", "aria-label": "Output", tabindex: "0" });
  const field = h("input", { id: "line", autocomplete: "off", spellcheck: "false", size: 60 });
  const form = h("form", { class: "bar", onsubmit: submit }, h("label", { for: "line" }, "Line to send "), field,
    h("button", { type: "submit" }, "Send"), h("button", { type: "button", onclick: () => connection.send(channels.close(channels.STDIN)) }, "End of input"));
  place.append(pane, form);
  const decoders = new Map();
  let coming = "";
  const draw = everyFrame(() => {
    const lines = coming.split("\n");
    coming = lines.pop();
    if (coming) lines.push(coming);
    coming = "";
    pane.append(...lines.map((line) => h("div", {}, unstyled(line) || "\u200b")));
    while (pane.childElementCount > MOST) pane.firstChild.remove();
    pane.scrollTop = pane.scrollHeight;
  });

  function take(stream, bytes) {
    if (!decoders.has(stream)) decoders.set(stream, new TextDecoder());
    coming = (coming + decoders.get(stream).decode(bytes, { stream: true })).slice(-WAITING);
    draw();
  }

  const connection = connect(path, { opened: () => field.focus(), take, say });

  function submit(event) {
    event.preventDefault();
    connection.send(channels.frame(channels.STDIN, `${field.value}\n`));
    pane.append(h("div", { class: "sent" }, `> ${field.value}`));
    field.value = "";
  }

  return connection;
}
