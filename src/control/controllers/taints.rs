//! Which taints and conditions a node's health amounts to. Pure.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::node_facts::NodeFacts;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Conditions that keep new pods away while they are True, and their taints.
const SHORTAGES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    (
        "NetworkUnavailable",
        "node.kubernetes.io/network-unavailable",
    ),
];
const KEEP_OFF: &str = "NoSchedule";
const DRIVE_AWAY: &str = "NoExecute";

/// Conditions a node agent reports; without an agent nobody knows them.
const REPORTED: [&str; 4] = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"];

/// In zones of no more nodes than this nobody is evicted while too many of them fail; upstream's
/// figure.
const SMALL_ZONE: usize = 50;

/// Whether pods may be driven away from a node that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// They may.
    Goes,
    /// What has begun goes on, nothing new begins.
    Halts,
    /// The fault is rather ours.
    Ends,
}

/// Decides it from how the others are: where nobody is ready there is nowhere to go, and where
/// three nodes or more fail, and more than half of a zone, it is rather the network than they.
pub fn eviction(nodes: &[Arc<NodeFacts>], node: &str) -> Eviction {
    if nobody_else_is_ready(nodes, node) {
        return Eviction::Ends;
    }
    let zone = nodes.iter().find(|n| n.name == node).map(|n| &n.zone);
    let inside = nodes
        .iter()
        .filter(|other| other.counted && Some(&other.zone) == zone);
    let (ready, failing): (Vec<_>, Vec<_>) = inside.partition(|other| other.ready == "True");
    let all = ready.len() + failing.len();
    // Upstream's `--unhealthy-zone-threshold`: 55 %.
    let many = failing.len() > 2 && failing.len() * 100 >= all * 55;
    match many && !ready.is_empty() && all <= SMALL_ZONE {
        true => Eviction::Halts,
        false => Eviction::Goes,
    }
}

/// Whether no other node is ready, those that do not count left out.
pub fn nobody_else_is_ready(nodes: &[Arc<NodeFacts>], node: &str) -> bool {
    let mut others = nodes.iter().filter(|other| other.name != node);
    others.all(|other| !other.counted || other.ready != "True")
}

fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.find(|c| c.type_ == kind)
}

/// The status of one of the node's conditions.
fn status<'a>(node: &'a Node, kind: &str) -> Option<&'a str> {
    condition(node, kind).map(|c| c.status.as_str())
}

/// When the node's agent last said how it is, by its own clock. `Unknown` is our word, not its.
pub fn posted(node: &Node) -> Option<Timestamp> {
    let said = condition(node, "Ready").filter(|c| c.status != "Unknown")?;
    said.last_heartbeat_time.as_ref().map(|time| time.0)
}

/// Whether the node's agent has said once how it is.
pub fn has_reported(node: &Node) -> bool {
    status(node, "Ready").is_some()
}

/// Whether it is for us to say that a taint goes.
fn is_ours(taint: &Taint) -> bool {
    let key = taint.key.as_str();
    let health = key == NOT_READY || key == UNREACHABLE;
    match taint.effect.as_str() {
        DRIVE_AWAY => health,
        KEEP_OFF => health || key == UNSCHEDULABLE || SHORTAGES.iter().any(|(_, k)| *k == key),
        _ => false,
    }
}

