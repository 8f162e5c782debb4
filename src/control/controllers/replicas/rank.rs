//! Which pods are missed least. Pure; upstream's order (`ActivePodsWithRanks`).

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use crate::shared::PodInfo;

const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The `count` pods to delete first; `crowd` is all pods whose spread over nodes matters.
pub fn least_missed(
    pods: Vec<Arc<PodInfo>>,
    crowd: &[Arc<PodInfo>],
    count: usize,
) -> Vec<Arc<PodInfo>> {
    let now = Timestamp::now();
    let mut neighbours: HashMap<&str, usize> = HashMap::new();
    for pod in crowd {
        *neighbours.entry(&pod.node).or_insert(0) += 1;
    }
    let beside = |pod: &PodInfo| neighbours.get(&*pod.node).copied().unwrap_or(0);
    let mut ranked = pods;
    ranked.sort_by(|a, b| order(a, b, beside(a), beside(b), now));
    ranked.truncate(count);
    ranked
}

/// Less is deleted first: not placed, pending, not ready, cheap to delete, on a crowded node,
/// ready for a shorter time, restarted more often, younger. Times are compared by powers of
/// two, so that of pods of similar age not always the youngest goes.
fn order(a: &PodInfo, b: &PodInfo, beside_a: usize, beside_b: usize, now: Timestamp) -> Ordering {
    (!a.node.is_empty())
        .cmp(&!b.node.is_empty())
        .then_with(|| a.phase.cmp(&b.phase))
        .then_with(|| a.is_ready().cmp(&b.is_ready()))
        .then_with(|| cost(a).cmp(&cost(b)))
        .then_with(|| Reverse(beside_a).cmp(&Reverse(beside_b)))
        .then_with(|| match (a.ready_since, b.ready_since) {
            (Some(x), Some(y)) if x != y => by_age(x, y, now).then_with(|| a.uid.cmp(&b.uid)),
            _ => Ordering::Equal,
        })
        .then_with(|| Reverse(a.restarts).cmp(&Reverse(b.restarts)))
        .then_with(|| match a.created != b.created {
            true => by_age(a.created, b.created, now).then_with(|| a.uid.cmp(&b.uid)),
            false => Ordering::Equal,
        })
}

/// By the logarithm of the age, the younger first.
fn by_age(a: Timestamp, b: Timestamp, now: Timestamp) -> Ordering {
    magnitude(a, now).cmp(&magnitude(b, now))
}

fn magnitude(since: Timestamp, now: Timestamp) -> i64 {
    let age = now.as_nanosecond() - since.as_nanosecond();
    match age > 0 {
        true => i64::from(age.ilog2()),
        false => -1,
    }
}

/// An annotation that is no number counts as none, 0.
fn cost(pod: &PodInfo) -> i32 {
    let text = pod.annotations.get(COST);
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::Record;
    use serde_json::{Value, json};

    fn pod(name: &str, node: &str, phase: &str, ready: &str, extra: Value) -> Arc<PodInfo> {
        let cost = extra["cost"].as_str().unwrap_or("0");
        let created = extra["created"].as_str().unwrap_or("2026-01-01T00:00:00Z");
        Arc::new(PodInfo::of(
            serde_json::from_value(json!({
                "metadata": {"name": name, "uid": name, "namespace": "n", "creationTimestamp": created,
                    "annotations": {COST: cost}},
                "spec": {"nodeName": node},
                "status": {"phase": phase, "containerStatuses": [{"restartCount": extra["restarts"].as_i64().unwrap_or(0)}],
                    "conditions": match ready { "" => json!([]), since => json!([
                        {"type": "Ready", "status": "True", "lastTransitionTime": since}]) }},
            }))
            .unwrap(),
        ))
    }

    fn ranked(pods: Vec<Arc<PodInfo>>) -> Vec<String> {
        let (crowd, count) = (pods.clone(), pods.len());
        let pods = least_missed(pods, &crowd, count);
        pods.iter().map(|pod| pod.name.clone()).collect()
    }

    #[test]
    fn the_least_useful_go_first() {
        let since = "2026-01-01T00:00:10Z";
        let pods = vec![
            pod("ready", "n1", "Running", since, json!({})),
            pod("dear", "n2", "Running", since, json!({"cost": "5"})),
            pod("cheap", "n3", "Running", since, json!({"cost": "-5"})),
            pod("unready", "n4", "Running", "", json!({})),
            pod("unknown", "n5", "Unknown", "", json!({})),
            pod("pending", "n6", "Pending", "", json!({})),
            pod("unplaced", "", "Pending", "", json!({})),
        ];
        assert_eq!(
            ranked(pods),
            [
                "unplaced", "pending", "unknown", "unready", "cheap", "ready", "dear"
            ]
        );
    }

    #[test]
    fn crowds_restarts_and_youth_decide_between_equals() {
        let since = "2026-01-01T00:00:10Z";
        let pods = vec![
            pod("single", "n1", "Running", since, json!({})),
            pod("double", "n2", "Running", since, json!({})),
            pod(
                "double-restarted",
                "n2",
                "Running",
                since,
                json!({"restarts": 3}),
            ),
        ];
        assert_eq!(ranked(pods), ["double-restarted", "double", "single"]);
        let young = Timestamp::now().to_string();
        let pods = vec![
            pod("old", "n1", "Running", since, json!({})),
            pod("newly-ready", "n2", "Running", &young, json!({})),
        ];
        assert_eq!(ranked(pods), ["newly-ready", "old"]);
        let pods = vec![
            pod("a", "n1", "Pending", "", json!({})),
            pod("b", "n2", "Pending", "", json!({"created": young})),
        ];
        assert_eq!(ranked(pods), ["b", "a"]);
    }

    #[test]
    fn of_similar_ages_the_uid_decides() {
        let pods = vec![
            pod("b", "n1", "Running", "2026-01-01T00:00:11Z", json!({})),
            pod("a", "n2", "Running", "2026-01-01T00:00:10Z", json!({})),
        ];
        assert_eq!(ranked(pods), ["a", "b"]);
    }
}
