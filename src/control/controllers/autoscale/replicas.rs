//! How many replicas a metric asks for, as upstream's replica calculator counts. Pure.
//!
//! Pods that have just started, or have no figures, are counted against the change: as idle
//! when it would grow, as busy when it would shrink.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;

/// A pod's CPU is not trusted for so long after its start, unless it is ready (seconds).
const CPU_INITIALIZATION: i64 = 300;
/// A pod not ready that turned so within this time of its start was never ready (seconds).
const INITIAL_READINESS: i64 = 30;
/// How far a ratio may be from one without anything being done; upstream's default.
pub const TOLERANCE: f64 = 0.1;

/// A pod of the target.
#[derive(Debug, Clone)]
pub struct Pod {
    pub name: String,
    pub phase: String,
    pub deleting: bool,
    pub started: Option<Timestamp>,
    /// Its condition Ready: whether it is False, and since when it is as it is.
    pub ready: Option<(bool, Timestamp)>,
    /// In thousandths; `Err` names the container without one.
    pub request: Result<i64, String>,
}

/// What a pod uses, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    pub value: i64,
    pub at: Timestamp,
    /// Seconds it is averaged over.
    pub window: f64,
}

/// What is wanted of each pod.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// Percent of the request.
    Utilization(i32),
    /// Thousandths.
    Value(i64),
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Proposal {
    pub replicas: i32,
    /// Percent of the requests; with a goal of utilization.
    pub utilization: Option<i32>,
    /// Thousandths per pod.
    pub average: i64,
}

/// How far ratios may be off in either direction.
#[derive(Debug, Clone, Copy)]
pub struct Tolerances {
    pub down: f64,
    pub up: f64,
}

impl Default for Tolerances {
    fn default() -> Tolerances {
        Tolerances {
            down: TOLERANCE,
            up: TOLERANCE,
        }
    }
}

impl Tolerances {
    fn hold(&self, ratio: f64) -> bool {
        (1.0 - self.down..=1.0 + self.up).contains(&ratio)
    }
}

/// Counts the replicas for one metric.
///
/// # Errors
/// Why it cannot be told, in upstream's words.
pub fn propose(
    current: i32,
    goal: Goal,
    resource: &str,
    pods: &[Pod],
    figures: &BTreeMap<String, Figure>,
    tolerances: Tolerances,
    now: Timestamp,
) -> Result<Proposal, String> {
    if pods.is_empty() {
        return Err("no pods returned by selector while calculating replica count".to_owned());
    }
    let groups = group(pods, figures, resource, now);
    let mut used: BTreeMap<&str, i64> = figures
        .iter()
        .filter(|(name, _)| !groups.aside.contains(name.as_str()))
        .map(|(name, figure)| (name.as_str(), figure.value))
        .collect();
    if used.is_empty() {
        return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
    }
    let mut requests: BTreeMap<&str, i64> = BTreeMap::new();
    if let Goal::Utilization(_) = goal {
        for pod in pods {
            let request = pod.request.clone().map_err(|container| {
                format!(
                    "missing request for {resource} in container {container} of Pod {}",
                    pod.name
                )
            })?;
            requests.insert(&pod.name, request);
        }
    }
    let measure = |used: &BTreeMap<&str, i64>| match goal {
        Goal::Utilization(target) => by_request(used, &requests, target),
        Goal::Value(target) => Ok(by_value(used, target)),
    };
    let (ratio, utilization, average) = measure(&used)?;
    let proposal = |replicas: i32| Proposal {
        replicas,
        utilization,
        average,
    };
    let grows_with_unready = !groups.unready.is_empty() && ratio > 1.0;
    if !grows_with_unready && groups.missing.is_empty() {
        return Ok(proposal(match tolerances.hold(ratio) {
            true => current,
            false => times(ratio, groups.ready),
        }));
    }
    for name in &groups.missing {
        let value = match goal {
            _ if ratio >= 1.0 => 0,
            Goal::Utilization(target) => {
                let request = requests.get(name).copied().unwrap_or(0);
                request * i64::from(target.max(100)) / 100
            }
            Goal::Value(target) => target,
        };
        if ratio != 1.0 {
            used.insert(name, value);
        }
    }
    if grows_with_unready {
        for name in &groups.unready {
            used.insert(name, 0);
        }
    }
    let (again, ..) = measure(&used)?;
    let turned = (ratio < 1.0 && again > 1.0) || (ratio > 1.0 && again < 1.0);
    if tolerances.hold(again) || turned {
        return Ok(proposal(current));
    }
    let replicas = times(again, used.len());
    let against = (again < 1.0 && replicas > current) || (again > 1.0 && replicas < current);
    Ok(proposal(if against { current } else { replicas }))
}

