//! Which of the nodes that can take a pod is best. Every aspect gives each node up to a
//! hundred points; weights and formulas are upstream's.

mod images;
mod neighbours;
mod room;
mod spread;

use crate::cache::Cache;
use crate::filter::Prepared;

/// A full score for one aspect.
const FULL: i64 = 100;
const TAINTS: i64 = 3;
const WISHES: i64 = 2;
const SPREAD: i64 = 2;
const NEIGHBOURS: i64 = 2;

/// Points of each of these nodes, by their slots; more is better.
pub fn points(cache: &mut Cache, prepared: &Prepared, slots: &[usize]) -> Vec<i64> {
    let ask = &prepared.ask;
    let mut points = vec![0; slots.len()];
    for (sum, slot) in points.iter_mut().zip(slots) {
        let node = &cache.nodes[*slot];
        if let Some(facts) = &node.facts {
            *sum += room::least_used(ask, facts, &node.load);
            *sum += room::balance(ask, facts, &node.load);
        }
    }
    let mut add = |aspect: Option<Vec<i64>>, weight: i64| {
        for (sum, n) in points.iter_mut().zip(aspect.into_iter().flatten()) {
            *sum += n * weight;
        }
    };
    add(images::points(cache, ask, slots), 1);
    add(taints(cache, prepared, slots), TAINTS);
    add(wishes(cache, prepared, slots), WISHES);
    add(spread::points(cache, ask, slots), SPREAD);
    add(neighbours::points(cache, ask, slots), NEIGHBOURS);
    points
}

/// Fewer unwelcoming taints are better. `None`: it makes no difference.
fn taints(cache: &Cache, prepared: &Prepared, slots: &[usize]) -> Option<Vec<i64>> {
    let unwelcoming = |slot: &usize| {
        let facts = cache.facts(*slot)?;
        (!facts.taints.is_empty()).then(|| facts.unwelcoming(&prepared.ask))
    };
    let counts: Vec<i64> = slots.iter().map(|s| unwelcoming(s).unwrap_or(0)).collect();
    let most = counts.iter().copied().max().filter(|n| *n > 0)?;
    let reversed = counts.iter().map(|n| FULL - FULL * n / most);
    Some(reversed.collect())
}

/// The more of the pod's wishes a node fulfils the better.
fn wishes(cache: &Cache, prepared: &Prepared, slots: &[usize]) -> Option<Vec<i64>> {
    let wishes = &prepared.ask.node_wishes;
    if wishes.is_empty() {
        return None;
    }
    let fulfilled = |slot: &usize| {
        let Some(facts) = cache.facts(*slot) else {
            return 0;
        };
        let all = wishes.iter();
        all.filter(|(_, term)| term.matches(&facts.name, &facts.labels))
            .map(|(weight, _)| i64::from(*weight))
            .sum()
    };
    let sums: Vec<i64> = slots.iter().map(fulfilled).collect();
    let most = sums.iter().copied().max().filter(|n| *n > 0)?;
    Some(sums.iter().map(|n| FULL * n / most).collect())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
