//! One stored object: its bytes, and the few things the server must know to serve them.
//!
//! ```text
//!   {"apiVersion":"v1","kind":"Pod",  "metadata":{  "resourceVersion":"7",  "name":"a",…}}
//!   └──────────── head ────────────┘               └─ written on the way ─┘ └── tail ──┘
//! ```
//! The stored form leaves `resourceVersion` out, because the store decides it; every
//! reader gets it spliced in. Lists leave the head out too, as upstream's do.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use bytes::Bytes;
use cadet_api::meta::{self, OwnerReference};
use cadet_api::resource::Resource;
use cadet_api::skim::skim;
use cadet_store::{Entry, Revision};
use serde_json::Value;

use crate::kept::{self, Kept, Parts};
use crate::kinds::Kinds;

const METADATA: &str = "\"metadata\":{";
const VERSION: &str = "\"resourceVersion\":\"";

/// An object of a current version, as the store has it.
#[derive(Debug)]
pub struct Object {
    pub resource: &'static Resource,
    pub revision: Revision,
    kept: Kept,
    stored: Bytes,
    /// Length of the head.
    head: usize,
    /// See [`Object::known`].
    decoded: OnceLock<Box<Value>>,
}

/// A record in the store is not what this server writes.
#[derive(Debug, thiserror::Error)]
#[error("read {key} from the store: {reason}")]
pub struct BadRecord {
    pub key: String,
    pub reason: String,
}

impl Object {
    /// Reads a record of the store.
    pub fn from_entry(entry: &Entry, kinds: &Kinds) -> Result<Object, BadRecord> {
        Object::read(entry, kinds, None)
    }

    /// As [`Object::from_entry`], for a record whose parts its writer has read already.
    pub fn from_parts(entry: &Entry, kinds: &Kinds, parts: Parts) -> Result<Object, BadRecord> {
        Object::read(entry, kinds, Some(parts))
    }

    fn read(entry: &Entry, kinds: &Kinds, known: Option<Parts>) -> Result<Object, BadRecord> {
        let bad = |reason: String| BadRecord {
            key: entry.key.to_string(),
            reason,
        };
        let resource = resource_of_key(&entry.key, kinds)
            .ok_or_else(|| bad("the kind is not served".to_owned()))?;
        let head = head_of(resource).len();
        let tail = entry.value.get(head..).unwrap_or_default();
        if !tail.starts_with(METADATA.as_bytes()) {
            return Err(bad(
                "the record does not open with its kind and metadata".to_owned()
            ));
        }
        let parts = match known {
            // Written by the definition in force before this one, perhaps.
            Some(parts) if parts.fields() == resource.fields.len() => parts,
            _ => parts_in(resource, &entry.value).map_err(|e| bad(e.to_string()))?,
        };
        Ok(Object {
            resource,
            kept: Kept::new(parts, &entry.value),
            revision: entry.modified,
            stored: entry.value.clone(),
            head,
            decoded: OnceLock::new(),
        })
    }

    pub fn name(&self) -> &str {
        self.kept.text(kept::NAME, &self.stored)
    }

    /// "" at cluster scope.
    pub fn namespace(&self) -> &str {
        self.kept.text(kept::NAMESPACE, &self.stored)
    }

    pub fn uid(&self) -> &str {
        self.kept.text(kept::UID, &self.stored)
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.kept.label(key, &self.stored)
    }

