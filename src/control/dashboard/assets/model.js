// What objects mean: states in kubectl's words, how well they are, who points to whom. Pure.

const at = (object, path) => path.split(".").reduce((value, name) => value?.[name], object);

export const nameOf = (object) => object.metadata.name;
export const keyOf = (object) => `${object.metadata.namespace || ""}/${object.metadata.name}`;

// "41s", "3m12s", "2d1h", "12d": as kubectl has ages (apimachinery's HumanDuration).
export function age(from, now = Date.now()) {
  const seconds = Math.max(0, Math.floor((now - Date.parse(from)) / 1000));
  if (Number.isNaN(seconds)) return "";
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return seconds % 60 ? `${minutes}m${seconds % 60}s` : `${minutes}m`;
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 8) return minutes % 60 ? `${hours}h${minutes % 60}m` : `${hours}h`;
  if (hours < 48) return `${hours}h`;
  const days = Math.floor(hours / 24);
  if (days < 8) return hours % 24 ? `${days}d${hours % 24}h` : `${days}d`;
  if (days < 2 * 365) return `${days}d`;
  const years = Math.floor(days / 365);
  return years < 8 && days % 365 ? `${years}y${days % 365}d` : `${years}y`;
}

const ended = (terminated) =>
  terminated.reason || (terminated.signal ? `Signal:${terminated.signal}` : `ExitCode:${terminated.exitCode}`);

// Where a pod stands among its init containers, "" once they are through.
function initState(pod) {
  const specs = at(pod, "spec.initContainers") || [];
  const statuses = at(pod, "status.initContainerStatuses") || [];
  for (let n = 0; n < specs.length; n++) {
    const status = statuses.find((one) => one.name === specs[n].name);
    const state = status?.state || {};
    if (state.terminated?.exitCode === 0) continue;
    if (specs[n].restartPolicy === "Always" && status?.started) continue;
    if (state.terminated) return `Init:${ended(state.terminated)}`;
    if (state.waiting?.reason && state.waiting.reason !== "PodInitializing") return `Init:${state.waiting.reason}`;
    return `Init:${n}/${specs.length}`;
  }
  return "";
}

// The STATUS column of `kubectl get pods`.
export function podState(pod) {
  const status = pod.status || {};
  let state = status.reason || status.phase || "Unknown";
  const gated = (status.conditions || []).some((c) => c.type === "PodScheduled" && c.reason === "SchedulingGated");
  if (gated) state = "SchedulingGated";
  const begun = status.phase === "Pending" || status.phase === "Running";
  const init = begun && (status.initContainerStatuses || []).length > 0 ? initState(pod) : "";
  if (init) {
    state = init;
  } else {
    let runs = false;
    for (const container of [...(status.containerStatuses || [])].reverse()) {
      const { waiting, terminated, running } = container.state || {};
      if (waiting?.reason) state = waiting.reason;
      else if (terminated) state = ended(terminated);
      else if (running && container.ready) runs = true;
    }
    if (state === "Completed" && runs) {
      const ready = (status.conditions || []).some((c) => c.type === "Ready" && c.status === "True");
      state = ready ? "Running" : "NotReady";
    }
  }
  if (!pod.metadata.deletionTimestamp) return state;
  if (status.reason === "NodeLost") return "Unknown";
  return status.phase === "Succeeded" || status.phase === "Failed" ? state : "Terminating";
}

// Names of the init containers that run beside the others (KEP-753).
const sidecarsOf = (pod) => new Set((at(pod, "spec.initContainers") || [])
  .filter((one) => one.restartPolicy === "Always").map((one) => one.name));

export function podReady(pod) {
  const sidecars = sidecarsOf(pod);
  const beside = (at(pod, "status.initContainerStatuses") || []).filter((one) => one.started && sidecars.has(one.name));
  const statuses = [...beside, ...(at(pod, "status.containerStatuses") || [])];
  const all = (at(pod, "spec.containers") || []).length + sidecars.size;
  return { ready: statuses.filter((one) => one.ready).length, all };
}

export function podRestarts(pod) {
  // Of init containers that are through nobody counts them any more.
  const [sidecars, begins] = [sidecarsOf(pod), initState(pod) !== ""];
  const init = (at(pod, "status.initContainerStatuses") || []).filter((one) => begins || sidecars.has(one.name));
  const statuses = [...init, ...(at(pod, "status.containerStatuses") || [])];
  return statuses.reduce((sum, one) => sum + (one.restartCount || 0), 0);
}

