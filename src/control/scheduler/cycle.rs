//! One decision: the node for one pod, or why there is none.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ask::Ask;
use crate::cache::Cache;
use crate::filter::{Bindings, Obstacle, Plugin, Plugins, Prepared, Reason, sentence};
use crate::node::{Facts, Load};
use crate::rng::Coin;
use crate::score;

/// Fewer fitting nodes than this are never enough to stop looking.
const LEAST_NODES: usize = 100;
/// Nor a smaller part of all nodes, percent.
const LEAST_PERCENT: usize = 5;

/// Where a pod goes.
#[derive(Debug)]
pub enum Verdict {
    Fits {
        slot: usize,
        bindings: Bindings,
        choice: Choice,
    },
    Nowhere(Box<Diagnosis>),
}

/// How much choice there was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// None: weaker pods were sent away from this node for it.
    Promised,
    /// So many nodes fitted, of so many.
    Among { fitting: usize, nodes: usize },
}

impl Choice {
    /// Why this node, in a few words for people.
    pub fn words(self) -> String {
        match self {
            Choice::Promised => "room was made for it there".to_owned(),
            Choice::Among { nodes: 1, .. } => "it fits, the only node".to_owned(),
            Choice::Among { fitting: 1, nodes } => format!("the only one of {nodes} that fits"),
            Choice::Among { fitting, .. } => format!("the best of {fitting} that fit"),
        }
    }
}

/// Why a pod fits nowhere.
#[derive(Debug, Default)]
pub struct Diagnosis {
    pub nodes: usize,
    /// The objection of one who need not ask any node.
    pub beforehand: Option<String>,
    /// What each node that was asked said.
    pub obstacles: Vec<(usize, Obstacle)>,
    /// Nodes that were not worth asking, because the pod names others.
    pub unasked: usize,
    pub plugins: Plugins,
    /// For trials with other pods on the nodes.
    pub prepared: Option<Prepared>,
}

impl Diagnosis {
    /// Upstream's sentence, as far as filtering has a say in it.
    pub fn words(&self) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        if let Some(words) = &self.beforehand {
            return format!("0/{} nodes are available: {words}.", self.nodes);
        }
        let mut counts: HashMap<Reason, usize> = HashMap::new();
        for reason in self.obstacles.iter().flat_map(|(_, o)| &o.reasons) {
            match counts.get_mut(reason) {
                Some(n) => *n += 1,
                None => {
                    counts.insert(reason.clone(), 1);
                }
            }
        }
        if self.unasked > 0 {
            let words = "node(s) didn't satisfy plugin(s) [NodeAffinity]";
            counts.insert(Reason::Words(words), self.unasked);
        }
        sentence(self.nodes, &counts)
    }
}

/// Makes decisions.
#[derive(Debug)]
pub struct Chooser {
    /// Where in the order of nodes the next search starts, so that all get their share.
    next: usize,
    pub coin: Coin,
}

impl Chooser {
    pub fn new(seed: u64) -> Chooser {
        Chooser {
            next: 0,
            coin: Coin::new(seed),
        }
    }

    /// Chooses a node for a pod.
    pub fn choose(&mut self, cache: &mut Cache, key: usize, ask: &Arc<Ask>) -> Verdict {
        let nodes = cache.order().len();
        let mut diagnosis = Box::new(Diagnosis {
            nodes,
            ..Diagnosis::default()
        });
        if nodes == 0 {
            return Verdict::Nowhere(diagnosis);
        }
        let prepared = match Prepared::of(cache, ask) {
            Ok(prepared) => prepared,
            Err((plugin, words)) => {
                diagnosis.plugins.insert(plugin);
                diagnosis.beforehand = Some(words);
                return Verdict::Nowhere(diagnosis);
            }
        };
        let nominated = cache.pod(key).and_then(|pod| pod.nominated);
        let promised = nominated.filter(|slot| {
            let facts = cache.facts(*slot).cloned();
            facts.is_some_and(|facts| check(cache, &prepared, key, *slot, &facts).is_none())
        });
        let fitting = promised.map_or_else(
            || self.search(cache, &prepared, key, &mut diagnosis),
            |slot| vec![slot],
        );
        let choice = match promised {
            Some(_) => Choice::Promised,
            None => Choice::Among {
                fitting: fitting.len(),
                nodes,
            },
        };
        let best = match fitting.as_slice() {
            [] => {
                diagnosis.prepared = Some(prepared);
                return Verdict::Nowhere(diagnosis);
            }
            [only] => *only,
            several => self.best(cache, &prepared, several),
        };
        let facts = cache.facts(best).cloned();
        let bindings = facts.map(|facts| prepared.bindings(cache, &facts));
        Verdict::Fits {
            slot: best,
            bindings: bindings.unwrap_or_default(),
            choice,
        }
    }

