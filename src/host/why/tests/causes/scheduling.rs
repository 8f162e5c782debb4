//! Pods without a node.

use cadet_why::Kind;
use serde_json::{Value, json};

use crate::world::{NODE, World, app, node, not_ready, owned, pod, sentence, unplaced};

fn asking(amounts: Value) -> Value {
    let mut one = app();
    one["resources"] = json!({"requests": amounts});
    json!({"containers": [one]})
}

fn pending(spec: Value, reason: &str) -> World {
    let told = sentence(reason);
    World::about(Kind::Pod, "web")
        .node()
        .with(Kind::Pod, unplaced("web", spec, &told))
        .event(Kind::Pod, "web", "FailedScheduling", &told)
}

fn running_elsewhere(name: &str, spec: Value) -> Value {
    let mut other = pod(name, spec);
    other["status"]["phase"] = json!("Running");
    other
}

#[test]
fn no_room_says_what_is_asked_and_what_is_free() {
    let mut busy = app();
    busy["resources"] = json!({"requests": {"cpu": "600m"}});
    let world = pending(asking(json!({"cpu": "1500m"})), "Insufficient cpu")
        .with(Kind::Pod, running_elsewhere("busy", json!([busy])));
    world.says(
        "NO_ROOM",
        &[
            "pod/web is Pending because no node has room for it",
            "asks for 1.5 CPU; node cadet has 2, of which 1.4 are free",
            "3 tries by the scheduler",
        ],
    );
}

#[test]
fn a_node_too_small_is_told_from_a_full_one() {
    let world = pending(asking(json!({"cpu": "64"})), "Insufficient cpu");
    world.says("NO_ROOM", &["no node is large enough", "asks for 64 CPU"]);
    let world = pending(asking(json!({"memory": "4Gi"})), "Insufficient memory");
    world.says(
        "NO_ROOM",
        &[
            "wants more memory than any has",
            "asks for 4 GiB memory; node cadet has 2 GiB",
        ],
    );
    let world = pending(
        asking(json!({"nvidia.com/gpu": "1"})),
        "Insufficient nvidia.com/gpu",
    );
    world.says("NO_ROOM", &["no node has any nvidia.com/gpu"]);
}

#[test]
fn the_command_is_for_what_the_user_made() {
    let told = sentence("Insufficient cpu");
    let one = owned(
        unplaced("web-7d9f-x", asking(json!({"cpu": "64"})), &told),
        Kind::ReplicaSet,
        "web-7d9f",
    );
    let set = owned(
        json!({"metadata": {"name": "web-7d9f", "namespace": "shop", "uid": "uid-web-7d9f"}}),
        Kind::Deployment,
        "web",
    );
    let world = World::about(Kind::Pod, "web-7d9f-x")
        .node()
        .with(Kind::Pod, one)
        .with(Kind::ReplicaSet, set);
    world.says(
        "NO_ROOM",
        &["kubectl set resources deployment web --requests=cpu=500m -n shop"],
    );
}

#[test]
fn too_many_pods_is_no_matter_of_cpu() {
    pending(json!({}), "Too many pods").says("NO_ROOM", &["one more pod", "of 110 pods"]);
}

#[test]
fn a_taint_is_named_with_its_node() {
    let tainted = node(
        NODE,
        json!({"taints": [{"key": "gpu", "value": "only", "effect": "NoSchedule"}]}),
    );
    let world = pending(json!({}), "node(s) had untolerated taint(s)").all(Kind::Node, &[tainted]);
    world.says(
        "TAINT",
        &[
            "node cadet has a taint that it does not tolerate: gpu",
            "gpu=only:NoSchedule",
            "kubectl taint node cadet gpu:NoSchedule-",
        ],
    );
}

#[test]
fn taints_of_dead_and_pressed_nodes_are_no_taints_of_anybodys_will() {
    let world = pending(json!({}), "node(s) had untolerated taint(s)")
        .all(Kind::Node, &[not_ready(NODE, "Unknown")]);
    world.says("NODE_DEAD", &["not ready", "cadet why node/cadet"]);
    let pressed = node(
        NODE,
        json!({"taints": [{"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"}]}),
    );
    let world = pending(json!({}), "node(s) had untolerated taint(s)").all(Kind::Node, &[pressed]);
    world.says("NODE_PRESSURE", &["disk-pressure"]);
}

#[test]
fn of_several_reasons_that_of_most_nodes_is_told_and_the_others_shown() {
    let control = node(
        "control",
        json!({"taints": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]}),
    );
    let told = "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. preemption: 0/3";
    let world = World::about(Kind::Pod, "web")
        .all(
            Kind::Node,
            &[control, node("a", json!({})), node("b", json!({}))],
        )
        .with(
            Kind::Pod,
            unplaced("web", asking(json!({"cpu": "3"})), told),
        );
    world.says(
        "NO_ROOM",
        &["2 nodes Insufficient cpu and 1 node had untolerated taint(s)"],
    );
}