// "ok", "busy" (on its way), "bad" or "done".
export function podHealth(pod) {
  const state = podState(pod);
  if (state === "Completed" || state === "Succeeded") return "done";
  if (/BackOff|Err|Fail|Evicted|OOM|Unknown|Invalid|Lost|ExitCode|Signal:|Deadline|Unexpected/.test(state)) return "bad";
  const { ready, all } = podReady(pod);
  return state === "Running" && ready === all ? "ok" : "busy";
}

export const condition = (object, type) => (at(object, "status.conditions") || []).find((one) => one.type === type);

export function nodeState(node) {
  const ready = condition(node, "Ready");
  const word = ready?.status === "True" ? "Ready" : ready?.status === "False" ? "NotReady" : "Unknown";
  return node.spec?.unschedulable ? `${word},SchedulingDisabled` : word;
}

export function nodeHealth(node) {
  const state = nodeState(node);
  if (state === "Ready") return "ok";
  return state.startsWith("Ready") ? "busy" : "bad";
}

// Ready and wanted of whatever keeps pods, null of anything else.
export function replicas(object) {
  const { spec = {}, status = {} } = object;
  switch (object.kind) {
    case "DaemonSet":
      return { ready: status.numberReady || 0, all: status.desiredNumberScheduled || 0 };
    case "Deployment":
    case "ReplicaSet":
    case "StatefulSet":
    case "ReplicationController":
      return { ready: status.readyReplicas || 0, all: spec.replicas ?? 1 };
    default:
      return null;
  }
}

// Annotations for people. What kubectl applied is the object once more, a Secret's data included.
export function annotationsOf(object) {
  const { "kubectl.kubernetes.io/last-applied-configuration": applied, ...others } = object.metadata.annotations || {};
  return others;
}

export const ownerOf = (object) => (object.metadata.ownerReferences || []).find((one) => one.controller);

// Which pods stand behind which Service, as the endpoints say: from "namespace/name" to pods'
// "namespace/name" and whether they are ready.
export function endpointsOf(slices) {
  const behind = new Map();
  for (const slice of slices) {
    const service = slice.metadata.labels?.["kubernetes.io/service-name"];
    if (!service) continue;
    const key = `${slice.metadata.namespace}/${service}`;
    const pods = behind.get(key) || new Map();
    for (const endpoint of slice.endpoints || []) {
      const target = endpoint.targetRef;
      if (target?.kind !== "Pod") continue;
      const pod = `${target.namespace || slice.metadata.namespace}/${target.name}`;
      pods.set(pod, endpoint.conditions?.ready !== false || pods.get(pod) === true);
    }
    behind.set(key, pods);
  }
  return behind;
}

// "namespace/name" of the Services an Ingress leads to.
export function backendsOf(ingress) {
  const names = new Set();
  const add = (backend) => backend?.service?.name && names.add(`${ingress.metadata.namespace}/${backend.service.name}`);
  add(ingress.spec?.defaultBackend);
  for (const rule of ingress.spec?.rules || []) {
    for (const path of rule.http?.paths || []) add(path.backend);
  }
  return [...names];
}

// Whether labels fit a LabelSelector.
export function selects(selector, labels = {}) {
  if (!selector) return false;
  const pairs = Object.entries(selector.matchLabels || {});
  if (!pairs.every(([name, value]) => labels[name] === value)) return false;
  return (selector.matchExpressions || []).every(({ key, operator, values = [] }) => {
    const value = labels[key];
    if (operator === "In") return value !== undefined && values.includes(value);
    if (operator === "NotIn") return value === undefined || !values.includes(value);
    if (operator === "Exists") return value !== undefined;
    return operator === "DoesNotExist" && value === undefined;
  });
}

// The selector by which an object finds its pods, null if it has none.
export function podSelector(object) {
  const selector = object.spec?.selector;
  if (object.kind === "Service" || object.kind === "ReplicationController") {
    return selector && Object.keys(selector).length > 0 ? { matchLabels: selector } : null;
  }
  const keeps = ["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job"];
  return keeps.includes(object.kind) && selector ? selector : null;
}
