use serde_json::{Value, json};

use crate::testing::{World, app, cpu, on};

const ZONE: &str = "topology.kubernetes.io/zone";

fn term(name: &str, topology: &str) -> Value {
    json!({"topologyKey": topology, "labelSelector": {"matchLabels": {"app": name}}})
}

fn required(kind: &str, terms: Value) -> Value {
    json!({"spec": {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}})
}

fn spread(most: i32, topology: &str) -> Value {
    json!({"maxSkew": most, "topologyKey": topology, "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}}})
}

#[test]
fn the_sentences_learners_read() {
    let mut w = World::new();
    let big = w.pod("big", cpu("2"));
    assert_eq!(w.choose(big), "no nodes available to schedule pods");
    for name in ["a", "d"] {
        w.node(name, json!({"status": {"allocatable": {"cpu": "1"}}}));
    }
    w.node("b", json!({"spec": {"unschedulable": true}}));
    let taints = json!([{"key": "k", "value": "v", "effect": "NoSchedule"}]);
    w.node("c", json!({"spec": {"taints": taints}}));
    w.node("full", json!({"status": {"allocatable": {"pods": "0"}}}));
    assert_eq!(
        w.choose(big),
        "0/5 nodes are available: 1 Too many pods, 1 node(s) had untolerated taint(s), \
         1 node(s) were unschedulable, 2 Insufficient cpu."
    );
    let picky = w.pod("picky", json!({"spec": {"nodeSelector": {"disk": "hdd"}}}));
    assert!(
        w.choose(picky)
            .contains("3 node(s) didn't match Pod's node affinity/selector")
    );
}

#[test]
fn ports_of_the_node_are_taken_once() {
    let mut w = World::new();
    w.node("a", json!({}));
    let port = json!({"spec": {"containers": [{"ports": [{"containerPort": 1, "hostPort": 80}]}]}});
    w.pod("first", on("a", port.clone()));
    let second = w.pod("second", port);
    assert_eq!(
        w.choose(second),
        "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."
    );
    w.delete("first");
    assert_eq!(w.choose(second), "a");
}

#[test]
fn a_daemons_pod_asks_its_own_node_only() {
    let mut w = World::new();
    for name in ["a", "b", "c"] {
        w.node(name, json!({"status": {"allocatable": {"cpu": "1"}}}));
    }
    let own = json!({"nodeSelectorTerms": [{"matchFields": [
        {"key": "metadata.name", "operator": "In", "values": ["b"]}]}]});
    let mut pod = required("nodeAffinity", own);
    let daemon = w.pod("daemon", pod.clone());
    assert_eq!(w.choose(daemon), "b");
    pod["spec"]["containers"] = cpu("2")["spec"]["containers"].clone();
    let greedy = w.pod("greedy", pod);
    assert_eq!(
        w.choose(greedy),
        "0/3 nodes are available: 1 Insufficient cpu, \
         2 node(s) didn't satisfy plugin(s) [NodeAffinity]."
    );
}

#[test]
fn near_means_the_same_place_and_the_first_may_go_anywhere() {
    let mut w = World::new();
    w.zoned("a1", "a");
    w.zoned("a2", "a");
    w.zoned("b1", "b");
    let near = required("podAffinity", json!([term("web", ZONE)]));
    let stranger = w.pod("stranger", near.clone());
    assert_eq!(
        w.choose(stranger),
        "0/3 nodes are available: 3 node(s) didn't match pod affinity rules."
    );
    let first = w.pod("first", app("web", near));
    assert!(!w.choose(first).starts_with("0/3"));
    w.pod("there", on("b1", app("web", json!({}))));
    assert_eq!(w.choose(stranger), "b1");
    assert_eq!(w.choose(first), "b1");
    w.node("nowhere", json!({}));
    w.delete("there");
    assert!(
        w.choose(stranger)
            .contains("4 node(s) didn't match pod affinity rules")
    );
}

#[test]
fn apart_holds_both_ways() {
    let mut w = World::new();
    w.zoned("a1", "a");
    w.zoned("b1", "b");
    let apart = required("podAntiAffinity", json!([term("web", ZONE)]));
    w.pod("one", on("a1", app("web", apart.clone())));
    let two = w.pod("two", app("web", apart.clone()));
    assert_eq!(w.choose(two), "b1");
    w.pod("plain", on("b1", app("web", json!({}))));
    assert_eq!(
        w.choose(two),
        "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules."
    );
    // Who demands nothing is kept away by those who do.
    let meek = w.pod("meek", app("web", json!({})));
    assert_eq!(w.choose(meek), "b1");
    w.delete("plain");
    w.pod("three", on("b1", app("db", apart)));
    assert_eq!(
        w.choose(meek),
        "0/2 nodes are available: 2 node(s) didn't satisfy existing pods anti-affinity rules."
    );
}

#[test]
fn terms_choose_namespaces_by_name_and_by_label() {
    let mut w = World::new();
    w.zoned("a1", "a");
    w.zoned("b1", "b");
    let mut there = on("b1", app("web", json!({})));
    there["metadata"]["namespace"] = json!("e");
    w.pod("there", there);
    let mut by = |more: Value| {
        let mut t = term("web", ZONE);
        t.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let key = w.pod("seeker", required("podAffinity", json!([t])));
        w.choose(key)
    };
    assert!(by(json!({})).starts_with("0/2"));
    assert_eq!(by(json!({"namespaces": ["e"]})), "b1");
    assert_eq!(
        by(json!({"namespaceSelector": {"matchLabels": {"team": "e"}}})),
        "b1"
    );
    assert_eq!(by(json!({"namespaceSelector": {}})), "b1");
    assert!(by(json!({"namespaceSelector": {"matchLabels": {"team": "d"}}})).starts_with("0/2"));
}

#[test]
fn pods_are_spread_as_evenly_as_demanded() {
    let mut w = World::new();
    w.zoned("a1", "a");
    w.zoned("b1", "b");
    w.node("nowhere", json!({}));
    let web = |c: Value| app("web", json!({"spec": {"topologySpreadConstraints": [c]}}));
    w.pod("one", on("a1", web(spread(1, ZONE))));
    let two = w.pod("two", web(spread(1, ZONE)));
    assert_eq!(w.choose(two), "b1");
    w.node(
        "b1",
        json!({"spec": {"unschedulable": true}, "metadata": {"labels": {ZONE: "b"}}}),
    );
    assert_eq!(
        w.choose(two),
        "0/3 nodes are available: 1 node(s) didn't match pod topology spread constraints, \
         1 node(s) didn't match pod topology spread constraints (missing required label), \
         1 node(s) were unschedulable."
    );
    // Leaving pods count no more.
    let mut leaving = on("a1", web(spread(1, ZONE)));
    leaving["metadata"]["deletionTimestamp"] = json!("2026-11-20T21:00:00Z");
    w.pod("one", leaving);
    assert_eq!(w.choose(two), "a1");
}

#[test]
fn too_few_places_count_as_empty_ones_and_closed_nodes_may_be_left_out() {
    let mut w = World::new();
    w.zoned("a1", "a");
    let web = |c: Value| app("web", json!({"spec": {"topologySpreadConstraints": [c]}}));
    let mut wide = spread(1, ZONE);
    wide["minDomains"] = json!(2);
    w.pod("one", on("a1", web(wide.clone())));
    let two = w.pod("two", web(wide));
    assert!(w.choose(two).contains("topology spread constraints"));
    let taints = json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]},
        "metadata": {"labels": {ZONE: "b"}}});
    w.node("b1", taints);
    let three = w.pod("three", web(spread(1, ZONE)));
    assert!(w.choose(three).contains("topology spread constraints"));
    let mut honest = spread(1, ZONE);
    honest["nodeTaintsPolicy"] = json!("Honor");
    let four = w.pod("four", web(honest));
    assert_eq!(w.choose(four), "a1");
}

