//! The next step from the old template to the new one. Pure.

use k8s_openapi::api::apps::v1::Deployment;

use super::amounts::{max_surge, max_unavailable, replicas, strategy};
use super::scaling::Scale;
use super::sets::{Sets, available, wanted};

pub fn recreates(deployment: &Deployment) -> bool {
    strategy(deployment) == "Recreate"
}

/// The size a new set begins with or grows to, `size` being what it has: all of it, or what
/// the surge leaves room for.
pub fn new_size(deployment: &Deployment, sets: &Sets, size: i32) -> i32 {
    let all = replicas(deployment);
    if recreates(deployment) {
        return all;
    }
    let room = all.saturating_add(max_surge(deployment)) - sets.wanted();
    match room > 0 {
        true => size + room.min(all - size),
        false => size,
    }
}

/// RollingUpdate: first the new set moves, then the old ones. Nothing is to be done now if
/// the list is empty.
pub fn roll(deployment: &Deployment, sets: &Sets) -> Vec<Scale> {
    let Some(new) = &sets.new else {
        return Vec::new();
    };
    let (all, size) = (replicas(deployment), wanted(new));
    let to = match size > all {
        true => all,
        false if size < all => new_size(deployment, sets, size),
        false => size,
    };
    if to != size {
        let set = new.clone();
        return vec![Scale { set, to }];
    }
    shrink_old(deployment, sets, size - available(new))
}

/// Old sets lose as many pods as may be missing, those that do not work first, so that an
/// old version that never came up does not hold up the new one.
fn shrink_old(deployment: &Deployment, sets: &Sets, new_unavailable: i32) -> Vec<Scale> {
    let least = replicas(deployment) - max_unavailable(deployment);
    let most_removed = sets.wanted() - least - new_unavailable;
    let old = sets.active_old();
    if old.is_empty() || most_removed <= 0 {
        return Vec::new();
    }
    let mut scales: Vec<Scale> = Vec::new();
    let mut left = most_removed;
    for set in old {
        let (size, works) = (wanted(&set), available(&set));
        let cut = (size - works).clamp(0, left.max(0));
        left -= cut;
        let to = size - cut;
        scales.push(Scale { set, to });
    }
    // Then those that work, as far as enough of all remain.
    let working = sets.sum(|status| status.available_replicas.unwrap_or(0));
    let mut spare = working - least;
    for scale in &mut scales {
        let cut = scale.to.min(spare.max(0));
        spare -= cut;
        scale.to -= cut;
    }
    scales.retain(|scale| scale.to != wanted(&scale.set));
    scales
}

/// Recreate: all old sets go first.
pub fn stop_old(sets: &Sets) -> Vec<Scale> {
    let old = sets.active_old().into_iter();
    old.map(|set| Scale { set, to: 0 }).collect()
}
