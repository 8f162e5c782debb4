// A list of one kind: filtered, sorted, and only as many rows drawn as are in sight.

import { everyFrame, h, text } from "./dom.js";
import { collection } from "./paths.js";
import { toObject } from "./route.js";
import { inSight, ordered, scrollTo } from "./window.js";

const ROW = 34;
const LONG = ["Message", "Images", "Hosts"];
const WORDS = { ok: "well", busy: "on its way", bad: "in trouble", done: "done" };

export function list(main, cx, kind) {
  const wide = kind.namespaced && !cx.namespace;
  const columns = wide
    ? [{ title: "Namespace", of: (o) => o.metadata.namespace }, ...kind.columns]
    : kind.columns;
  const view = { words: "", by: kind.plural === "events" ? "Seen" : "", down: kind.plural === "events", rows: [], active: 0 };

  const count = h("p", { class: "count", role: "status" });
  const filter = h("input", {
    type: "search", placeholder: "filter", "aria-label": `Filter ${kind.title}`, oninput: () => { view.words = filter.value; box.scrollTop = 0; sort(); },
  });
  const heads = columns.map((column) => h("th", { scope: "col", class: column.link || LONG.includes(column.title) ? "long" : null },
    h("button", { type: "button", onclick: () => order(column.title) }, column.title)));
  const [above, below] = [h("tr", { "aria-hidden": "true" }, h("td")), h("tr", { "aria-hidden": "true" }, h("td"))];
  const body = h("tbody", { onkeydown: keys, onfocusin: noteFocus }, above, below);
  const table = h("table", { class: "list", "aria-label": kind.title }, h("thead", {}, h("tr", {}, ...heads)), body);
  const box = h("div", { class: "scroll", onscroll: everyFrame(() => draw()) }, table);
  main.append(h("div", { class: "bar" }, h("h1", {}, kind.title), filter, count), box);

  const drawn = new Map();
  const { copy, end } = cx.live.follow(collection(kind, cx.namespace), sort);
  const resized = new ResizeObserver(everyFrame(() => draw()));
  resized.observe(box);
  const clock = setInterval(() => draw(), 1000);

  function order(title) {
    view.down = view.by === title && !view.down;
    view.by = title;
    sort();
  }

  function sort() {
    view.rows = ordered(copy.all(), { columns, ...view });
    heads.forEach((head, n) => {
      const by = view.by ? columns[n].title === view.by : columns[n].link;
      if (by) head.setAttribute("aria-sort", view.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    table.setAttribute("aria-rowcount", String(view.rows.length + 1));
    text(count, told());
    count.classList.toggle("trouble", copy.state === "refused");
    draw();
  }

  function told() {
    if (copy.state === "refused") return copy.error.message;
    if (copy.state === "empty") return "reading …";
    const all = copy.objects.size;
    return view.rows.length === all ? `${all}` : `${view.rows.length} of ${all}`;
  }

  function draw() {
    const { first, last } = inSight({ top: box.scrollTop, height: box.clientHeight, row: ROW, count: view.rows.length });
    above.firstChild.style.height = `${first * ROW}px`;
    below.firstChild.style.height = `${(view.rows.length - last) * ROW}px`;
    view.active = Math.min(view.active, Math.max(0, view.rows.length - 1));
    const wanted = new Set();
    let before = above;
    for (let n = first; n < last; n++) {
      const object = view.rows[n];
      const key = object.metadata.uid;
      wanted.add(key);
      let row = drawn.get(key);
      if (!row) drawn.set(key, row = make(object));
      fill(row, object, n);
      // Moving an element takes the focus from it, so it is only done where it must be.
      if (before.nextSibling !== row) before.after(row);
      before = row;
    }
    for (const [key, row] of drawn) {
      if (wanted.has(key)) continue;
      row.remove();
      drawn.delete(key);
    }
  }

  function make(object) {
    const cells = columns.map((column) => {
      const cell = h(column.link ? "th" : "td", column.link ? { scope: "row" } : {});
      if (column.link) cell.append(h("a", { href: toObject(kind, object) }));
      return cell;
    });
    return h("tr", {}, ...cells);
  }

  function fill(row, object, n) {
    row.setAttribute("aria-rowindex", String(n + 2));
    const health = kind.health?.(object);
    if (row.dataset.health !== (health || "")) row.dataset.health = health || "";
    columns.forEach((column, c) => {
      const cell = row.children[c];
      const words = String(column.of(object) ?? "");
      text(column.link ? cell.firstChild : cell, words);
      if (cell.title !== words) cell.title = words;
      if (!column.link) return;
      cell.firstChild.tabIndex = n === view.active ? 0 : -1;
      cell.firstChild.setAttribute("aria-description", health ? WORDS[health] : "");
    });
  }

  function noteFocus(event) {
    const row = event.target.closest("tr");
    const index = row ? Number(row.getAttribute("aria-rowindex")) - 2 : -1;
    if (index >= 0) view.active = index;
  }

  function keys(event) {
    const page = Math.max(1, Math.floor(box.clientHeight / ROW) - 2);
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key];
    if (!step || view.rows.length === 0) return;
    event.preventDefault();
    view.active = Math.max(0, Math.min(view.active + step, view.rows.length - 1));
    box.scrollTop = scrollTo({ top: box.scrollTop, height: box.clientHeight - ROW, row: ROW, index: view.active });
    draw();
    drawn.get(view.rows[view.active].metadata.uid)?.querySelector("a").focus({ preventScroll: true });
  }

  sort();
  return {
    end() {
      end();
      clearInterval(clock);
      resized.disconnect();
    },
  };
}
