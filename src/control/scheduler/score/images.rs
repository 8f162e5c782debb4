//! Nodes that have the pod's images already are better, the more so the larger the images
//! and the more nodes have them: an image on one node only must not draw all pods there.

use super::FULL;
use crate::ask::Ask;
use crate::cache::Cache;

const MB: i64 = 1024 * 1024;
/// Smaller images are no reason.
const LEAST: i64 = 23 * MB;
/// Larger ones count no more, for each container.
const MOST: i64 = 1000 * MB;

pub fn points(cache: &mut Cache, ask: &Ask, slots: &[usize]) -> Option<Vec<i64>> {
    if cache.images.is_empty() {
        return None;
    }
    let known: Vec<(&String, usize)> = ask
        .images
        .iter()
        .filter_map(|name| cache.images.get_key_value(name))
        .map(|(name, n)| (name, *n))
        .collect();
    if known.is_empty() {
        return None;
    }
    let all = cache.nodes.iter().filter(|n| n.facts.is_some()).count();
    let most = MOST * i64::try_from(ask.images.len()).unwrap_or(1).max(1);
    let score = |slot: &usize| {
        let Some(facts) = cache.facts(*slot) else {
            return 0;
        };
        let sum: i64 = known
            .iter()
            .filter_map(|(name, nodes)| {
                let size = facts.images.get(*name)?;
                Some((*size as f64 * (*nodes as f64 / all.max(1) as f64)) as i64)
            })
            .sum();
        FULL * (sum.clamp(LEAST, most) - LEAST) / (most - LEAST)
    };
    Some(slots.iter().map(score).collect())
}
