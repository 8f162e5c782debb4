//! The status of a budget. Pure; upstream's rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;

use crate::shared::PodInfo;

const ALLOWED: &str = "DisruptionAllowed";
/// So long an evicted pod counts as gone although it is still there.
const EVICTION_SECONDS: i64 = 120;

/// Pods there should be, and those of them that must be healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    pub total: i32,
    pub healthy: i32,
}

/// What became of the pods that were evicted.
#[derive(Debug, Default)]
pub struct Disrupted<'a> {
    pub pending: BTreeMap<String, Time>,
    /// Should have gone by now.
    pub overdue: Vec<&'a PodInfo>,
    /// Seconds until the first of the pending is overdue.
    pub recheck: Option<i64>,
}

/// A number, or a percentage of `total` rounded up.
pub fn share(value: &IntOrString, total: i32) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent = text
                .strip_suffix('%')
                .and_then(|text| text.parse::<i64>().ok());
            let product = percent.unwrap_or(0) * i64::from(total);
            i32::try_from((product + 99).div_euclid(100)).unwrap_or(i32::MAX)
        }
    }
}

/// Whether a budget can tell the two apart.
pub fn differ(old: &PodInfo, new: &PodInfo) -> bool {
    old.is_ready() != new.is_ready()
        || old.deletion.is_some() != new.deletion.is_some()
        || old.labels != new.labels
        || old.controller != new.controller
        || old.uid != new.uid
}

pub fn disrupted<'a>(
    budget: &PodDisruptionBudget,
    pods: &'a [Arc<PodInfo>],
    now: Timestamp,
) -> Disrupted<'a> {
    let status = budget.status.as_ref();
    let evicted = status.and_then(|status| status.disrupted_pods.as_ref());
    let mut found = Disrupted::default();
    let Some(evicted) = evicted.filter(|evicted| !evicted.is_empty()) else {
        return found;
    };
    for pod in pods.iter().filter(|pod| pod.deletion.is_none()) {
        let Some(time) = evicted.get(&pod.name) else {
            continue;
        };
        let left = time.0.as_second() + EVICTION_SECONDS - now.as_second();
        if left < 0 {
            found.overdue.push(pod);
            continue;
        }
        found.pending.insert(pod.name.clone(), time.clone());
        found.recheck = Some(found.recheck.map_or(left + 1, |at| at.min(left + 1)));
    }
    found
}

pub fn status(
    budget: &PodDisruptionBudget,
    pods: &[Arc<PodInfo>],
    expected: Expected,
    pending: BTreeMap<String, Time>,
    now: Timestamp,
) -> PodDisruptionBudgetStatus {
    let healthy = pods
        .iter()
        .filter(|pod| pod.deletion.is_none() && pod.is_ready() && !pending.contains_key(&pod.name));
    let healthy = i32::try_from(healthy.count()).unwrap_or(i32::MAX);
    let spare = healthy.saturating_sub(expected.healthy).max(0);
    let allowed = if expected.total <= 0 { 0 } else { spare };
    let (word, reason) = match allowed > 0 {
        true => ("True", "SufficientPods"),
        false => ("False", "InsufficientPods"),
    };
    let generation = budget.metadata.generation;
    let condition = condition(budget, word, reason, "", generation, now);
    PodDisruptionBudgetStatus {
        conditions: Some(with(budget, condition)),
        current_healthy: Some(healthy),
        desired_healthy: Some(expected.healthy),
        disrupted_pods: Some(pending).filter(|pending| !pending.is_empty()),
        disruptions_allowed: Some(allowed),
        expected_pods: Some(expected.total),
        observed_generation: generation,
    }
}

/// Nobody knows: then nothing is allowed.
pub fn failed(
    budget: &PodDisruptionBudget,
    why: &str,
    now: Timestamp,
) -> PodDisruptionBudgetStatus {
    let mut status = budget.status.clone().unwrap_or_default();
    status.disruptions_allowed = Some(0);
    // The figures are mandatory, whatever they are worth.
    for figure in [
        &mut status.current_healthy,
        &mut status.desired_healthy,
        &mut status.expected_pods,
    ] {
        figure.get_or_insert(0);
    }
    let observed = status.observed_generation;
    let condition = condition(budget, "False", "SyncFailed", why, observed, now);
    status.conditions = Some(with(budget, condition));
    status
}

