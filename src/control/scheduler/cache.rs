//! What the API last said about pods and nodes, and the pods just bound.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use kube::runtime::watcher::Event;

use crate::NAME;
use crate::node::Room;
use crate::pod::{Amounts, HostPort, add, host_ports, requests};

/// One message from a watch.
#[derive(Debug)]
pub enum Change {
    Pod(Box<Event<Pod>>),
    Node(Box<Event<Node>>),
}

/// A set of objects as a watch tells it: complete after its first list, and replaced as a
/// whole when the watch starts over.
#[derive(Debug)]
struct Mirror<V> {
    now: BTreeMap<String, V>,
    coming: Option<BTreeMap<String, V>>,
    complete: bool,
}

impl<V> Default for Mirror<V> {
    fn default() -> Self {
        Mirror {
            now: BTreeMap::new(),
            coming: None,
            complete: false,
        }
    }
}

impl<V> Mirror<V> {
    /// Takes in one message of the watch; `keep` picks what is kept of an object.
    fn apply<K: ResourceExt>(&mut self, event: Event<K>, keep: impl FnOnce(K) -> V) {
        match event {
            Event::Init => self.coming = Some(BTreeMap::new()),
            Event::InitApply(o) => {
                self.coming.get_or_insert_default().insert(key(&o), keep(o));
            }
            Event::InitDone => {
                if let Some(list) = self.coming.take() {
                    self.now = list;
                }
                self.complete = true;
            }
            Event::Apply(o) => {
                self.now.insert(key(&o), keep(o));
            }
            Event::Delete(o) => {
                self.now.remove(&key(&o));
            }
        }
    }
}

/// What is kept of a pod. Most pods stand on their node, and of those only the room they
/// take matters; a typed Pod is a hundred times as large.
#[derive(Debug)]
struct Seen {
    uid: String,
    /// "" before it is placed.
    node: String,
    ended: bool,
    requests: Amounts,
    host_ports: Vec<HostPort>,
    /// The pod itself as long as it is ours to place.
    open: Option<Arc<Pod>>,
}

impl Seen {
    fn of(mut pod: Pod) -> Seen {
        pod.metadata.managed_fields = None;
        let spec = pod.spec.as_ref();
        Seen {
            uid: pod.uid().unwrap_or_default(),
            node: node_of(&pod).unwrap_or_default().to_owned(),
            ended: has_ended(&pod),
            requests: spec.map(requests).unwrap_or_default(),
            host_ports: spec.map(host_ports).unwrap_or_default(),
            open: is_ours(&pod).then(|| Arc::new(pod)),
        }
    }
}

/// Whether a pod waits for this scheduler to place it.
fn is_ours(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let name = spec.scheduler_name.as_deref().unwrap_or(NAME);
    let gates = spec.scheduling_gates.as_ref();
    node_of(pod).is_none()
        && name == NAME
        && gates.is_none_or(Vec::is_empty)
        && !has_ended(pod)
        && pod.metadata.deletion_timestamp.is_none()
}

fn key<K: ResourceExt>(o: &K) -> String {
    format!("{}/{}", o.namespace().unwrap_or_default(), o.name_any())
}

/// The scheduler's picture of the cluster.
#[derive(Debug, Default)]
pub struct Cache {
    pods: Mirror<Seen>,
    nodes: Mirror<Node>,
    /// Node of pods whose binding was accepted or is under way, by uid.
    assumed: HashMap<String, String>,
}

