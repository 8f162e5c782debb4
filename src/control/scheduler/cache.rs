//! The scheduler's picture of the cluster: nodes with what stands on them, pods that wait,
//! and everything that has a say in where they go. Each change is taken in where it
//! happened; nothing is summed up again for a pod.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::ask::{Ask, Asks};
use crate::bonds::Bonds;
use crate::census::{Census, Count, Placed};
use crate::groups::Groups;
use crate::labels::{Labels, Selector};
use crate::mirror::Mirror;
use crate::node::{Facts, Node};
use crate::pod::{Change, Place, Pod};
use crate::storage::Storage;
use crate::topology::{Topologies, Topology};

/// See the file's head.
#[derive(Debug, Default)]
pub struct Cache {
    pub nodes: Vec<Node>,
    pub(crate) slots: HashMap<String, usize>,
    pub(crate) pods: Vec<Option<Pod>>,
    pub(crate) free: Vec<usize>,
    pub(crate) by_uid: HashMap<String, usize>,
    /// Since the watch of pods, or of nodes, began anew.
    pub(crate) listed_pods: Option<HashSet<String>>,
    pub(crate) listed_nodes: Option<HashSet<String>>,
    pub(crate) has_pods: bool,
    pub(crate) has_nodes: bool,
    pub(crate) asks: Asks,
    census: Census,
    pub(crate) topologies: Topologies,
    pub bonds: Bonds,
    pub namespaces: Mirror<Labels>,
    pub groups: Groups,
    pub storage: Storage,
    pub budgets: Mirror<Budget>,
    /// On how many nodes an image is.
    pub images: HashMap<String, usize>,
    /// Pods that wait for room on a node, by its slot.
    nominated: HashMap<usize, Vec<usize>>,
    /// Existing nodes, zones in turn.
    order: Vec<usize>,
    pub(crate) ordered: bool,
    pub changes: VecDeque<Change>,
}

/// A PodDisruptionBudget.
#[derive(Debug, Clone)]
pub struct Budget {
    pub pods: Selector,
    pub allowed: i64,
    /// Names of pods whose eviction was granted already.
    pub granted: HashSet<String>,
}

impl Cache {
    /// Whether the first lists that free room depends on have arrived.
    pub fn is_complete(&self) -> bool {
        self.has_pods
            && self.has_nodes
            && self.namespaces.is_complete()
            && self.budgets.is_complete()
            && self.storage.is_complete()
            && self.groups.is_complete()
    }

    pub fn pod(&self, key: usize) -> Option<&Pod> {
        self.pods.get(key)?.as_ref()
    }

    pub fn key(&self, uid: &str) -> Option<usize> {
        self.by_uid.get(uid).copied()
    }

    pub fn facts(&self, slot: usize) -> Option<&Arc<Facts>> {
        self.nodes.get(slot)?.facts.as_ref()
    }

    /// The slot of a node of that name, whether the Node object exists or not.
    pub fn slot(&mut self, name: &str) -> usize {
        if let Some(slot) = self.slots.get(name) {
            return *slot;
        }
        let slot = self.nodes.len();
        self.nodes.push(Node::default());
        self.slots.insert(name.to_owned(), slot);
        slot
    }

    /// The slots of existing nodes, zones in turn, so that the first ones are spread.
    pub fn order(&mut self) -> &[usize] {
        if !self.ordered {
            let mut zones: Vec<(&str, &str)> = Vec::new();
            let mut by_zone: HashMap<(&str, &str), VecDeque<usize>> = HashMap::new();
            for (slot, node) in self.nodes.iter().enumerate() {
                if let Some(facts) = &node.facts {
                    let zone = facts.zone();
                    by_zone
                        .entry(zone)
                        .or_insert_with(|| {
                            zones.push(zone);
                            VecDeque::new()
                        })
                        .push_back(slot);
                }
            }
            let mut order = Vec::with_capacity(self.nodes.len());
            while !by_zone.is_empty() {
                zones.retain(
                    |zone| match by_zone.get_mut(zone).and_then(VecDeque::pop_front) {
                        Some(slot) => {
                            order.push(slot);
                            true
                        }
                        None => {
                            by_zone.remove(zone);
                            false
                        }
                    },
                );
            }
            self.order = order;
            self.ordered = true;
        }
        &self.order
    }

    /// How many pods the selector selects on each node.
    pub fn count(&mut self, namespace: &str, pods: &Selector) -> &[Count] {
        let placed = self.pods.iter().flatten().filter_map(|pod| {
            let slot = pod.place.slot()?;
            Some(Placed::of(&pod.ask, slot, pod.leaving))
        });
        self.census.count(namespace, pods, placed)
    }

