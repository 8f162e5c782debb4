//! Topology spread constraints that must be kept.

use crate::ask::{Ask, Spread};
use crate::cache::Cache;
use crate::filter::{Obstacle, Plugin};
use crate::labels::Selector;
use crate::node::Facts;
use crate::topology::Sums;

const UNEVEN: &str = "node(s) didn't match pod topology spread constraints";
const NO_LABEL: &str =
    "node(s) didn't match pod topology spread constraints (missing required label)";

/// The required constraints of a pod with the pods they count, moved by what a trial adds
/// or removes.
#[derive(Debug, Clone, Default)]
pub struct Evenness(Vec<Constraint>);

#[derive(Debug, Clone)]
struct Constraint {
    pods: Selector,
    /// Matching pods by place; places that do not count are left at zero.
    sums: Sums,
    /// Places with at least one node that counts.
    counts: Vec<bool>,
    /// By slot: the node counts.
    eligible: Vec<bool>,
    most: i64,
    least_domains: usize,
    itself: i64,
    least: i64,
}

impl Constraint {
    /// The least number of pods at a place that counts, and none if there are too few places.
    fn find_least(&mut self) {
        let at_places = self.sums.by_place.iter().zip(&self.counts);
        let counting = at_places.filter(|(_, counts)| **counts).map(|(n, _)| *n);
        let places = self.counts.iter().filter(|c| **c).count();
        let least = counting.min().unwrap_or(0);
        self.least = if places < self.least_domains {
            0
        } else {
            least
        };
    }
}

/// Whether pods on a node count for a constraint of the pod.
pub fn is_eligible(facts: &Facts, ask: &Ask, spread: &Spread) -> bool {
    (!spread.honors_affinity || ask.admits(&facts.name, &facts.labels))
        && (!spread.honors_taints || facts.repelling(ask).is_none())
}

/// Staying pods the constraint counts, by slot.
pub fn counted(cache: &mut Cache, ask: &Ask, pods: &Selector) -> Vec<i64> {
    let counts = cache.count(&ask.namespace, pods);
    counts.iter().map(|count| count.staying()).collect()
}

impl Evenness {
    pub fn of(cache: &mut Cache, ask: &Ask) -> Evenness {
        let required: Vec<&Spread> = ask.spread.iter().filter(|s| s.required).collect();
        let topologies: Vec<_> = required
            .iter()
            .map(|s| cache.topology(&s.topology))
            .collect();
        let has_all = |slot: usize| topologies.iter().all(|t| t.place(slot).is_some());
        let mut out = Vec::with_capacity(required.len());
        for (spread, topology) in required.iter().zip(&topologies) {
            let counts = counted(cache, ask, &spread.pods);
            let mut constraint = Constraint {
                pods: spread.pods.clone(),
                sums: Sums::new(topology.clone()),
                counts: vec![false; topology.places],
                eligible: vec![false; cache.nodes.len()],
                most: i64::from(spread.most),
                least_domains: usize::try_from(spread.least_domains).unwrap_or(1),
                itself: i64::from(spread.pods.matches(&ask.labels)),
                least: 0,
            };
            for (slot, node) in cache.nodes.iter().enumerate() {
                let Some(facts) = &node.facts else { continue };
                let (Some(place), true) = (topology.place(slot), has_all(slot)) else {
                    continue;
                };
                if is_eligible(facts, ask, spread) {
                    constraint.eligible[slot] = true;
                    constraint.counts[place] = true;
                    let n = counts.get(slot).copied().unwrap_or(0);
                    constraint.sums.by_place[place] += n;
                }
            }
            constraint.find_least();
            out.push(constraint);
        }
        Evenness(out)
    }

    /// As if another pod came to stand on a node (`n` = 1) or left it (-1).
    pub fn shift(&mut self, ask: &Ask, other: &Ask, slot: usize, n: i64) {
        if other.namespace != ask.namespace {
            return;
        }
        for c in &mut self.0 {
            let counts = c.eligible.get(slot).copied().unwrap_or(false);
            if counts && c.pods.matches(&other.labels) {
                c.sums.add(slot, n);
                c.find_least();
            }
        }
    }

    /// What keeps the pod from a node.
    pub fn check(&self, slot: usize) -> Option<Obstacle> {
        for c in &self.0 {
            let Some(there) = c.sums.at(slot) else {
                return Some(Obstacle::hard(Plugin::PodTopologySpread, NO_LABEL));
            };
            if there + c.itself - c.least > c.most {
                return Some(Obstacle::soft(Plugin::PodTopologySpread, UNEVEN));
            }
        }
        None
    }
}
