//! Object metadata: the few fields the server acts on, read cheaply and set safely.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::{clock, json as place};

/// `metadata` as far as the server acts on it. Nulls count as absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    #[serde(deserialize_with = "or_default")]
    pub namespace: String,
    #[serde(deserialize_with = "or_default")]
    pub uid: String,
    #[serde(deserialize_with = "or_default")]
    pub resource_version: String,
    #[serde(deserialize_with = "or_default")]
    pub generation: i64,
    #[serde(deserialize_with = "or_default")]
    pub generate_name: String,
    /// RFC 3339.
    pub creation_timestamp: Option<String>,
    /// RFC 3339; set once deletion has begun.
    pub deletion_timestamp: Option<String>,
    /// Seconds.
    pub deletion_grace_period_seconds: Option<i64>,
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub finalizers: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub owner_references: Vec<OwnerReference>,
}

/// Where all that is in [`Meta`] stands, as JSON pointers.
pub const POINTERS: &[&str] = &[
    "/metadata/name",
    "/metadata/namespace",
    "/metadata/uid",
    "/metadata/resourceVersion",
    "/metadata/generation",
    "/metadata/generateName",
    "/metadata/creationTimestamp",
    "/metadata/deletionTimestamp",
    "/metadata/deletionGracePeriodSeconds",
    "/metadata/labels",
    "/metadata/finalizers",
    "/metadata/ownerReferences",
];

/// Who an object belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
    #[serde(deserialize_with = "or_default")]
    pub controller: bool,
    #[serde(deserialize_with = "or_default")]
    pub block_owner_deletion: bool,
}

/// What every object opens with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Header {
    #[serde(deserialize_with = "or_default")]
    pub api_version: String,
    #[serde(deserialize_with = "or_default")]
    pub kind: String,
    #[serde(deserialize_with = "or_default")]
    pub metadata: Meta,
}

fn or_default<'de, D, T>(d: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

impl Header {
    /// Reads the header from serialized JSON; the rest of the object is skipped, not built.
    ///
    /// # Errors
    /// The bytes are no JSON object, or a metadata field has the wrong type.
    pub fn from_slice(bytes: &[u8]) -> serde_json::Result<Header> {
        serde_json::from_slice(bytes)
    }
}

impl Meta {
    /// Reads `metadata` of a decoded object.
    ///
    /// # Errors
    /// A metadata field has the wrong type.
    pub fn of(object: &Value) -> serde_json::Result<Meta> {
        match object.get("metadata") {
            None | Some(Value::Null) => Ok(Meta::default()),
            Some(m) => Meta::deserialize(m),
        }
    }

    /// True once deletion has begun.
    pub fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }
}

/// A map of texts, such as labels; anything else in it is left out.
pub fn string_map(value: Option<&Value>) -> BTreeMap<String, String> {
    value
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// Drops maps and lists of the metadata that have nothing in them: to upstream's server, whose
/// objects are Go structs, such a field is absent (`omitempty` in `ObjectMeta`).
pub fn drop_empty(object: &mut Value) {
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    if let Some(metadata) = metadata {
        for key in ["labels", "annotations", "finalizers", "ownerReferences"] {
            if metadata.get(key).is_some_and(place::is_empty) {
                metadata.remove(key);
            }
        }
    }
}

/// The `metadata` object, created if absent. An `object` that is no JSON object becomes one.
pub fn of_mut(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    match object {
        Value::Object(m) => place::child(m, "metadata"),
        _ => unreachable!("made an object on the line above"),
    }
}

/// Sets one metadata field; `null` or "" removes it.
pub fn set(object: &mut Value, key: &str, value: impl Into<Value>) {
    let value = value.into();
    let m = of_mut(object);
    if value.is_null() || value.as_str() == Some("") {
        m.remove(key);
    } else {
        m.insert(key.to_owned(), value);
    }
}

/// Sets `metadata.resourceVersion`, which clients treat as opaque text.
pub fn set_resource_version(object: &mut Value, revision: u64) {
    set(object, "resourceVersion", revision.to_string());
}

/// What the server alone decides when an object is born: uid and creation time are set,
/// and whatever the client wrote about its deletion, revision or self link is dropped.
pub fn stamp_new(object: &mut Value, uid: &str, now: OffsetDateTime) {
    let m = of_mut(object);
    for key in [
        "resourceVersion",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
    ] {
        m.remove(key);
    }
    m.insert("uid".into(), json!(uid));
    m.insert("creationTimestamp".into(), json!(clock::rfc3339(now)));
}

/// Carries over from `old` what an update may never change: uid, creation time and the
/// marks of a deletion that has begun.
pub fn keep_system_fields(new: &mut Value, old: &Value) {
    for key in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ] {
        let value = old
            .pointer(&format!("/metadata/{key}"))
            .cloned()
            .unwrap_or(Value::Null);
        set(new, key, value);
    }
    set(new, "selfLink", Value::Null);
}