    /// All labels.
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.kept.labels(&self.stored)
    }

    pub fn finalizers(&self) -> &[String] {
        self.kept.finalizers()
    }

    pub fn owner_references(&self) -> &[OwnerReference] {
        self.kept.owner_references()
    }

    /// True once deletion has begun.
    pub fn is_deleting(&self) -> bool {
        self.kept.is_deleting()
    }

    /// The value of a selectable field; `None` if selectors cannot name it.
    pub fn field(&self, name: &str) -> Option<&str> {
        match name {
            "metadata.name" => Some(self.name()),
            "metadata.namespace" => Some(self.namespace()),
            _ => {
                let at = self.resource.fields.iter().position(|f| f.name == name)?;
                Some(self.kept.field(at, &self.stored))
            }
        }
    }

    /// `spec.nodeName` of a pod that has one: what the watch index sorts by.
    pub fn node(&self) -> Option<&str> {
        if !self.resource.is("", "Pod") {
            return None;
        }
        self.field("spec.nodeName").filter(|node| !node.is_empty())
    }

    /// The object with its resource version, decoded.
    pub fn value(&self) -> Value {
        // Read once already when the record was taken in, so it is JSON.
        let mut value = serde_json::from_slice(&self.stored).unwrap_or(Value::Null);
        meta::set_resource_version(&mut value, self.revision);
        value
    }

    /// As [`Object::value`], decoded once and kept: for kinds of which there are few objects
    /// and which the admission of very many others asks for.
    pub fn known(&self) -> &Value {
        self.decoded.get_or_init(|| Box::new(self.value()))
    }

    /// The whole object as clients see it, at `revision` (that of a deletion, say).
    pub fn write_at(&self, out: &mut Vec<u8>, revision: Revision) {
        out.extend_from_slice(&self.stored[..self.head + METADATA.len()]);
        self.write_tail(out, revision);
    }

    /// The whole object as clients see it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.stored.len() + 40);
        self.write_at(&mut out, self.revision);
        out
    }

    /// The object as an item of a list: without `apiVersion` and `kind`.
    pub fn write_item(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        out.extend_from_slice(METADATA.as_bytes());
        self.write_tail(out, self.revision);
    }

    /// The bytes as the store has them.
    pub fn stored(&self) -> &[u8] {
        &self.stored
    }

    /// What is kept beside the bytes, once a selectable field has another value and nothing
    /// else that is kept has changed.
    pub fn parts_with(&self, field: &str, value: &str) -> Parts {
        let parts = self.kept.parts(&self.stored);
        match self.resource.fields.iter().position(|f| f.name == field) {
            Some(at) => parts.with_field(at, value),
            None => parts,
        }
    }

    /// How many bytes are kept of it.
    pub fn size(&self) -> usize {
        self.stored.len()
    }

    /// How many bytes [`Object::write_item`] writes.
    pub fn item_len(&self) -> usize {
        let rest = self.stored.len() - self.head - METADATA.len();
        let comma = usize::from(self.stored.get(self.head + METADATA.len()) != Some(&b'}'));
        let digits = self
            .revision
            .checked_ilog10()
            .map_or(1, |log| log as usize + 1);
        1 + METADATA.len() + VERSION.len() + digits + 1 + comma + rest
    }

    fn write_tail(&self, out: &mut Vec<u8>, revision: Revision) {
        out.extend_from_slice(VERSION.as_bytes());
        out.extend_from_slice(revision.to_string().as_bytes());
        let rest = &self.stored[self.head + METADATA.len()..];
        out.extend_from_slice(if rest.first() == Some(&b'}') {
            b"\""
        } else {
            b"\","
        });
        out.extend_from_slice(rest);
    }
}

/// Reads what is kept beside the bytes out of them.
fn parts_in(resource: &Resource, bytes: &[u8]) -> serde_json::Result<Parts> {
    let wanted: Vec<&str> = meta::POINTERS
        .iter()
        .chain(resource.fields.iter().flat_map(|field| field.paths))
        .copied()
        .collect();
    let value = skim(bytes, &wanted)?;
    Parts::of(resource, &value)
}

/// Room to write objects in that a thread keeps for the next one, bytes.
const SCRATCH: usize = 64 * 1024;

thread_local! {
    static WRITING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The form in which an object goes into the store.
pub fn to_stored(resource: &Resource, value: &Value) -> Bytes {
    WRITING.with_borrow_mut(|out| {
        out.clear();
        write_stored(out, resource, value);
        // Kept for as long as the object lives: without the room the buffer grew ahead of need.
        let stored = Bytes::copy_from_slice(out);
        out.clear();
        out.shrink_to(SCRATCH);
        stored
    })
}

fn write_stored(out: &mut Vec<u8>, resource: &Resource, value: &Value) {
    out.extend_from_slice(head_of(resource).as_bytes());
    let empty = serde_json::Map::new();
    let object = value.as_object().unwrap_or(&empty);
    let mut first = true;
    out.extend_from_slice(METADATA.as_bytes());
    let metadata = object
        .get("metadata")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    for (key, field) in metadata.iter().filter(|(key, _)| *key != "resourceVersion") {
        write_member(out, &mut first, key, field);
    }
    out.push(b'}');
    first = false;
    for (key, field) in object {
        if !matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
            write_member(out, &mut first, key, field);
        }
    }
    out.push(b'}');
}

fn write_member(out: &mut Vec<u8>, first: &mut bool, key: &str, value: &Value) {
    if !std::mem::take(first) {
        out.push(b',');
    }
    write_json(out, key);
    out.push(b':');
    write_json(out, value);
}

fn write_json<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // A Vec takes everything, and texts and Values always serialize.
    let _ = serde_json::to_writer(out, value);
}

