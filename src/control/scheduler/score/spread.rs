//! Wishes for evenness: nodes at places with fewer of the pod's like are better. Pods that
//! say nothing about it are spread among the pods of their Services and owner.

use super::FULL;
use crate::ask::{Ask, Spread};
use crate::cache::Cache;
use crate::filter::{counted, is_eligible};
use crate::node::HOSTNAME;
use crate::topology::Sums;

pub fn points(cache: &mut Cache, ask: &Ask, slots: &[usize]) -> Option<Vec<i64>> {
    let is_default = ask.spread.is_empty();
    let wishes: Vec<Spread> = if is_default {
        cache.groups.default_spread(ask)
    } else {
        ask.spread.iter().filter(|s| !s.required).cloned().collect()
    };
    if wishes.is_empty() {
        return None;
    }
    let topologies: Vec<_> = wishes.iter().map(|s| cache.topology(&s.topology)).collect();
    // By default a node without a zone is compared by what it has.
    let compared = |slot: usize| is_default || topologies.iter().all(|t| t.place(slot).is_some());
    let ignored: Vec<bool> = slots.iter().map(|slot| !compared(*slot)).collect();
    let mut scores = vec![0.0; slots.len()];
    for (spread, topology) in wishes.iter().zip(&topologies) {
        let counts = counted(cache, ask, &spread.pods);
        let at = |slot: usize| counts.get(slot).copied().unwrap_or(0);
        let mut among = vec![false; topology.places];
        for (slot, ignored) in slots.iter().zip(&ignored) {
            if let (Some(place), false) = (topology.place(*slot), ignored) {
                among[place] = true;
            }
        }
        let by_node = spread.topology == HOSTNAME;
        let size = if by_node {
            ignored.iter().filter(|ignored| !**ignored).count()
        } else {
            among.iter().filter(|among| **among).count()
        };
        let mut sums = Sums::new(topology.clone());
        if !by_node {
            for (slot, node) in cache.nodes.iter().enumerate() {
                let Some(facts) = &node.facts else { continue };
                if at(slot) != 0 && compared(slot) && is_eligible(facts, ask, spread) {
                    sums.add(slot, at(slot));
                }
            }
        }
        let weight = ((size + 2) as f64).ln();
        let allowance = f64::from(spread.most - 1);
        for (score, slot) in scores.iter_mut().zip(slots) {
            if topology.place(*slot).is_some() {
                let n = if by_node {
                    at(*slot)
                } else {
                    sums.at(*slot).unwrap_or(0)
                };
                *score += n as f64 * weight + allowance;
            }
        }
    }
    Some(normalized(&scores, &ignored))
}

/// The lowest score becomes the highest; ignored nodes get nothing.
fn normalized(scores: &[f64], ignored: &[bool]) -> Vec<i64> {
    let rounded: Vec<i64> = scores.iter().map(|score| score.round() as i64).collect();
    let compared = || {
        rounded
            .iter()
            .zip(ignored)
            .filter(|(_, ignored)| !**ignored)
    };
    let least = compared().map(|(n, _)| *n).min().unwrap_or(0);
    let most = compared().map(|(n, _)| *n).max().unwrap_or(0);
    rounded
        .iter()
        .zip(ignored)
        .map(|(n, ignored)| match (ignored, most) {
            (true, _) => 0,
            (false, 0) => FULL,
            (false, _) => FULL * (most + least - n) / most,
        })
        .collect()
}
