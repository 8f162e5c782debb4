//! Where pods may go, who must make room, and what bounds a namespace.
//!
//! The node is as before when the area ends, whatever happens. In Cadet's machine a pod of the
//! suite runs all the time and must not be touched.

use serde_json::{Value, json};

use super::workloads::rolled_out;
use super::{Cluster, Said, WAIT, shell};

pub fn play(cluster: &dyn Cluster) {
    let _restored = Restored(cluster);
    // What is used is known after half a minute; meanwhile there is more to see.
    cluster.create(&busy());
    let percent = "--cpu-percent=50";
    cluster.kubectl(&[
        "autoscale",
        "deployment",
        "busy",
        percent,
        "--min=1",
        "--max=2",
    ]);
    cluster.create(&guarded());

    a_node_must_be_large_enough_and_of_the_right_kind(cluster);
    a_taint_repels(cluster);
    a_gate_holds_back(cluster);
    the_important_push_others_off(cluster);
    a_namespace_has_its_bounds(cluster);
    a_node_is_emptied(cluster);
    load_makes_more(cluster);
    cluster.forget(&["hpa/busy", "deployment/busy", "deployment/guarded"]);
    a_taint_may_evict(cluster);
}

/// Undoes at its end what the area does to the node.
struct Restored<'a>(&'a dyn Cluster);

impl Drop for Restored<'_> {
    fn drop(&mut self) {
        let node = self.0.node();
        self.0.try_kubectl(&["uncordon", node]);
        // Both complain if there is nothing to undo.
        self.0.try_kubectl(&["taint", "node", node, "areas-"]);
        self.0.try_kubectl(&["label", "node", node, "disk-"]);
    }
}

/// A Deployment that uses more CPU than it asks for, and not more than a fifth of one.
fn busy() -> Value {
    let mut app = shell("app", "trap 'exit 0' TERM; while true; do :; done");
    app["resources"] = json!({"requests": {"cpu": "50m"}, "limits": {"cpu": "200m"}});
    deployed("busy", json!({"containers": [app]}))
}

/// A Deployment of one pod with something to lose.
fn guarded() -> Value {
    let mut app = shell("app", WAIT);
    app["volumeMounts"] = json!([{"name": "scratch", "mountPath": "/scratch"}]);
    let scratch = json!({"name": "scratch", "emptyDir": {}});
    deployed(
        "guarded",
        json!({"containers": [app], "volumes": [scratch]}),
    )
}

fn deployed(name: &str, mut spec: Value) -> Value {
    spec["terminationGracePeriodSeconds"] = json!(1);
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": spec}}})
}

/// What a pod is of one container that asks for so much CPU.
fn asking(cpu: &str) -> Value {
    let mut app = shell("app", WAIT);
    app["resources"] = json!({"requests": {"cpu": cpu}});
    json!({"containers": [app]})
}

#[track_caller]
fn placed(cluster: &dyn Cluster, pod: &str) {
    cluster.until_condition(&format!("pod/{pod}"), "PodScheduled");
}

/// Wants a pod to wait, because the only node says no and nobody's going would help.
#[track_caller]
fn repelled(cluster: &dyn Cluster, pod: &str, why: &str) {
    let told = cluster.event(pod, "FailedScheduling");
    assert_eq!(
        told,
        format!(
            "0/1 nodes are available: 1 {why}. no new claims to deallocate, preemption: 0/1 nodes are available: \
             1 Preemption is not helpful for scheduling."
        )
    );
}

fn a_node_must_be_large_enough_and_of_the_right_kind(cluster: &dyn Cluster) {
    cluster.pod("huge", asking("1000"));
    cluster.pod(
        "picky",
        json!({"nodeSelector": {"disk": "ssd"}, "containers": [shell("app", WAIT)]}),
    );
    repelled(cluster, "huge", "Insufficient cpu");
    let row = cluster.row("pod/huge");
    assert!(row.starts_with("huge 0/1 Pending 0 "), "{row}");
    let reason = ".status.conditions[?(@.type==\"PodScheduled\")].reason";
    cluster.until("pod/huge", reason, "Unschedulable");
    let why = "node(s) didn't match Pod's node affinity/selector";
    repelled(cluster, "picky", why);
    cluster.kubectl(&["label", "node", cluster.node(), "disk=ssd"]);
    placed(cluster, "picky");

    // Who avoids another needs a second node.
    let apart = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname",
            "labelSelector": {"matchLabels": {"app": "picky"}}}]}});
    cluster.pod(
        "hermit",
        json!({"affinity": apart, "containers": [shell("app", WAIT)]}),
    );
    assert_eq!(
        cluster.event("hermit", "FailedScheduling"),
        "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules. no new claims to \
         deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
    );
    cluster.forget(&["pod/huge", "pod/hermit", "pod/picky"]);
}

