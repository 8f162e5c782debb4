//! What NetworkPolicies let through.

use serde_json::json;

use crate::space::{Space, is_dropped};
use crate::world::{NODE, OUTSIDE, UP, WEB, World, web};
use cadet_proxy::table::Protocol::{Tcp, Udp};

/// A node whose pods a, b and c are known to policies.
fn world() -> World {
    let mut world = World::new();
    for pod in ["a", "b", "c"] {
        world.policy_pod(pod);
    }
    world
}

#[track_caller]
fn passes(from: &Space, to: &str) {
    if let Err(error) = from.tcp(to) {
        panic!("{to}: {error}");
    }
}

#[track_caller]
fn stopped(from: &Space, to: &str) {
    assert!(is_dropped(&from.brief_tcp(to)), "{to} was reached");
}

const A: &str = "10.244.0.2:8080";
const B: &str = "10.244.0.3:8080";

#[test]
fn without_policies_there_is_nothing_to_meet() {
    let mut world = world();
    world.sync();
    passes(world.pod("b"), A);
    assert!(!world.node.sh("nft list table ip cadet").contains("policy-"));
}

#[test]
fn who_is_not_allowed_in_stays_out_but_the_node_never_does() {
    let mut world = world();
    world.policy(
        "deny",
        json!({"podSelector": {"matchLabels": {"app": "a"}}}),
    );
    world.sync();
    stopped(world.pod("b"), A);
    stopped(&world.outside, A);
    assert!(is_dropped(&world.pod("b").brief_udp(A)));
    passes(&world.node, A);
    passes(world.pod("a"), A);
    // Its own calls are answered, and others are not concerned.
    passes(world.pod("a"), B);
    passes(world.pod("c"), B);
    world.policy(
        "allow",
        json!({"podSelector": {"matchLabels": {"app": "a"}}, "ingress": [
            {"from": [{"podSelector": {"matchLabels": {"app": "b"}}}], "ports": [{"port": 8080}]},
        ]}),
    );
    world.sync();
    passes(world.pod("b"), A);
    assert!(is_dropped(&world.pod("b").brief_udp(A)));
    stopped(world.pod("c"), A);
    world
        .policies
        .set_policy(&crate::world::named("deny"), None);
    world
        .policies
        .set_policy(&crate::world::named("allow"), None);
    world.sync();
    passes(world.pod("c"), A);
}

#[test]
fn who_may_not_go_out_gets_nowhere_but_where_it_may() {
    let mut world = world();
    let outside = format!("{OUTSIDE}:9090");
    let node = format!("{NODE}:9090");
    world.policy(
        "deny",
        json!({"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Egress"]}),
    );
    world.sync();
    for to in [B, &outside, &node] {
        stopped(world.pod("a"), to);
    }
    passes(world.pod("b"), A);
    passes(world.pod("b"), &outside);
    world.policy(
        "allow",
        json!({"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Egress"], "egress": [
            {"to": [{"podSelector": {"matchLabels": {"app": "b"}}}], "ports": [{"port": "http"}]},
            {"to": [{"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.1/32"]}}],
             "ports": [{"port": 9000, "endPort": 9100}]},
        ]}),
    );
    world.sync();
    passes(world.pod("a"), B);
    passes(world.pod("a"), &outside);
    stopped(world.pod("a"), &node);
    stopped(world.pod("a"), "10.244.0.4:8080");
}

#[test]
fn both_ends_must_agree_and_services_are_seen_through() {
    let mut world = world();
    world.service("web", web(Tcp));
    world.endpoints("web", Tcp, &[("b", UP)]);
    let http = json!([{"port": "http"}]);
    world.policy(
        "out",
        json!({"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Egress"], "egress": [
            {"to": [{"podSelector": {"matchLabels": {"app": "b"}}}]}]}),
    );
    world.sync();
    let to = format!("{WEB}:80");
    // The pod behind the Service counts, and its port, not the Service's.
    passes(world.pod("a"), &to);
    world.policy(
        "in",
        json!({"podSelector": {"matchLabels": {"app": "b"}},
               "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "c"}}}], "ports": http}]}),
    );
    world.sync();
    stopped(world.pod("a"), &to);
    passes(world.pod("c"), &to);
    // A pod reaches itself through its Service all the same.
    passes(world.pod("b"), &to);
}

#[test]
fn a_pod_that_nobody_knows_yet_is_cut_off_but_for_the_node() {
    let mut world = World::new();
    world.policy_pod("a");
    world.policy(
        "other",
        json!({"podSelector": {"matchLabels": {"app": "nobody"}}}),
    );
    world.sync();
    for to in [A, &format!("{OUTSIDE}:9090"), &format!("{NODE}:9090")] {
        stopped(world.pod("b"), to);
    }
    stopped(&world.outside, B);
    stopped(world.pod("a"), B);
    passes(&world.node, B);
    passes(&world.outside, A);
    world.policy_pod("b");
    world.sync();
    passes(world.pod("b"), A);
    passes(world.pod("a"), B);
}

#[test]
fn a_connection_that_stands_goes_on() {
    let mut world = world();
    let socket = world.pod("b").udp_socket();
    assert!(crate::space::ask(&socket, A).is_ok());
    world.policy("deny", json!({"podSelector": {}}));
    world.sync();
    assert!(crate::space::ask(&socket, A).is_ok());
    assert!(is_dropped(&world.pod("b").brief_udp(A)));
}

#[test]
fn peers_come_and_go_by_the_pod() {
    let mut world = world();
    world.service("web", web(Udp));
    world.policy(
        "allow",
        json!({"podSelector": {"matchLabels": {"app": "a"}}, "ingress": [
            {"from": [{"podSelector": {"matchLabels": {"app": "b"}}}]}]}),
    );
    world.sync();
    passes(world.pod("b"), A);
    world
        .policies
        .set_pod(&crate::world::named("b"), None, &mut world.table);
    world.sync();
    stopped(world.pod("b"), A);
    world.policy_pod("b");
    world.sync();
    passes(world.pod("b"), A);
}
