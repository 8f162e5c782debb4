// The cluster as it is now: all that is watched comes in one answer of the server, and who
// looks is told once per frame whatever has come.

import { send } from "./api.js";
import { Copy } from "./copy.js";
import { everyFrame } from "./dom.js";
import { Lines, numbered, readText } from "./lines.js";
import { watch, withQuery } from "./paths.js";

// The server says every ten seconds that it lives.
const SILENCE = 30_000;
const LONGEST_PAUSE = 8_000;
// How long a copy is kept that nobody looks at, so that going back and forth is instant.
const KEPT = 20_000;
// Watches that the server bundles in one answer.
const MOST = 32;

export class Live {
  #copies = new Map();
  #stop = null;
  #dirty = new Set();
  #running = false;
  // "connecting", "live" or "lost", and why.
  state = "connecting";
  onState = () => {};

  #flush = everyFrame(() => {
    const dirty = this.#dirty;
    this.#dirty = new Set();
    const told = new Set();
    for (const copy of dirty) for (const look of copy.lookers) told.add(look);
    for (const look of told) look();
  });

  // Follows a collection for as long as `look` wants to be told; gives the copy and the end.
  follow(path, look, selector) {
    const key = withQuery(path, selector || {});
    let copy = this.#copies.get(key);
    if (copy?.state === "refused") {
      // Perhaps somebody has been given the right meanwhile.
      copy.state = "empty";
      this.#restart();
    }
    if (!copy) {
      this.#makeRoom();
      copy = new Copy(path, selector);
      copy.lookers = new Set();
      this.#copies.set(key, copy);
      this.#restart();
    }
    clearTimeout(copy.leaving);
    copy.lookers.add(look);
    const end = () => {
      copy.lookers.delete(look);
      if (copy.lookers.size > 0) return;
      copy.leaving = setTimeout(() => {
        this.#copies.delete(key);
        this.#restart();
      }, KEPT);
    };
    this.#touch(copy);
    return { copy, end };
  }

  // Whoever goes from object to object quickly leaves more behind than the server bundles.
  #makeRoom() {
    if (this.#copies.size < MOST) return;
    for (const [key, copy] of this.#copies) {
      if (copy.lookers.size > 0) continue;
      clearTimeout(copy.leaving);
      this.#copies.delete(key);
    }
  }

  // Forgets everything: somebody else signs in.
  close() {
    this.#running = false;
    for (const copy of this.#copies.values()) clearTimeout(copy.leaving);
    this.#copies.clear();
    this.#stop?.abort();
  }

  // The set of watches has changed: one stream ends, the next goes on where it stood.
  #restart() {
    this.#stop?.abort("changed");
    if (this.#running) return;
    this.#running = true;
    // After the view that asks for several has asked for all.
    queueMicrotask(() => this.#run());
  }

  #touch(copy) {
    this.#dirty.add(copy);
    this.#flush();
  }

  #tell(state, why = "") {
    if (this.state === state && this.why === why) return;
    this.state = state;
    this.why = why;
    this.onState(state, why);
  }

  async #run() {
    let pause = 250;
    while (this.#running) {
      const copies = [...this.#copies.values()].filter((copy) => copy.state !== "refused");
      if (copies.length === 0) break;
      this.#stop = new AbortController();
      try {
        await this.#stream(copies, () => { pause = 250; });
      } catch (error) {
        if (error.code === 401) break;
        const reason = this.#stop.signal.reason;
        if (reason === "changed") continue;
        if (reason !== "ended") this.#tell("lost", reason || error.message);
        await new Promise((done) => setTimeout(done, pause));
        pause = Math.min(pause * 2, LONGEST_PAUSE);
      }
    }
    this.#running = false;
  }

  async #stream(copies, alive) {
    const stop = this.#stop;
    for (const copy of copies) copy.begin();
    const path = copies.map((copy) => watch(copy.path, copy.version, copy.selector));
    let silence;
    const listen = () => {
      clearTimeout(silence);
      silence = setTimeout(() => stop.abort("the cluster says nothing any more"), SILENCE);
    };
    listen();
    try {
      const answer = await send("GET", withQuery("/watch", { path }), { signal: stop.signal });
      const lines = new Lines();
      await readText(answer.body, (text) => {
        listen();
        alive();
        this.#tell("live");
        for (const line of lines.feed(text)) this.#take(copies, line, stop);
      });
    } finally {
      clearTimeout(silence);
    }
    if (!stop.signal.aborted) throw new Error("the server ended the connection");
  }

  #take(copies, line, stop) {
    const told = numbered(line);
    if (!told || stop.signal.aborted) return;
    const copy = copies[told.number];
    const result = copy.take(told.event);
    if (result === "changed" || result === "refused") this.#touch(copy);
    if (result === "ended") stop.abort("ended");
    if (result === "broken") stop.abort(told.event.object.message);
  }
}
