//! A node: what it is, which changes seldom, and what stands on it, which always does.

use std::collections::HashMap;
use std::sync::Arc;

use crate::amounts::{self, Amounts};
use crate::ask::{Ask, HostPort};
use crate::labels::Labels;
use crate::wire::{self, Taint};

/// The taint that stands for a node closed by a person.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
pub const ZONE: &str = "topology.kubernetes.io/zone";
pub const REGION: &str = "topology.kubernetes.io/region";
pub const HOSTNAME: &str = "kubernetes.io/hostname";

/// What the Node object says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    pub name: String,
    pub labels: Labels,
    pub taints: Vec<Taint>,
    /// Closed for new pods by a person.
    pub is_cordoned: bool,
    pub offers: Amounts,
    /// Pods it takes at most.
    pub most_pods: i64,
    /// Bytes of the images it has, by name.
    pub images: HashMap<String, i64>,
}

/// Which parts of two states of a node differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Difference {
    pub labels: bool,
    pub taints: bool,
    pub offers: bool,
}

impl Difference {
    pub const ALL: Difference = Difference {
        labels: true,
        taints: true,
        offers: true,
    };

    pub fn is_none(self) -> bool {
        self == Difference::default()
    }
}

impl Facts {
    /// Reads a node.
    pub fn of(node: &wire::Node) -> Facts {
        let status = &node.status;
        // A node that does not say what it can give away gives all it has.
        let offered = status.allocatable.as_ref().or(status.capacity.as_ref());
        let mut images = HashMap::new();
        for image in status.images.iter().flatten() {
            for name in image.names.iter().flatten() {
                images.insert(name.clone(), image.size_bytes.unwrap_or(0));
            }
        }
        Facts {
            name: node.metadata.name.clone().unwrap_or_default(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints: node.spec.taints.clone().unwrap_or_default(),
            is_cordoned: node.spec.unschedulable.unwrap_or(false),
            offers: Amounts::of(offered),
            most_pods: amounts::pods(offered),
            images,
        }
    }

    /// What changed from `before` to this.
    pub fn differs(&self, before: &Facts) -> Difference {
        Difference {
            labels: self.labels != before.labels,
            taints: self.taints != before.taints || self.is_cordoned != before.is_cordoned,
            offers: self.offers != before.offers || self.most_pods != before.most_pods,
        }
    }

    /// Whether a person keeps the pod out.
    pub fn is_closed_to(&self, ask: &Ask) -> bool {
        self.is_cordoned
            && ask.minds(&Taint {
                key: UNSCHEDULABLE.to_owned(),
                value: None,
                effect: "NoSchedule".to_owned(),
            })
    }

    /// The first taint that keeps the pod out.
    pub fn repelling(&self, ask: &Ask) -> Option<&Taint> {
        self.taints
            .iter()
            .filter(|t| t.effect == "NoSchedule" || t.effect == "NoExecute")
            .find(|t| ask.minds(t))
    }

    /// How many taints would rather not have the pod.
    pub fn unwelcoming(&self, ask: &Ask) -> i64 {
        // Tolerations of other effects do not speak of this one.
        let soft = |t: &&Taint| t.effect == "PreferNoSchedule";
        let unwelcome = self.taints.iter().filter(soft).filter(|t| ask.minds(t));
        i64::try_from(unwelcome.count()).unwrap_or(i64::MAX)
    }

    /// Where the node is, for visiting zones in turn.
    pub fn zone(&self) -> (&str, &str) {
        let label = |key: &str| self.labels.get(key).map_or("", String::as_str);
        (label(REGION), label(ZONE))
    }
}

/// What stands on a node, ended pods not counted.
#[derive(Debug, Clone, Default)]
pub struct Load {
    pub used: Amounts,
    /// CPU and memory as they count when nodes are compared.
    pub weighed: [i64; 2],
    pub pods: i64,
    pub host_ports: Vec<HostPort>,
}

impl Load {
    /// Counts a pod.
    pub fn add(&mut self, ask: &Ask) {
        self.used.add(&ask.requests);
        self.pods += 1;
        for (sum, n) in self.weighed.iter_mut().zip(ask.weighed) {
            *sum = sum.saturating_add(n);
        }
        self.host_ports.extend(ask.host_ports.iter().cloned());
    }

    /// Counts a pod no more.
    pub fn remove(&mut self, ask: &Ask) {
        self.used.subtract(&ask.requests);
        self.pods -= 1;
        for (sum, n) in self.weighed.iter_mut().zip(ask.weighed) {
            *sum = sum.saturating_sub(n);
        }
        for port in &ask.host_ports {
            if let Some(at) = self.host_ports.iter().position(|p| p == port) {
                self.host_ports.swap_remove(at);
            }
        }
    }

