// Which rows of a long list are in sight, and which remain after a filter. Pure.

// First and last row (exclusive) to draw, with some more on both sides.
export function inSight({ top, height, row, count, more = 8 }) {
  const first = Math.max(0, Math.min(Math.floor(top / row) - more, count));
  const last = Math.min(count, Math.ceil((top + height) / row) + more);
  return { first, last: Math.max(first, last) };
}

// Where to scroll so that a row is seen whole.
export function scrollTo({ top, height, row, index }) {
  if (index * row < top) return index * row;
  return (index + 1) * row > top + height ? (index + 1) * row - height : top;
}

// Rows that hold all the words, in the order of a column.
export function ordered(objects, { columns, words = "", by, down = false }) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (object) => {
    if (wanted.length === 0) return true;
    const all = [object.metadata.namespace || "", ...columns.map((column) => column.of(object))].join(" ").toLowerCase();
    return wanted.every((word) => all.includes(word));
  };
  const column = columns.find((one) => one.title === by);
  const value = column ? column.sort || column.of : (object) => `${object.metadata.namespace || ""} ${object.metadata.name}`;
  const keyed = objects.filter(fits).map((object) => ({ object, value: value(object) }));
  keyed.sort((a, b) => compare(a.value, b.value) * (down ? -1 : 1) || compare(a.object.metadata.name, b.object.metadata.name));
  return keyed.map(({ object }) => object);
}

const collator = new Intl.Collator("en", { numeric: true });

function compare(a, b) {
  return typeof a === "number" && typeof b === "number" ? a - b : collator.compare(String(a), String(b));
}
