//! What is kept of an object's metadata beside its bytes: what the server acts on without
//! reading them. Of each object there is one, so what few ask for is left in the bytes.

use std::collections::BTreeMap;

use cadet_api::meta::{Meta, OwnerReference};

/// See the file's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub labels: BTreeMap<String, String>,
    pub finalizers: Box<[String]>,
    pub owner_references: Box<[OwnerReference]>,
    deleting: bool,
}

impl Kept {
    /// True once deletion has begun.
    pub fn is_deleting(&self) -> bool {
        self.deleting
    }
}

impl From<Meta> for Kept {
    fn from(meta: Meta) -> Kept {
        Kept {
            deleting: meta.is_deleting(),
            name: meta.name,
            namespace: meta.namespace,
            uid: meta.uid,
            labels: meta.labels,
            finalizers: meta.finalizers.into(),
            owner_references: meta.owner_references.into(),
        }
    }
}
