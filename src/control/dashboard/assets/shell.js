// A terminal into a container: exec over a WebSocket, the screen drawn from its cells.

import { socket } from "./api.js";
import * as channels from "./channels.js";
import { everyFrame, h, text } from "./dom.js";
import { KINDS } from "./kinds.js";
import { pasted, sequence } from "./keys.js";
import { chooseContainer } from "./logs.js";
import { object as pathOf, withQuery } from "./paths.js";
import { plain } from "./plain.js";
import { Rows } from "./rows.js";
import { Terminal } from "./vt.js";

// Whatever shell there is, bash before others.
const SHELL = ["sh", "-c", "TERM=xterm-256color; export TERM; [ -x /bin/bash ] && exec /bin/bash || exec sh"];

export const execPath = (pod, container, command, tty) =>
  withQuery(pathOf(KINDS.get("pods"), pod.metadata.namespace, pod.metadata.name, "exec"), {
    container, command, stdin: "true", stdout: "true", stderr: tty ? undefined : "true", tty: tty ? "true" : undefined,
  });

export function shell(content, pod) {
  const container = chooseContainer(pod, () => {});
  const command = h("input", { placeholder: "a shell", "aria-label": "Command", size: 24, autocomplete: "off", spellcheck: "false" });
  const lines = h("input", { type: "checkbox" });
  const button = h("button", { type: "button", class: "main", onclick: begin }, "Connect");
  const state = h("span", { class: "count", role: "status" });
  const place = h("div", { class: "place" });
  content.append(
    h("div", { class: "bar" }, container, command, h("label", {}, lines, " line by line, for screen readers"), button, state),
    place);
  let open = { end() {} };

  function begin() {
    open.end();
    place.replaceChildren();
    // Words as a shell would read them would be a shell of our own; `sh -c` is one.
    const words = command.value.trim() ? ["sh", "-c", command.value.trim()] : null;
    text(button, "Connect again");
    open = lines.checked
      ? plain(place, execPath(pod, container.value, words || ["sh"], false), (said) => text(state, said))
      : full(place, execPath(pod, container.value, words || SHELL, true), (said) => text(state, said), pod.metadata.name);
  }

  return { update() {}, end() { open.end(); } };
}

// A connection: what comes is told by stream, what ends it in words.
export function connect(path, { opened, take, say }) {
  const made = socket(path, channels.PROTOCOL);
  let ending = "";
  say("connecting …");
  made.onopen = () => { say("connected"); opened(); };
  made.onmessage = ({ data }) => {
    const { stream, bytes } = channels.read(data);
    if (stream === channels.ERROR) ending = channels.outcome(new TextDecoder().decode(bytes));
    else take(stream, bytes);
  };
  made.onclose = () => say(ending || "The connection was refused or cut; the container may not run, or your account may not exec.");
  const send = (data) => { if (made.readyState === WebSocket.OPEN) made.send(data); };
  return { send, end() { made.onclose = null; made.close(); } };
}

function full(place, path, say, name) {
  const screen = h("div", { class: "screen", "aria-hidden": "true" });
  // Takes the keys, also of input methods, and what is pasted.
  const input = h("textarea", {
    class: "keys", rows: 1, autocapitalize: "off", autocomplete: "off", spellcheck: "false",
    "aria-label": `Terminal of ${name}. F6 leaves it.`,
  });
  const box = h("div", { class: "terminal" }, screen, input);
  const hint = h("p", { class: "legend" }, "Tab belongs to the terminal; F6 leaves it. Copy with Ctrl+Shift+C, paste with Ctrl+Shift+V.");
  place.append(box, hint);

  const rows = new Rows(screen);
  const decoder = new TextDecoder();
  const connection = connect(path, { opened, take, say });
  const terminal = new Terminal(80, 24, (answer) => connection.send(channels.frame(channels.STDIN, answer)));
  const draw = everyFrame(() => rows.draw(terminal.screen, document.activeElement === input));
  const type = (keys) => { if (keys) connection.send(channels.frame(channels.STDIN, keys)); };

  function fit() {
    const { columns, rows: count } = rows.room(box);
    if (columns === terminal.screen.columns && count === terminal.screen.rows) return;
    terminal.resize(columns, count);
    connection.send(channels.size(columns, count));
    draw();
  }

  function opened() {
    fit();
    connection.send(channels.size(terminal.screen.columns, terminal.screen.rows));
    input.focus();
  }

  function take(stream, bytes) {
    terminal.write(decoder.decode(bytes, { stream: true }));
    draw();
  }

  input.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    // There Option writes what other keyboards have on AltGr: it comes as input.
    if (/^Mac/.test(navigator.platform) && event.altKey && !event.ctrlKey && [...event.key].length === 1) return;
    if (event.key === "F6") {
      event.preventDefault();
      place.parentElement.querySelector("button").focus();
      return;
    }
    const keys = sequence(event, terminal);
    if (!keys) return;
    event.preventDefault();
    type(keys);
    screen.scrollTop = screen.scrollHeight;
  });
  input.addEventListener("input", (event) => {
    if (event.isComposing) return;
    type(input.value);
    input.value = "";
  });
  input.addEventListener("compositionend", () => { type(input.value); input.value = ""; });
  input.addEventListener("paste", (event) => {
    event.preventDefault();
    type(pasted(event.clipboardData.getData("text"), terminal.bracketed));
  });
  for (const type of ["focus", "blur"]) input.addEventListener(type, draw);
  // A click types here, unless it has just marked something to be copied.
  box.addEventListener("mouseup", () => { if (!String(getSelection())) input.focus({ preventScroll: true }); });
  const resized = new ResizeObserver(everyFrame(fit));
  resized.observe(box);
  draw();
  return { end() { resized.disconnect(); connection.end(); } };
}
