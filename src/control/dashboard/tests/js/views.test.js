// What is in sight, where things stand, how an object reads.

import assert from "node:assert/strict";
import { test } from "node:test";

import { KINDS } from "../../assets/kinds.js";
import { arrange, curve, neighbour, tile } from "../../assets/layout.js";
import { inSight, ordered, scrollTo } from "../../assets/window.js";
import { yaml } from "../../assets/yaml.js";

test("only rows in sight are drawn", () => {
  assert.deepEqual(inSight({ top: 0, height: 300, row: 30, count: 1000 }), { first: 0, last: 18 });
  assert.deepEqual(inSight({ top: 15000, height: 300, row: 30, count: 1000 }), { first: 492, last: 518 });
  assert.deepEqual(inSight({ top: 99999, height: 300, row: 30, count: 5 }), { first: 5, last: 5 });
  assert.equal(scrollTo({ top: 300, height: 300, row: 30, index: 2 }), 60);
  assert.equal(scrollTo({ top: 0, height: 300, row: 30, index: 20 }), 330);
  assert.equal(scrollTo({ top: 0, height: 300, row: 30, index: 3 }), 0);
});

test("rows are filtered by all words and sorted as numbers are", () => {
  const pods = KINDS.get("pods");
  const pod = (name, restarts) => ({
    metadata: { name, namespace: "a", creationTimestamp: "2026-01-01T00:00:00Z" }, spec: { containers: [{}] },
    status: { phase: "Running", containerStatuses: [{ restartCount: restarts, state: {} }] },
  });
  const all = [pod("web-10", 2), pod("web-9", 11), pod("db", 0)];
  const names = (options) => ordered(all, { columns: pods.columns, ...options }).map((one) => one.metadata.name);
  assert.deepEqual(names({}), ["db", "web-9", "web-10"]);
  assert.deepEqual(names({ words: "RUNNING web" }), ["web-9", "web-10"]);
  assert.deepEqual(names({ by: "Restarts", down: true }), ["web-9", "web-10", "db"]);
});

const keys = (count, prefix) => Array.from({ length: count }, (_, n) => `${prefix}-${n}`);

test("nothing in the picture lies upon anything else", () => {
  for (const [width, count] of [[1200, 7], [1200, 1000], [360, 80]]) {
    const nodes = [{ key: "n1", pods: keys(count, "p") }, { key: "n2", pods: [] }, { key: "n3", pods: keys(3, "q") }];
    const picture = arrange({ width, ingresses: ["i"], services: keys(4, "s"), nodes });
    assert.equal(picture.pods.size, count + 3);
    const boxes = [...picture.pods.values(), ...picture.services.values(), ...picture.ingresses.values()];
    const inside = (box, outer) => box.x >= outer.x && box.y >= outer.y && box.x + box.width <= outer.x + outer.width && box.y + box.height <= outer.y + outer.height;
    for (const [key, box] of picture.pods) {
      assert.ok(inside(box, picture.nodes.get(key.startsWith("p") ? "n1" : "n3")), `${key} at ${width}`);
    }
    const sorted = boxes.sort((a, b) => a.y - b.y || a.x - b.x);
    for (let n = 1; n < sorted.length; n++) {
      const [a, b] = [sorted[n - 1], sorted[n]];
      assert.ok(b.y >= a.y + a.height || b.x >= a.x + a.width || b.y > a.y, "apart");
    }
    assert.ok(picture.height >= Math.max(...boxes.map((box) => box.y + box.height)));
  }
  assert.ok(tile(10).named && !tile(1000).named);
});

test("arrows lead to the nearest in their direction", () => {
  const box = (x, y) => ({ x, y, width: 10, height: 10 });
  const boxes = new Map([["a", box(0, 0)], ["b", box(20, 0)], ["c", box(0, 20)], ["d", box(20, 20)]]);
  assert.equal(neighbour(boxes, "a", "ArrowRight"), "b");
  assert.equal(neighbour(boxes, "a", "ArrowDown"), "c");
  assert.equal(neighbour(boxes, "d", "ArrowUp"), "b");
  assert.equal(neighbour(boxes, "a", "ArrowLeft"), undefined);
  assert.equal(curve(box(0, 0), box(100, 50)), "M10 5C55 5 55 55 100 55");
});

test("an object reads as YAML and says the same", () => {
  const text = yaml({
    apiVersion: "v1", metadata: { labels: {}, name: "a b", "x/y": "yes" }, list: [{ a: 1, b: [true, null] }, "x: y", []],
    script: "one\n two\n", empty: "", number: "7", tail: "x\n\n",
  });
  assert.equal(text, [
    "apiVersion: v1", "metadata:", "  labels: {}", "  name: a b", "  x/y: \"yes\"", "list:", "- a: 1", "  b:", "  - true", "  - null",
    "- \"x: y\"", "- []", "script: |", "  one", "   two", "empty: \"\"", "number: \"7\"", "tail: \"x\\n\\n\"", "",
  ].join("\n"));
});
