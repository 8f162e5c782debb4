//! The objects the scheduler watches, with the fields it reads and no others: what is not
//! read is skipped while parsing, and most of a Pod is not read.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, NodeSelector, NodeSelectorTerm, Toleration, TopologySelectorTerm,
    TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference, Time};
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::Resource;
use kube::api::ObjectMeta;
use serde::{Deserialize, Deserializer};

use crate::amounts::Quantities;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Slim {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
}

/// Metadata without who wrote which field, and without annotations, in which kubectl keeps
/// a copy of the whole object.
fn slim<'de, D: Deserializer<'de>>(from: D) -> Result<ObjectMeta, D::Error> {
    let slim = Slim::deserialize(from)?;
    Ok(ObjectMeta {
        name: slim.name,
        namespace: slim.namespace,
        uid: slim.uid,
        resource_version: slim.resource_version,
        labels: slim.labels,
        owner_references: slim.owner_references,
        creation_timestamp: slim.creation_timestamp,
        deletion_timestamp: slim.deletion_timestamp,
        ..ObjectMeta::default()
    })
}

macro_rules! watched {
    ($type:ident, $group:literal, $kind:literal, $plural:literal, $scope:ident) => {
        impl Resource for $type {
            type DynamicType = ();
            type Scope = $scope;

            fn kind((): &()) -> Cow<'_, str> {
                $kind.into()
            }

            fn group((): &()) -> Cow<'_, str> {
                $group.into()
            }

            fn version((): &()) -> Cow<'_, str> {
                "v1".into()
            }

            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    #[serde(deserialize_with = "slim")]
    pub metadata: ObjectMeta,
    pub spec: PodSpec,
    pub status: PodStatus,
}
watched!(Pod, "", "Pod", "pods", NamespaceResourceScope);

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    pub node_name: Option<String>,
    pub scheduler_name: Option<String>,
    pub priority: Option<i32>,
    pub preemption_policy: Option<String>,
    pub node_selector: Option<BTreeMap<String, String>>,
    pub affinity: Option<Affinity>,
    pub tolerations: Option<Vec<Toleration>>,
    pub topology_spread_constraints: Option<Vec<TopologySpreadConstraint>>,
    pub scheduling_gates: Option<Vec<serde::de::IgnoredAny>>,
    pub containers: Option<Vec<Container>>,
    pub init_containers: Option<Vec<Container>>,
    pub overhead: Option<Quantities>,
    pub resources: Option<Resources>,
    pub volumes: Option<Vec<Volume>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    pub name: String,
    pub image: Option<String>,
    pub resources: Option<Resources>,
    pub ports: Option<Vec<Port>>,
    pub restart_policy: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Resources {
    pub requests: Option<Quantities>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Port {
    pub host_port: Option<i32>,
    #[serde(rename = "hostIP")]
    pub host_ip: Option<String>,
    pub protocol: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Volume {
    pub name: String,
    pub persistent_volume_claim: Option<ClaimSource>,
    pub ephemeral: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimSource {
    pub claim_name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    pub phase: Option<String>,
    pub nominated_node_name: Option<String>,
    pub start_time: Option<Time>,
    pub conditions: Option<Vec<Condition>>,
    pub container_statuses: Option<Vec<ContainerStatus>>,
    pub init_container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    pub name: String,
    pub allocated_resources: Option<Quantities>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    #[serde(rename = "type")]
    pub type_: String,
    pub status: String,
    pub reason: Option<String>,
    pub message: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    #[serde(deserialize_with = "slim")]
    pub metadata: ObjectMeta,
    pub spec: NodeSpec,
    pub status: NodeStatus,
}
watched!(Node, "", "Node", "nodes", ClusterResourceScope);

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    pub unschedulable: Option<bool>,
    pub taints: Option<Vec<Taint>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Taint {
    pub key: String,
    pub value: Option<String>,
    pub effect: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    pub capacity: Option<Quantities>,
    pub allocatable: Option<Quantities>,
    pub images: Option<Vec<Image>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Image {
    pub names: Option<Vec<String>>,
    pub size_bytes: Option<i64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Namespace {
    #[serde(deserialize_with = "slim")]
    pub metadata: ObjectMeta,
}
watched!(
    Namespace,
    "",
    "Namespace",
    "namespaces",
    ClusterResourceScope
);

/// A Service or a ReplicationController: both select by a map.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct MapSelecting {
    pub selector: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Service {
    #[serde(deserialize_with = "slim")]
    pub metadata: ObjectMeta,
    pub spec: MapSelecting,
}
watched!(Service, "", "Service", "services", NamespaceResourceScope);

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ReplicationController {
    #[serde(deserialize_with = "slim")]
    pub metadata: ObjectMeta,
    pub spec: MapSelecting,
}
watched!(
    ReplicationController,
    "",
    "ReplicationController",
    "replicationcontrollers",
    NamespaceResourceScope
);

/// A ReplicaSet, a StatefulSet or a PodDisruptionBudget: all select by a selector.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Selecting {
    pub selector: Option<LabelSelector>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ReplicaSet {
    #[serde(deserialize_with = "slim")]
    pub metadata: ObjectMeta,
    pub spec: Selecting,
}
watched!(
    ReplicaSet,
    "apps",
    "ReplicaSet",
    "replicasets",
    NamespaceResourceScope
);

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct StatefulSet {
    #[serde(deserialize_with = "slim")]
    pub metadata: ObjectMeta,
    pub spec: Selecting,
}
watched!(
    StatefulSet,
    "apps",
    "StatefulSet",
    "statefulsets",
    NamespaceResourceScope
);

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Budget {
    #[serde(deserialize_with = "slim")]
    pub metadata: ObjectMeta,
    pub spec: Selecting,
    pub status: BudgetStatus,
}
watched!(
    Budget,
    "policy",
    "PodDisruptionBudget",
    "poddisruptionbudgets",
    NamespaceResourceScope
);

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BudgetStatus {
    pub disruptions_allowed: i64,
    pub disrupted_pods: Option<BTreeMap<String, serde::de::IgnoredAny>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Claim {
    // Whole, for the annotations by which scheduler and provisioner talk.
    pub metadata: ObjectMeta,
    pub spec: ClaimSpec,
    pub status: Phase,
}
watched!(
    Claim,
    "",
    "PersistentVolumeClaim",
    "persistentvolumeclaims",
    NamespaceResourceScope
);

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Phase {
    pub phase: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimSpec {
    pub volume_name: Option<String>,
    pub storage_class_name: Option<String>,
    pub access_modes: Option<Vec<String>>,
    pub volume_mode: Option<String>,
    pub selector: Option<LabelSelector>,
    pub resources: Option<Resources>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PersistentVolume {
    #[serde(deserialize_with = "slim")]
    pub metadata: ObjectMeta,
    pub spec: VolumeSpec,
    pub status: Phase,
}
watched!(
    PersistentVolume,
    "",
    "PersistentVolume",
    "persistentvolumes",
    ClusterResourceScope
);

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSpec {
    pub capacity: Option<Quantities>,
    pub access_modes: Option<Vec<String>>,
    pub storage_class_name: Option<String>,
    pub volume_mode: Option<String>,
    pub claim_ref: Option<ClaimRef>,
    pub node_affinity: Option<VolumeAffinity>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ClaimRef {
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub uid: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct VolumeAffinity {
    pub required: Option<NodeSelector>,
}

impl VolumeAffinity {
    pub fn terms(&self) -> Option<&[NodeSelectorTerm]> {
        let required = self.required.as_ref()?;
        Some(&required.node_selector_terms)
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StorageClass {
    #[serde(deserialize_with = "slim")]
    pub metadata: ObjectMeta,
    pub provisioner: String,
    pub volume_binding_mode: Option<String>,
    pub allowed_topologies: Option<Vec<TopologySelectorTerm>>,
}
watched!(
    StorageClass,
    "storage.k8s.io",
    "StorageClass",
    "storageclasses",
    ClusterResourceScope
);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_read_is_not_kept() {
        let pod: Pod = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "a", "namespace": "d", "uid": "u", "labels": {"x": "y"},
                "annotations": {"big": "text"}, "managedFields": [{"manager": "m"}],
                "creationTimestamp": "2026-11-20T20:00:00Z"},
            "spec": {"nodeName": "n", "schedulingGates": [{"name": "g"}],
                "containers": [{"name": "c", "image": "i", "env": [{"name": "A", "value": "b"}],
                    "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": 2}},
                    "ports": [{"containerPort": 1, "hostPort": 2, "hostIP": "10.0.0.1"}]}]},
            "status": {"phase": "Running"}}))
        .unwrap();
        assert_eq!(pod.spec.node_name.as_deref(), Some("n"));
        assert!(pod.metadata.annotations.is_none() && pod.metadata.managed_fields.is_none());
        assert!(pod.metadata.creation_timestamp.is_some());
        let c = &pod.spec.containers.as_ref().unwrap()[0];
        assert_eq!(
            c.ports.as_ref().unwrap()[0].host_ip.as_deref(),
            Some("10.0.0.1")
        );
        assert_eq!(Pod::url_path(&(), None), "/api/v1/pods");
        assert_eq!(
            StorageClass::url_path(&(), None),
            "/apis/storage.k8s.io/v1/storageclasses"
        );
    }
}
