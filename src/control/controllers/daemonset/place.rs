//! The pods of a set by node, and which nodes lack one or have one too many.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::jiff::Timestamp;

use super::failures::Failures;
use super::fit::{Fit, Welcome};
use super::node::NodeInfo;
use super::template::{GENERATION, HASH, generation};
use crate::deployment::amounts::scaled;
use crate::shared::{Phase, PodInfo};

/// A pod as the cache gave it out.
pub type Pod = Arc<PodInfo>;

/// What a set wants, ready to compare.
#[derive(Debug)]
pub struct Wishes<'a> {
    pub fit: Fit,
    pub hash: &'a str,
    generation: Option<&'a str>,
    pub min_ready_seconds: i32,
    /// Pods may run beside those they replace.
    pub surges: bool,
    set: &'a DaemonSet,
}

impl<'a> Wishes<'a> {
    pub fn of(set: &'a DaemonSet, hash: &'a str) -> Wishes<'a> {
        let mut wishes = Wishes {
            fit: Fit::of(set),
            hash,
            generation: generation(set),
            min_ready_seconds: set
                .spec
                .as_ref()
                .and_then(|s| s.min_ready_seconds)
                .unwrap_or(0),
            surges: false,
            set,
        };
        wishes.surges = wishes.limits(1).0 > 0;
        wishes
    }

    /// Whether pods of old templates are replaced by themselves.
    pub fn rolls(&self) -> bool {
        let strategy = self
            .set
            .spec
            .as_ref()
            .and_then(|s| s.update_strategy.as_ref());
        strategy.and_then(|s| s.type_.as_deref()) != Some("OnDelete")
    }

    /// How many pods there may be beside the wanted ones, and how many may be missing, of so
    /// many; percentages are rounded up, and one of the two is more than 0.
    pub fn limits(&self, desired: i32) -> (i32, i32) {
        if !self.rolls() {
            return (0, 0);
        }
        let strategy = self
            .set
            .spec
            .as_ref()
            .and_then(|s| s.update_strategy.as_ref());
        let rolling = strategy.and_then(|s| s.rolling_update.as_ref());
        let surge = scaled(rolling.and_then(|r| r.max_surge.as_ref()), desired, true);
        let missing = scaled(
            rolling.and_then(|r| r.max_unavailable.as_ref()),
            desired,
            true,
        );
        match (surge, missing) {
            (0, 0) => (0, 1),
            both => both,
        }
    }

    /// Whether a pod is of today's template.
    pub fn is_new(&self, pod: &PodInfo) -> bool {
        let is = |key: &str, value: Option<&str>| {
            value.is_some() && pod.labels.get(key).map(String::as_str) == value
        };
        is(HASH, Some(self.hash)) || is(GENERATION, self.generation)
    }

    pub fn is_available(&self, pod: &PodInfo, now: Timestamp) -> bool {
        pod.is_available(self.min_ready_seconds, now).is_ok()
    }
}

/// One node and the set's pods on it or meant for it, the oldest first.
#[derive(Debug)]
pub struct Place<'a> {
    pub node: &'a str,
    pub welcome: Welcome,
    pub pods: Vec<&'a Pod>,
}

/// Every node, by name.
pub fn places<'a>(
    wishes: &Wishes<'_>,
    nodes: &'a [Arc<NodeInfo>],
    pods: &'a [Pod],
) -> Vec<Place<'a>> {
    let mut by_node: HashMap<&str, Vec<&Pod>> = HashMap::new();
    for pod in pods {
        by_node.entry(target(pod)).or_default().push(pod);
    }
    let mut places: Vec<_> = nodes
        .iter()
        .map(|node| {
            let mut pods = by_node.remove(node.name.as_str()).unwrap_or_default();
            pods.sort_by_key(|pod| (pod.node.is_empty(), pod.created, pod.name.clone()));
            Place {
                node: &node.name,
                welcome: wishes.fit.welcome(node),
                pods,
            }
        })
        .collect();
    places.sort_by_key(|place| place.node);
    places
}

/// The node a pod is on, or meant for.
pub fn target(pod: &PodInfo) -> &str {
    match pod.node.is_empty() {
        true => &pod.meant_for,
        false => &pod.node,
    }
}

/// What to do before any rollout.
#[derive(Debug, Default)]
pub struct Needs<'a> {
    /// Names of nodes that lack a pod.
    pub create: Vec<&'a str>,
    pub delete: Vec<&'a Pod>,
    /// Ended pods among them: they are told of, and failures are remembered.
    pub ended: Vec<&'a Pod>,
    /// A failed pod is let lie for a while.
    pub again: Option<Duration>,
}

/// Looks for nodes that lack a pod or have one too many.
pub fn needs<'a>(
    wishes: &Wishes<'_>,
    places: &[Place<'a>],
    pods: &'a [Pod],
    failures: &Failures,
    now: Timestamp,
) -> Needs<'a> {
    let mut needs = Needs::default();
    for place in places {
        if place.welcome.run && place.pods.is_empty() {
            needs.create.push(place.node);
        } else if place.welcome.stay {
            needs.look_at(wishes, place, failures, now);
        } else {
            let there = place.pods.iter().filter(|pod| pod.deletion.is_none());
            needs.delete.extend(there);
        }
    }
    // Meant for a node that has gone, they would wait for ever.
    let lost = |pod: &&Pod| {
        let known = |name: &str| places.binary_search_by(|p| p.node.cmp(name)).is_ok();
        pod.node.is_empty() && pod.deletion.is_none() && !known(&pod.meant_for)
    };
    needs.delete.extend(pods.iter().filter(lost));
    needs
}

