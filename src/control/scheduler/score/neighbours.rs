//! Wishes of pods to be near to or apart from others: the pod's own, and those of the pods
//! that are there already.

use super::FULL;
use crate::ask::Ask;
use crate::cache::Cache;
use crate::filter::{means, meant};
use crate::topology::Sums;

pub fn points(cache: &mut Cache, ask: &Ask, slots: &[usize]) -> Option<Vec<i64>> {
    if ask.wishes.is_empty() && cache.bonds.is_empty() {
        return None;
    }
    let mut sums: Vec<(String, Sums)> = Vec::new();
    let view: &Cache = cache;
    let others: Vec<(String, Vec<(usize, i64)>)> = view
        .bonds
        .iter()
        .filter(|(bond, term, _)| bond.weight() != 0 && means(view, term, ask))
        .map(|(bond, term, by_slot)| {
            let weighed = by_slot
                .iter()
                .map(|(slot, n)| (*slot, i64::from(*n) * bond.weight()));
            (term.topology.clone(), weighed.collect())
        })
        .collect();
    for (topology, counts) in others {
        add(cache, &mut sums, &topology, counts);
    }
    for (weight, term) in &ask.wishes {
        let counts = meant(cache, term);
        let weighed = counts
            .into_iter()
            .enumerate()
            .filter(|(_, n)| *n != 0)
            .map(|(slot, n)| (slot, n * i64::from(*weight)));
        add(cache, &mut sums, &term.topology, weighed);
    }
    if sums.is_empty() {
        return None;
    }
    let raw: Vec<i64> = slots
        .iter()
        .map(|slot| sums.iter().filter_map(|(_, sums)| sums.at(*slot)).sum())
        .collect();
    let (least, most) = (*raw.iter().min()?, *raw.iter().max()?);
    if least == most {
        return None;
    }
    Some(
        raw.iter()
            .map(|n| FULL * (n - least) / (most - least))
            .collect(),
    )
}

fn add(
    cache: &mut Cache,
    sums: &mut Vec<(String, Sums)>,
    topology: &str,
    counts: impl IntoIterator<Item = (usize, i64)>,
) {
    let at = match sums.iter().position(|(key, _)| key == topology) {
        Some(at) => at,
        None => {
            sums.push((topology.to_owned(), Sums::new(cache.topology(topology))));
            sums.len() - 1
        }
    };
    for (slot, n) in counts {
        sums[at].1.add(slot, n);
    }
}
