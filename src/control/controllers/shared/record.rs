//! What a cache keeps of an object, and where its kind is served.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use serde::de::DeserializeOwned;

/// What every cached object is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta<'a> {
    /// "" for kinds without namespaces.
    pub namespace: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
    /// `resourceVersion`, which grows (KEP-5504).
    pub version: u64,
    /// Uid of the owner with `controller: true`.
    pub controller: Option<&'a str>,
}

/// A cached form of a kind. Every typed kind of `k8s_openapi` is one, without its managed
/// fields; what exists in tens of thousands has a slimmer one, as [`super::PodInfo`].
pub trait Record: Sized + Send + Sync + 'static {
    /// What is decoded.
    type Wire: DeserializeOwned + Clone + Send + 'static;
    /// Path of the collection in all namespaces: `/api/v1/pods`.
    fn path() -> String;
    fn of(wire: Self::Wire) -> Self;
    fn meta(&self) -> Meta<'_>;
    /// A copy on its way out: our deletion was accepted, the watch has not said so yet.
    fn deleting(&self) -> Self;
    fn is_deleting(&self) -> bool;
    /// The node it is on, by which it is indexed; "" if none.
    fn node(&self) -> &str {
        ""
    }
}

impl<K> Record for K
where
    K: k8s_openapi::Metadata<Ty = ObjectMeta> + DeserializeOwned + Clone + Send + Sync + 'static,
{
    type Wire = K;

    fn path() -> String {
        let root = if K::GROUP.is_empty() { "/api" } else { "/apis" };
        format!("{root}/{}/{}", K::API_VERSION, K::URL_PATH_SEGMENT)
    }

    fn of(mut object: K) -> K {
        object.metadata_mut().managed_fields = None;
        object
    }

    fn meta(&self) -> Meta<'_> {
        let meta = self.metadata();
        Meta {
            namespace: meta.namespace.as_deref().unwrap_or_default(),
            name: meta.name.as_deref().unwrap_or_default(),
            uid: meta.uid.as_deref().unwrap_or_default(),
            version: version(meta.resource_version.as_deref()),
            controller: meta
                .owner_references
                .iter()
                .flatten()
                .find(|owner| owner.controller == Some(true))
                .map(|owner| owner.uid.as_str()),
        }
    }

    fn deleting(&self) -> K {
        let mut copy = self.clone();
        let now = Time(Timestamp::now());
        copy.metadata_mut().deletion_timestamp.get_or_insert(now);
        copy
    }

    fn is_deleting(&self) -> bool {
        self.metadata().deletion_timestamp.is_some()
    }
}

/// A `resourceVersion` as a number; 0, the oldest, if it is none.
pub fn version(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}
