//! What writers know of their values while those travel through the store.
//!
//! A writer has its object decoded when it encodes it. The store hands the very same bytes
//! to whoever follows it, so their address finds again what the writer knew; a store that
//! copies them (a remote one) only costs that they are read once more.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cadet_store::Entry;

use crate::kept::Parts;
use crate::kinds::Kinds;
use crate::object::{BadRecord, Object};

/// See the module's opening.
#[derive(Debug, Default)]
pub(super) struct Announced(Mutex<HashMap<usize, Parts>>);

/// Holds the bytes, and with them their address, until their writer has its answer.
#[derive(Debug)]
pub struct Announcement<'a> {
    list: &'a Announced,
    bytes: Bytes,
}

impl Drop for Announcement<'_> {
    fn drop(&mut self) {
        // Still there if the write was refused, or given up before the world had it.
        self.list.lock().remove(&address(&self.bytes));
    }
}

fn address(bytes: &Bytes) -> usize {
    bytes.as_ptr() as usize
}

impl Announced {
    pub(super) fn put(&self, bytes: &Bytes, parts: Parts) -> Announcement<'_> {
        self.lock().insert(address(bytes), parts);
        Announcement {
            list: self,
            bytes: bytes.clone(),
        }
    }

    /// The object of a record, with the help of its writer if there is one.
    pub(super) fn read(&self, entry: &Entry, kinds: &Kinds) -> Result<Object, BadRecord> {
        let known = self.lock().remove(&address(&entry.value));
        match known {
            Some(parts) => Object::from_parts(entry, kinds, parts),
            None => Object::from_entry(entry, kinds),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Parts>> {
        // One insertion or removal at a time: a poisoned lock is still sound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{key_of, to_stored};
    use cadet_api::resource::find;
    use serde_json::json;

    #[test]
    fn announced_or_not_a_record_reads_the_same() {
        let pods = find("", "v1", "pods").expect("pods");
        let value = json!({"metadata": {"name": "a", "namespace": "d", "uid": "u",
                "resourceVersion": "7", "labels": {"x": "y"}, "finalizers": ["a/b"]},
            "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}});
        let entry = Entry {
            key: key_of(pods, "d", "a").into(),
            value: to_stored(pods, &value),
            created: 1,
            modified: 9,
        };
        let list = Announced::default();
        let read = || list.read(&entry, &Kinds::default()).expect("readable");
        let announced = list.put(&entry.value, Parts::of(pods, &value).expect("parts"));
        let helped = read();
        assert!(list.lock().is_empty());
        let alone = read();
        assert_eq!(helped.parts_with("", ""), alone.parts_with("", ""));
        assert_eq!(helped.node(), alone.node());
        assert_eq!(helped.field("status.phase"), Some("Running"));
        assert_eq!(helped.to_bytes(), alone.to_bytes());
        drop(announced);
        drop(list.put(&entry.value, Parts::of(pods, &value).expect("parts")));
        assert!(list.lock().is_empty(), "a write given up leaves nothing");
    }
}
