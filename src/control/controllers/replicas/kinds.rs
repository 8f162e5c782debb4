//! What the engine needs to know of a ReplicaSet or a ReplicationController.

use cadet_api::selector::LabelSelector;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{PodTemplateSpec, ReplicationController};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use crate::shared::{Kept, selector};

/// A kind that keeps copies of a pod.
pub trait Replicated: k8s_openapi::Metadata<Ty = ObjectMeta> + Kept {
    /// Who tells in events.
    const COMPONENT: &'static str;
    /// Whether its status counts pods on their way out.
    const COUNTS_TERMINATING: bool;
    /// How many pods are wanted.
    fn replicas(&self) -> i32;
    /// For how long a pod must be ready to be available.
    fn min_ready_seconds(&self) -> i32;
    fn selector(&self) -> Option<LabelSelector>;
    fn template(&self) -> Option<&PodTemplateSpec>;
    /// # Errors
    /// If the status cannot be written as JSON.
    fn status(&self) -> serde_json::Result<Value>;
}

impl Replicated for ReplicaSet {
    const COMPONENT: &'static str = "replicaset-controller";
    const COUNTS_TERMINATING: bool = true;

    fn replicas(&self) -> i32 {
        self.spec
            .as_ref()
            .and_then(|spec| spec.replicas)
            .unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        let spec = self.spec.as_ref();
        spec.and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
    }

    fn selector(&self) -> Option<LabelSelector> {
        selector(self.spec.as_ref().map(|spec| &spec.selector))
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }

    fn status(&self) -> serde_json::Result<Value> {
        match &self.status {
            Some(status) => serde_json::to_value(status),
            None => Ok(json!({})),
        }
    }
}

impl Replicated for ReplicationController {
    const COMPONENT: &'static str = "replication-controller";
    const COUNTS_TERMINATING: bool = false;

    fn replicas(&self) -> i32 {
        self.spec
            .as_ref()
            .and_then(|spec| spec.replicas)
            .unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        let spec = self.spec.as_ref();
        spec.and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
    }

    fn selector(&self) -> Option<LabelSelector> {
        let labels = self.spec.as_ref()?.selector.as_ref()?;
        LabelSelector::from_object(&json!({"matchLabels": labels})).ok()
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }

    fn status(&self) -> serde_json::Result<Value> {
        match &self.status {
            Some(status) => serde_json::to_value(status),
            None => Ok(json!({})),
        }
    }
}
