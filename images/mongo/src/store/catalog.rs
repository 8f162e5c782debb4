//! Which collections exist and which indexes they have.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use bson::{Document, doc};

use super::index::{self, Index};
use super::{Store, StoreError, Writing, keys};
use crate::refusal::{Answer, Refusal};

/// Longest namespace, in bytes, as in MongoDB since 4.4.
const MAX_NAMESPACE: usize = 255;

/// Keys removed in one batch when a collection is dropped.
const DROP_BATCH: usize = 1000;

/// A database and a collection in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Namespace {
    /// Database name.
    pub database: String,
    /// Collection name.
    pub collection: String,
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.collection)
    }
}

impl Namespace {
    /// Checks both names.
    ///
    /// # Errors
    /// `InvalidNamespace`.
    pub fn new(database: &str, collection: &str) -> Answer<Self> {
        check_database(database)?;
        let forbidden = collection.is_empty()
            || collection.contains('\0')
            || collection.contains('$')
            || collection.starts_with('.')
            || collection.ends_with('.');
        if forbidden || database.len() + collection.len() + 1 > MAX_NAMESPACE {
            return Err(Refusal::invalid_namespace(format!(
                "Invalid namespace specified '{database}.{collection}'"
            )));
        }
        Ok(Self {
            database: database.to_owned(),
            collection: collection.to_owned(),
        })
    }
}

/// Checks a database name.
///
/// # Errors
/// `InvalidNamespace`.
pub fn check_database(name: &str) -> Answer<()> {
    let bad =
        name.is_empty() || name.len() > 63 || name.contains(['/', '\\', '.', ' ', '"', '$', '\0']);
    if bad {
        return Err(Refusal::invalid_namespace(format!(
            "Invalid database name: '{name}'"
        )));
    }
    Ok(())
}

/// A collection as the catalog knows it; replaced as a whole when its indexes change.
#[derive(Debug)]
pub struct Collection {
    /// Where it is.
    pub namespace: Namespace,
    /// Its number in the keys of its content.
    pub id: u32,
    /// Its indexes, `_id_` first.
    pub indexes: Vec<Index>,
    /// The last record number given out.
    pub(super) last_record: Arc<AtomicU64>,
    /// How many documents it holds.
    pub(super) count: Arc<AtomicU64>,
}

impl Collection {
    /// How many documents it holds.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    fn entry(&self) -> Document {
        let indexes: Vec<Document> = self
            .indexes
            .iter()
            .map(|index| doc! { "number": i64::from(index.number), "spec": &index.spec })
            .collect();
        doc! {
            "database": &self.namespace.database,
            "collection": &self.namespace.collection,
            "id": i64::from(self.id),
            "indexes": indexes,
        }
    }

    fn catalog_key(&self) -> Vec<u8> {
        let mut key = vec![keys::CATALOG];
        key.extend(self.namespace.database.as_bytes());
        key.push(0);
        key.extend(self.namespace.collection.as_bytes());
        key
    }

    fn with_indexes(&self, indexes: Vec<Index>) -> Self {
        Self {
            namespace: self.namespace.clone(),
            id: self.id,
            indexes,
            last_record: Arc::clone(&self.last_record),
            count: Arc::clone(&self.count),
        }
    }
}