fn head_of(resource: &Resource) -> String {
    let api_version = resource.storage.api_version();
    format!(
        "{{\"apiVersion\":\"{api_version}\",\"kind\":\"{}\",",
        resource.kind
    )
}

/// Where all objects of a resource lie in the store: `/pods/`, `/leases.coordination.k8s.io/`.
pub fn prefix_of(resource: &'static Resource, namespace: Option<&str>) -> String {
    let kind = resource.stored_as().qualified();
    match namespace {
        Some(namespace) if resource.namespaced => format!("/{kind}/{namespace}/"),
        _ => format!("/{kind}/"),
    }
}

/// Where one object lies in the store. Neither name can hold a slash: both are checked
/// when an object is born.
pub fn key_of(resource: &'static Resource, namespace: &str, name: &str) -> String {
    let namespace = resource.namespaced.then_some(namespace);
    format!("{}{name}", prefix_of(resource, namespace))
}

fn resource_of_key(key: &str, kinds: &Kinds) -> Option<&'static Resource> {
    kinds.stored(key.strip_prefix('/')?.split('/').next()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cadet_api::resource;
    use serde_json::json;

    fn object(value: &Value) -> Object {
        let pods = resource::find("", "v1", "pods").expect("pods");
        let entry = Entry {
            key: key_of(pods, "default", "a").into(),
            value: to_stored(pods, value),
            created: 3,
            modified: 42,
        };
        Object::from_entry(&entry, &Kinds::default()).expect("readable")
    }

    #[test]
    fn the_resource_version_is_spliced_and_nothing_else_changes() {
        let pod = json!({"kind": "Pod", "apiVersion": "v1", "unknown": {"kept": [1, null]},
            "metadata": {"name": "a", "namespace": "default", "labels": {"q\"uote": "ü"},
                "resourceVersion": "stale"},
            "spec": {"nodeName": "n1"}});
        let object = object(&pod);
        assert_eq!(object.node(), Some("n1"));
        let mut expected = pod.clone();
        meta::set_resource_version(&mut expected, 42);
        assert_eq!(object.value(), expected);
        let read: Value = serde_json::from_slice(&object.to_bytes()).expect("json");
        assert_eq!(read, expected);
        let mut item = vec![];
        object.write_item(&mut item);
        assert_eq!(object.item_len(), item.len());
        let read: Value = serde_json::from_slice(&item).expect("json");
        assert_eq!(read.get("kind"), None);
        assert_eq!(read["metadata"], expected["metadata"]);
        let mut deleted = vec![];
        object.write_at(&mut deleted, 50);
        let read: Value = serde_json::from_slice(&deleted).expect("json");
        assert_eq!(read["metadata"]["resourceVersion"], "50");
    }

    #[test]
    fn an_object_written_anew_keeps_what_has_not_changed() {
        let pod = json!({"metadata": {"name": "a", "namespace": "default", "uid": "u"},
            "spec": {"schedulerName": "s"}, "status": {"phase": "Pending"}});
        let mut bound = pod.clone();
        bound["spec"]["nodeName"] = json!("n1");
        let parts = object(&pod).parts_with("spec.nodeName", "n1");
        let read = Parts::of(object(&pod).resource, &bound).expect("parts");
        assert_eq!(parts, read);
    }

    /// With the counters of its `Arc` it fills a piece of 128 bytes, a size of the allocator;
    /// the next is a quarter more, for each of some hundred thousand objects.
    #[test]
    fn little_is_kept_beside_the_bytes() {
        let room = 128 - 2 * size_of::<usize>();
        assert!(size_of::<Object>() <= room, "{}", size_of::<Object>());
    }

    #[test]
    fn an_object_without_any_metadata_still_reads_as_json() {
        let object = object(&json!({}));
        let read: Value = serde_json::from_slice(&object.to_bytes()).expect("json");
        assert_eq!(read["metadata"], json!({"resourceVersion": "42"}));
        let mut item = vec![];
        object.write_item(&mut item);
        assert_eq!(object.item_len(), item.len());
    }

    #[test]
    fn keys_lead_back_to_their_kind() {
        for resource in resource::all().iter().filter(|r| !r.is_converted()) {
            let key = key_of(resource, "ns", "name");
            assert_eq!(
                resource_of_key(&key, &Kinds::default()),
                Some(resource),
                "{key}"
            );
        }
        let old = resource::find("", "v1beta3", "pods").expect("old pods");
        assert_eq!(key_of(old, "ns", "a"), "/pods/ns/a");
        assert_eq!(resource_of_key("/gadgets/ns/a", &Kinds::default()), None);
    }
}
