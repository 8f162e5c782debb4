//! Which nodes can take a pod. What is the same for all nodes is found out once
//! ([`Prepared`]); then each node is asked, in upstream's order of plugins, until one
//! says no.

mod neighbours;
mod obstacle;
mod spread;
mod volumes;

use std::sync::Arc;

pub use neighbours::{means, meant};
pub use obstacle::{
    Obstacle, Plugin, Plugins, Reason, before_preemption, sentence, with_preemption,
};
pub use spread::{counted, is_eligible};
pub use volumes::Bindings;

use crate::ask::Ask;
use crate::cache::Cache;
use crate::node::{Facts, Load};
use neighbours::Neighbours;
use spread::Evenness;
use volumes::Claims;

/// What is known about a pod before any node is asked.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub ask: Arc<Ask>,
    /// The only nodes worth asking, if the pod names them.
    pub only: Option<Vec<usize>>,
    claims: Claims,
    evenness: Evenness,
    neighbours: Neighbours,
}

impl Prepared {
    /// Looks at the pod and at everything but nodes.
    ///
    /// # Errors
    /// Who objects, and the sentence, if no node could help.
    pub fn of(cache: &mut Cache, ask: &Arc<Ask>) -> Result<Prepared, (Plugin, String)> {
        let only = ask.only_nodes().map(|names| {
            let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
            let mut slots: Vec<usize> = names.iter().map(|name| cache.slot(name)).collect();
            slots.retain(|slot| cache.facts(*slot).is_some());
            slots.sort_unstable();
            slots.dedup();
            slots
        });
        Ok(Prepared {
            claims: Claims::of(&cache.storage, ask)?,
            evenness: Evenness::of(cache, ask),
            neighbours: Neighbours::of(cache, ask),
            ask: ask.clone(),
            only,
        })
    }

    /// As if another pod came to stand on a node (`n` = 1) or left it (-1).
    pub fn shift(&mut self, cache: &mut Cache, other: &Ask, slot: usize, n: i64) {
        let ask = self.ask.clone();
        self.claims.shift(&cache.storage, &ask, other, n);
        self.evenness.shift(&ask, other, slot, n);
        self.neighbours.shift(cache, &ask, other, slot, n);
    }

    /// What keeps the pod from a node with this load, if anything does.
    pub fn check(
        &self,
        cache: &Cache,
        slot: usize,
        facts: &Facts,
        load: &Load,
    ) -> Option<Obstacle> {
        let ask = &*self.ask;
        if facts.is_closed_to(ask) {
            let words = "node(s) were unschedulable";
            return Some(Obstacle::hard(Plugin::NodeUnschedulable, words));
        }
        if facts.repelling(ask).is_some() {
            // Since 1.35 without the taint itself, so that equal nodes are counted together.
            let words = "node(s) had untolerated taint(s)";
            return Some(Obstacle::hard(Plugin::TaintToleration, words));
        }
        if !ask.admits(&facts.name, &facts.labels) {
            let words = "node(s) didn't match Pod's node affinity/selector";
            return Some(Obstacle::hard(Plugin::NodeAffinity, words));
        }
        if load.clashes(ask) {
            let words = "node(s) didn't have free ports for the requested pod ports";
            return Some(Obstacle::soft(Plugin::NodePorts, words));
        }
        if !load.has_room(facts, ask) {
            return Some(too_little(ask, facts, load));
        }
        self.claims
            .check(&cache.storage, facts)
            .or_else(|| self.evenness.check(slot))
            .or_else(|| self.neighbours.check(slot))
    }

    /// How the pod's claims are bound on a node that was found to fit.
    pub fn bindings(&self, cache: &Cache, facts: &Facts) -> Bindings {
        self.claims.bind(&cache.storage, facts).unwrap_or_default()
    }
}

fn too_little(ask: &Ask, facts: &Facts, load: &Load) -> Obstacle {
    let lacking = load.lacking(facts, ask);
    let mut reasons = Vec::new();
    if load.pods >= facts.most_pods {
        reasons.push(Reason::Words("Too many pods"));
    }
    let is_final = lacking.iter().any(|(_, would_fit)| !would_fit);
    reasons.extend(
        lacking
            .into_iter()
            .map(|(resource, _)| Reason::Insufficient(resource.to_owned())),
    );
    Obstacle {
        plugin: Plugin::NodeResourcesFit,
        is_final,
        reasons,
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