/// The taints the node should have, if they differ from those it has. `eviction` is asked
/// whether pods may be driven away from it.
pub fn wanted(node: &Node, eviction: impl FnOnce() -> Eviction, now: &Time) -> Option<Vec<Taint>> {
    let spec = node.spec.as_ref();
    let have: Vec<Taint> = spec.and_then(|s| s.taints.clone()).unwrap_or_default();
    let mut ours: Vec<(&str, &str)> = Vec::new();
    // Without the condition no agent has spoken yet.
    let health = match status(node, "Ready").unwrap_or("False") {
        "True" => None,
        "Unknown" => Some(UNREACHABLE),
        _ => Some(NOT_READY),
    };
    if let Some(key) = health {
        ours.push((key, KEEP_OFF));
        let begun = |t: &Taint| t.effect == DRIVE_AWAY && is_ours(t);
        let evicts = match eviction() {
            Eviction::Goes => true,
            Eviction::Halts => have.iter().any(begun),
            Eviction::Ends => false,
        };
        if evicts {
            ours.push((key, DRIVE_AWAY));
        }
    }
    let short = SHORTAGES
        .iter()
        .filter(|(kind, _)| status(node, kind) == Some("True"));
    ours.extend(short.map(|(_, key)| (*key, KEEP_OFF)));
    if spec.and_then(|s| s.unschedulable).unwrap_or(false) {
        ours.push((UNSCHEDULABLE, KEEP_OFF));
    }
    // Those that still hold stay with their time.
    let holds = |t: &Taint| ours.contains(&(t.key.as_str(), t.effect.as_str()));
    let mut out: Vec<Taint> = have
        .iter()
        .filter(|t| !is_ours(t) || holds(t))
        .cloned()
        .collect();
    for (key, effect) in ours {
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
            last_heartbeat_time: match old {
                Some(old) => old.last_heartbeat_time.clone(),
                None => node.metadata.creation_timestamp.clone(),
            },
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
        let t = wanted(&n, || Eviction::Goes, &now()).unwrap();
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
        assert_eq!(wanted(&n, || Eviction::Goes, &now()), None, "stable");
        let n = node(json!([{"type": "Ready", "status": "False"}]), t.clone());
        assert_eq!(
            keys(&wanted(&n, || Eviction::Goes, &now()).unwrap())[1],
            "node.kubernetes.io/not-ready:NoSchedule"
        );
        let n = node(json!([{"type": "Ready", "status": "True"}]), t);
        assert_eq!(
            keys(&wanted(&n, || Eviction::Goes, &now()).unwrap()),
            ["mine:NoSchedule"]
        );
        let fresh = node(json!([{"type": "Ready", "status": "True"}]), json!([]));
        assert_eq!(wanted(&fresh, || Eviction::Goes, &now()), None);
    }

    #[test]
    fn what_a_node_lacks_keeps_new_pods_away() {
        let conditions = json!([{"type": "Ready", "status": "True"},
            {"type": "MemoryPressure", "status": "True"}, {"type": "DiskPressure", "status": "False"}]);
        let mut n = node(
            conditions,
            json!([{"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"}]),
        );
        n.spec.as_mut().unwrap().unschedulable = Some(true);
        let t = wanted(&n, || Eviction::Goes, &now()).unwrap();
        assert_eq!(
            keys(&t),
            [
                "node.kubernetes.io/memory-pressure:NoSchedule",
                "node.kubernetes.io/unschedulable:NoSchedule"
            ]
        );
        n.spec.as_mut().unwrap().taints = Some(t);
        assert_eq!(wanted(&n, || Eviction::Goes, &now()), None, "stable");
        n.spec.as_mut().unwrap().unschedulable = None;
        assert_eq!(
            keys(&wanted(&n, || Eviction::Goes, &now()).unwrap()),
            ["node.kubernetes.io/memory-pressure:NoSchedule"]
        );
    }

    #[test]
    fn where_nobody_is_ready_nobody_is_driven_away() {
        use crate::shared::Record as _;
        let facts = |name: &str, ready: &str, labels: Value| {
            let node = json!({"metadata": {"name": name, "labels": labels},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}});
            Arc::new(NodeFacts::of(serde_json::from_value(node).unwrap()))
        };
        let alone = [facts("a", "Unknown", json!({}))];
        assert!(nobody_else_is_ready(&alone, "a"));
        let uncounted = json!({"node.kubernetes.io/exclude-disruption": ""});
        let mut some = vec![
            facts("a", "True", json!({})),
            facts("b", "False", json!({})),
            facts("c", "True", uncounted),
        ];
        assert!(nobody_else_is_ready(&some, "a"));
        assert!(!nobody_else_is_ready(&some, "b"));
        some[0] = facts("a", "Unknown", json!({}));
        assert!(nobody_else_is_ready(&some, "b"));

        let slept = json!([{"type": "Ready", "status": "Unknown"}]);
        let both = json!([
            {"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"},
            {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]);
        let n = node(slept, both);
        assert_eq!(wanted(&n, || Eviction::Goes, &now()), None);
        assert_eq!(
            keys(&wanted(&n, || Eviction::Ends, &now()).unwrap()),
            ["node.kubernetes.io/unreachable:NoSchedule"]
        );
    }

    #[test]
    fn where_most_of_a_zone_fails_no_more_are_evicted() {
        use crate::shared::Record as _;
        let fact = |name: &str, zone: &str, ready: &str| {
            let node = json!({"metadata": {"name": name,
                    "labels": {"topology.kubernetes.io/zone": zone}},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}});
            Arc::new(NodeFacts::of(serde_json::from_value(node).unwrap()))
        };
        let mut nodes = vec![
            fact("a", "1", "True"),
            fact("b", "1", "True"),
            fact("c", "1", "Unknown"),
            fact("d", "1", "Unknown"),
            fact("e", "2", "True"),
        ];
        assert_eq!(eviction(&nodes, "c"), Eviction::Goes);
        nodes.push(fact("f", "1", "False"));
        assert_eq!(eviction(&nodes, "c"), Eviction::Halts);
        // Where a whole zone fails, there are the others.
        nodes.retain(|node| !matches!(node.name.as_str(), "a" | "b"));
        assert_eq!(eviction(&nodes, "c"), Eviction::Goes);
        nodes.retain(|node| node.name != "e");
        assert_eq!(eviction(&nodes, "c"), Eviction::Ends);

        let silent = json!([{"type": "Ready", "status": "Unknown"}]);
        let n = node(silent.clone(), json!([]));
        let t = wanted(&n, || Eviction::Halts, &now()).unwrap();
        assert_eq!(keys(&t), ["node.kubernetes.io/unreachable:NoSchedule"]);
        let begun = json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]);
        let n = node(silent, begun);
        let t = wanted(&n, || Eviction::Halts, &now()).unwrap();
        assert_eq!(
            keys(&t)[1],
            "node.kubernetes.io/unreachable:NoExecute",
            "it goes on"
        );
    }

    #[test]
    fn who_never_spoke_was_heard_of_when_it_was_made() {
        let mut n = node(json!([]), json!([]));
        n.metadata.creation_timestamp = Some(now());
        assert!(!has_reported(&n));
        let later = serde_json::from_value(json!("2026-11-20T20:01:00Z")).unwrap();
        let c = unknown(&n, &later);
        assert!(c.iter().all(|c| c.last_heartbeat_time == Some(now())));
        assert!(has_reported(&node(
            serde_json::to_value(c).unwrap(),
            json!([])
        )));
    }

    #[test]
    fn our_own_word_is_no_word_of_the_agent() {
        let ready = |status: &str| {
            let ready = json!([{"type": "Ready", "status": status,
                "lastHeartbeatTime": "2026-11-20T20:00:00Z"}]);
            posted(&node(ready, json!([])))
        };
        assert_eq!(ready("True"), Some(now().0));
        assert_eq!(ready("False"), Some(now().0), "it speaks, and is not well");
        assert_eq!(ready("Unknown"), None);
        assert_eq!(posted(&node(json!([]), json!([]))), None);
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