fn a_taint_repels(cluster: &dyn Cluster) {
    let node = cluster.node();
    cluster.kubectl(&["taint", "node", node, "areas=closed:NoSchedule"]);
    let tolerates = json!([{"key": "areas", "operator": "Equal", "value": "closed",
        "effect": "NoSchedule"}]);
    cluster.pod("shy", json!({"containers": [shell("app", WAIT)]}));
    cluster.pod(
        "brave",
        json!({"tolerations": tolerates, "containers": [shell("app", WAIT)]}),
    );
    repelled(cluster, "shy", "node(s) had untolerated taint(s)");
    placed(cluster, "brave");
    let said = cluster.kubectl(&["taint", "node", node, "areas:NoSchedule-"]);
    assert_eq!(said, format!("node/{node} untainted"));
    placed(cluster, "shy");
    cluster.forget(&["pod/shy", "pod/brave"]);
}

fn a_gate_holds_back(cluster: &dyn Cluster) {
    cluster.pod(
        "gated",
        json!({"schedulingGates": [{"name": "example.com/paid"}],
            "containers": [shell("app", WAIT)]}),
    );
    let row = cluster.row("pod/gated");
    assert!(row.starts_with("gated 0/1 SchedulingGated 0 "), "{row}");
    let open = r#"{"spec": {"schedulingGates": null}}"#;
    cluster.kubectl(&["patch", "pod", "gated", "--type=merge", "-p", open]);
    placed(cluster, "gated");
    cluster.forget(&["pod/gated"]);
}

/// Thousandths of a CPU that pods may ask for on the node.
#[track_caller]
fn allocatable(cluster: &dyn Cluster) -> u64 {
    let node = format!("node/{}", cluster.node());
    let cpu = cluster.field(&node, ".status.allocatable.cpu");
    let number = |text: &str| -> u64 { text.parse().expect("a number of CPUs") };
    cpu.strip_suffix('m')
        .map_or_else(|| number(&cpu) * 1000, number)
}

fn the_important_push_others_off(cluster: &dyn Cluster) {
    cluster.kubectl(&["create", "priorityclass", "important", "--value=1000"]);
    // Two of them do not fit, one of them does beside all others.
    let most = format!("{}m", allocatable(cluster) * 6 / 10);
    cluster.pod("low", asking(&most));
    placed(cluster, "low");
    let mut high = asking(&most);
    high["priorityClassName"] = json!("important");
    cluster.pod("high", high);
    let told = cluster.event("low", "Preempted");
    let uid = cluster.field("pod/high", ".metadata.uid");
    assert_eq!(
        told,
        format!("Preempted by pod {uid} on node {}", cluster.node())
    );
    cluster.until_gone(&["pod/low"]);
    placed(cluster, "high");
    assert_eq!(cluster.field("pod/high", ".spec.priority"), "1000");
    cluster.forget(&["pod/high", "priorityclass/important"]);
}

fn a_namespace_has_its_bounds(cluster: &dyn Cluster) {
    cluster.kubectl(&["create", "namespace", "bounded"]);
    cluster.create(&json!({"apiVersion": "v1", "kind": "LimitRange",
        "metadata": {"name": "usual", "namespace": "bounded"},
        "spec": {"limits": [{"type": "Container", "default": {"cpu": "200m"},
            "defaultRequest": {"cpu": "100m"}, "max": {"cpu": "500m"}}]}}));
    cluster.create(&json!({"apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "small", "namespace": "bounded"}, "spec": {"hard": {"pods": "1"}}}));
    let account = "serviceaccount/default";
    cluster.kubectl(&[
        "wait",
        "-n",
        "bounded",
        "--for=create",
        account,
        cluster.soon(),
    ]);

    // Nothing of it has to run.
    let pod = |name: &str, resources: Value| {
        let mut app = shell("app", WAIT);
        app["resources"] = resources;
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "bounded"},
            "spec": {"nodeSelector": {"no": "node"}, "containers": [app]}})
    };
    refused(
        cluster,
        &pod("greedy", json!({"limits": {"cpu": "1"}})),
        "pods \"greedy\" is forbidden: maximum cpu usage per Container is 500m, but limit is 1",
    );
    cluster.create(&pod("one", json!({})));
    let resources = "jsonpath={.spec.containers[0].resources}";
    let resources = cluster.kubectl(&["get", "pod", "one", "-n", "bounded", "-o", resources]);
    assert_eq!(
        resources,
        r#"{"limits":{"cpu":"200m"},"requests":{"cpu":"100m"}}"#
    );
    refused(
        cluster,
        &pod("two", json!({})),
        "pods \"two\" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, \
         limited: pods=1",
    );
    let used = "--for=jsonpath={.status.used.pods}=1";
    let quota = "resourcequota/small";
    cluster.kubectl(&["wait", "-n", "bounded", used, quota, cluster.soon()]);
    cluster.forget(&["namespace/bounded"]);
}