fn old(budget: &PodDisruptionBudget) -> impl Iterator<Item = &Condition> {
    let conditions = budget.status.iter().flat_map(|status| &status.conditions);
    conditions.flatten()
}

fn condition(
    budget: &PodDisruptionBudget,
    word: &str,
    reason: &str,
    message: &str,
    observed: Option<i64>,
    now: Timestamp,
) -> Condition {
    let same = old(budget).find(|c| c.type_ == ALLOWED && c.status == word);
    Condition {
        type_: ALLOWED.to_owned(),
        status: word.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: same.map_or(Time(now), |c| c.last_transition_time.clone()),
        observed_generation: observed,
    }
}

fn with(budget: &PodDisruptionBudget, condition: Condition) -> Vec<Condition> {
    let others = old(budget).filter(|c| c.type_ != ALLOWED).cloned();
    others.chain([condition]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::Record;
    use serde_json::{Value, json};

    fn pod(name: &str, ready: bool, going: bool) -> Arc<PodInfo> {
        let mut pod = json!({"metadata": {"name": name, "namespace": "d"}, "status": {"conditions": [
            {"type": "Ready", "status": if ready { "True" } else { "False" }}]}});
        if going {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        Arc::new(PodInfo::of(serde_json::from_value(pod).unwrap()))
    }

    fn budget(disrupted: Value) -> PodDisruptionBudget {
        serde_json::from_value(
            json!({"metadata": {"name": "b", "generation": 2}, "spec": {},
            "status": {"disruptedPods": disrupted, "currentHealthy": 0, "desiredHealthy": 0,
                "disruptionsAllowed": 0, "expectedPods": 0}}),
        )
        .unwrap()
    }

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    #[test]
    fn what_is_spare_is_allowed() {
        let now = at("2026-01-01T00:10:00Z");
        let pods = [
            pod("a", true, false),
            pod("b", true, false),
            pod("c", false, false),
            pod("d", true, true),
        ];
        let allowed = |total, healthy| {
            let expected = Expected { total, healthy };
            let status = status(&budget(json!({})), &pods, expected, BTreeMap::new(), now);
            let condition = status.conditions.unwrap().pop().unwrap();
            (
                status.current_healthy,
                status.disruptions_allowed,
                condition.reason,
            )
        };
        assert_eq!(
            allowed(4, 1),
            (Some(2), Some(1), "SufficientPods".to_owned())
        );
        assert_eq!(
            allowed(4, 3),
            (Some(2), Some(0), "InsufficientPods".to_owned())
        );
        assert_eq!(
            allowed(0, 0),
            (Some(2), Some(0), "InsufficientPods".to_owned())
        );
        assert_eq!(share(&IntOrString::String("50%".into()), 3), 2);
        assert_eq!(share(&IntOrString::Int(2), 3), 2);
    }

    #[test]
    fn an_evicted_pod_counts_as_gone_for_two_minutes() {
        let budget = budget(json!({"a": "2026-01-01T00:00:00Z", "lost": "2026-01-01T00:00:00Z"}));
        let pods = [pod("a", true, false), pod("b", true, false)];
        let found = disrupted(&budget, &pods, at("2026-01-01T00:01:00Z"));
        assert_eq!(found.pending.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!((found.overdue.len(), found.recheck), (0, Some(61)));
        let expected = Expected {
            total: 2,
            healthy: 1,
        };
        let status = status(
            &budget,
            &pods,
            expected,
            found.pending,
            at("2026-01-01T00:01:00Z"),
        );
        assert_eq!(status.current_healthy, Some(1));
        let found = disrupted(&budget, &pods, at("2026-01-01T00:02:01Z"));
        assert_eq!((found.pending.len(), found.overdue.len()), (0, 1));
    }
}