    pub fn topology(&mut self, key: &str) -> Arc<Topology> {
        self.topologies.get(key, &self.nodes)
    }

    /// Pods that wait for room on a node.
    pub fn nominated(&self, slot: usize) -> &[usize] {
        self.nominated.get(&slot).map_or(&[], Vec::as_slice)
    }

    /// Keeps room on a node for a pod, or no longer.
    pub fn nominate(&mut self, key: usize, slot: Option<usize>) {
        let Some(pod) = self.pods.get_mut(key).and_then(Option::as_mut) else {
            return;
        };
        if pod.nominated == slot {
            return;
        }
        if let Some(old) = std::mem::replace(&mut pod.nominated, slot)
            && let Some(keys) = self.nominated.get_mut(&old)
        {
            keys.retain(|k| *k != key);
            if keys.is_empty() {
                self.nominated.remove(&old);
            }
        }
        if let Some(slot) = slot {
            self.nominated.entry(slot).or_default().push(key);
        }
    }

    /// What the pod's condition says from now on.
    pub fn say(&mut self, key: usize, words: &str) {
        if let Some(pod) = self.pods.get_mut(key).and_then(Option::as_mut) {
            words.clone_into(&mut pod.said);
        }
    }

    /// Whether the pod's condition says anything.
    pub fn has_said(&self, key: usize) -> bool {
        self.pod(key).is_some_and(|pod| !pod.said.is_empty())
    }

    /// A victim is on its way out, before the API says so.
    pub fn preempt(&mut self, key: usize) {
        self.leave(key, true);
    }

    /// A victim could not be told to go.
    pub fn spare(&mut self, key: usize) {
        let Some(pod) = self.pods.get_mut(key).and_then(Option::as_mut) else {
            return;
        };
        if !std::mem::take(&mut pod.leaving) {
            return;
        }
        pod.preempted = false;
        let ask = pod.ask.clone();
        if let Some(slot) = pod.place.slot() {
            self.census.change(Placed::of(&ask, slot, true), false);
            self.census.change(Placed::of(&ask, slot, false), true);
        }
    }

    /// Counts a pod on a node before the API says so.
    pub fn assume(&mut self, key: usize, slot: usize) {
        self.nominate(key, None);
        self.place(key, Place::Assumed(slot));
    }

    /// Takes an assumption back, unless the API has confirmed it. Whether it was one.
    pub fn forget(&mut self, key: usize) -> bool {
        let Some(pod) = self.pod(key) else {
            return false;
        };
        let Place::Assumed(_) = pod.place else {
            return false;
        };
        self.place(key, Place::Open);
        true
    }

    /// Moves a pod to where it stands from now on.
    pub(crate) fn place(&mut self, key: usize, to: Place) {
        let Some(pod) = self.pods.get_mut(key).and_then(Option::as_mut) else {
            return;
        };
        let from = std::mem::replace(&mut pod.place, to);
        if from.slot() == to.slot() {
            return;
        }
        let (ask, leaving) = (pod.ask.clone(), pod.leaving);
        if let Some(slot) = from.slot() {
            self.stand(key, &ask, slot, leaving, false);
            self.changes.push_back(Change::Left {
                ask: ask.clone(),
                slot,
            });
        }
        if let Some(slot) = to.slot() {
            self.stand(key, &ask, slot, leaving, true);
            self.changes.push_back(Change::Placed(ask));
        }
    }

    /// Counts a pod on a node (`up`), or no more.
    pub(crate) fn stand(&mut self, key: usize, ask: &Ask, slot: usize, leaving: bool, up: bool) {
        let Some(node) = self.nodes.get_mut(slot) else {
            return;
        };
        if up {
            node.load.add(ask);
            node.pods.push(key);
        } else {
            node.load.remove(ask);
            if let Some(at) = node.pods.iter().position(|k| *k == key) {
                node.pods.swap_remove(at);
            }
        }
        self.census.change(Placed::of(ask, slot, leaving), up);
        self.bonds.change(ask, slot, up);
        self.storage.use_claims(ask, up);
    }

    /// A pod is being deleted; it counts less than others from now on.
    pub(crate) fn leave(&mut self, key: usize, preempted: bool) {
        let Some(pod) = self.pods.get_mut(key).and_then(Option::as_mut) else {
            return;
        };
        pod.preempted |= preempted;
        if pod.leaving {
            return;
        }
        pod.leaving = true;
        let ask = pod.ask.clone();
        if let Some(slot) = pod.place.slot() {
            self.census.change(Placed::of(&ask, slot, false), false);
            self.census.change(Placed::of(&ask, slot, true), true);
        }
    }
}
