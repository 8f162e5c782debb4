//! What becomes of the sets when the wanted number of pods changes. Pure.

use std::cmp::Reverse;

use k8s_openapi::api::apps::v1::Deployment;

use super::amounts::{max_surge, replicas, rolls};
use super::revision::{desired, most};
use super::sets::{Set, Sets, available, created, wanted};

/// A set and how many pods it shall ask for.
#[derive(Debug, Clone)]
pub struct Scale {
    pub set: Set,
    pub to: i32,
}

/// Whether the wanted number differs from the one some active set was scaled for.
pub fn is_due(deployment: &Deployment, sets: &Sets) -> bool {
    let active = sets.active();
    let mut known = active.iter().filter_map(|set| desired(set));
    known.any(|known| known != replicas(deployment))
}

/// Sizes for the wanted number: one active set gets all of it; several share the difference
/// in proportion to their size, unless the new one already has all it needs. Sets are listed
/// also if they keep their size, for what is noted on them.
pub fn scale(deployment: &Deployment, sets: &Sets) -> Vec<Scale> {
    let wanted = replicas(deployment);
    if let Some(set) = only_active_or_latest(sets) {
        return vec![Scale { set, to: wanted }];
    }
    if is_saturated(deployment, sets) {
        let old = sets.active_old().into_iter();
        return old.map(|set| Scale { set, to: 0 }).collect();
    }
    match rolls(deployment) {
        true => shared(deployment, sets.active()),
        false => Vec::new(),
    }
}

/// The one active set; if there is none, the new one or the youngest of the old.
fn only_active_or_latest(sets: &Sets) -> Option<Set> {
    let mut active = sets.active();
    match active.len() {
        0 => sets.new.as_ref().or(sets.old.last()).cloned(),
        1 => active.pop(),
        _ => None,
    }
}

/// Whether the new set has all the pods that are wanted, and all are available.
fn is_saturated(deployment: &Deployment, sets: &Sets) -> bool {
    let all = replicas(deployment);
    sets.new
        .as_ref()
        .is_some_and(|set| wanted(set) == all && desired(set) == Some(all) && available(set) == all)
}

fn shared(deployment: &Deployment, mut sets: Vec<Set>) -> Vec<Scale> {
    let room = match replicas(deployment) {
        0 => 0,
        replicas => replicas.saturating_add(max_surge(deployment)),
    };
    let to_add = room - sets.iter().map(|set| wanted(set)).sum::<i32>();
    // The largest first; of equal ones the younger grow first, the older shrink first.
    sets.sort_by(|a, b| created(a).cmp(&created(b)));
    if to_add > 0 {
        sets.reverse();
    }
    sets.sort_by_key(|set| Reverse(wanted(set)));
    let mut added = 0;
    let mut scales: Vec<Scale> = Vec::new();
    for set in sets {
        let share = share(deployment, &set, to_add, added);
        added += share;
        let to = wanted(&set) + share;
        scales.push(Scale { set, to });
    }
    // What rounding left over goes to or from the largest.
    if let Some(first) = scales.first_mut() {
        first.to = (first.to + to_add - added).max(0);
    }
    scales
}

/// A set's part of what is still to be added or taken away.
fn share(deployment: &Deployment, set: &Set, to_add: i32, added: i32) -> i32 {
    if wanted(set) == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let (part, left) = (fraction(deployment, set), to_add - added);
    match to_add > 0 {
        true => part.min(left),
        false => part.max(left),
    }
}

/// How much a set would grow if it grew as the whole does.
fn fraction(deployment: &Deployment, set: &Set) -> i32 {
    let size = wanted(set);
    let all = replicas(deployment);
    if all == 0 {
        return -size;
    }
    let now = all.saturating_add(max_surge(deployment));
    let known = || {
        deployment
            .status
            .as_ref()
            .and_then(|status| status.replicas)
    };
    let before = most(set)
        .filter(|most| *most != 0)
        .or_else(known)
        .unwrap_or(0);
    if before == 0 {
        return 0;
    }
    let exact = f64::from(size) * f64::from(now) / f64::from(before);
    // Sizes are far below what a float holds exactly.
    exact.round() as i32 - size
}