/// Wants an object not to be created, for this reason.
#[track_caller]
fn refused(cluster: &dyn Cluster, object: &Value, why: &str) {
    let mut create = cluster.kubectl_command(&["create", "-f", "-"]);
    let said = Said::fed(&mut create, object.to_string().as_bytes());
    assert!(
        said.code == 1
            && said.err.contains("Error from server (Forbidden)")
            && said.err.contains(why),
        "wanted {why}: {said}"
    );
}

fn a_node_is_emptied(cluster: &dyn Cluster) {
    let node = cluster.node();
    rolled_out(cluster, "guarded");
    cluster.create(
        &json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "guarded"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "guarded"}}}}),
    );
    cluster.until("pdb/guarded", ".status.currentHealthy", "1");
    let row = cluster.row("pdb/guarded");
    assert!(row.starts_with("guarded 1 N/A 0 "), "{row}");

    let said = cluster.kubectl(&["cordon", node]);
    assert_eq!(said, format!("node/{node} cordoned"));
    let row = cluster.row(&format!("node/{node}"));
    assert!(row.contains(" Ready,SchedulingDisabled "), "{row}");
    cluster.pod("late", json!({"containers": [shell("app", WAIT)]}));
    repelled(cluster, "late", "node(s) were unschedulable");

    // Only our own pods: others live here too.
    let ours = "--pod-selector=app=guarded";
    let careful = cluster.try_kubectl(&["drain", node, ours]);
    let why = "cannot delete Pods with local storage (use --delete-emptydir-data to override)";
    assert!(
        careful.code == 1 && careful.err.contains(why),
        "wanted {why}: {careful}"
    );
    let drain = |patience: &str| {
        let ignore = "--ignore-daemonsets";
        let lose = "--delete-emptydir-data";
        cluster.try_kubectl(&["drain", node, ours, ignore, lose, patience])
    };
    let blocked = drain("--timeout=20s");
    let why = "Cannot evict pod as it would violate the pod's disruption budget.";
    assert!(
        blocked.code == 1 && blocked.err.contains(why),
        "wanted {why}: {blocked}"
    );
    cluster.kubectl(&["delete", "pdb", "guarded"]);
    let drained = drain(cluster.soon());
    assert!(
        drained.code == 0 && drained.out.contains(&format!("node/{node} drained")),
        "{drained}"
    );

    let said = cluster.kubectl(&["uncordon", node]);
    assert_eq!(said, format!("node/{node} uncordoned"));
    placed(cluster, "late");
    rolled_out(cluster, "guarded");
    cluster.forget(&["pod/late"]);
}

fn load_makes_more(cluster: &dyn Cluster) {
    assert_eq!(
        cluster.event("busy", "SuccessfulRescale"),
        "New size: 2; reason: cpu resource utilization (percentage of request) above target"
    );
    cluster.until("deployment/busy", ".spec.replicas", "2");
    let row = cluster.row("hpa/busy");
    assert!(
        row.starts_with("busy Deployment/busy cpu: ") && row.contains("%/50% 1 2 "),
        "{row}"
    );
}

fn a_taint_may_evict(cluster: &dyn Cluster) {
    if cluster.try_kubectl(&["get", "pod", "telescope-pod"]).code == 0 {
        return;
    }
    let node = cluster.node();
    let tolerates = json!([{"key": "areas", "operator": "Exists", "effect": "NoExecute"}]);
    cluster.pod("frail", json!({"containers": [shell("app", WAIT)]}));
    cluster.pod(
        "hardy",
        json!({"tolerations": tolerates, "containers": [shell("app", WAIT)]}),
    );
    cluster.ready("frail");
    cluster.ready("hardy");
    cluster.kubectl(&["taint", "node", node, "areas=left:NoExecute"]);
    let told = cluster.event("frail", "TaintManagerEviction");
    assert_eq!(told, "Marking for deletion Pod default/frail");
    cluster.until_gone(&["pod/frail"]);
    let row = cluster.row("pod/hardy");
    assert!(row.starts_with("hardy 1/1 Running 0 "), "{row}");
    cluster.kubectl(&["taint", "node", node, "areas:NoExecute-"]);
    cluster.forget(&["pod/hardy"]);
}
