//! Nodes, and pods that end with them.

use cadet_why::Kind;
use serde_json::{Value, json};

use crate::world::{NODE, World, app, node, not_ready, pod, running, with_status};

fn about_node(one: Value) -> World {
    World::about(Kind::Node, NODE).with(Kind::Node, one)
}

#[test]
fn a_node_that_is_silent_is_told_from_one_that_says_no() {
    about_node(not_ready(NODE, "Unknown")).says(
        "NODE_DEAD",
        &[
            "has stopped answering",
            "Kubelet stopped posting",
            "since 5 min",
        ],
    );
    let mut one = not_ready(NODE, "False");
    one["status"]["conditions"][0]["message"] = json!("container runtime is down");
    about_node(one).says("NODE_NOT_READY", &["container runtime is down"]);
}

#[test]
fn pressure_and_cordon_and_health() {
    let mut one = node(NODE, json!({}));
    one["status"]["conditions"][1] = json!({"type": "DiskPressure", "status": "True", "message": "kubelet has disk pressure", "lastTransitionTime": "2026-01-01T00:09:00Z"});
    about_node(one).says("NODE_PRESSURE", &["short of disk", "since 60 s"]);
    about_node(node(NODE, json!({"unschedulable": true})))
        .says("NODE_CORDONED", &["kubectl uncordon cadet"]);
    about_node(node(NODE, json!({}))).says("NOTHING_WRONG", &["is Ready"]);
}

#[test]
fn a_pod_on_a_dead_node() {
    let one = with_status("web", app(), running());
    let world = World::about(Kind::Pod, "web")
        .all(Kind::Node, &[not_ready(NODE, "Unknown")])
        .with(Kind::Pod, one.clone());
    world.says("NODE_DEAD", &["its node cadet has stopped answering"]);
    let world = World::about(Kind::Pod, "web")
        .all(Kind::Node, &[])
        .with(Kind::Pod, one);
    world.says("NODE_GONE", &["no longer exists"]);
}

fn failed(reason: &str, message: &str) -> World {
    let mut one = pod("web", json!([app()]));
    one["status"] = json!({"phase": "Failed", "reason": reason, "message": message});
    World::about(Kind::Pod, "web").node().with(Kind::Pod, one)
}

#[test]
fn evictions_are_the_nodes_or_the_pods_doing() {
    failed(
        "Evicted",
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 60Mi. ",
    )
    .says("EVICTED", &["node cadet ran short of memory"]);
    failed(
        "Evicted",
        "Pod was rejected: The node had condition: [DiskPressure]. ",
    )
    .says("EVICTED", &["DiskPressure"]);
    failed(
        "Evicted",
        "Usage of EmptyDir volume \"a\" exceeds the limit \"1Mi\". ",
    )
    .says("STORAGE_LIMIT", &["more to the disk than its limit"]);
}

#[test]
fn refusals_of_a_node() {
    failed("OutOfcpu", "Pod was rejected: Node didn't have enough resource: cpu, requested: 1600, used: 500, capacity: 2000").says("NO_ROOM", &["too little cpu left"]);
    failed("NodePorts", "Pod was rejected: Predicate NodePorts failed")
        .says("PORT_IN_USE", &["a port it wants is taken"]);
    failed(
        "SysctlForbidden",
        "Pod was rejected: forbidden sysctl: \"kernel.msgmax\" not allowlisted",
    )
    .says("SYSCTL_FORBIDDEN", &["kernel.msgmax"]);
    failed(
        "NodeAffinity",
        "Pod was rejected: Predicate NodeAffinity failed",
    )
    .says("NODE_SELECTOR", &["not of the kind"]);
}

#[test]
fn a_deadline_is_told_with_its_length() {
    let mut world = failed(
        "DeadlineExceeded",
        "Pod was active on the node longer than the specified deadline",
    );
    let mut one = world.facts.subject().cloned().expect("the pod");
    one["spec"]["activeDeadlineSeconds"] = json!(30);
    world.facts.put(Kind::Pod, one);
    world.says("DEADLINE", &["its deadline of 30 s"]);
}

fn leaving(due: &str, more: Value) -> Value {
    let mut one = with_status("web", app(), running());
    one["metadata"]["deletionTimestamp"] = json!(due);
    one["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    for (key, value) in more.as_object().expect("fields") {
        one["metadata"][key] = value.clone();
    }
    one
}

#[test]
fn deletion_takes_its_time_or_is_stuck() {
    let world = |one: Value| World::about(Kind::Pod, "web").node().with(Kind::Pod, one);
    world(leaving("2026-01-01T00:10:20Z", json!({}))).says("TERMINATING", &["20 s left"]);
    world(leaving("2026-01-01T00:05:00Z", json!({}))).says(
        "STUCK_TERMINATING",
        &["should have ended 5 min ago", "--force --grace-period=0"],
    );
    let mut held = leaving(
        "2026-01-01T00:05:00Z",
        json!({"finalizers": ["example.com/backup"]}),
    );
    held["status"]["containerStatuses"][0]["state"] = json!({"terminated": {"exitCode": 0}});
    world(held).says(
        "STUCK_FINALIZER",
        &["example.com/backup", "kubectl patch pod web"],
    );
    let dead = World::about(Kind::Pod, "web")
        .all(Kind::Node, &[not_ready(NODE, "Unknown")])
        .with(Kind::Pod, leaving("2026-01-01T00:05:00Z", json!({})));
    dead.says(
        "NODE_DEAD",
        &["deleted but stays, because its node cadet does not answer"],
    );
}
