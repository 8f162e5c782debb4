//! Documents in collections: scan, look up, insert, replace, remove.

use std::sync::atomic::Ordering;

use bson::{Bson, Document};

use super::index::Index;
use super::{Collection, Store, StoreError, Writing, keys};
use crate::order::key_of;
use crate::refusal::{Answer, Refusal};
use crate::wire;

fn decode(bytes: &[u8]) -> Result<Document, StoreError> {
    Document::from_reader(bytes).map_err(|e| StoreError::Damaged(e.to_string()))
}

fn encode(document: &Document) -> Answer<Vec<u8>> {
    let bytes = document
        .to_vec()
        .map_err(|e| Refusal::bad_value(format!("the document cannot be stored: {e}")))?;
    if bytes.len() > wire::MAX_DOCUMENT {
        return Err(Refusal::document_too_large(bytes.len()));
    }
    wire::check_depth(&bytes).map_err(|e| Refusal::bad_value(e.to_string()))?;
    Ok(bytes)
}

fn duplicate(collection: &Collection, index: &Index, document: &Document) -> Refusal {
    Refusal::duplicate_key(
        &collection.namespace.to_string(),
        index.name(),
        index.pattern(),
        index.values(document),
    )
}

impl Store {
    /// All documents in insertion order, read as the caller goes.
    pub fn scan(
        &self,
        collection: &Collection,
    ) -> impl Iterator<Item = Result<(u64, Document), StoreError>> + Send + use<> {
        self.tree
            .scan_prefix(keys::documents(collection.id))
            .map(|item| {
                let (key, value) = item?;
                let record = keys::record_of(&key)
                    .ok_or_else(|| StoreError::Damaged("a document key is too short".into()))?;
                Ok((record, decode(&value)?))
            })
    }

    /// One document by its record number.
    pub fn fetch(
        &self,
        collection: &Collection,
        record: u64,
    ) -> Result<Option<Document>, StoreError> {
        let found = self.tree.get(keys::document(collection.id, record))?;
        found.map(|bytes| decode(&bytes)).transpose()
    }

    /// The record whose `_id` equals the value.
    pub fn find_id(&self, collection: &Collection, id: &Bson) -> Result<Option<u64>, StoreError> {
        let entry = self.tree.get(keys::entry(collection.id, 0, &key_of(id)))?;
        entry
            .map(|bytes| {
                keys::record_of(&bytes)
                    .ok_or_else(|| StoreError::Damaged("an index entry is too short".into()))
            })
            .transpose()
    }

    /// Adds a document that already has its `_id`.
    ///
    /// # Errors
    /// `DuplicateKey`, `BSONObjectTooLarge`.
    pub fn insert(
        &self,
        collection: &Collection,
        document: &Document,
        lock: &Writing<'_>,
    ) -> Answer<()> {
        let bytes = encode(document)?;
        let mut batch = sled::Batch::default();
        let record = collection.last_record.load(Ordering::SeqCst) + 1;
        for index in collection.indexes.iter().filter(|i| i.unique) {
            for key in index.keys(document)? {
                let key = keys::entry(collection.id, index.number, &key);
                if self.tree.contains_key(&key).map_err(StoreError::from)? {
                    return Err(duplicate(collection, index, document));
                }
                batch.insert(key, &record.to_be_bytes());
            }
        }
        batch.insert(&keys::document(collection.id, record), bytes);
        self.apply(batch, lock)?;
        collection.last_record.store(record, Ordering::SeqCst);
        collection.count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Puts `after` in the place of `before`.
    ///
    /// # Errors
    /// `DuplicateKey`, `BSONObjectTooLarge`.
    pub fn replace(
        &self,
        collection: &Collection,
        record: u64,
        before: &Document,
        after: &Document,
        lock: &Writing<'_>,
    ) -> Answer<()> {
        let bytes = encode(after)?;
        let mut batch = sled::Batch::default();
        for index in collection.indexes.iter().filter(|i| i.unique) {
            let (old, new) = (index.keys(before)?, index.keys(after)?);
            for key in old.difference(&new) {
                batch.remove(keys::entry(collection.id, index.number, key));
            }
            for key in new.difference(&old) {
                let key = keys::entry(collection.id, index.number, key);
                if self.tree.contains_key(&key).map_err(StoreError::from)? {
                    return Err(duplicate(collection, index, after));
                }
                batch.insert(key, &record.to_be_bytes());
            }
        }
        batch.insert(&keys::document(collection.id, record), bytes);
        Ok(self.apply(batch, lock)?)
    }

    /// Removes a document.
    pub fn remove(
        &self,
        collection: &Collection,
        record: u64,
        before: &Document,
        lock: &Writing<'_>,
    ) -> Answer<()> {
        let mut batch = sled::Batch::default();
        for index in collection.indexes.iter().filter(|i| i.unique) {
            for key in index.keys(before)? {
                batch.remove(keys::entry(collection.id, index.number, &key));
            }
        }
        batch.remove(&keys::document(collection.id, record));
        self.apply(batch, lock)?;
        collection.count.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
}