fn claim(class: &str, more: Value) -> Value {
    let mut claim = json!({"metadata": {"name": "data", "namespace": "d", "uid": "data"},
        "spec": {"storageClassName": class, "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}});
    for (key, value) in more.as_object().unwrap() {
        claim["spec"][key] = value.clone();
    }
    claim
}

fn volume(name: &str, node: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"storageClassName": "local",
        "accessModes": ["ReadWriteOnce", "ReadWriteOncePod"], "capacity": {"storage": "1Gi"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}}}})
}

fn user() -> Value {
    json!({"spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}})
}

#[test]
fn claims_in_upstreams_words() {
    let mut w = World::new();
    w.node("a", json!({}));
    w.node("b", json!({}));
    let user = w.pod("user", user());
    let no = |words: &str| format!("0/2 nodes are available: {words}.");
    assert_eq!(
        w.choose(user),
        no("persistentvolumeclaim \"data\" not found")
    );
    w.other("PersistentVolumeClaim", claim("fast", json!({})));
    let unbound = no("pod has unbound immediate PersistentVolumeClaims");
    assert_eq!(w.choose(user), unbound);
    let class = json!({"metadata": {"name": "local"}, "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer"});
    w.other("StorageClass", class);
    w.other("PersistentVolumeClaim", claim("local", json!({})));
    assert_eq!(
        w.choose(user),
        no("2 node(s) didn't find available persistent volumes to bind")
    );
    w.other("PersistentVolume", volume("disk", "b"));
    assert_eq!(w.choose(user), "b");
    let mut bound = claim("local", json!({"volumeName": "disk"}));
    bound["status"] = json!({"phase": "Bound"});
    w.other("PersistentVolumeClaim", bound.clone());
    assert_eq!(w.choose(user), "b");
    w.node("b", json!({"spec": {"unschedulable": true}}));
    assert_eq!(
        w.choose(user),
        no("1 node(s) didn't match PersistentVolume's node affinity, 1 node(s) were unschedulable")
    );
    bound["spec"]["volumeName"] = json!("lost");
    w.other("PersistentVolumeClaim", bound);
    assert!(w.choose(user).contains("bound to non-existent pv(s)"));
}

#[test]
fn a_claim_for_one_pod_is_used_by_one() {
    let mut w = World::new();
    w.node("a", json!({}));
    w.other("PersistentVolume", volume("disk", "a"));
    let mut bound = claim(
        "local",
        json!({"volumeName": "disk", "accessModes": ["ReadWriteOncePod"]}),
    );
    bound["status"] = json!({"phase": "Bound"});
    w.other("PersistentVolumeClaim", bound);
    let first = w.pod("first", user());
    assert_eq!(w.choose(first), "a");
    w.pod("first", on("a", user()));
    let second = w.pod("second", user());
    assert_eq!(
        w.choose(second),
        "0/1 nodes are available: 1 node has pod using PersistentVolumeClaim with the same name \
         and ReadWriteOncePod access mode."
    );
    w.delete("first");
    assert_eq!(w.choose(second), "a");
}
