//! What controllers keep of a node: its labels are asked for its zone only, and its images
//! by nobody.

use cadet_api::meta::Meta;
use serde::Deserialize;

use crate::shared;

const ZONE: &str = "topology.kubernetes.io/zone";
/// A node with this label, whatever its value, does not count when it is asked how many are
/// ready.
const UNCOUNTED: &str = "node.kubernetes.io/exclude-disruption";
pub const HOSTNAME: &str = "kubernetes.io/hostname";

/// See the module's opening.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeFacts {
    pub name: String,
    pub uid: String,
    pub version: u64,
    /// "" if it says none.
    pub zone: String,
    /// Its label `kubernetes.io/hostname`; its name, if it has none.
    pub hostname: String,
    /// Takes no new pods: cordoned, or with a taint that keeps them off.
    pub closed: bool,
    /// Those that drive pods away.
    pub evicting: Vec<NodeTaint>,
    /// Status of its condition Ready; "" before it has one.
    pub ready: String,
    /// Whether it counts among those that are ready or not.
    pub counted: bool,
    pub terminating: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeTaint {
    pub key: String,
    pub value: String,
    pub effect: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Wire {
    metadata: Meta,
    spec: WireSpec,
    status: WireStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct WireSpec {
    taints: Vec<NodeTaint>,
    unschedulable: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct WireStatus {
    conditions: Vec<WireCondition>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct WireCondition {
    r#type: String,
    status: String,
}

impl NodeFacts {
    /// Whether an ordinary pod may be put there.
    pub fn takes_pods(&self) -> bool {
        self.ready == "True" && !self.closed && !self.terminating
    }
}

impl shared::Record for NodeFacts {
    type Wire = Wire;

    fn path() -> String {
        "/api/v1/nodes".to_owned()
    }

    fn of(wire: Wire) -> NodeFacts {
        let Wire {
            metadata: mut meta,
            spec,
            status,
        } = wire;
        let ready = status.conditions.into_iter().find(|c| c.r#type == "Ready");
        let closed = spec
            .taints
            .iter()
            .any(|taint| taint.effect != "PreferNoSchedule");
        let taints = spec.taints.into_iter();
        NodeFacts {
            version: meta.resource_version.parse().unwrap_or(0),
            zone: meta.labels.remove(ZONE).unwrap_or_default(),
            hostname: (meta.labels.remove(HOSTNAME)).unwrap_or_else(|| meta.name.clone()),
            closed: closed || spec.unschedulable,
            evicting: taints.filter(|taint| taint.effect == "NoExecute").collect(),
            ready: ready.map(|c| c.status).unwrap_or_default(),
            counted: !meta.labels.contains_key(UNCOUNTED),
            terminating: meta.is_deleting(),
            name: meta.name,
            uid: meta.uid,
        }
    }

    fn meta(&self) -> shared::Meta<'_> {
        shared::Meta {
            namespace: "",
            name: &self.name,
            uid: &self.uid,
            version: self.version,
            controller: None,
        }
    }

    fn deleting(&self) -> NodeFacts {
        NodeFacts {
            terminating: true,
            ..self.clone()
        }
    }

    fn is_deleting(&self) -> bool {
        self.terminating
    }
}
