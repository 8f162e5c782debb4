//! Which taints and conditions a node's health amounts to. Pure.

use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const EFFECTS: [&str; 2] = ["NoSchedule", "NoExecute"];

/// Conditions a node agent reports; without an agent nobody knows them.
const REPORTED: [&str; 4] = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"];

/// The status of the node's Ready condition; absent counts as "Unknown" once an agent has
/// had its chance, and as "False" before.
fn ready(node: &Node) -> &str {
    node.status
        .as_ref()
        .and_then(|s| s.conditions.as_ref())
        .into_iter()
        .flatten()
        .find(|c| c.type_ == "Ready")
        .map_or("False", |c| c.status.as_str())
}

/// The taints the node should have, if they differ from those it has.
pub fn wanted(node: &Node, now: &Time) -> Option<Vec<Taint>> {
    let have: Vec<Taint> = node
        .spec
        .as_ref()
        .and_then(|s| s.taints.clone())
        .unwrap_or_default();
    let ours = match ready(node) {
        "True" => None,
        "Unknown" => Some(UNREACHABLE),
        _ => Some(NOT_READY),
    };
    // Those of the other state go; those of this state stay with their time.
    let mut out: Vec<Taint> = have
        .iter()
        .filter(|t| (t.key != NOT_READY && t.key != UNREACHABLE) || Some(t.key.as_str()) == ours)
        .cloned()
        .collect();
    for (key, effect) in ours.into_iter().flat_map(|k| EFFECTS.map(|e| (k, e))) {
        if !out.iter().any(|t| t.key == key && t.effect == effect) {
            out.push(Taint {
                key: key.to_owned(),
                effect: effect.to_owned(),
                time_added: Some(now.clone()),
                value: None,
            });
        }
    }
    (out != have).then_some(out)
}

/// The conditions to write for a node whose agent is silent; none if they say so already.
pub fn unknown(node: &Node, now: &Time) -> Vec<NodeCondition> {
    let have: Vec<NodeCondition> = node
        .status
        .as_ref()
        .and_then(|s| s.conditions.clone())
        .unwrap_or_default();
    let mut out = Vec::new();
    for kind in REPORTED {
        let old = have.iter().find(|c| c.type_ == kind);
        if old.is_some_and(|c| c.status == "Unknown") {
            continue;
        }
        let (reason, message) = match old {
            Some(_) => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
            None => (
                "NodeStatusNeverUpdated",
                "Kubelet never posted node status.",
            ),
        };
        out.push(NodeCondition {
            type_: kind.to_owned(),
            status: "Unknown".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: old.and_then(|c| c.last_heartbeat_time.clone()),
            last_transition_time: Some(now.clone()),
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node(ready: Value, taints: Value) -> Node {
        serde_json::from_value(
            json!({"metadata": {"name": "n"}, "spec": {"taints": taints},
            "status": {"conditions": ready}}),
        )
        .unwrap()
    }

    fn now() -> Time {
        serde_json::from_value(json!("2026-11-20T20:00:00Z")).unwrap()
    }

    fn keys(t: &[Taint]) -> Vec<String> {
        t.iter()
            .map(|t| format!("{}:{}", t.key, t.effect))
            .collect()
    }

    #[test]
    fn health_becomes_taints_and_back() {
        let own = json!({"key": "mine", "effect": "NoSchedule"});
        let n = node(
            json!([{"type": "Ready", "status": "Unknown"}]),
            json!([own]),
        );
        let t = wanted(&n, &now()).unwrap();
        assert_eq!(
            keys(&t),
            [
                "mine:NoSchedule",
                "node.kubernetes.io/unreachable:NoSchedule",
                "node.kubernetes.io/unreachable:NoExecute"
            ]
        );
        let t = serde_json::to_value(t).unwrap();
        let n = node(json!([{"type": "Ready", "status": "Unknown"}]), t.clone());
        assert_eq!(wanted(&n, &now()), None, "stable");
        let n = node(json!([{"type": "Ready", "status": "False"}]), t.clone());
        assert_eq!(
            keys(&wanted(&n, &now()).unwrap())[1],
            "node.kubernetes.io/not-ready:NoSchedule"
        );
        let n = node(json!([{"type": "Ready", "status": "True"}]), t);
        assert_eq!(keys(&wanted(&n, &now()).unwrap()), ["mine:NoSchedule"]);
        let fresh = node(json!([{"type": "Ready", "status": "True"}]), json!([]));
        assert_eq!(wanted(&fresh, &now()), None);
    }

    #[test]
    fn silence_is_written_once() {
        let n = node(
            json!([{"type": "Ready", "status": "True"}, {"type": "Mine", "status": "True"}]),
            json!([]),
        );
        let c = unknown(&n, &now());
        assert_eq!(c.len(), 4);
        let r = c.iter().find(|c| c.type_ == "Ready").unwrap();
        assert_eq!(r.reason.as_deref(), Some("NodeStatusUnknown"));
        let m = c.iter().find(|c| c.type_ == "DiskPressure").unwrap();
        assert_eq!(m.reason.as_deref(), Some("NodeStatusNeverUpdated"));
        let silent = node(serde_json::to_value(c).unwrap(), json!([]));
        assert!(unknown(&silent, &now()).is_empty());
    }
}