impl Cache {
    /// Takes in one change.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Node(e) => self.nodes.apply(*e, |node| node),
            Change::Pod(e) => {
                self.pods.apply(*e, Seen::of);
                if !self.assumed.is_empty() {
                    self.settle();
                }
            }
        }
    }

    /// Drops assumptions the API has confirmed, or whose pod is gone.
    fn settle(&mut self) {
        let open: HashSet<&str> = self
            .pods
            .now
            .values()
            .filter(|pod| pod.node.is_empty())
            .map(|pod| pod.uid.as_str())
            .collect();
        self.assumed.retain(|uid, _| open.contains(uid.as_str()));
    }

    /// Whether both first lists have arrived: before that, free room is unknown.
    pub fn is_complete(&self) -> bool {
        self.pods.complete && self.nodes.complete
    }

    /// Counts a pod on a node before the API says so.
    pub fn assume(&mut self, pod: &Pod, node: &str) {
        if let Some(uid) = pod.uid() {
            self.assumed.insert(uid, node.to_owned());
        }
    }

    /// Takes an assumption back.
    pub fn forget(&mut self, pod: &Pod) {
        if let Some(uid) = pod.uid() {
            self.assumed.remove(&uid);
        }
    }

    /// Pods that wait for a node: the most important first, then the oldest.
    pub fn waiting(&self) -> Vec<Arc<Pod>> {
        let mut out: Vec<Arc<Pod>> = self
            .pods
            .now
            .values()
            .filter(|seen| !self.assumed.contains_key(&seen.uid))
            .filter_map(|seen| seen.open.clone())
            .collect();
        out.sort_by_key(|p| {
            let priority = p.spec.as_ref().and_then(|s| s.priority).unwrap_or(0);
            let born = p.metadata.creation_timestamp.as_ref().map(|t| t.0);
            (std::cmp::Reverse(priority), born, p.name_any())
        });
        out
    }

    /// Every node with what stands on it, by name.
    pub fn nodes(&self) -> Vec<Room> {
        let mut rooms: BTreeMap<String, Room> = self
            .nodes
            .now
            .values()
            .map(|n| (n.name_any(), Room::of(n)))
            .collect();
        for pod in self.pods.now.values().filter(|pod| !pod.ended) {
            let node = match pod.node.as_str() {
                "" => self.assumed.get(&pod.uid).map(String::as_str),
                node => Some(node),
            };
            let Some(room) = node.and_then(|node| rooms.get_mut(node)) else {
                continue;
            };
            room.pods += 1;
            add(&mut room.requested, &pod.requests);
            room.host_ports.extend(pod.host_ports.iter().cloned());
        }
        rooms.into_values().collect()
    }
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec
        .as_ref()
        .and_then(|s| s.node_name.as_deref())
        .filter(|n| !n.is_empty())
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, spec: Value) -> Pod {
        let mut spec = spec;
        spec["containers"] = json!([{"name": "c", "resources": {"requests": {"cpu": "1"}}}]);
        serde_json::from_value(
            json!({"metadata": {"name": name, "namespace": "d", "uid": name,
            "creationTimestamp": "2026-11-20T20:00:00Z"}, "spec": spec}),
        )
        .unwrap()
    }

    fn filled(pods: Vec<Pod>) -> Cache {
        let mut c = Cache::default();
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
        for e in [Event::Init, Event::InitApply(node), Event::InitDone] {
            c.apply(Change::Node(Box::new(e)));
        }
        assert!(!c.is_complete());
        c.apply(Change::Pod(Box::new(Event::Init)));
        for p in pods {
            c.apply(Change::Pod(Box::new(Event::InitApply(p))));
        }
        c.apply(Change::Pod(Box::new(Event::InitDone)));
        assert!(c.is_complete());
        c
    }

    fn names(c: &Cache) -> Vec<String> {
        c.waiting().iter().map(|p| p.name_any()).collect()
    }

    #[test]
    fn only_our_open_pods_wait_and_the_important_go_first() {
        let mut gone = pod("gone", json!({}));
        gone.metadata.deletion_timestamp = gone.metadata.creation_timestamp.clone();
        let c = filled(vec![
            pod("b", json!({})),
            pod("a", json!({})),
            pod("vip", json!({"priority": 5})),
            pod("other", json!({"schedulerName": "mine"})),
            pod("gated", json!({"schedulingGates": [{"name": "x"}]})),
            pod("placed", json!({"nodeName": "n"})),
            gone,
        ]);
        assert_eq!(names(&c), ["vip", "a", "b"]);
    }

    #[test]
    fn an_assumed_pod_takes_room_until_the_api_confirms() {
        let mut c = filled(vec![
            pod("a", json!({})),
            pod("b", json!({"nodeName": "n"})),
        ]);
        let a = c.waiting()[0].clone();
        c.assume(&a, "n");
        assert!(names(&c).is_empty());
        assert_eq!((c.nodes()[0].pods, c.nodes()[0].promised("cpu")), (2, 2000));
        c.apply(Change::Pod(Box::new(Event::Apply(pod(
            "a",
            json!({"nodeName": "n"}),
        )))));
        assert!(c.assumed.is_empty());
        assert_eq!(c.nodes()[0].pods, 2);
        c.apply(Change::Pod(Box::new(Event::Delete(pod("a", json!({}))))));
        assert_eq!(c.nodes()[0].pods, 1);
    }

    #[test]
    fn a_refused_binding_is_forgotten_and_a_relist_replaces() {
        let mut c = filled(vec![pod("a", json!({})), pod("b", json!({}))]);
        let a = c.waiting()[0].clone();
        c.assume(&a, "n");
        c.forget(&a);
        assert_eq!(names(&c).len(), 2);
        c.apply(Change::Pod(Box::new(Event::Init)));
        assert_eq!(
            names(&c).len(),
            2,
            "the old picture holds until the new is complete"
        );
        c.apply(Change::Pod(Box::new(Event::InitDone)));
        assert!(names(&c).is_empty());
    }
}
