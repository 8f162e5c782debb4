// The usual kinds and their columns. Another kind is another row. Pure.

import {
  age, backendsOf, condition, nodeHealth, nodeState, podHealth, podReady, podRestarts, podState, replicas,
} from "./model.js";

const created = { title: "Age", of: (o) => age(o.metadata.creationTimestamp), sort: (o) => -Date.parse(o.metadata.creationTimestamp), clock: true };
const name = { title: "Name", of: (o) => o.metadata.name, link: true };
const column = (title, of, sort) => ({ title, of, sort });
const ratio = column("Ready", (o) => { const { ready, all } = replicas(o); return `${ready}/${all}`; }, (o) => replicas(o).ready);
const count = (title, of) => column(title, (o) => String(of(o) ?? 0), (o) => of(o) ?? 0);
const full = (o) => { const { ready, all } = replicas(o); return ready >= all ? "ok" : "busy"; };
const ports = (o) => (o.spec.ports || [])
  .map((p) => `${p.port}${p.nodePort ? `:${p.nodePort}` : ""}/${p.protocol || "TCP"}`).join(", ");
const outside = (o) => [
  ...(o.status?.loadBalancer?.ingress || []).map((one) => one.ip || one.hostname),
  ...(o.spec.externalIPs || []),
  ...(o.spec.externalName ? [o.spec.externalName] : []),
].join(", ");
const images = (o) => (o.spec.template?.spec?.containers || []).map((one) => one.image).join(", ");
const roles = (o) => Object.keys(o.metadata.labels || {})
  .filter((label) => label.startsWith("node-role.kubernetes.io/"))
  .map((label) => label.slice("node-role.kubernetes.io/".length)).join(", ");
const jobState = (o) =>
  (condition(o, "Complete")?.status === "True" && "Complete") || (condition(o, "Failed")?.status === "True" && "Failed") ||
  (o.spec.suspend ? "Suspended" : "Running");
const seen = (o) => o.series?.lastObservedTime || o.lastTimestamp || o.eventTime || o.metadata.creationTimestamp;

export const involved = (event) => event.involvedObject || event.regarding || {};
export const eventSeen = seen;

function row(group, version, kind, plural, title, columns, more = {}) {
  return { group, version, kind, plural, title, namespaced: true, columns: [name, ...columns, created], ...more };
}

const CLUSTER = { namespaced: false };
// What can be told to have more or fewer pods, and to make them anew.
const SCALES = { scales: true, health: full };
const RESTARTS = { restarts: true, health: full };

