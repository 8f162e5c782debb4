//! Jobs and pods for the tests of this folder.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::tally::Pod;
use super::terms;
use crate::shared::{PodInfo, Record};

/// A time so many seconds after the beginning of every test.
pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// The Job `work`, created at second 0.
pub fn job(spec: Value, status: Value) -> Job {
    let mut spec = spec;
    spec["template"] = json!({"metadata": {"labels": {"app": "work"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
    let metadata = json!({"name": "work", "namespace": "d", "uid": "job", "creationTimestamp": at(0).to_string()});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status})).unwrap()
}

/// A pod of a Job, from what is said of it as JSON of the API.
pub fn pod(mut object: Value) -> PodInfo {
    object["metadata"]["ownerReferences"] =
        json!([{"kind": "Job", "name": "work", "uid": "job", "controller": true}]);
    PodInfo::of(serde_json::from_value(object).unwrap())
}

/// Pods from few words: name (and uid), phase, index, failures, ready, deleting, tracked,
/// node, code, end (second), condition.
pub fn pods(all: Value) -> Vec<Pod> {
    all.as_array()
        .unwrap()
        .iter()
        .map(|p| Arc::new(short(p)))
        .collect()
}

fn short(p: &Value) -> PodInfo {
    let mut metadata =
        json!({"namespace": "d", "name": p["name"], "uid": p["name"], "annotations": {}});
    for (key, annotation) in [("index", terms::INDEX), ("failures", terms::FAILURES)] {
        if let Some(number) = p[key].as_i64() {
            metadata["annotations"][annotation] = json!(number.to_string());
        }
    }
    if p["tracked"] != json!(false) {
        metadata["finalizers"] = json!([terms::TRACKING]);
    }
    if p["deleting"] == json!(true) {
        metadata["deletionTimestamp"] = json!(at(30).to_string());
        metadata["deletionGracePeriodSeconds"] = json!(30);
    }
    metadata["creationTimestamp"] = json!(at(0).to_string());
    let ready = if p["ready"] == json!(true) {
        "True"
    } else {
        "False"
    };
    let mut conditions =
        json!([{"type": "Ready", "status": ready, "lastTransitionTime": at(1).to_string()}]);
    if let (Some(kind), Some(all)) = (p["condition"].as_str(), conditions.as_array_mut()) {
        all.push(json!({"type": kind, "status": "True"}));
    }
    let mut containers =
        json!([{"name": "c", "restartCount": p["restarts"].as_i64().unwrap_or(0)}]);
    if p["code"].is_i64() || p["end"].is_i64() {
        let end = at(p["end"].as_i64().unwrap_or(1)).to_string();
        containers[0]["state"] =
            json!({"terminated": {"exitCode": p["code"].as_i64().unwrap_or(0), "finishedAt": end}});
    }
    let phase = p["phase"].as_str().unwrap_or("Pending");
    let node = p["node"].as_str().unwrap_or_default();
    pod(json!({"metadata": metadata, "spec": {"nodeName": node},
        "status": {"phase": phase, "conditions": conditions, "containerStatuses": containers}}))
}
