//! What a node offers: its room, what already stands in it, and whom it keeps out.

use k8s_openapi::api::core::v1::{Node, Taint};
use kube::ResourceExt;

use crate::pod::{Amounts, HostPort, amount};

/// A node with what runs on it.
#[derive(Debug, Clone, Default)]
pub struct Room {
    pub name: String,
    pub node: Node,
    pub allocatable: Amounts,
    pub requested: Amounts,
    /// Pods placed here, ended ones not counted.
    pub pods: i64,
    pub host_ports: Vec<HostPort>,
}

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

impl Room {
    /// An empty node.
    pub fn of(node: &Node) -> Room {
        let status = node.status.clone().unwrap_or_default();
        // A node that does not say what it can give away gives all it has.
        let offered = status.allocatable.or(status.capacity).unwrap_or_default();
        Room {
            name: node.name_any(),
            allocatable: offered
                .iter()
                .map(|(k, q)| (k.clone(), amount(k, &q.0)))
                .collect(),
            node: node.clone(),
            ..Room::default()
        }
    }

    /// What is offered of one resource.
    pub fn offers(&self, name: &str) -> i64 {
        self.allocatable.get(name).copied().unwrap_or(0)
    }

    /// What is already promised of one resource.
    pub fn promised(&self, name: &str) -> i64 {
        self.requested.get(name).copied().unwrap_or(0)
    }

    /// The node's taints, and those its state amounts to: a node that has never been ready
    /// is not ready even before the controller wrote the taint.
    pub fn taints(&self) -> Vec<Taint> {
        let spec = self.node.spec.as_ref();
        let mut out = spec.and_then(|s| s.taints.clone()).unwrap_or_default();
        let mut imply = |key: &str| {
            if !out.iter().any(|t| t.key == key) {
                out.push(Taint {
                    key: key.to_owned(),
                    effect: "NoSchedule".to_owned(),
                    ..Taint::default()
                });
            }
        };
        if !self.is_ready() {
            imply(NOT_READY);
        }
        if self.is_cordoned() {
            imply(UNSCHEDULABLE);
        }
        out
    }

    /// Whether a person closed the node for new pods.
    pub fn is_cordoned(&self) -> bool {
        self.node
            .spec
            .as_ref()
            .and_then(|s| s.unschedulable)
            .unwrap_or(false)
    }

    fn is_ready(&self) -> bool {
        let status = self.node.status.as_ref();
        status
            .and_then(|s| s.conditions.as_ref())
            .into_iter()
            .flatten()
            .any(|c| c.type_ == "Ready" && c.status == "True")
    }
}

/// Whether the taint is about the node being closed by a person.
pub fn is_cordon(taint: &Taint) -> bool {
    taint.key == UNSCHEDULABLE
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_that_was_never_ready_is_tainted_all_the_same() {
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "n"},
            "spec": {"unschedulable": true},
            "status": {"capacity": {"cpu": "2", "pods": "110", "memory": "1Ki"}}}))
        .unwrap();
        let room = Room::of(&node);
        assert_eq!(
            (
                room.offers("cpu"),
                room.offers("pods"),
                room.offers("memory")
            ),
            (2000, 110, 1024)
        );
        let keys: Vec<String> = room.taints().into_iter().map(|t| t.key).collect();
        assert_eq!(keys, [NOT_READY, UNSCHEDULABLE]);
        assert!(room.taints().iter().any(is_cordon));
    }
}
