// What people read of a pod, and who points to whom.

import assert from "node:assert/strict";
import { test } from "node:test";

import { age, annotationsOf, backendsOf, endpointsOf, podHealth, podReady, podRestarts, podState, podSelector, selects } from "../../assets/model.js";
import { KINDS, kindOf } from "../../assets/kinds.js";

const pod = (status, spec = {}, metadata = {}) => ({
  kind: "Pod", metadata: { name: "p", namespace: "a", ...metadata }, spec: { containers: [{ name: "c" }], ...spec }, status,
});
const container = (state, more = {}) => ({ name: "c", restartCount: 0, ready: false, state, ...more });

test("ages read as kubectl's", () => {
  const now = Date.parse("2026-01-10T00:00:00Z");
  const before = (seconds) => age(new Date(now - seconds * 1000).toISOString(), now);
  assert.deepEqual(
    [0, 41, 119, 192, 600, 3600, 7 * 3600 + 60, 30 * 3600, 49 * 3600, 12 * 86400, 400 * 86400, 800 * 86400].map(before),
    ["0s", "41s", "119s", "3m12s", "10m", "60m", "7h1m", "30h", "2d1h", "12d", "400d", "2y70d"],
  );
  assert.equal(age(undefined, now), "");
});

test("a pod's state is the container's trouble, not the phase", () => {
  const waiting = (reason) => pod({ phase: "Pending", containerStatuses: [container({ waiting: { reason } })] });
  const running = { phase: "Running", containerStatuses: [container({ running: {} }, { ready: true, restartCount: 2 })] };
  for (const [given, state, health] of [
    [pod({ phase: "Pending" }), "Pending", "busy"],
    [waiting("ImagePullBackOff"), "ImagePullBackOff", "bad"],
    [waiting("ContainerCreating"), "ContainerCreating", "busy"],
    [pod(running), "Running", "ok"],
    [pod(running, { containers: [{ name: "c" }, { name: "d" }] }), "Running", "busy"],
    [pod(running, {}, { deletionTimestamp: "2026-01-01T00:00:00Z" }), "Terminating", "busy"],
    [pod({ phase: "Succeeded", containerStatuses: [container({ terminated: { reason: "Completed", exitCode: 0 } })] }), "Completed", "done"],
    [pod({ phase: "Failed", containerStatuses: [container({ terminated: { exitCode: 3 } })] }), "ExitCode:3", "bad"],
    [pod({ phase: "Failed", reason: "Evicted" }), "Evicted", "bad"],
    [pod({ phase: "Pending", conditions: [{ type: "PodScheduled", reason: "SchedulingGated" }] }), "SchedulingGated", "busy"],
    [{ ...pod(), status: undefined }, "Unknown", "bad"],
  ]) {
    assert.equal(podState(given), state);
    assert.equal(podHealth(given), health, state);
  }
  assert.deepEqual(podReady(pod(running)), { ready: 1, all: 1 });
  assert.equal(podRestarts(pod(running)), 2);
});

test("init containers tell how far they are", () => {
  const spec = { initContainers: [{ name: "one" }, { name: "side", restartPolicy: "Always" }, { name: "two" }] };
  const init = (...statuses) => podState(pod({ phase: "Pending", initContainerStatuses: statuses }, spec));
  const done = { name: "one", state: { terminated: { exitCode: 0 } } };
  const side = { name: "side", started: true, state: { running: {} } };
  assert.equal(init({ name: "one", state: { running: {} } }), "Init:0/3");
  assert.equal(init(done, side, { name: "two", state: { waiting: { reason: "CrashLoopBackOff" } } }), "Init:CrashLoopBackOff");
  assert.equal(init(done, side, { name: "two", state: {} }), "Init:2/3");
  assert.equal(init({ name: "one", state: { terminated: { exitCode: 2 } } }), "Init:ExitCode:2");
});

test("sidecars count as kubectl counts them, and init containers until they are through", () => {
  const spec = { initContainers: [{ name: "one" }, { name: "side", restartPolicy: "Always" }] };
  const one = { name: "one", restartCount: 4, state: { terminated: { exitCode: 0 } } };
  const side = { name: "side", restartCount: 1, started: true, ready: true, state: { running: {} } };
  const runs = pod({ phase: "Running", initContainerStatuses: [one, side], containerStatuses: [container({ running: {} }, { ready: true })] }, spec);
  assert.deepEqual(podReady(runs), { ready: 2, all: 2 });
  assert.equal(podRestarts(runs), 1);
  const begins = pod({ phase: "Pending", initContainerStatuses: [{ ...one, state: { running: {} } }] }, spec);
  assert.equal(podRestarts(begins), 4);
  const over = pod({ phase: "Failed", reason: "Evicted" }, {}, { deletionTimestamp: "2026-01-01T00:00:00Z" });
  assert.equal(podState(over), "Evicted");
});

test("what kubectl applied is not told again", () => {
  const annotations = { note: "n", "kubectl.kubernetes.io/last-applied-configuration": "{\"data\":{}}" };
  assert.deepEqual(annotationsOf(pod({}, {}, { annotations })), { note: "n" });
  assert.deepEqual(annotationsOf(pod({})), {});
});

test("endpoints say which pods stand behind a Service", () => {
  const slice = (service, ...endpoints) => ({
    metadata: { namespace: "a", name: "s", labels: { "kubernetes.io/service-name": service } }, endpoints,
  });
  const endpoint = (name, ready) => ({ targetRef: { kind: "Pod", name }, conditions: { ready } });
  const behind = endpointsOf([slice("web", endpoint("p", true), endpoint("q", false)), slice("web", endpoint("r")), { metadata: { name: "x", namespace: "a" } }]);
  assert.deepEqual([...behind.get("a/web")], [["a/p", true], ["a/q", false], ["a/r", true]]);
});

test("an Ingress leads to each of its Services once", () => {
  const to = (name) => ({ service: { name } });
  const ingress = { metadata: { namespace: "a" }, spec: { defaultBackend: to("rest"), rules: [{ http: { paths: [{ backend: to("web") }, { backend: to("web") }] } }, {}] } };
  assert.deepEqual(backendsOf(ingress), ["a/rest", "a/web"]);
});

test("selectors select as the API does", () => {
  const labels = { app: "web", tier: "front" };
  const expression = (operator, values) => ({ matchExpressions: [{ key: "tier", operator, values }] });
  assert.ok(selects({ matchLabels: { app: "web" } }, labels));
  assert.ok(!selects({ matchLabels: { app: "db" } }, labels));
  assert.ok(selects(expression("In", ["front", "back"]), labels));
  assert.ok(!selects(expression("NotIn", ["front"]), labels));
  assert.ok(selects(expression("Exists"), labels) && !selects(expression("DoesNotExist"), labels));
  assert.ok(!selects(null, labels));
  assert.equal(podSelector({ kind: "Service", spec: {} }), null);
  assert.equal(podSelector({ kind: "ConfigMap" }), null);
});

test("every column of every kind bears an object that has only a name", () => {
  for (const kind of KINDS.values()) {
    const scale = kind.plural === "horizontalpodautoscalers" ? { scaleTargetRef: {} } : {};
    const bare = { kind: kind.kind, metadata: { name: "x", creationTimestamp: "2026-01-01T00:00:00Z" }, spec: scale };
    for (const column of kind.columns) {
      assert.doesNotThrow(() => { column.of(bare); column.sort?.(bare); }, `${kind.plural} ${column.title}`);
    }
    kind.health?.(bare);
    assert.equal(kindOf(kind.group ? `${kind.group}/${kind.version}` : kind.version, kind.kind), kind);
  }
});
