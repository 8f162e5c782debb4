//! A HorizontalPodAutoscaler as this loop reads it.

use serde::Deserialize;
use serde_json::Value;

use crate::shared::{Meta, Record, version};

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Autoscaler {
    pub metadata: Header,
    pub spec: Spec,
    pub status: Status,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Header {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    pub generation: i64,
    pub deletion_timestamp: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    pub scale_target_ref: Target,
    pub min_replicas: Option<i32>,
    pub max_replicas: i32,
    pub metrics: Vec<Metric>,
    pub behavior: Option<Behavior>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Target {
    pub api_version: String,
    pub kind: String,
    pub name: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metric {
    #[serde(rename = "type")]
    pub kind: String,
    pub resource: Option<ResourceMetric>,
    pub container_resource: Option<ResourceMetric>,
    pub pods: Option<NamedMetric>,
    pub object: Option<ObjectMetric>,
    pub external: Option<NamedMetric>,
}

/// A metric of pods or of the outside.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NamedMetric {
    pub metric: Identifier,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectMetric {
    pub metric: Identifier,
    pub described_object: Target,
    pub target: MetricTarget,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Identifier {
    pub name: String,
    /// A label selector.
    pub selector: Option<Value>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ResourceMetric {
    /// `cpu`, `memory`.
    pub name: String,
    /// "" for all of them.
    pub container: String,
    pub target: MetricTarget,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MetricTarget {
    /// Percent of the request.
    pub average_utilization: Option<i32>,
    pub average_value: Option<Value>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Behavior {
    pub scale_up: Option<Rules>,
    pub scale_down: Option<Rules>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rules {
    pub stabilization_window_seconds: Option<i64>,
    /// `Max`, `Min` or `Disabled`.
    pub select_policy: Option<String>,
    pub policies: Option<Vec<Policy>>,
    pub tolerance: Option<Value>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Policy {
    /// `Pods` or `Percent`.
    #[serde(rename = "type")]
    pub kind: String,
    pub value: i32,
    pub period_seconds: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    pub current_replicas: i32,
    pub desired_replicas: i32,
    pub last_scale_time: Option<String>,
    pub current_metrics: Value,
    pub conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    pub last_transition_time: String,
    pub reason: String,
    pub message: String,
}

impl Record for Autoscaler {
    type Wire = Autoscaler;

    fn path() -> String {
        "/apis/autoscaling/v2/horizontalpodautoscalers".to_owned()
    }

    fn of(wire: Autoscaler) -> Autoscaler {
        wire
    }

    fn meta(&self) -> Meta<'_> {
        let meta = &self.metadata;
        Meta {
            namespace: &meta.namespace,
            name: &meta.name,
            uid: &meta.uid,
            version: version(Some(&meta.resource_version)),
            controller: None,
        }
    }

    fn deleting(&self) -> Autoscaler {
        let mut copy = self.clone();
        copy.metadata.deletion_timestamp.get_or_insert_default();
        copy
    }

    fn is_deleting(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }
}
