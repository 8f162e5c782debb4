//! The cache against news that come late, twice or after our own writes.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::pod::PodInfo;
use super::queue::{Key, Queue};
use super::record::Record;
use super::store::Store;

fn pod(name: &str, uid: &str, version: u64, extra: Value) -> PodInfo {
    let mut object = json!({"metadata": {"namespace": "n", "name": name, "uid": uid,
        "resourceVersion": version.to_string()}});
    if extra["owner"].is_string() {
        object["metadata"]["ownerReferences"] = json!([{"kind": "ReplicaSet", "name": "rs", "uid": extra["owner"], "controller": true}]);
    }
    object["spec"] = json!({"nodeName": extra["node"].as_str().unwrap_or_default()});
    PodInfo::of(serde_json::from_value(object).unwrap())
}

fn names(pods: &[std::sync::Arc<PodInfo>]) -> Vec<&str> {
    pods.iter().map(|pod| pod.name.as_str()).collect()
}

#[test]
fn what_is_cached_is_found_by_owner_node_and_namespace() {
    let store = Store::default();
    store.heard_all(
        vec![
            pod("a", "1", 1, json!({"owner": "x", "node": "n1"})),
            pod("b", "2", 2, json!({"owner": "x"})),
            pod("c", "3", 3, json!({})),
        ],
        3,
    );
    assert_eq!(names(&store.owned("x")), ["a", "b"]);
    assert_eq!(names(&store.orphans("n")), ["c"]);
    assert_eq!(names(&store.on_node("n1")), ["a"]);
    store.heard(pod("b", "2", 4, json!({"node": "n1"})));
    assert_eq!(names(&store.owned("x")), ["a"]);
    assert_eq!(names(&store.orphans("n")), ["b", "c"]);
    assert_eq!(names(&store.on_node("n1")), ["a", "b"]);
    store.heard_end(&pod("b", "2", 5, json!({})));
    assert_eq!(names(&store.in_namespace("n")), ["a", "c"]);
    assert_eq!(names(&store.on_node("n1")), ["a"]);
}

#[test]
fn what_was_written_is_seen_at_once_and_older_news_do_not_undo_it() {
    let store = Store::default();
    store.heard_all(vec![], 10);
    store.written(pod("a", "1", 11, json!({"node": "n1"})));
    store.heard(pod("a", "1", 11, json!({})));
    assert_eq!(
        store.get("n", "a").unwrap().node(),
        "n1",
        "the news is not new"
    );
    // Created and gone again before the create answered.
    store.heard(pod("b", "2", 12, json!({})));
    store.heard_end(&pod("b", "2", 13, json!({})));
    store.written(pod("b", "2", 12, json!({})));
    assert!(store.get("n", "b").is_none(), "the dead stay dead");
    // An older list does not take away what came after it.
    store.written(pod("c", "3", 20, json!({})));
    store.heard_all(vec![pod("a", "1", 11, json!({}))], 15);
    assert_eq!(names(&store.in_namespace("n")), ["a", "c"]);
    store.heard_all(vec![], 21);
    assert!(store.in_namespace("n").is_empty());
}

#[test]
fn what_we_deleted_is_going_whatever_late_news_say() {
    let store = Store::default();
    store.heard_all(vec![pod("a", "1", 1, json!({}))], 1);
    store.deleted("n", "a", "other");
    assert!(
        !store.get("n", "a").unwrap().is_deleting(),
        "another of that name"
    );
    store.deleted("n", "a", "1");
    assert!(store.get("n", "a").unwrap().is_deleting());
    store.heard(pod("a", "1", 2, json!({"node": "n1"})));
    let late = store.get("n", "a").unwrap();
    assert!(late.is_deleting() && late.node() == "n1");
    store.heard_end(&pod("a", "1", 3, json!({})));
    assert!(store.get("n", "a").is_none());
    store.heard(pod("a", "4", 4, json!({})));
    assert!(!store.get("n", "a").unwrap().is_deleting());
    store.heard_end(&pod("a", "1", 5, json!({})));
    assert!(store.get("n", "a").is_some(), "that was the other one");
}

#[tokio::test]
async fn subscribers_hear_of_what_is_there_and_of_every_change_once() {
    let store = Store::default();
    store.heard_all(vec![pod("a", "1", 1, json!({}))], 1);
    let queue = Queue::default();
    store.feed(&queue, |pod: &PodInfo| Some(Key::of(pod)));
    let calls = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    store.subscribe(move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    assert_eq!(queue.next().await, Key::new("n", "a"));
    store.written(pod("b", "2", 2, json!({})));
    store.heard(pod("b", "2", 2, json!({})));
    store.heard(pod("b", "2", 3, json!({})));
    assert_eq!(queue.next().await, Key::new("n", "b"));
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}