    /// The nodes that fit, or enough of them.
    fn search(
        &mut self,
        cache: &mut Cache,
        prepared: &Prepared,
        key: usize,
        diagnosis: &mut Diagnosis,
    ) -> Vec<usize> {
        let nodes = diagnosis.nodes;
        let order: Vec<usize> = match &prepared.only {
            Some(only) => {
                diagnosis.unasked = nodes - only.len().min(nodes);
                if diagnosis.unasked > 0 {
                    diagnosis.plugins.insert(Plugin::NodeAffinity);
                }
                only.clone()
            }
            None => {
                let (before, after) = cache.order().split_at(self.next % nodes);
                after.iter().chain(before).copied().collect()
            }
        };
        let enough = enough(order.len());
        let mut fitting = Vec::new();
        let mut asked = 0;
        for slot in order {
            let Some(node) = cache.nodes.get(slot) else {
                continue;
            };
            let Some(facts) = &node.facts else {
                continue;
            };
            asked += 1;
            let obstacle = match cache.nominated(slot).is_empty() {
                true => prepared.check(cache, slot, facts, &node.load),
                false => {
                    let facts = facts.clone();
                    check(cache, prepared, key, slot, &facts)
                }
            };
            match obstacle {
                None => {
                    fitting.push(slot);
                    if fitting.len() >= enough {
                        break;
                    }
                }
                Some(obstacle) => {
                    diagnosis.plugins.insert(obstacle.plugin);
                    diagnosis.obstacles.push((slot, obstacle));
                }
            }
        }
        if prepared.only.is_none() {
            self.next = (self.next + asked) % nodes;
        }
        fitting
    }

    /// The best of several; of equals any.
    fn best(&mut self, cache: &mut Cache, prepared: &Prepared, slots: &[usize]) -> usize {
        let points = score::points(cache, prepared, slots);
        let most = points.iter().copied().max().unwrap_or(0);
        let best: Vec<usize> = slots
            .iter()
            .zip(&points)
            .filter(|(_, n)| **n == most)
            .map(|(slot, _)| *slot)
            .collect();
        best[self.coin.below(best.len())]
    }
}

/// How many fitting nodes are enough: all of up to a hundred, less and less of more.
fn enough(nodes: usize) -> usize {
    if nodes < LEAST_NODES {
        return nodes;
    }
    let percent = 50_usize.saturating_sub(nodes / 125).max(LEAST_PERCENT);
    (nodes * percent / 100).max(LEAST_NODES)
}

/// What keeps the pod from a node, those counted in that wait for room there.
pub fn check(
    cache: &mut Cache,
    prepared: &Prepared,
    key: usize,
    slot: usize,
    facts: &Facts,
) -> Option<Obstacle> {
    let load = &cache.nodes.get(slot)?.load;
    if cache.nominated(slot).is_empty() {
        return prepared.check(cache, slot, facts, load);
    }
    let load = load.clone();
    check_with_nominated(cache, prepared, key, slot, facts, &load)
}

/// The same for a load that is only supposed.
pub fn check_with_nominated(
    cache: &mut Cache,
    prepared: &Prepared,
    key: usize,
    slot: usize,
    facts: &Facts,
    load: &Load,
) -> Option<Obstacle> {
    let expected: Vec<Arc<Ask>> = cache
        .nominated(slot)
        .iter()
        .filter(|other| **other != key)
        .filter_map(|other| cache.pod(*other))
        .filter(|other| other.ask.priority >= prepared.ask.priority)
        .map(|other| other.ask.clone())
        .collect();
    if !expected.is_empty() {
        let mut supposed = prepared.clone();
        let mut load = load.clone();
        for other in &expected {
            load.add(other);
            supposed.shift(cache, other, slot, 1);
        }
        let obstacle = supposed.check(cache, slot, facts, &load);
        if obstacle.is_some() {
            return obstacle;
        }
    }
    // Without them too: the pod must not depend on pods that may never come.
    prepared.check(cache, slot, facts, load)
}

#[cfg(test)]
#[path = "cycle_tests.rs"]
mod tests;
