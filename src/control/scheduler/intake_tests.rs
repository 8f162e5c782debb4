use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use crate::pod::{Change, Place};
use crate::testing::{World, cpu, on};
use crate::watches::Message;

fn waits(w: &mut World) -> Vec<String> {
    let cache = &mut w.cache;
    let changes: Vec<Change> = cache.changes.drain(..).collect();
    let names = changes.iter().filter_map(|c| match c {
        Change::Waits(key) => Some(cache.pod(*key)?.name.clone()),
        Change::Rests(_) => Some("rests".into()),
        _ => None,
    });
    names.collect()
}

#[test]
fn only_our_open_pods_wait() {
    let mut w = World::new();
    for (name, more) in [
        ("ours", json!({})),
        ("other", json!({"spec": {"schedulerName": "mine"}})),
        (
            "gated",
            json!({"spec": {"schedulingGates": [{"name": "x"}]}}),
        ),
        ("placed", json!({"spec": {"nodeName": "n"}})),
        (
            "gone",
            json!({"metadata": {"deletionTimestamp": "2026-11-20T20:00:00Z"}}),
        ),
        ("ended", json!({"status": {"phase": "Succeeded"}})),
    ] {
        w.pod(name, more);
    }
    assert_eq!(waits(&mut w), ["ours"]);
    w.pod("gated", json!({}));
    assert_eq!(waits(&mut w), ["gated"]);
    w.pod(
        "ours",
        json!({"status": {"conditions": [
        {"type": "PodScheduled", "status": "False", "message": "0/1"}]}}),
    );
    assert_eq!(
        waits(&mut w),
        [""; 0],
        "what we said ourselves is no reason to try again"
    );
    w.pod("ours", cpu("1"));
    assert_eq!(waits(&mut w), ["ours"]);
    w.delete("ours");
    assert_eq!(waits(&mut w), ["rests"]);
}

#[test]
fn an_assumed_pod_takes_room_until_the_api_confirms_or_it_is_forgotten() {
    let mut w = World::new();
    let slot = w.node("n", json!({}));
    w.pod("b", on("n", cpu("1")));
    let a = w.pod("a", cpu("1"));
    w.cache.assume(a, slot);
    let used = |w: &World| {
        (
            w.cache.nodes[slot].load.pods,
            w.cache.nodes[slot].load.used.cpu,
        )
    };
    assert_eq!(used(&w), (2, 2000));
    // An old word about it changes nothing.
    w.pod("a", cpu("1"));
    assert_eq!(used(&w), (2, 2000));
    w.pod("a", on("n", cpu("1")));
    assert_eq!(w.cache.pod(a).unwrap().place, Place::On(slot));
    assert!(!w.cache.forget(a), "it is no assumption any more");
    w.delete("a");
    assert_eq!(used(&w), (1, 1000));
    let c = w.pod("c", cpu("1"));
    w.cache.assume(c, slot);
    assert!(w.cache.forget(c));
    assert_eq!(used(&w), (1, 1000));
    w.pod(
        "b",
        json!({"spec": {"nodeName": "n"}, "status": {"phase": "Failed"}}),
    );
    assert_eq!(used(&w), (0, 0));
}

#[test]
fn pods_are_known_before_their_node_and_after_it() {
    let mut w = World::new();
    w.pod("early", on("late", cpu("1")));
    let slot = w.node("late", json!({}));
    assert_eq!(
        (w.cache.nodes[slot].load.pods, w.cache.order().len()),
        (1, 1)
    );
    let gone: Value = json!({"metadata": {"name": "late"}});
    let gone = Event::Delete(serde_json::from_value(gone).unwrap());
    w.apply(Message::Node(Box::new(gone)));
    assert!(w.cache.order().is_empty());
    w.node("late", json!({}));
    assert_eq!(
        (w.cache.nodes[slot].load.pods, w.cache.order().len()),
        (1, 1)
    );
}

#[test]
fn a_new_list_replaces_the_old_one() {
    let mut w = World::new();
    let slot = w.node("n", json!({}));
    w.pod("stays", on("n", cpu("1")));
    w.pod("goes", on("n", cpu("1")));
    let stays = json!({"metadata": {"name": "stays", "namespace": "d", "uid": "stays"},
        "spec": {"nodeName": "n"}});
    let stays = Event::InitApply(serde_json::from_value(stays).unwrap());
    for event in [Event::Init, stays, Event::InitDone] {
        w.apply(Message::Pod(Box::new(event)));
    }
    assert_eq!(w.cache.nodes[slot].load.pods, 1);
    assert_eq!(w.cache.nodes[slot].load.used.cpu, 0);
    assert!(w.cache.key("goes").is_none());
}

#[test]
fn a_nomination_decided_here_outlives_older_words() {
    let mut w = World::new();
    let slot = w.node("n", json!({}));
    let a = w.pod("a", json!({}));
    w.cache.nominate(a, Some(slot));
    w.pod("a", json!({}));
    assert_eq!(w.cache.nominated(slot), [a]);
    w.pod("a", json!({"status": {"nominatedNodeName": "n"}}));
    w.pod("a", json!({}));
    assert!(w.cache.nominated(slot).is_empty(), "the API took it back");
}
