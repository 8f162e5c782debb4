//! Preemption: which less important pods must go so that a pod fits, if that would help at
//! all. Deciding only; telling and deleting is somebody else's business.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ask::Ask;
use crate::cache::Cache;
use crate::cycle::{Diagnosis, check_with_nominated};
use crate::filter::{Obstacle, Plugin, Prepared, Reason, sentence};
use crate::pod::Pod;
use crate::rng::Coin;

/// At least so many candidates are compared, if there are as many.
const LEAST_CANDIDATES: usize = 100;
/// And at least this part of the nodes, percent.
const CANDIDATES_PERCENT: usize = 10;
/// Added to priorities before they are summed, so that more victims are never better.
const LIFT: i128 = 1 << 31;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// These pods must go from that node; the pod goes there then.
    Preempt { slot: usize, victims: Vec<usize> },
    /// Nobody's going would help; upstream's words.
    Futile(String),
    /// The pod may not preempt (now); upstream's words. A node kept for it stays kept.
    Forbidden(&'static str),
}

/// Pods of one node that would have to go.
#[derive(Debug)]
struct Candidate {
    slot: usize,
    /// The most important first.
    victims: Vec<usize>,
    /// Victims whose disruption budget does not allow it.
    violations: usize,
}

/// Decides for a pod that fits nowhere.
pub fn decide(cache: &mut Cache, key: usize, diagnosis: &Diagnosis, coin: &mut Coin) -> Outcome {
    let Some(pod) = cache.pod(key).cloned() else {
        return Outcome::Futile(String::new());
    };
    if let Some(words) = forbidden(cache, &pod, diagnosis) {
        return Outcome::Forbidden(words);
    }
    let mut counts: HashMap<Reason, usize> = HashMap::new();
    let mut open: Vec<usize> = diagnosis
        .obstacles
        .iter()
        .filter(|(_, obstacle)| !obstacle.is_final)
        .map(|(slot, _)| *slot)
        .collect();
    let hopeless = diagnosis.nodes - open.len().min(diagnosis.nodes);
    if hopeless > 0 {
        let words = Reason::Words("Preemption is not helpful for scheduling");
        counts.insert(words, hopeless);
    }
    let enough = (diagnosis.nodes * CANDIDATES_PERCENT / 100).max(LEAST_CANDIDATES);
    if !open.is_empty() {
        let start = coin.below(open.len());
        open.rotate_left(start);
    }
    let mut candidates = Vec::new();
    let mut harmless = false;
    if let Some(prepared) = &diagnosis.prepared {
        for slot in open {
            match candidate(cache, prepared, key, slot) {
                Ok(candidate) => {
                    harmless |= candidate.violations == 0;
                    candidates.push(candidate);
                    if candidates.len() >= enough && harmless {
                        break;
                    }
                }
                Err(obstacle) => {
                    for reason in obstacle.reasons {
                        *counts.entry(reason).or_default() += 1;
                    }
                }
            }
        }
    }
    match best(cache, candidates) {
        Some(candidate) => Outcome::Preempt {
            slot: candidate.slot,
            victims: candidate.victims,
        },
        None => Outcome::Futile(sentence(diagnosis.nodes, &counts)),
    }
}

/// Why the pod may not preempt anybody (now).
fn forbidden(cache: &Cache, pod: &Pod, diagnosis: &Diagnosis) -> Option<&'static str> {
    if pod.ask.is_meek {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let slot = pod.nominated?;
    let said = diagnosis.obstacles.iter().find(|(s, _)| *s == slot);
    if said.is_some_and(|(_, obstacle)| obstacle.is_final) {
        return None;
    }
    let going = cache.nodes.get(slot)?.pods.iter();
    let is_going = going
        .filter_map(|key| cache.pod(*key))
        .any(|other| other.ask.priority < pod.ask.priority && other.leaving && other.preempted);
    is_going.then_some("not eligible due to a terminating pod on the nominated node.")
}

