// Streams: whole lines whatever the chunks, one copy of a collection whatever happens.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Copy } from "../../assets/copy.js";
import { Lines, numbered, unstyled } from "../../assets/lines.js";
import { base64url, collection, object, watch } from "../../assets/paths.js";

const event = (type, name, version, more = {}) => ({ type, object: { metadata: { name, uid: name, resourceVersion: version, managedFields: [1], ...more } } });
const whole = (version) => event("BOOKMARK", undefined, version, { annotations: { "k8s.io/initial-events-end": "true" } });
const names = (copy) => copy.all().map((one) => one.metadata.name);

test("lines are whole whatever the chunks", () => {
  const lines = new Lines();
  const found = ["0 {\"a", "\":1}\n\n1 {}", "\n", "rest"].flatMap((chunk) => lines.feed(chunk));
  assert.deepEqual(found, ["0 {\"a\":1}", "", "1 {}"]);
  assert.equal(lines.rest(), "rest");
  assert.deepEqual(numbered("12 {\"a\":1}"), { number: 12, event: { a: 1 } });
  assert.equal(numbered(""), null);
});

test("what only terminals understand is left out of text", () => {
  assert.equal(unstyled("\x1b[1;31mred\x1b[0m \x1b]0;title\x07and\x1b[K \x1bMplain\r"), "red and plain");
});

test("nothing is shown before all is known, and then every change", () => {
  const copy = new Copy("/api/v1/pods");
  copy.begin();
  assert.equal(copy.take(event("ADDED", "p", "1")), "");
  assert.deepEqual(names(copy), []);
  assert.equal(copy.take(whole("5")), "changed");
  assert.deepEqual(names(copy), ["p"]);
  assert.equal(copy.all()[0].metadata.managedFields, undefined);
  assert.equal(copy.take(event("ADDED", "q", "6")), "changed");
  assert.equal(copy.take(event("DELETED", "p", "7")), "changed");
  assert.deepEqual(names(copy), ["q"]);
  assert.equal(copy.version, "7");
});

test("a stream that ends goes on where it stood", () => {
  const copy = new Copy("/api/v1/pods");
  copy.begin();
  copy.take(event("ADDED", "p", "1"));
  copy.take(whole("5"));
  assert.equal(copy.take({ type: "END" }), "ended");
  copy.begin();
  assert.equal(copy.take(event("MODIFIED", "p", "6")), "changed");
  assert.equal(copy.take(event("BOOKMARK", undefined, "9")), "");
  assert.equal(copy.version, "9");
});

test("what is too old is told anew, and seen until then", () => {
  const copy = new Copy("/api/v1/pods");
  copy.begin();
  copy.take(event("ADDED", "p", "1"));
  copy.take(whole("5"));
  assert.equal(copy.take({ type: "ERROR", object: { code: 410 } }), "ended");
  assert.deepEqual(names(copy), ["p"]);
  copy.begin();
  copy.take(event("ADDED", "q", "8"));
  assert.deepEqual(names(copy), ["p"]);
  copy.take(whole("9"));
  assert.deepEqual(names(copy), ["q"]);
});

test("who may not look is told so", () => {
  const copy = new Copy("/api/v1/nodes");
  copy.begin();
  assert.equal(copy.take({ type: "ERROR", object: { code: 403, message: "no" } }), "refused");
  assert.equal(copy.state, "refused");
  assert.equal(copy.error.message, "no");
  assert.equal(copy.take({ type: "ERROR", object: { code: 503, message: "later" } }), "broken");
});

test("copies that nobody looks at make room for others", async () => {
  globalThis.requestAnimationFrame = (work) => setTimeout(work);
  Object.defineProperty(globalThis, "sessionStorage", { value: { getItem: () => "" }, configurable: true });
  const asked = [];
  globalThis.fetch = (path, { signal }) => new Promise((_, fail) => {
    asked.push(new URLSearchParams(path.split("?")[1]).getAll("path"));
    signal.addEventListener("abort", () => fail(signal.reason));
  });
  const { Live } = await import("../../assets/live.js");
  const live = new Live();
  const seen = [live.follow("/api/v1/namespaces", () => {})];
  for (let n = 0; n < 50; n++) live.follow(`/api/v1/namespaces/n-${n}/pods`, () => {}).end();
  seen.push(live.follow("/api/v1/nodes", () => {}));
  await new Promise((done) => setTimeout(done));
  const last = asked.at(-1);
  assert.ok(last.length <= 32, String(last.length));
  for (const path of ["/api/v1/namespaces", "/api/v1/nodes"]) assert.ok(last.some((one) => one.startsWith(`${path}?`)), path);
  for (const { end } of seen) end();
  live.close();
});

test("paths are the API's", () => {
  const pods = { group: "", version: "v1", plural: "pods", namespaced: true };
  const roles = { group: "rbac.authorization.k8s.io", version: "v1", plural: "clusterroles", namespaced: false };
  assert.equal(collection(pods, ""), "/api/v1/pods");
  assert.equal(object(pods, "a", "p", "log"), "/api/v1/namespaces/a/pods/p/log");
  assert.equal(object(roles, "ignored", "system:node"), "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node");
  assert.equal(watch("/api/v1/pods", "7"), "/api/v1/pods?watch=true&allowWatchBookmarks=true&resourceVersion=7");
  assert.match(watch("/api/v1/pods", ""), /sendInitialEvents=true&resourceVersionMatch=NotOlderThan/);
  assert.equal(base64url("ü?>~"), "w7w_Pn4");
});