export const GROUPS = [
  ["Cluster", [
    row("", "v1", "Node", "nodes", "Nodes", [
      column("Status", nodeState), column("Roles", roles), column("Version", (o) => o.status?.nodeInfo?.kubeletVersion || ""),
      column("Pod range", (o) => o.spec.podCIDR || ""),
    ], { ...CLUSTER, health: nodeHealth }),
    row("", "v1", "Namespace", "namespaces", "Namespaces", [column("Status", (o) => o.status?.phase || "")], CLUSTER),
    row("", "v1", "Event", "events", "Events", [
      column("Type", (o) => o.type || ""), column("Reason", (o) => o.reason || ""),
      column("Object", (o) => `${involved(o).kind || ""}/${involved(o).name || ""}`),
      column("Message", (o) => o.message || o.note || ""),
      { title: "Seen", of: (o) => age(seen(o)), sort: (o) => -Date.parse(seen(o)), clock: true },
    ], { health: (o) => (o.type === "Warning" ? "bad" : "ok") }),
  ]],
  ["Workloads", [
    row("", "v1", "Pod", "pods", "Pods", [
      column("Ready", (o) => { const { ready, all } = podReady(o); return `${ready}/${all}`; }),
      column("Status", podState), count("Restarts", podRestarts),
      column("Address", (o) => o.status?.podIP || ""), column("Node", (o) => o.spec.nodeName || ""),
    ], { health: podHealth }),
    row("apps", "v1", "Deployment", "deployments", "Deployments", [
      ratio, count("Up to date", (o) => o.status?.updatedReplicas), count("Available", (o) => o.status?.availableReplicas),
      column("Images", images),
    ], { ...SCALES, ...RESTARTS }),
    row("apps", "v1", "ReplicaSet", "replicasets", "Replica sets", [ratio, column("Images", images)], SCALES),
    row("apps", "v1", "StatefulSet", "statefulsets", "Stateful sets", [ratio, column("Images", images)], { ...SCALES, ...RESTARTS }),
    row("apps", "v1", "DaemonSet", "daemonsets", "Daemon sets", [ratio, column("Images", images)], RESTARTS),
    row("batch", "v1", "Job", "jobs", "Jobs", [
      column("Status", jobState),
      column("Completions", (o) => `${o.status?.succeeded || 0}/${o.spec.completions ?? 1}`),
    ], { health: (o) => ({ Complete: "done", Failed: "bad" })[jobState(o)] || "busy" }),
    row("batch", "v1", "CronJob", "cronjobs", "Cron jobs", [
      column("Schedule", (o) => o.spec.schedule), column("Suspended", (o) => (o.spec.suspend ? "yes" : "no")),
      count("Active", (o) => (o.status?.active || []).length),
      column("Last", (o) => (o.status?.lastScheduleTime ? age(o.status.lastScheduleTime) : "")),
    ]),
    row("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", "Autoscalers", [
      column("Target", (o) => `${o.spec.scaleTargetRef.kind}/${o.spec.scaleTargetRef.name}`),
      column("Range", (o) => `${o.spec.minReplicas ?? 1} to ${o.spec.maxReplicas}`), count("Pods", (o) => o.status?.currentReplicas),
    ]),
  ]],
  ["Network", [
    row("", "v1", "Service", "services", "Services", [
      column("Type", (o) => o.spec.type || ""), column("Cluster address", (o) => o.spec.clusterIP || ""),
      column("Outside", outside), column("Ports", ports),
    ]),
    row("networking.k8s.io", "v1", "Ingress", "ingresses", "Ingresses", [
      column("Class", (o) => o.spec.ingressClassName || ""),
      column("Hosts", (o) => (o.spec.rules || []).map((r) => r.host || "*").join(", ")), column("Address", outside),
      column("Services", (o) => backendsOf(o).map((key) => key.split("/")[1]).join(", ")),
    ]),
    row("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", "Endpoint slices", [
      column("Service", (o) => o.metadata.labels?.["kubernetes.io/service-name"] || ""),
      column("Endpoints", (o) => (o.endpoints || []).flatMap((one) => one.addresses).slice(0, 3).join(", ")),
    ]),
    row("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", "Network policies", [
      column("Types", (o) => (o.spec.policyTypes || []).join(", ")),
    ]),
  ]],
  ["Settings and storage", [
    row("", "v1", "ConfigMap", "configmaps", "Config maps", [count("Entries", (o) => Object.keys({ ...o.data, ...o.binaryData }).length)]),
    row("", "v1", "Secret", "secrets", "Secrets", [column("Type", (o) => o.type || ""), count("Entries", (o) => Object.keys(o.data || {}).length)]),
    row("", "v1", "ServiceAccount", "serviceaccounts", "Service accounts", []),
    row("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", "Volume claims", [
      column("Status", (o) => o.status?.phase || ""), column("Volume", (o) => o.spec.volumeName || ""),
      column("Size", (o) => o.status?.capacity?.storage || o.spec.resources?.requests?.storage || ""),
    ], { health: (o) => (o.status?.phase === "Bound" ? "ok" : "busy") }),
    row("", "v1", "PersistentVolume", "persistentvolumes", "Volumes", [
      column("Status", (o) => o.status?.phase || ""), column("Size", (o) => o.spec.capacity?.storage || ""),
      column("Claim", (o) => (o.spec.claimRef ? `${o.spec.claimRef.namespace}/${o.spec.claimRef.name}` : "")),
    ], CLUSTER),
    row("storage.k8s.io", "v1", "StorageClass", "storageclasses", "Storage classes", [column("Provisioner", (o) => o.provisioner)], CLUSTER),
  ]],
];

export const KINDS = new Map(GROUPS.flatMap(([, kinds]) => kinds.map((kind) => [kind.plural, kind])));

// The row of a reference such as an owner's; undefined for a kind that has none here.
export function kindOf(apiVersion, kind) {
  const group = (apiVersion || "").includes("/") ? apiVersion.split("/")[0] : "";
  return [...KINDS.values()].find((row) => row.kind === kind && row.group === group);
}
