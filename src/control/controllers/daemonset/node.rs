//! A node as a DaemonSet sees it: its name, labels and taints, without the ten thousand bytes
//! of its images and heartbeats.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Taint;
use serde::Deserialize;

use crate::shared::{Meta, Record};

/// See the module's opening.
#[derive(Debug, Clone)]
pub struct NodeInfo {
    pub name: String,
    uid: String,
    version: u64,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    deleting: bool,
}

impl NodeInfo {
    /// Whether no DaemonSet can tell the two apart.
    pub fn is_like(&self, other: &NodeInfo) -> bool {
        self.labels == other.labels && self.taints == other.taints
    }
}

/// The parts of a node that are decoded.
#[derive(Debug, Clone, Deserialize)]
pub struct NodeWire {
    metadata: WireMeta,
    #[serde(default)]
    spec: WireSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireMeta {
    name: String,
    uid: String,
    resource_version: String,
    labels: Option<BTreeMap<String, String>>,
    deletion_timestamp: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct WireSpec {
    taints: Option<Vec<Taint>>,
}

impl Record for NodeInfo {
    type Wire = NodeWire;

    fn path() -> String {
        "/api/v1/nodes".to_owned()
    }

    fn of(wire: NodeWire) -> NodeInfo {
        let NodeWire { metadata, spec } = wire;
        NodeInfo {
            name: metadata.name,
            uid: metadata.uid,
            // As of every object: it grows.
            version: metadata.resource_version.parse().unwrap_or(0),
            labels: metadata.labels.unwrap_or_default(),
            taints: spec.taints.unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
        }
    }

    fn meta(&self) -> Meta<'_> {
        Meta {
            namespace: "",
            name: &self.name,
            uid: &self.uid,
            version: self.version,
            controller: None,
        }
    }

    fn deleting(&self) -> NodeInfo {
        NodeInfo {
            deleting: true,
            ..self.clone()
        }
    }

    fn is_deleting(&self) -> bool {
        self.deleting
    }
}