fn id_index() -> Answer<Index> {
    index::compile(0, &doc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" })
}

fn damaged(what: impl fmt::Display) -> StoreError {
    StoreError::Damaged(what.to_string())
}

impl Store {
    pub(super) fn load_catalog(&self) -> Result<(), StoreError> {
        let mut catalog = self.catalog.write().unwrap_or_else(PoisonError::into_inner);
        for item in self.tree.scan_prefix([keys::CATALOG]) {
            let (_, value) = item?;
            let entry = Document::from_reader(value.as_ref()).map_err(damaged)?;
            let namespace = Namespace {
                database: entry.get_str("database").map_err(damaged)?.to_owned(),
                collection: entry.get_str("collection").map_err(damaged)?.to_owned(),
            };
            let number = |document: &Document, name: &str| {
                let value = document.get_i64(name).map_err(damaged)?;
                u32::try_from(value).map_err(damaged)
            };
            let mut indexes = Vec::new();
            for item in entry.get_array("indexes").map_err(damaged)? {
                let item = item
                    .as_document()
                    .ok_or_else(|| damaged("an index is no document"))?;
                let spec = item.get_document("spec").map_err(damaged)?;
                indexes.push(index::compile(number(item, "number")?, spec).map_err(damaged)?);
            }
            let id = number(&entry, "id")?;
            self.next_collection
                .fetch_max(id.saturating_add(1), Ordering::SeqCst);
            let (mut last, mut count) = (0, 0);
            for key in self.tree.scan_prefix(keys::documents(id)).keys() {
                last =
                    keys::record_of(&key?).ok_or_else(|| damaged("a document key is too short"))?;
                count += 1;
            }
            let collection = Collection {
                namespace: namespace.clone(),
                id,
                indexes,
                last_record: Arc::new(AtomicU64::new(last)),
                count: Arc::new(AtomicU64::new(count)),
            };
            catalog.insert(namespace, Arc::new(collection));
        }
        Ok(())
    }

    /// Removes content of collections the catalog does not know.
    pub(super) fn sweep(&self) -> Result<(), StoreError> {
        let known: BTreeSet<u32> = self.collections().iter().map(|c| c.id).collect();
        let mut from = vec![keys::CONTENT];
        while let Some((key, _)) = self.tree.range(from.clone()..).next().transpose()? {
            let id =
                keys::collection_of(&key).ok_or_else(|| damaged("a content key is too short"))?;
            if !known.contains(&id) {
                self.clear_content(&keys::collection(id))?;
            }
            match id.checked_add(1) {
                Some(next) => from = keys::collection(next).to_vec(),
                None => break,
            }
        }
        Ok(())
    }

    /// Removes everything under a prefix, in batches that stay small in memory.
    fn clear_content(&self, prefix: &[u8]) -> Result<(), StoreError> {
        loop {
            let mut batch = sled::Batch::default();
            let mut found = 0;
            for key in self.tree.scan_prefix(prefix).keys().take(DROP_BATCH) {
                batch.remove(key?);
                found += 1;
            }
            if found == 0 {
                return Ok(());
            }
            self.tree.apply_batch(batch)?;
        }
    }

    /// All collections, ordered by name.
    pub fn collections(&self) -> Vec<Arc<Collection>> {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        catalog.values().cloned().collect()
    }

    /// One collection, if it exists.
    pub fn collection(&self, namespace: &Namespace) -> Option<Arc<Collection>> {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        catalog.get(namespace).cloned()
    }

    /// The collection, created with its `_id_` index if it does not exist.
    pub fn ensure_collection(
        &self,
        namespace: &Namespace,
        lock: &Writing<'_>,
    ) -> Answer<Arc<Collection>> {
        if let Some(existing) = self.collection(namespace) {
            return Ok(existing);
        }
        let id = self.next_collection.load(Ordering::SeqCst);
        let next = id
            .checked_add(1)
            .ok_or_else(|| Refusal::internal("no collection numbers are left"))?;
        self.next_collection.store(next, Ordering::SeqCst);
        // An interrupted drop may have left content under a number above all known ones.
        self.clear_content(&keys::collection(id))?;
        let collection = Collection {
            namespace: namespace.clone(),
            id,
            indexes: vec![id_index()?],
            last_record: Arc::default(),
            count: Arc::default(),
        };
        self.save(collection, sled::Batch::default(), lock)
    }

    /// Writes a collection's entry together with `batch` and makes it visible.
    fn save(
        &self,
        collection: Collection,
        mut batch: sled::Batch,
        lock: &Writing<'_>,
    ) -> Answer<Arc<Collection>> {
        let entry = collection
            .entry()
            .to_vec()
            .map_err(|e| Refusal::internal(format!("the catalog entry cannot be written: {e}")))?;
        batch.insert(collection.catalog_key(), entry);
        self.apply(batch, lock)?;
        let collection = Arc::new(collection);
        let mut catalog = self.catalog.write().unwrap_or_else(PoisonError::into_inner);
        catalog.insert(collection.namespace.clone(), Arc::clone(&collection));
        Ok(collection)
    }

    /// Removes a collection and all in it. False if it did not exist.
    pub fn drop_collection(&self, namespace: &Namespace, lock: &Writing<'_>) -> Answer<bool> {
        let Some(collection) = self.collection(namespace) else {
            return Ok(false);
        };
        let mut batch = sled::Batch::default();
        batch.remove(collection.catalog_key());
        self.apply(batch, lock)?;
        let mut catalog = self.catalog.write().unwrap_or_else(PoisonError::into_inner);
        catalog.remove(namespace);
        drop(catalog);
        self.clear_content(&keys::collection(collection.id))?;
        Ok(true)
    }

    /// Adds an index. A unique one is filled from the documents that exist.
    ///
    /// # Errors
    /// `DuplicateKey` if they already break it; then nothing has changed.
    pub fn add_index(
        &self,
        collection: &Collection,
        spec: &Document,
        lock: &Writing<'_>,
    ) -> Answer<Arc<Collection>> {
        let number = collection
            .indexes
            .iter()
            .map(|i| i.number)
            .max()
            .map_or(1, |n| n + 1);
        let index = index::compile(number, spec)?;
        let mut batch = sled::Batch::default();
        if index.unique {
            let mut taken = BTreeSet::new();
            for item in self.scan(collection) {
                let (record, document) = item?;
                for key in index.keys(&document)? {
                    if taken.contains(&key) {
                        return Err(Refusal::duplicate_key(
                            &collection.namespace.to_string(),
                            index.name(),
                            index.pattern(),
                            index.values(&document),
                        ));
                    }
                    batch.insert(
                        keys::entry(collection.id, number, &key),
                        &record.to_be_bytes(),
                    );
                    taken.insert(key);
                }
            }
        }
        let mut indexes = collection.indexes.clone();
        indexes.push(index);
        self.save(collection.with_indexes(indexes), batch, lock)
    }

    /// Removes the indexes for which `gone` says true.
    pub fn remove_indexes(
        &self,
        collection: &Collection,
        gone: impl Fn(&Index) -> bool,
        lock: &Writing<'_>,
    ) -> Answer<Arc<Collection>> {
        let (removed, kept): (Vec<Index>, Vec<Index>) =
            collection.indexes.iter().cloned().partition(gone);
        let saved = self.save(collection.with_indexes(kept), sled::Batch::default(), lock)?;
        for index in removed {
            self.clear_content(&keys::index(collection.id, index.number))?;
        }
        Ok(saved)
    }
}