    /// Whether a port the pod asks for is taken.
    pub fn clashes(&self, ask: &Ask) -> bool {
        ask.host_ports
            .iter()
            .any(|p| self.host_ports.iter().any(|q| p.clashes(q)))
    }

    /// Whether there is room for the pod; of what there is too little can be asked with
    /// [`Load::lacking`].
    pub fn has_room(&self, facts: &Facts, ask: &Ask) -> bool {
        let fits =
            |need: i64, used: i64, offered: i64| need <= 0 || used.saturating_add(need) <= offered;
        let (need, used, offers) = (&ask.requests, &self.used, &facts.offers);
        self.pods < facts.most_pods
            && fits(need.cpu, used.cpu, offers.cpu)
            && fits(need.memory, used.memory, offers.memory)
            && fits(need.storage, used.storage, offers.storage)
            && need
                .others
                .iter()
                .all(|(name, n)| fits(*n, used.get(name), offers.get(name)))
    }

    /// The resources there is too little of, and whether an empty node would have enough.
    pub fn lacking<'a>(&self, facts: &Facts, ask: &'a Ask) -> Vec<(&'a str, bool)> {
        ask.requests
            .asked()
            .filter_map(|(name, need)| {
                let offered = facts.offers.get(name);
                let short = self.used.get(name).saturating_add(need) > offered;
                short.then_some((name, need <= offered))
            })
            .collect()
    }
}

/// A node with its pods.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// `None`: pods name it, but there is no such Node object (yet, or any more).
    pub facts: Option<Arc<Facts>>,
    pub load: Load,
    /// Keys of its pods.
    pub pods: Vec<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn facts(spec: Value) -> Facts {
        let node = json!({"metadata": {"name": "n"}, "spec": spec, "status": {
            "capacity": {"cpu": "4", "memory": "2Ki", "pods": "2", "x/gpu": "1"},
            "allocatable": {"cpu": "2", "memory": "1Ki", "pods": "2", "x/gpu": "1"},
            "images": [{"names": ["a:1", "a@sha256:0"], "sizeBytes": 5}]}});
        Facts::of(&serde_json::from_value(node).unwrap())
    }

    fn ask(spec: Value) -> Ask {
        Ask::of(&serde_json::from_value(json!({"spec": spec})).unwrap())
    }

    fn needs(requests: Value) -> Ask {
        ask(json!({"containers": [{"name": "c", "resources": {"requests": requests}}]}))
    }

    #[test]
    fn room_is_counted_by_resource_and_by_pod() {
        let f = facts(json!({}));
        let mut load = Load::default();
        let one = needs(json!({"cpu": "1500m", "x/gpu": "1"}));
        assert!(load.has_room(&f, &one));
        load.add(&one);
        assert!(!load.has_room(&f, &one));
        assert_eq!(load.lacking(&f, &one), [("cpu", true), ("x/gpu", true)]);
        assert_eq!(
            load.lacking(&f, &needs(json!({"memory": "1Mi"}))),
            [("memory", false)]
        );
        assert!(load.has_room(&f, &needs(json!({}))), "asks for nothing");
        load.add(&Ask::default());
        assert!(!load.has_room(&f, &needs(json!({}))), "too many pods");
        load.remove(&one);
        assert!(load.has_room(&f, &one));
        assert_eq!((load.used.cpu, load.pods), (0, 1));
    }

    #[test]
    fn ports_are_taken_and_given_back() {
        let a = ask(
            json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 80}]}]}),
        );
        let mut load = Load::default();
        load.add(&a);
        assert!(load.clashes(&a));
        load.remove(&a);
        assert!(!load.clashes(&a));
    }

    #[test]
    fn doors_closed_by_people_and_by_taints() {
        let f = facts(json!({"unschedulable": true, "taints": [
            {"key": "soft", "effect": "PreferNoSchedule"},
            {"key": "hard", "value": "v", "effect": "NoExecute"}]}));
        let plain = ask(json!({"containers": []}));
        assert!(f.is_closed_to(&plain));
        assert_eq!(f.repelling(&plain).unwrap().key, "hard");
        assert_eq!(f.unwelcoming(&plain), 1);
        let all = ask(json!({"containers": [], "tolerations": [{"operator": "Exists"}]}));
        assert!(!f.is_closed_to(&all) && f.repelling(&all).is_none() && f.unwelcoming(&all) == 0);
        assert_eq!(f.images["a:1"], 5);
        assert_eq!(f.offers.cpu, 2000);
    }

    #[test]
    fn heartbeats_are_no_difference() {
        let f = facts(json!({}));
        assert!(f.differs(&facts(json!({}))).is_none());
        assert!(facts(json!({"unschedulable": true})).differs(&f).taints);
    }
}