fn times(ratio: f64, count: usize) -> i32 {
    // No replica count comes near where this would be inexact, and casts saturate.
    (ratio * count as f64).ceil() as i32
}

type Measured = (f64, Option<i32>, i64);

fn by_request(
    used: &BTreeMap<&str, i64>,
    requests: &BTreeMap<&str, i64>,
    target: i32,
) -> Result<Measured, String> {
    let known = used
        .iter()
        .filter_map(|(name, used)| Some((*used, *requests.get(name)?)));
    let (mut spent, mut asked, mut count) = (0_i64, 0_i64, 0_i64);
    for (used, request) in known {
        (spent, asked, count) = (spent + used, asked + request, count + 1);
    }
    if asked == 0 {
        return Err("no metrics returned matched known pods".to_owned());
    }
    let percent = i32::try_from(spent * 100 / asked).unwrap_or(i32::MAX);
    let ratio = f64::from(percent) / f64::from(target.max(1));
    Ok((ratio, Some(percent), spent / count.max(1)))
}

fn by_value(used: &BTreeMap<&str, i64>, target: i64) -> Measured {
    let count = i64::try_from(used.len()).unwrap_or(i64::MAX).max(1);
    let average = used.values().sum::<i64>() / count;
    (average as f64 / target.max(1) as f64, None, average)
}

#[derive(Debug, Default)]
struct Groups<'a> {
    ready: usize,
    unready: BTreeSet<&'a str>,
    missing: BTreeSet<&'a str>,
    /// Unready ones, and those that do not count at all.
    aside: BTreeSet<&'a str>,
}

fn group<'a>(
    pods: &'a [Pod],
    figures: &BTreeMap<String, Figure>,
    resource: &str,
    now: Timestamp,
) -> Groups<'a> {
    let mut groups = Groups::default();
    for pod in pods {
        let name = pod.name.as_str();
        if pod.deleting || pod.phase == "Failed" {
            groups.aside.insert(name);
            continue;
        }
        if pod.phase == "Pending" {
            groups.unready.insert(name);
            groups.aside.insert(name);
            continue;
        }
        let Some(figure) = figures.get(name) else {
            groups.missing.insert(name);
            continue;
        };
        if resource == "cpu" && !is_settled(pod, figure, now) {
            groups.unready.insert(name);
            groups.aside.insert(name);
            continue;
        }
        groups.ready += 1;
    }
    groups
}

/// Whether what a pod's CPU says is more than the noise of its start.
fn is_settled(pod: &Pod, figure: &Figure, now: Timestamp) -> bool {
    let (Some((unready, since)), Some(started)) = (pod.ready, pod.started) else {
        return false;
    };
    if started.as_second() + CPU_INITIALIZATION > now.as_second() {
        let settled_at = since.as_second() as f64 + figure.window;
        return !unready && figure.at.as_second() as f64 >= settled_at;
    }
    !(unready && started.as_second() + INITIAL_READINESS > since.as_second())
}

#[cfg(test)]
#[path = "replicas_tests.rs"]
mod tests;
