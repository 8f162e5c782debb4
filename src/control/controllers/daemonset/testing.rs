//! DaemonSets, nodes and pods for the tests of this folder.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::node::NodeInfo;
use crate::shared::{PodInfo, Record};

/// A time so many seconds after the beginning of every test.
pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// The DaemonSet `agent`, of template generation 2.
pub fn set(spec: Value) -> DaemonSet {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"app": "agent"}});
    if !spec["template"].is_object() {
        spec["template"] = json!({});
    }
    if spec["template"]["spec"].is_null() {
        spec["template"]["spec"] = json!({});
    }
    spec["template"]["metadata"] = json!({"labels": {"app": "agent"}});
    spec["template"]["spec"]["containers"] = json!([{"name": "c", "image": "i"}]);
    let metadata = json!({"name": "agent", "namespace": "d", "uid": "set", "generation": 4,
        "annotations": {"deprecated.daemonset.template.generation": "2"}});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

/// A node with labels and taints.
pub fn node(name: &str, what: Value) -> NodeInfo {
    NodeInfo::of(
        serde_json::from_value(
            json!({"metadata": {"name": name, "uid": name, "labels": what["labels"]},
            "spec": {"taints": what["taints"]}}),
        )
        .unwrap(),
    )
}

pub fn nodes(names: &[&str]) -> Vec<Arc<NodeInfo>> {
    let plain = names.iter().map(|name| Arc::new(node(name, json!({}))));
    plain.collect()
}

/// A pod from few words: name, node, hash (new), phase (Running), ready (true), deleting,
/// meant (a node it is not on yet), born (second).
pub fn pod(p: &Value) -> PodInfo {
    let text = |key: &str, default: &str| p[key].as_str().unwrap_or(default).to_owned();
    let name = text("name", "");
    let mut metadata = json!({"namespace": "d", "name": name, "uid": name,
        "labels": {"app": "agent", "controller-revision-hash": text("hash", "new")},
        "creationTimestamp": at(p["born"].as_i64().unwrap_or(0)).to_string(),
        "ownerReferences": [{"kind": "DaemonSet", "name": "agent", "uid": "set", "controller": true}]});
    if p["deleting"] == json!(true) {
        metadata["deletionTimestamp"] = json!(at(30).to_string());
    }
    let mut spec = json!({"nodeName": text("node", "")});
    if let Some(meant) = p["meant"].as_str() {
        let field = json!({"key": "metadata.name", "operator": "In", "values": [meant]});
        spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
            json!({"nodeSelectorTerms": [{"matchFields": [field]}]});
    }
    let ready = if p["ready"] == json!(false) {
        "False"
    } else {
        "True"
    };
    PodInfo::of(
        serde_json::from_value(json!({"metadata": metadata, "spec": spec,
            "status": {"phase": text("phase", "Running"),
                "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": at(0).to_string()}]}}))
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
