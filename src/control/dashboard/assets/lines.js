// A stream of text as lines, and of watches as events. Pure.

export class Lines {
  #rest = "";

  // The lines that are whole by now, without their ends.
  feed(text) {
    const all = (this.#rest + text).split("\n");
    this.#rest = all.pop();
    return all;
  }

  // What came after the last end of line.
  rest() {
    const rest = this.#rest;
    this.#rest = "";
    return rest;
  }
}

// `3 {"type":…}` as the number of a watch and its event; null for a sign of life.
export function numbered(line) {
  const blank = line.indexOf(" ");
  if (blank < 1) return null;
  return { number: Number(line.slice(0, blank)), event: JSON.parse(line.slice(blank + 1)) };
}

// Text without the words that only a terminal understands.
export function unstyled(text) {
  return text.replace(/\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)|\x1b[@-_]|\r$/g, "");
}

// Reads a body to its end; `take` gets each piece of text.
export async function readText(body, take) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    take(decoder.decode(value, { stream: true }));
  }
}