#[test]
fn a_node_selector_names_the_label_that_is_lacking() {
    let world = pending(
        json!({"nodeSelector": {"disk": "ssd"}}),
        "node(s) didn't match Pod's node affinity/selector",
    );
    world.says(
        "NODE_SELECTOR",
        &[
            "no node has the labels it asks for: disk=ssd",
            "node cadet has no label disk",
            "kubectl label node cadet disk=ssd",
        ],
    );
    let affinity = json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}]}}}});
    let world = pending(
        affinity,
        "node(s) didn't match Pod's node affinity/selector",
    );
    world.says(
        "NODE_SELECTOR",
        &["no node fits its node affinity", "wants zone In a,b"],
    );
}

#[test]
fn neighbours_are_named() {
    let term = json!([{"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "db"}}}]);
    let apart = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}}});
    let world = pending(apart, "node(s) didn't match pod anti-affinity rules")
        .with(Kind::Pod, running_elsewhere("db", json!([app()])));
    world.says(
        "POD_AFFINITY",
        &["does not want beside itself", "pod db runs on node cadet"],
    );
    let near = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}}});
    let world = pending(near, "node(s) didn't match pod affinity rules");
    world.says(
        "POD_AFFINITY",
        &["no node has a pod that it wants beside itself", "app=db"],
    );
}

#[test]
fn spreading_tells_its_rule() {
    let rule = json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]});
    pending(rule, "node(s) didn't match pod topology spread constraints")
        .says("TOPOLOGY_SPREAD", &["maxSkew 1 over zone"]);
}

#[test]
fn a_cordon_is_told_with_its_end() {
    let closed = node(
        NODE,
        json!({"unschedulable": true, "taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]}),
    );
    let world = pending(json!({}), "node(s) were unschedulable")
        .all(Kind::Node, std::slice::from_ref(&closed));
    world.says(
        "NODE_CORDONED",
        &["node cadet is cordoned", "kubectl uncordon cadet"],
    );
    let world = pending(json!({}), "node(s) had untolerated taint(s)").all(Kind::Node, &[closed]);
    world.says("NODE_CORDONED", &["kubectl uncordon cadet"]);
}

#[test]
fn a_taken_port_names_its_holder() {
    let mut one = app();
    one["ports"] = json!([{"containerPort": 80, "hostPort": 8080}]);
    let world = pending(
        json!({"containers": [one]}),
        "node(s) didn't have free ports for the requested pod ports",
    )
    .with(Kind::Pod, running_elsewhere("first", json!([one])));
    world.says(
        "PORT_IN_USE",
        &[
            "port 8080 of the node is taken",
            "pod shop/first on node cadet has port 8080",
        ],
    );
}

#[test]
fn no_node_at_all() {
    let world = World::about(Kind::Pod, "web").all(Kind::Node, &[]).with(
        Kind::Pod,
        unplaced("web", json!({}), "no nodes available to schedule pods"),
    );
    world.says("NO_NODE", &["the cluster has no node"]);
}

#[test]
fn gates_and_other_schedulers_are_not_the_schedulers_doing() {
    let gated = unplaced(
        "web",
        json!({"schedulingGates": [{"name": "example.com/paid"}]}),
        "",
    );
    World::about(Kind::Pod, "web")
        .with(Kind::Pod, gated)
        .says("SCHEDULING_GATED", &["example.com/paid"]);
    let other = unplaced("web", json!({"schedulerName": "mine"}), "");
    World::about(Kind::Pod, "web")
        .with(Kind::Pod, other)
        .says("SCHEDULER_ABSENT", &["\"mine\""]);
}

#[test]
fn silence_of_the_scheduler_is_no_evidence() {
    let silent = unplaced("web", json!({}), "");
    let world = World::about(Kind::Pod, "web").with(Kind::Pod, silent.clone());
    world.may_say("UNKNOWN", &["no scheduler has said anything"]);
    assert!(!world.answer().confident);
    let mut young = silent;
    young["metadata"]["creationTimestamp"] = json!("2026-01-01T00:09:58Z");
    World::about(Kind::Pod, "web")
        .with(Kind::Pod, young)
        .says("NOT_YET", &["is new"]);
}

#[test]
fn a_reason_that_is_not_known_is_not_guessed_at() {
    let world = pending(json!({}), "node(s) had a bad day");
    world.may_say("UNKNOWN", &["had a bad day"]);
}
