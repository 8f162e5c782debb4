//! StatefulSets and pods for the tests of this folder.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::shared::{PodInfo, Record};

/// A time so many seconds after the beginning of every test.
pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// The StatefulSet `web`.
pub fn set(spec: Value, status: Value) -> StatefulSet {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"app": "web"}});
    spec["serviceName"] = json!("web");
    spec["template"] = json!({"metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let metadata = json!({"name": "web", "namespace": "d", "uid": "set", "generation": 3});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status})).unwrap()
}

/// A pod from few words: name, revision, phase (Running), ready (true), since (second 0),
/// deleting.
pub fn pod(p: &Value) -> PodInfo {
    let name = p["name"].as_str().unwrap_or_default();
    let ordinal = name.rsplit('-').next().unwrap_or_default();
    let mut metadata = json!({"namespace": "d", "name": name, "uid": name,
        "labels": {"app": "web", "statefulset.kubernetes.io/pod-name": name,
            "apps.kubernetes.io/pod-index": ordinal,
            "controller-revision-hash": p["revision"].as_str().unwrap_or("new")},
        "ownerReferences": [{"kind": "StatefulSet", "name": "web", "uid": "set", "controller": true}]});
    if p["deleting"] == json!(true) {
        metadata["deletionTimestamp"] = json!(at(30).to_string());
    }
    let ready = if p["ready"] == json!(false) {
        "False"
    } else {
        "True"
    };
    let since = at(p["since"].as_i64().unwrap_or(0)).to_string();
    let phase = p["phase"].as_str().unwrap_or("Running");
    PodInfo::of(
        serde_json::from_value(json!({"metadata": metadata, "status": {"phase": phase,
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": since}]}}))
        .unwrap(),
    )
}

pub fn pods(all: &Value) -> Vec<Arc<PodInfo>> {
    all.as_array()
        .unwrap()
        .iter()
        .map(|p| Arc::new(pod(p)))
        .collect()
}
