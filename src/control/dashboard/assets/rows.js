// A terminal's screen as elements: a row is drawn anew only when its cells have changed.

import { h } from "./dom.js";
import { Screen } from "./screen.js";

const MARKS = ["bold", "dim", "italic", "under", "hidden", "strike"];

export class Rows {
  #past = h("div");
  #now = h("div");
  #kept = 0;

  constructor(element) {
    this.element = element;
    element.append(this.#past, this.#now);
    this.probe = h("span", { class: "probe" }, "0".repeat(20));
    element.append(this.probe);
  }

  // How many cells fit.
  room(box) {
    const { width, height } = this.probe.getBoundingClientRect();
    if (!width || !height) return { columns: 80, rows: 24 };
    // The scroll bar and the padding.
    return {
      columns: Math.max(10, Math.floor((box.clientWidth - 28) / (width / 20))),
      rows: Math.max(4, Math.floor((box.clientHeight - 12) / height)),
    };
  }

  draw(screen, focused) {
    const end = this.element.scrollHeight - this.element.scrollTop - this.element.clientHeight < 40;
    this.#remember(screen);
    while (this.#now.childElementCount < screen.rows) this.#now.append(h("div"));
    while (this.#now.childElementCount > screen.rows) this.#now.lastChild.remove();
    screen.lines.forEach((line, row) => {
      const cursor = screen.cursor && row === screen.row ? screen.column : -1;
      draw(this.#now.children[row], line, cursor, focused);
    });
    if (end) this.element.scrollTop = this.element.scrollHeight;
  }

  #remember(screen) {
    const all = screen.dropped + screen.past.length;
    if (this.#kept > all || screen.past.length === 0) {
      this.#past.replaceChildren();
      this.#kept = screen.dropped;
    }
    for (const line of screen.past.slice(Math.max(0, this.#kept - screen.dropped))) {
      const row = h("div");
      draw(row, line, -1, false);
      this.#past.append(row);
    }
    this.#kept = all;
    while (this.#past.childElementCount > screen.past.length) this.#past.firstChild.remove();
  }
}

function draw(row, line, cursor, focused) {
  const parts = cursor < 0 ? [line] : [line.slice(0, cursor), line.slice(cursor, cursor + 1), line.slice(cursor + 1)];
  const runs = parts.flatMap((part, n) => Screen.runs(part).map((run) => ({ ...run, cursor: n === 1 })));
  // The screen compares cheaply as text: most rows stay as they are.
  const said = JSON.stringify([runs, focused && cursor >= 0]);
  if (row.said === said) return;
  row.said = said;
  row.replaceChildren(...runs.map((run) => piece(run, focused)));
}

function piece({ text, style, cursor }, focused) {
  const names = MARKS.filter((mark) => style[mark]);
  if (cursor) names.push(focused ? "cursor" : "cursor away");
  if (names.length === 0 && style.fore === null && style.back === null && !style.inverse) return document.createTextNode(text);
  const span = h("span", { class: names.join(" ") }, text);
  const [fore, back] = style.inverse ? [style.back ?? "back", style.fore ?? "fore"] : [style.fore, style.back];
  if (fore !== null) span.style.color = colour(fore, style.bold);
  if (back !== null) span.style.backgroundColor = colour(back, false);
  return span;
}

// The first sixteen are the theme's; then a cube of six and a ramp of greys, as xterm has them.
function colour(value, bright) {
  if (value === "fore" || value === "back") return `var(--terminal-${value})`;
  if (Array.isArray(value)) return `rgb(${value.join(",")})`;
  if (value < 8 && bright) return `var(--colour-${value + 8})`;
  if (value < 16) return `var(--colour-${value})`;
  if (value >= 232) {
    const grey = 8 + (value - 232) * 10;
    return `rgb(${grey},${grey},${grey})`;
  }
  const level = (n) => (n === 0 ? 0 : 55 + n * 40);
  const cube = value - 16;
  return `rgb(${level(Math.floor(cube / 36))},${level(Math.floor(cube / 6) % 6)},${level(cube % 6)})`;
}
