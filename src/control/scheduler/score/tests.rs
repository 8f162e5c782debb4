use serde_json::{Value, json};

use super::points;
use crate::filter::Prepared;
use crate::testing::{World, app, cpu, on};

/// Points of all nodes, by slot.
fn score(w: &mut World, key: usize) -> Vec<i64> {
    let ask = w.cache.pod(key).unwrap().ask.clone();
    let prepared = Prepared::of(&mut w.cache, &ask).unwrap();
    let slots: Vec<usize> = (0..w.cache.nodes.len()).collect();
    points(&mut w.cache, &prepared, &slots)
}

#[test]
fn emptier_and_more_even_nodes_are_better() {
    let mut w = World::new();
    w.node(
        "small",
        json!({"status": {"allocatable": {"cpu": "1", "memory": "8Gi"}}}),
    );
    w.node("large", json!({}));
    let plain = w.pod("plain", json!({}));
    // 100m and 200 MiB are assumed; balance says nothing of pods that ask for nothing.
    assert_eq!(score(&mut w, plain), [(90 + 97) / 2, (97 + 97) / 2]);
    let busy = w.pod("busy", cpu("500m"));
    let s = score(&mut w, busy);
    assert_eq!(s[0], (50 + 97) / 2 + 75);
    assert_eq!(s[1], (87 + 97) / 2 + 93);
    assert_eq!(w.choose(busy), "large");
    w.pod("weight", on("large", cpu("3")));
    assert_eq!(w.choose(plain), "small");
}

#[test]
fn wishes_outweigh_emptiness_and_taints_outweigh_wishes() {
    let mut w = World::new();
    w.node("plain", json!({}));
    w.node("wished", json!({"metadata": {"labels": {"disk": "ssd"}}}));
    w.pod("weight", on("wished", cpu("2")));
    let wish = json!({"spec": {"affinity": {"nodeAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference":
            {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}}]}}}});
    let wishful = w.pod("wishful", wish);
    assert_eq!(w.choose(wishful), "wished");
    let taints = json!([{"key": "k", "effect": "PreferNoSchedule"}]);
    w.node(
        "wished",
        json!({"metadata": {"labels": {"disk": "ssd"}}, "spec": {"taints": taints}}),
    );
    assert_eq!(w.choose(wishful), "plain");
}

#[test]
fn pods_of_a_service_spread_without_being_told() {
    let mut w = World::new();
    for name in ["a", "b", "c"] {
        w.node(name, json!({}));
    }
    w.other(
        "Service",
        json!({"metadata": {"name": "web", "namespace": "d"}, "spec": {"selector": {"app": "web"}}}),
    );
    for (n, node) in ["a", "a", "b", "b", "b"].into_iter().enumerate() {
        w.pod(&format!("web-{n}"), on(node, app("web", json!({}))));
    }
    let another = w.pod("another", app("web", json!({})));
    assert_eq!(w.choose(another), "c");
    let s = score(&mut w, another);
    assert!(s[0] > s[1] && s[2] > s[0], "{s:?}");
}

#[test]
fn wishes_about_neighbours_are_the_pods_own_and_the_others() {
    let wish = |kind: &str, name: &str| -> Value {
        json!({"spec": {"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 10, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname",
                "labelSelector": {"matchLabels": {"app": name}}}}]}}}})
    };
    let mut w = World::new();
    for name in ["a", "b"] {
        w.node(name, json!({}));
    }
    w.pod("db", on("a", app("db", json!({}))));
    let near = w.pod("near", wish("podAffinity", "db"));
    let apart = w.pod("apart", wish("podAntiAffinity", "db"));
    assert_eq!(
        (w.choose(near).as_str(), w.choose(apart).as_str()),
        ("a", "b")
    );
    w.pod("lover", on("b", wish("podAffinity", "web")));
    let web = w.pod("web", app("web", json!({})));
    assert_eq!(w.choose(web), "b");
}

#[test]
fn images_that_are_there_draw_but_not_all_to_one_node() {
    let images =
        |size: i64| json!({"status": {"images": [{"names": ["big:1"], "sizeBytes": size}]}});
    let mb = 1024 * 1024;
    let mut w = World::new();
    w.node("has", images(800 * mb));
    w.node("has-not", json!({}));
    let pod = w.pod(
        "p",
        json!({"spec": {"containers": [{"name": "c", "image": "big:1"}]}}),
    );
    let s = score(&mut w, pod);
    // Half the nodes have it, so half its size counts: (400 - 23) of (1000 - 23).
    assert_eq!(s[0] - s[1], 38);
}
