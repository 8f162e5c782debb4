use serde_json::json;

use super::may_help;
use crate::pod::Change;
use crate::testing::{World, app, cpu, on};

/// Whether any change since the last call may help the pod.
fn helped(w: &mut World, key: usize) -> bool {
    let changes: Vec<Change> = w.cache.changes.drain(..).collect();
    let plugins = w.diagnosis(key).plugins;
    let ask = w.cache.pod(key).unwrap().ask.clone();
    changes.iter().any(|c| may_help(&w.cache, &ask, plugins, c))
}

#[test]
fn only_room_where_the_pod_fits_helps() {
    let mut w = World::new();
    w.node("a", json!({"status": {"allocatable": {"cpu": "2"}}}));
    let key = w.pod("greedy", cpu("3"));
    assert!(!helped(&mut w, key));
    w.node("b", json!({"status": {"allocatable": {"cpu": "1"}}}));
    assert!(!helped(&mut w, key), "too small as well");
    w.pod("small", on("a", cpu("1")));
    w.delete("small");
    assert!(!helped(&mut w, key), "somebody left, but it is not enough");
    w.node("c", json!({"spec": {"unschedulable": true}}));
    assert!(!helped(&mut w, key));
    // From here on the pod would fit: what said no before is asked.
    let plugins = w.diagnosis(key).plugins;
    let ask = w.cache.pod(key).unwrap().ask.clone();
    w.cache.changes.clear();
    w.node("b", json!({"status": {"allocatable": {"cpu": "4"}}}));
    assert!(may_help(&w.cache, &ask, plugins, &w.cache.changes[0]));
    w.cache.changes.clear();
    w.node("c", json!({}));
    assert!(may_help(&w.cache, &ask, plugins, &w.cache.changes[0]));
}

#[test]
fn neighbours_matter_to_those_who_ask_for_them() {
    let mut w = World::new();
    w.node("a", json!({}));
    let near = json!({"spec": {"affinity": {"podAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname",
            "labelSelector": {"matchLabels": {"app": "web"}}}]}}}});
    let key = w.pod("seeker", near);
    w.cache.changes.clear();
    w.pod("db", on("a", app("db", json!({}))));
    assert!(!helped(&mut w, key));
    let plugins = w.diagnosis(key).plugins;
    let ask = w.cache.pod(key).unwrap().ask.clone();
    w.pod("web", on("a", app("web", json!({}))));
    let helps = |c: &Change| may_help(&w.cache, &ask, plugins, c);
    assert!(w.cache.changes.iter().any(helps));
}

#[test]
fn claims_matter_to_those_who_mount_them() {
    let mut w = World::new();
    w.node("a", json!({}));
    let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]);
    let key = w.pod("user", json!({"spec": {"volumes": volumes}}));
    w.cache.changes.clear();
    let claim = |name: &str| json!({"metadata": {"name": name, "namespace": "d"}, "spec": {}});
    w.other("PersistentVolumeClaim", claim("other"));
    assert!(!helped(&mut w, key));
    w.other("PersistentVolumeClaim", claim("data"));
    assert!(helped(&mut w, key));
}
