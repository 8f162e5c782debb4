//! A small cluster for tests of decisions.

use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use crate::cache::Cache;
use crate::cycle::{Chooser, Diagnosis, Verdict};
use crate::watches::Message;

fn parse<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

/// Lays `more` over `base`, object by object.
fn overlay(base: &mut Value, more: Value) {
    match (base, more) {
        (Value::Object(base), Value::Object(more)) => {
            for (key, value) in more {
                overlay(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, more) => *base = more,
    }
}

/// A cache, and a chooser that always chooses the same.
pub struct World {
    pub cache: Cache,
    pub chooser: Chooser,
}

impl World {
    /// Namespaces `d` and `e` (labelled `team: e`), nothing else.
    pub fn new() -> World {
        let mut world = World {
            cache: Cache::default(),
            chooser: Chooser::new(7),
        };
        for name in ["d", "e"] {
            let namespace = json!({"metadata": {"name": name, "labels": {"team": name}}});
            world.apply(Message::Namespace(Event::Apply(parse(namespace))));
        }
        world
    }

    pub fn apply(&mut self, message: Message) {
        self.cache.apply(message);
    }

    /// A node with 4 CPUs, 8 GiB and its name's label; `more` is laid over it.
    pub fn node(&mut self, name: &str, more: Value) -> usize {
        let mut node = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "spec": {},
            "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}}});
        overlay(&mut node, more);
        self.apply(Message::Node(Box::new(Event::Apply(parse(node)))));
        self.cache.slot(name)
    }

    /// A node in a zone.
    pub fn zoned(&mut self, name: &str, zone: &str) -> usize {
        let labels = json!({"topology.kubernetes.io/zone": zone});
        self.node(name, json!({"metadata": {"labels": labels}}))
    }

    /// A pod of namespace `d`, uid like its name; `more` is laid over it.
    pub fn pod(&mut self, name: &str, more: Value) -> usize {
        let mut pod = json!({
            "metadata": {"name": name, "namespace": "d", "uid": name,
                "creationTimestamp": "2026-11-20T20:00:00Z"},
            "spec": {"containers": [{"name": "c"}]}});
        overlay(&mut pod, more);
        self.apply(Message::Pod(Box::new(Event::Apply(parse(pod)))));
        self.cache.key(name).unwrap_or(usize::MAX)
    }

    pub fn delete(&mut self, name: &str) {
        let pod = json!({"metadata": {"name": name, "namespace": "d", "uid": name}});
        self.apply(Message::Pod(Box::new(Event::Delete(parse(pod)))));
    }

    /// Anything else, by kind.
    pub fn other(&mut self, kind: &str, object: Value) {
        let message = match kind {
            "Service" => Message::Service(Event::Apply(parse(object))),
            "PodDisruptionBudget" => Message::Budget(Event::Apply(parse(object))),
            "PersistentVolumeClaim" => Message::Claim(Box::new(Event::Apply(parse(object)))),
            "PersistentVolume" => Message::Volume(Box::new(Event::Apply(parse(object)))),
            "StorageClass" => Message::Class(Event::Apply(parse(object))),
            _ => panic!("no {kind} here"),
        };
        self.apply(message);
    }

    pub fn verdict(&mut self, key: usize) -> Verdict {
        let ask = self.cache.pod(key).unwrap().ask.clone();
        self.chooser.choose(&mut self.cache, key, &ask)
    }

    /// Name of the chosen node, or the sentence.
    pub fn choose(&mut self, key: usize) -> String {
        match self.verdict(key) {
            Verdict::Fits { slot, .. } => self.cache.facts(slot).unwrap().name.clone(),
            Verdict::Nowhere(diagnosis) => diagnosis.words(),
        }
    }

    pub fn diagnosis(&mut self, key: usize) -> Box<Diagnosis> {
        match self.verdict(key) {
            Verdict::Fits { slot, .. } => panic!("fits {slot}"),
            Verdict::Nowhere(diagnosis) => diagnosis,
        }
    }
}

/// A spec whose container asks for so much CPU.
pub fn cpu(amount: &str) -> Value {
    json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": amount}}}]}})
}

/// With the pod on a node.
pub fn on(node: &str, mut pod: Value) -> Value {
    overlay(&mut pod, json!({"spec": {"nodeName": node}}));
    pod
}

/// With a label `app`.
pub fn app(name: &str, mut pod: Value) -> Value {
    overlay(&mut pod, json!({"metadata": {"labels": {"app": name}}}));
    pod
}

/// With a priority.
pub fn priority(n: i32, mut pod: Value) -> Value {
    overlay(&mut pod, json!({"spec": {"priority": n}}));
    pod
}
