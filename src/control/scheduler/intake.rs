//! What the watches of pods and nodes tell, taken into the cache.

use std::collections::HashSet;
use std::sync::Arc;

use kube::ResourceExt;
use kube::runtime::watcher::Event;

use crate::ask::Ask;
use crate::cache::Cache;
use crate::node::{Difference, Facts};
use crate::pod::{Change, Conditions, Place, Pod, is_ours};
use crate::wire;

impl Cache {
    /// Takes in a message of the watch of pods.
    pub fn apply_pod(&mut self, event: Event<wire::Pod>) {
        match event {
            Event::Init => self.listed_pods = Some(HashSet::new()),
            Event::InitApply(pod) => {
                if let Some(listed) = &mut self.listed_pods {
                    listed.extend(pod.metadata.uid.clone());
                }
                self.see(&pod);
            }
            Event::Apply(pod) => self.see(&pod),
            Event::Delete(pod) => self.lose(pod.metadata.uid.as_deref().unwrap_or_default()),
            Event::InitDone => {
                self.has_pods = true;
                let listed = self.listed_pods.take().unwrap_or_default();
                let gone = self.by_uid.keys().filter(|uid| !listed.contains(*uid));
                for uid in gone.cloned().collect::<Vec<_>>() {
                    self.lose(&uid);
                }
            }
        }
    }

    fn see(&mut self, pod: &wire::Pod) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let phase = pod.status.phase.as_deref();
        if matches!(phase, Some("Succeeded" | "Failed")) {
            return self.lose(&uid);
        }
        let ask = self.asks.share(Ask::of(pod));
        let key = match self.key(&uid) {
            Some(key) => key,
            None => self.insert(uid, pod, &ask),
        };
        let known = self
            .pod(key)
            .map(|known| (known.ask.clone(), known.waits, known.place));
        let Some((before, waited, place)) = known else {
            return;
        };
        let is_other = !Arc::ptr_eq(&before, &ask);
        if is_other {
            self.reask(key, &ask);
        }
        let condition = Conditions::of(&pod.status);
        if pod.metadata.deletion_timestamp.is_some() {
            self.leave(key, condition.preempted);
        }
        let node = pod.spec.node_name.as_deref().unwrap_or_default();
        let place = match (node, place) {
            // The word of a binding under way has not come round yet.
            ("", Place::Assumed(slot)) => Place::Assumed(slot),
            ("", _) => Place::Open,
            (node, _) => Place::On(self.slot(node)),
        };
        self.place(key, place);
        let waits = node.is_empty() && is_ours(pod);
        let nominated = pod.status.nominated_node_name.as_deref();
        let nominated = nominated.filter(|n| waits && !n.is_empty());
        let nominated = nominated.map(|name| self.slot(name));
        let heard = self.pod(key).and_then(|known| known.heard);
        // What we decided ourselves comes round later than it was decided.
        if nominated != heard || !waits {
            self.nominate(key, nominated);
        }
        if let Some(known) = self.pods.get_mut(key).and_then(Option::as_mut) {
            if let Some(started) = &pod.status.start_time {
                known.since = started.0.as_second();
            }
            known.heard = nominated;
            known.waits = waits;
            if let Some(said) = condition.said {
                known.said = said;
            }
        }
        match (waited, waits) {
            (false, true) => self.changes.push_back(Change::Waits(key)),
            (true, true) if is_other => self.changes.push_back(Change::Waits(key)),
            (true, false) => self.changes.push_back(Change::Rests(key)),
            _ => {}
        }
    }

    fn insert(&mut self, uid: String, pod: &wire::Pod, ask: &Arc<Ask>) -> usize {
        let started = pod.status.start_time.as_ref();
        let since = started.or(pod.metadata.creation_timestamp.as_ref());
        let new = Pod {
            uid: uid.clone(),
            name: pod.name_any(),
            ask: ask.clone(),
            place: Place::Open,
            leaving: false,
            preempted: false,
            since: since.map_or(0, |time| time.0.as_second()),
            waits: false,
            said: String::new(),
            nominated: None,
            heard: None,
        };
        let key = match self.free.pop() {
            Some(key) => {
                self.pods[key] = Some(new);
                key
            }
            None => {
                self.pods.push(Some(new));
                self.pods.len() - 1
            }
        };
        self.by_uid.insert(uid, key);
        key
    }

    /// A pod asks for something else: new labels, fewer gates, another size.
    fn reask(&mut self, key: usize, ask: &Arc<Ask>) {
        let Some(pod) = self.pods.get_mut(key).and_then(Option::as_mut) else {
            return;
        };
        let before = std::mem::replace(&mut pod.ask, ask.clone());
        let leaving = pod.leaving;
        if let Some(slot) = pod.place.slot() {
            self.stand(key, &before, slot, leaving, false);
            self.stand(key, ask, slot, leaving, true);
            self.changes.push_back(Change::Left { ask: before, slot });
            self.changes.push_back(Change::Placed(ask.clone()));
        }
    }

    fn lose(&mut self, uid: &str) {
        let Some(key) = self.by_uid.remove(uid) else {
            return;
        };
        self.nominate(key, None);
        if self.pod(key).is_some_and(|pod| pod.waits) {
            self.changes.push_back(Change::Rests(key));
        }
        self.place(key, Place::Open);
        self.pods[key] = None;
        self.free.push(key);
    }

    /// Takes in a message of the watch of nodes.
    pub fn apply_node(&mut self, event: Event<wire::Node>) {
        match event {
            Event::Init => self.listed_nodes = Some(HashSet::new()),
            Event::InitApply(node) => {
                if let Some(listed) = &mut self.listed_nodes {
                    listed.extend(node.metadata.name.clone());
                }
                self.set_facts(&node.name_any(), Some(Facts::of(&node)));
            }
            Event::Apply(node) => self.set_facts(&node.name_any(), Some(Facts::of(&node))),
            Event::Delete(node) => self.set_facts(&node.name_any(), None),
            Event::InitDone => {
                self.has_nodes = true;
                let listed = self.listed_nodes.take().unwrap_or_default();
                let gone = self.slots.keys().filter(|name| !listed.contains(*name));
                for name in gone.cloned().collect::<Vec<_>>() {
                    self.set_facts(&name, None);
                }
            }
        }
    }

    fn set_facts(&mut self, name: &str, facts: Option<Facts>) {
        let slot = self.slot(name);
        let before = self.nodes[slot].facts.take();
        let difference = match (&before, &facts) {
            (Some(before), Some(now)) => now.differs(before),
            (None, Some(_)) => Difference::ALL,
            // Nobody gains by a node that is gone, but for the pods that stood there.
            (_, None) => Difference::default(),
        };
        for name in before.iter().flat_map(|f| f.images.keys()) {
            if let Some(n) = self.images.get_mut(name) {
                *n -= 1;
                if *n == 0 {
                    self.images.remove(name);
                }
            }
        }
        for name in facts.iter().flat_map(|f| f.images.keys()) {
            *self.images.entry(name.clone()).or_default() += 1;
        }
        if difference.labels || before.is_some() != facts.is_some() {
            self.topologies.forget();
            self.ordered = false;
        }
        self.nodes[slot].facts = facts.map(Arc::new);
        if !difference.is_none() {
            self.changes.push_back(Change::Node(slot));
        }
    }
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;