/// The fewest and least important pods of a node whose going makes room.
///
/// # Errors
/// What would still be in the way.
fn candidate(
    cache: &mut Cache,
    prepared: &Prepared,
    key: usize,
    slot: usize,
) -> Result<Candidate, Obstacle> {
    let none = || {
        Obstacle::hard(
            Plugin::NodeResourcesFit,
            "No preemption victims found for incoming pod",
        )
    };
    let Some(facts) = cache.facts(slot).cloned() else {
        return Err(none());
    };
    let mut weaker: Vec<(usize, Pod)> = cache.nodes[slot]
        .pods
        .iter()
        .filter_map(|other| Some((*other, cache.pod(*other)?.clone())))
        .filter(|(_, other)| other.ask.priority < prepared.ask.priority)
        .collect();
    if weaker.is_empty() {
        return Err(none());
    }
    weaker.sort_by_key(|(_, other)| (std::cmp::Reverse(other.ask.priority), other.since));
    let mut supposed = prepared.clone();
    let mut load = cache.nodes[slot].load.clone();
    for (_, other) in &weaker {
        load.remove(&other.ask);
        supposed.shift(cache, &other.ask, slot, -1);
    }
    if let Some(obstacle) = check_with_nominated(cache, &supposed, key, slot, &facts, &load) {
        return Err(obstacle);
    }
    // Everybody who fits beside the pod stays: first those with a budget to keep, and among
    // these the important ones.
    let (guarded, others) = guarded(cache, &weaker);
    let mut victims = Vec::new();
    let mut violations = 0;
    for (at, is_guarded) in guarded
        .into_iter()
        .map(|at| (at, true))
        .chain(others.into_iter().map(|at| (at, false)))
    {
        let ask: &Arc<Ask> = &weaker[at].1.ask;
        load.add(ask);
        supposed.shift(cache, ask, slot, 1);
        if check_with_nominated(cache, &supposed, key, slot, &facts, &load).is_some() {
            load.remove(ask);
            supposed.shift(cache, ask, slot, -1);
            victims.push(at);
            violations += usize::from(is_guarded);
        }
    }
    victims.sort_unstable();
    Ok(Candidate {
        slot,
        victims: victims.into_iter().map(|at| weaker[at].0).collect(),
        violations,
    })
}

/// Splits pods (the important ones first) into those whose disruption budget would be
/// violated by their going, and the others.
fn guarded(cache: &Cache, pods: &[(usize, Pod)]) -> (Vec<usize>, Vec<usize>) {
    let mut left: HashMap<&str, i64> = HashMap::new();
    let mut out = (vec![], vec![]);
    for (at, (_, pod)) in pods.iter().enumerate() {
        let mut violates = false;
        if !pod.ask.labels.is_empty() {
            for (name, budget) in cache.budgets.iter() {
                let inside = name.split('/').next() == Some(pod.ask.namespace.as_str());
                if !inside
                    || budget.pods.is_everything()
                    || !budget.pods.matches(&pod.ask.labels)
                    || budget.granted.contains(&pod.name)
                {
                    continue;
                }
                let left = left.entry(name).or_insert(budget.allowed);
                *left -= 1;
                violates |= *left < 0;
            }
        }
        if violates {
            out.0.push(at);
        } else {
            out.1.push(at);
        }
    }
    out
}

/// Upstream's order: fewest violated budgets, least important first victim, least sum of
/// importance, fewest victims, youngest first victim.
fn best(cache: &Cache, candidates: Vec<Candidate>) -> Option<Candidate> {
    candidates.into_iter().min_by_key(|candidate| {
        let pods: Vec<&Pod> = candidate
            .victims
            .iter()
            .filter_map(|key| cache.pod(*key))
            .collect();
        let highest = pods.iter().map(|p| p.ask.priority).max();
        let sum: i128 = pods.iter().map(|p| i128::from(p.ask.priority) + LIFT).sum();
        let of_highest = pods.iter().filter(|p| Some(p.ask.priority) == highest);
        let oldest = of_highest.map(|p| p.since).min();
        (
            candidate.violations,
            highest,
            sum,
            pods.len(),
            std::cmp::Reverse(oldest),
        )
    })
}

#[cfg(test)]
#[path = "preempt_tests.rs"]
mod tests;