impl<'a> Needs<'a> {
    fn look_at(
        &mut self,
        wishes: &Wishes<'_>,
        place: &Place<'a>,
        failures: &Failures,
        now: Timestamp,
    ) {
        let mut alive = Vec::new();
        for pod in place.pods.iter().filter(|pod| pod.deletion.is_none()) {
            match pod.phase {
                Phase::Failed => match failures.rest(place.node, now) {
                    Some(rest) => self.again = self.again.into_iter().chain([rest]).min(),
                    None => self.end(pod),
                },
                Phase::Succeeded => self.end(pod),
                _ => alive.push(*pod),
            }
        }
        if !wishes.surges {
            return self.delete.extend(alive.into_iter().skip(1));
        }
        if alive.is_empty() && place.welcome.run {
            return self.create.push(place.node);
        }
        if alive.len() < 2 {
            return;
        }
        // One new and one old may live side by side, until the new one can take over.
        let (new, old): (Vec<_>, Vec<_>) = alive.into_iter().partition(|pod| wishes.is_new(pod));
        let (mut new, mut old) = (new.into_iter(), old.into_iter());
        let (first_new, first_old) = (new.next(), old.next());
        self.delete.extend(new.chain(old));
        if let (Some(new), Some(old)) = (first_new, first_old)
            && (!old.is_ready() || wishes.is_available(new, now))
        {
            self.delete.push(old);
        }
    }

    fn end(&mut self, pod: &'a Pod) {
        self.ended.push(pod);
        self.delete.push(pod);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, node, nodes, pods, set};
    use super::*;
    use serde_json::{Value, json};

    fn told(spec: Value, nodes: &[Arc<NodeInfo>], all: Value) -> String {
        let (set, pods) = (set(spec), pods(&all));
        let wishes = Wishes::of(&set, "new");
        let places = places(&wishes, nodes, &pods);
        let needs = needs(&wishes, &places, &pods, &Failures::default(), at(100));
        let created = needs.create.iter().map(|node| format!("+{node}"));
        let deleted = needs.delete.iter().map(|pod| format!("-{}", pod.name));
        created.chain(deleted).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_node_that_suits_gets_one_pod() {
        let three = nodes(&["n1", "n2", "n3"]);
        assert_eq!(told(json!({}), &three, json!([])), "+n1 +n2 +n3");
        let some = json!([{"name": "a", "node": "n1"}, {"name": "b", "meant": "n2"}]);
        assert_eq!(told(json!({}), &three, some), "+n3");
        let double = json!([{"name": "young", "node": "n1", "born": 2}, {"name": "old", "node": "n1", "born": 1},
            {"name": "b", "node": "n2"}, {"name": "c", "node": "n3"}]);
        assert_eq!(told(json!({}), &three, double), "-young");
        let leaving = json!([{"name": "a", "node": "n1", "deleting": true}]);
        assert_eq!(
            told(json!({}), &nodes(&["n1"]), leaving),
            "",
            "it goes first"
        );
        let lost = json!([{"name": "a", "node": "n1"}, {"name": "b", "meant": "gone"}, {"name": "c", "node": "gone"}]);
        assert_eq!(told(json!({}), &nodes(&["n1"]), lost), "-b");
    }

    #[test]
    fn ended_pods_and_those_no_longer_welcome_go() {
        let one = nodes(&["n1"]);
        let ended = |phase: &str| json!([{"name": "a", "node": "n1", "phase": phase}]);
        assert_eq!(told(json!({}), &one, ended("Failed")), "-a");
        assert_eq!(told(json!({}), &one, ended("Succeeded")), "-a");
        let here = json!([{"name": "a", "node": "n1"}]);
        let tainted = |effect: &str| {
            let taints = json!({"taints": [{"key": "k", "effect": effect}]});
            vec![Arc::new(node("n1", taints))]
        };
        assert_eq!(told(json!({}), &tainted("NoSchedule"), here.clone()), "");
        assert_eq!(told(json!({}), &tainted("NoSchedule"), json!([])), "");
        assert_eq!(told(json!({}), &tainted("NoExecute"), here), "-a");
    }

    #[test]
    fn a_failed_pod_is_let_lie_for_a_while() {
        let mut failures = Failures::default();
        failures.add("n1", at(99));
        let (set, pods) = (
            set(json!({})),
            pods(&json!([{"name": "a", "node": "n1", "phase": "Failed"}])),
        );
        let wishes = Wishes::of(&set, "new");
        let nodes = nodes(&["n1"]);
        let places = places(&wishes, &nodes, &pods);
        let now = at(99) + k8s_openapi::jiff::SignedDuration::from_millis(400);
        let needs = needs(&wishes, &places, &pods, &failures, now);
        assert!(needs.delete.is_empty());
        assert_eq!(needs.again, Some(Duration::from_millis(600)));
    }

    #[test]
    fn while_surging_a_new_pod_takes_over_from_an_old_one() {
        let surging = || json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}});
        let one = nodes(&["n1"]);
        let both = |new: Value, old: Value| {
            let mut new = new;
            let mut old = old;
            for (pod, name, hash) in [(&mut new, "new", "new"), (&mut old, "old", "old")] {
                pod["name"] = json!(name);
                pod["hash"] = json!(hash);
                pod["node"] = json!("n1");
            }
            told(surging(), &one, json!([new, old]))
        };
        assert_eq!(both(json!({"ready": false}), json!({})), "");
        assert_eq!(both(json!({}), json!({})), "-old");
        assert_eq!(
            both(json!({"ready": false}), json!({"ready": false})),
            "-old"
        );
        let leaving = json!([{"name": "old", "hash": "old", "node": "n1", "deleting": true}]);
        assert_eq!(told(surging(), &one, leaving), "+n1");
    }
}