/// Marks an object as being deleted. The time is when its grace ends, as upstream counts.
pub fn begin_deletion(object: &mut Value, now: OffsetDateTime, grace_seconds: i64) {
    let end = now + time::Duration::seconds(grace_seconds.max(0));
    set(object, "deletionTimestamp", clock::rfc3339(end));
    set(object, "deletionGracePeriodSeconds", grace_seconds.max(0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_is_absent() {
        let mut object = json!({"metadata": {"name": "a", "labels": {}, "annotations": {"a": ""},
            "ownerReferences": [], "finalizers": ["x/y"]}});
        drop_empty(&mut object);
        let left = json!({"name": "a", "annotations": {"a": ""}, "finalizers": ["x/y"]});
        assert_eq!(object["metadata"], left);
    }
    use time::macros::datetime;

    #[test]
    fn header_is_read_from_bytes_and_tolerates_nulls() {
        let h = Header::from_slice(
            br#"{"apiVersion":"v1","kind":"Pod","spec":{"x":[1,2]},"metadata":{"name":"a",
            "creationTimestamp":null,"labels":null,"generation":3,
            "ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"n","uid":"u"}]}}"#,
        )
        .unwrap();
        assert_eq!((h.kind.as_str(), h.metadata.name.as_str()), ("Pod", "a"));
        assert_eq!(h.metadata.generation, 3);
        assert_eq!(h.metadata.owner_references[0].name, "n");
        assert!(!h.metadata.is_deleting());
        assert!(Header::from_slice(br#"{"metadata":{"labels":{"a":1}}}"#).is_err());
    }

    #[test]
    fn a_new_object_cannot_bring_its_own_history() {
        let mut o = json!({"metadata": {"name": "a", "uid": "mine", "resourceVersion": "7",
            "deletionTimestamp": "2020-01-01T00:00:00Z", "selfLink": "/x"}});
        stamp_new(&mut o, "real", datetime!(2026-01-02 03:04:05 UTC));
        assert_eq!(
            o,
            json!({"metadata": {"name": "a", "uid": "real",
                "creationTimestamp": "2026-01-02T03:04:05Z"}})
        );
    }

    #[test]
    fn an_update_cannot_undo_a_deletion_or_change_identity() {
        let mut old = json!({"metadata": {"name": "a", "uid": "u", "generation": 2}});
        begin_deletion(&mut old, datetime!(2026-01-02 03:04:05 UTC), 30);
        let mut new = json!({"metadata": {"name": "a", "uid": "other"}});
        keep_system_fields(&mut new, &old);
        assert_eq!(new["metadata"]["uid"], "u");
        assert_eq!(new["metadata"]["deletionTimestamp"], "2026-01-02T03:04:35Z");
        assert_eq!(new["metadata"]["deletionGracePeriodSeconds"], 30);
        assert_eq!(new["metadata"]["generation"], 2);
    }
}
