//! Required affinity and anti-affinity between pods, in both directions: what the pod
//! demands of others, and what others demand of it.

use crate::ask::{Ask, Term};
use crate::bonds::Bond;
use crate::cache::Cache;
use crate::census::EVERYWHERE;
use crate::filter::{Obstacle, Plugin};
use crate::labels::Selector;
use crate::topology::Sums;

const NOT_NEAR: &str = "node(s) didn't match pod affinity rules";
const NOT_APART: &str = "node(s) didn't match pod anti-affinity rules";
const UNWANTED: &str = "node(s) didn't satisfy existing pods anti-affinity rules";

/// Counted once per pod, and moved by what a trial adds or removes.
#[derive(Debug, Clone, Default)]
pub struct Neighbours {
    /// Pods that demand to be apart from this one, by the topology they name.
    against: Vec<(String, Sums)>,
    /// Pods this one must be near to: those all its terms mean, by each term's topology.
    near: Vec<Sums>,
    /// How many such pods there are anywhere.
    near_total: i64,
    /// The pod is one of those it must be near to, so the first of its kind may go anywhere.
    near_itself: bool,
    /// Pods this one must be apart from, term by term.
    apart: Vec<Sums>,
}

/// Namespaces a term names; `None` means all.
fn namespaces(cache: &Cache, term: &Term) -> Option<Vec<String>> {
    let by_label = match &term.by_label {
        Some(selector) if selector.is_everything() => return None,
        Some(selector) => selector,
        None => return Some(term.namespaces.clone()),
    };
    let labelled = cache.namespaces.iter();
    let mut all: Vec<String> = labelled
        .filter(|(_, labels)| by_label.matches(labels))
        .map(|(name, _)| name.trim_start_matches('/').to_owned())
        .chain(term.namespaces.iter().cloned())
        .collect();
    all.sort_unstable();
    all.dedup();
    Some(all)
}

/// How many pods of some namespaces are selected, by slot of their node.
fn count(cache: &mut Cache, inside: Option<&[String]>, pods: &Selector) -> Vec<i64> {
    let everywhere = [EVERYWHERE.to_owned()];
    let mut sum: Vec<i64> = Vec::new();
    for namespace in inside.unwrap_or(&everywhere[..]) {
        let counts = cache.count(namespace, pods);
        if sum.len() < counts.len() {
            sum.resize(counts.len(), 0);
        }
        for (sum, count) in sum.iter_mut().zip(counts) {
            *sum += i64::from(count.all);
        }
    }
    sum
}

/// How many pods a term means on each node.
pub fn meant(cache: &mut Cache, term: &Term) -> Vec<i64> {
    let inside = namespaces(cache, term);
    count(cache, inside.as_deref(), &term.pods)
}

/// How many pods all the terms mean on each node.
fn meant_by_all(cache: &mut Cache, ask: &Ask) -> Vec<i64> {
    let mut inside: Option<Vec<String>> = None;
    let mut pods = Selector::all_of(vec![]);
    for term in &ask.near {
        pods = pods.and(&term.pods);
        inside = match (inside, namespaces(cache, term)) {
            (Some(a), Some(b)) => Some(a.into_iter().filter(|n| b.contains(n)).collect()),
            (a, b) => a.or(b),
        };
    }
    count(cache, inside.as_deref(), &pods)
}

pub fn means(cache: &Cache, term: &Term, other: &Ask) -> bool {
    let labels = cache.namespaces.get(&format!("/{}", other.namespace));
    term.means(&other.namespace, labels, &other.labels)
}

impl Neighbours {
    pub fn of(cache: &mut Cache, ask: &Ask) -> Neighbours {
        let mut out = Neighbours::default();
        let view: &Cache = cache;
        let demands: Vec<(String, Vec<(usize, i64)>)> = view
            .bonds
            .iter()
            .filter(|(bond, term, _)| *bond == Bond::Apart && means(view, term, ask))
            .map(|(_, term, by_slot)| {
                let counts = by_slot.iter().map(|(slot, n)| (*slot, i64::from(*n)));
                (term.topology.clone(), counts.collect())
            })
            .collect();
        for (topology, counts) in demands {
            for (slot, n) in counts {
                out.against(cache, &topology).add(slot, n);
            }
        }
        if !ask.near.is_empty() {
            let counts = meant_by_all(cache, ask);
            out.near_total = counts.iter().sum();
            out.near_itself = ask.near.iter().all(|term| means(cache, term, ask));
            for term in &ask.near {
                out.near.push(summed(cache, term, &counts));
            }
        }
        for term in &ask.apart {
            let counts = meant(cache, term);
            out.apart.push(summed(cache, term, &counts));
        }
        out
    }

    fn against(&mut self, cache: &mut Cache, topology: &str) -> &mut Sums {
        let at = match self.against.iter().position(|(key, _)| key == topology) {
            Some(at) => at,
            None => {
                let sums = Sums::new(cache.topology(topology));
                self.against.push((topology.to_owned(), sums));
                self.against.len() - 1
            }
        };
        &mut self.against[at].1
    }

    /// As if another pod came to stand on a node (`n` = 1) or left it (-1).
    pub fn shift(&mut self, cache: &mut Cache, ask: &Ask, other: &Ask, slot: usize, n: i64) {
        for term in &other.apart {
            if means(cache, term, ask) {
                self.against(cache, &term.topology).add(slot, n);
            }
        }
        if !ask.near.is_empty() && ask.near.iter().all(|term| means(cache, term, other)) {
            self.near_total += n;
            for sums in &mut self.near {
                sums.add(slot, n);
            }
        }
        for (term, sums) in ask.apart.iter().zip(&mut self.apart) {
            if means(cache, term, other) {
                sums.add(slot, n);
            }
        }
    }

    /// What keeps the pod from a node.
    pub fn check(&self, slot: usize) -> Option<Obstacle> {
        let mut is_near = true;
        for sums in &self.near {
            match sums.at(slot) {
                Some(n) => is_near &= n > 0,
                // The node must have every label the terms go by.
                None => return Some(Obstacle::hard(Plugin::InterPodAffinity, NOT_NEAR)),
            }
        }
        let is_first_of_its_kind = self.near_total == 0 && self.near_itself;
        if !(is_near || is_first_of_its_kind) {
            return Some(Obstacle::hard(Plugin::InterPodAffinity, NOT_NEAR));
        }
        let any = |sums: &Sums| sums.at(slot).is_some_and(|n| n > 0);
        if self.apart.iter().any(any) {
            return Some(Obstacle::soft(Plugin::InterPodAffinity, NOT_APART));
        }
        if self.against.iter().any(|(_, sums)| any(sums)) {
            return Some(Obstacle::soft(Plugin::InterPodAffinity, UNWANTED));
        }
        None
    }
}

fn summed(cache: &mut Cache, term: &Term, counts: &[i64]) -> Sums {
    let mut sums = Sums::new(cache.topology(&term.topology));
    for (slot, n) in counts.iter().enumerate() {
        if *n != 0 {
            sums.add(slot, *n);
        }
    }
    sums
}
