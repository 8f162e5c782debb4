//! Claims, volumes and classes as far as binding asks.

use std::collections::BTreeMap;

use cadet_api::quantity::Quantity;
use serde::Deserialize;
use serde_json::Value;

use crate::shared::{Meta, Record, version};

type Labels = BTreeMap<String, String>;

/// Annotations, as upstream's.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
pub const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
pub const PROVISIONER_BETA: &str = "volume.beta.kubernetes.io/storage-provisioner";
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const CLASS_BETA: &str = "volume.beta.kubernetes.io/storage-class";

/// What claims, volumes and classes have in common.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Header {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    pub labels: Labels,
    pub annotations: Labels,
    pub finalizers: Vec<String>,
    pub deletion_timestamp: Option<String>,
}

impl Header {
    fn meta(&self) -> Meta<'_> {
        Meta {
            namespace: &self.namespace,
            name: &self.name,
            uid: &self.uid,
            version: version(Some(&self.resource_version)),
            controller: None,
        }
    }

    pub fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    fn deleting(&self) -> Header {
        let mut copy = self.clone();
        copy.deletion_timestamp.get_or_insert_default();
        copy
    }

    pub fn has(&self, annotation: &str) -> bool {
        self.annotations.contains_key(annotation)
    }

    pub fn annotation(&self, name: &str) -> &str {
        self.annotations.get(name).map_or("", String::as_str)
    }

    pub fn is_held_by(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|f| f == finalizer)
    }
}

/// A PersistentVolumeClaim.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Claim {
    pub metadata: Header,
    pub spec: ClaimSpec,
    pub status: ClaimStatus,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimSpec {
    pub access_modes: Vec<String>,
    pub selector: Value,
    pub resources: Resources,
    pub volume_name: String,
    pub storage_class_name: Option<String>,
    pub volume_mode: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Resources {
    pub requests: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimStatus {
    pub phase: String,
    pub access_modes: Vec<String>,
    pub capacity: BTreeMap<String, Value>,
    /// A list, or null.
    pub conditions: Value,
    /// What becomes of each resource that is growing; or null.
    pub allocated_resource_statuses: Value,
}

impl Claim {
    /// The class it asks for; "" asks for none.
    pub fn class(&self) -> &str {
        match self.metadata.annotations.get(CLASS_BETA) {
            Some(class) => class,
            None => self.spec.storage_class_name.as_deref().unwrap_or_default(),
        }
    }

    /// The storage it asks for.
    pub fn wants(&self) -> Quantity {
        amount(&self.spec.resources.requests)
    }

    pub fn mode(&self) -> &str {
        self.spec.volume_mode.as_deref().unwrap_or("Filesystem")
    }

    /// `namespace/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.metadata.namespace, self.metadata.name)
    }
}

/// A PersistentVolume.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Volume {
    pub metadata: Header,
    pub spec: VolumeSpec,
    pub status: VolumeStatus,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSpec {
    pub capacity: BTreeMap<String, Value>,
    pub access_modes: Vec<String>,
    pub claim_ref: Option<ClaimRef>,
    pub persistent_volume_reclaim_policy: String,
    pub storage_class_name: String,
    pub volume_mode: Option<String>,
    pub host_path: Option<HostPath>,
    pub node_affinity: Value,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct HostPath {
    pub path: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ClaimRef {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct VolumeStatus {
    pub phase: String,
}

impl Volume {
    pub fn capacity(&self) -> Quantity {
        amount(&self.spec.capacity)
    }

    pub fn class(&self) -> &str {
        match self.metadata.annotations.get(CLASS_BETA) {
            Some(class) => class,
            None => &self.spec.storage_class_name,
        }
    }

    pub fn mode(&self) -> &str {
        self.spec.volume_mode.as_deref().unwrap_or("Filesystem")
    }

    /// Whether it is meant for this claim, by whoever said so.
    pub fn is_for(&self, claim: &Claim) -> bool {
        self.spec.claim_ref.as_ref().is_some_and(|to| {
            to.name == claim.metadata.name
                && to.namespace == claim.metadata.namespace
                && (to.uid.is_empty() || to.uid == claim.metadata.uid)
        })
    }
}

/// A StorageClass.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Class {
    pub metadata: Header,
    pub provisioner: String,
    pub reclaim_policy: Option<String>,
    pub volume_binding_mode: Option<String>,
    pub mount_options: Vec<String>,
}

impl Class {
    /// Whether a claim waits for a pod that needs it.
    pub fn waits(&self) -> bool {
        self.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
    }
}

fn amount(list: &BTreeMap<String, Value>) -> Quantity {
    let storage = list.get("storage");
    let storage = storage.and_then(cadet_api::quantity::Amount::of);
    storage.map(|amount| amount.quantity).unwrap_or_default()
}

impl Record for Claim {
    type Wire = Claim;

    fn path() -> String {
        "/api/v1/persistentvolumeclaims".to_owned()
    }

    fn of(wire: Claim) -> Claim {
        wire
    }

    fn meta(&self) -> Meta<'_> {
        self.metadata.meta()
    }

    fn deleting(&self) -> Claim {
        Claim {
            metadata: self.metadata.deleting(),
            ..self.clone()
        }
    }

    fn is_deleting(&self) -> bool {
        self.metadata.is_deleting()
    }
}

impl Record for Volume {
    type Wire = Volume;

    fn path() -> String {
        "/api/v1/persistentvolumes".to_owned()
    }

    fn of(wire: Volume) -> Volume {
        wire
    }

    fn meta(&self) -> Meta<'_> {
        self.metadata.meta()
    }

    fn deleting(&self) -> Volume {
        Volume {
            metadata: self.metadata.deleting(),
            ..self.clone()
        }
    }

    fn is_deleting(&self) -> bool {
        self.metadata.is_deleting()
    }
}

impl Record for Class {
    type Wire = Class;

    fn path() -> String {
        "/apis/storage.k8s.io/v1/storageclasses".to_owned()
    }

    fn of(wire: Class) -> Class {
        wire
    }

    fn meta(&self) -> Meta<'_> {
        self.metadata.meta()
    }

    fn deleting(&self) -> Class {
        Class {
            metadata: self.metadata.deleting(),
            ..self.clone()
        }
    }

    fn is_deleting(&self) -> bool {
        self.metadata.is_deleting()
    }
}
