//! The status of a set from its pods. Pure.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::kinds::Replicated;
use crate::shared::{PodInfo, words};

const FAILURE: &str = "ReplicaFailure";

/// How many pods there are, and how well they are.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub replicas: i32,
    pub fully_labelled: i32,
    pub ready: i32,
    pub available: i32,
    pub terminating: i32,
    /// Seconds until a ready pod becomes available.
    pub available_in: Option<i64>,
}

impl Figures {
    pub fn of<S: Replicated>(set: &S, pods: &[Arc<PodInfo>], now: Timestamp) -> Figures {
        let mut figures = Figures::default();
        let template = set
            .template()
            .and_then(|template| template.metadata.as_ref());
        let labels = template.and_then(|meta| meta.labels.as_ref());
        let labels: Vec<_> = labels.into_iter().flatten().collect();
        for pod in pods {
            if !pod.is_active() {
                figures.terminating += i32::from(!pod.has_ended());
                continue;
            }
            figures.replicas += 1;
            let labelled = labels
                .iter()
                .all(|(key, value)| pod.labels.get(*key) == Some(*value));
            figures.fully_labelled += i32::from(labelled);
            if !pod.is_ready() {
                continue;
            }
            figures.ready += 1;
            match pod.is_available(set.min_ready_seconds(), now) {
                Ok(()) => figures.available += 1,
                Err(Some(seconds)) => {
                    let soonest = figures.available_in.map_or(seconds, |at| at.min(seconds));
                    figures.available_in = Some(soonest);
                }
                Err(None) => {}
            }
        }
        figures
    }
}

/// The status to write: `old` with today's figures, and the condition that says whether pods
/// could be made and removed. `active` is how many there were before the attempt.
pub fn next<S: Replicated>(
    old: &Value,
    set: &S,
    figures: &Figures,
    failure: Option<&kube::Error>,
    active: usize,
    now: Timestamp,
) -> Value {
    let mut new = old.clone();
    let mut put = |name: &str, value: i32| {
        if value != 0 {
            new[name] = json!(value);
        } else if let Some(members) = new.as_object_mut() {
            members.remove(name);
        }
    };
    put("fullyLabeledReplicas", figures.fully_labelled);
    put("readyReplicas", figures.ready);
    put("availableReplicas", figures.available);
    new["replicas"] = json!(figures.replicas);
    if S::COUNTS_TERMINATING {
        new["terminatingReplicas"] = json!(figures.terminating);
    }
    new["observedGeneration"] = json!(set.metadata().generation.unwrap_or(0));
    let mut conditions = match old.get("conditions") {
        Some(Value::Array(conditions)) => conditions.clone(),
        _ => Vec::new(),
    };
    let failing = conditions.iter().any(|c| c["type"] == FAILURE);
    match failure {
        Some(error) if !failing => {
            let wanted = usize::try_from(set.replicas()).unwrap_or(0);
            let reason = if active < wanted {
                "FailedCreate"
            } else {
                "FailedDelete"
            };
            conditions.push(json!({"type": FAILURE, "status": "True", "reason": reason,
                "message": words(error), "lastTransitionTime": Time(now)}));
        }
        None => conditions.retain(|c| c["type"] != FAILURE),
        Some(_) => {}
    }
    match conditions.is_empty() {
        false => new["conditions"] = Value::Array(conditions),
        true => {
            if let Some(members) = new.as_object_mut() {
                members.remove("conditions");
            }
        }
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::Record;
    use k8s_openapi::api::apps::v1::ReplicaSet;

    fn set(replicas: i32) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "uid": "u", "generation": 3},
            "spec": {"replicas": replicas, "minReadySeconds": 10,
                "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b", "c": "d"}}}},
        }))
        .unwrap()
    }

    fn pod(labels: Value, ready: Option<&str>, phase: &str, gone: bool) -> Arc<PodInfo> {
        let mut pod =
            json!({"metadata": {"name": "p", "labels": labels}, "status": {"phase": phase}});
        if let Some(since) = ready {
            pod["status"]["conditions"] =
                json!([{"type": "Ready", "status": "True", "lastTransitionTime": since}]);
        }
        if gone {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        Arc::new(PodInfo::of(serde_json::from_value(pod).unwrap()))
    }

    #[test]
    fn pods_are_counted_by_how_well_they_are() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let full = json!({"a": "b", "c": "d"});
        let pods = [
            pod(full.clone(), Some("2026-01-01T00:00:00Z"), "Running", false),
            pod(full.clone(), Some("2026-01-01T00:00:57Z"), "Running", false),
            pod(json!({"a": "b"}), None, "Pending", false),
            pod(full.clone(), None, "Failed", false),
            pod(full.clone(), None, "Running", true),
            pod(full, None, "Succeeded", true),
        ];
        let figures = Figures::of(&set(3), &pods, now);
        let expected = Figures {
            replicas: 3,
            fully_labelled: 2,
            ready: 2,
            available: 1,
            terminating: 1,
            available_in: Some(7),
        };
        assert_eq!(figures, expected);
    }

    #[test]
    fn a_refusal_becomes_a_condition_and_goes_with_success() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let none = Figures::default();
        let refusal = kube::core::Status::failure("no room", "Forbidden").with_code(403);
        let refusal = kube::Error::Api(Box::new(refusal));
        let bad = next(&json!({}), &set(1), &none, Some(&refusal), 0, now);
        assert_eq!(
            bad["conditions"],
            json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
                "message": "no room", "lastTransitionTime": "2026-01-01T00:01:00Z"}])
        );
        let later = "2026-01-01T00:02:00Z".parse().unwrap();
        assert_eq!(next(&bad, &set(1), &none, Some(&refusal), 0, later), bad);
        let good = next(&bad, &set(1), &none, None, 0, later);
        assert_eq!(
            good,
            json!({"replicas": 0, "terminatingReplicas": 0, "observedGeneration": 3})
        );
        let bad = next(&json!({}), &set(1), &none, Some(&refusal), 2, now);
        assert_eq!(bad["conditions"][0]["reason"], "FailedDelete");
    }
}
