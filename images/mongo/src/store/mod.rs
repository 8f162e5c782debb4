//! Collections on disk: sled behind a few promises.
//!
//! One sled tree holds everything, so that a document and its index entries change in
//! one atomic batch. Keys: `0 <namespace>` is the catalog, `1 <collection> 0 <record>`
//! a document, `1 <collection> 1 <index> <key>` an entry of a unique index. Record
//! numbers grow, so a scan sees insertion order.
//!
//! Invariants: writers hold the one write lock; a write is acknowledged only after
//! [`Store::make_durable`]; whatever lies under a collection number that the catalog
//! does not know is rubbish of an interrupted drop and is swept at the next start.

mod catalog;
mod index;
mod keys;
mod records;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

pub use catalog::{Collection, Namespace, check_database};
pub use index::{compile as compile_index, is_simple_collation};

use crate::refusal::Refusal;

/// Memory sled may use for pages it has read, in bytes.
const CACHE_BYTES: u64 = 8 << 20;

/// Why the store could not be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder could not be made.
    #[error("cannot create the data folder {path}: {source}")]
    CreateFolder { path: PathBuf, source: io::Error },
    /// sled could not be opened: in use, no permission, damaged.
    #[error("cannot open the data in {path}: {source}")]
    Open { path: PathBuf, source: sled::Error },
    /// A read or write failed later.
    #[error("the data could not be read or written: {0}")]
    Engine(#[from] sled::Error),
    /// The last barrier to the disk failed; the write may be lost at a power cut.
    #[error("the data could not be brought to the disk: {0}")]
    Sync(io::Error),
    /// A stored document or catalog entry makes no sense.
    #[error("damaged data: {0}")]
    Damaged(String),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Refusal::internal(error.to_string())
    }
}

/// The open data folder.
pub struct Store {
    tree: sled::Tree,
    db: sled::Db,
    /// sled's own file: flush alone is no disk barrier in 0.34, so we add one.
    file: File,
    catalog: RwLock<BTreeMap<Namespace, Arc<Collection>>>,
    writer: Mutex<()>,
    /// Number of the next new collection; never reused while we run, so that an old
    /// cursor cannot wander into a new collection.
    next_collection: AtomicU32,
    /// Writes applied so far, and how many of them are known to be on disk.
    applied: AtomicU64,
    durable: Mutex<u64>,
}

/// Proof that the write lock is held.
pub struct Writing<'a> {
    _guard: MutexGuard<'a, ()>,
}

impl Store {
    /// Opens or creates the data folder and sweeps what an interrupted drop left.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(folder).map_err(|source| StoreError::CreateFolder {
            path: folder.to_owned(),
            source,
        })?;
        let open = |source| StoreError::Open {
            path: folder.to_owned(),
            source,
        };
        let db = sled::Config::new()
            .path(folder)
            .cache_capacity(CACHE_BYTES)
            .mode(sled::Mode::LowSpace)
            // Every acknowledged write is flushed by us; a timer would only wake the CPU.
            .flush_every_ms(None)
            .open()
            .map_err(open)?;
        let tree = db.open_tree("mongo").map_err(open)?;
        let file = File::open(folder.join("db")).map_err(StoreError::Sync)?;
        let store = Self {
            tree,
            db,
            file,
            catalog: RwLock::default(),
            writer: Mutex::default(),
            next_collection: AtomicU32::new(1),
            applied: AtomicU64::new(0),
            durable: Mutex::default(),
        };
        store.load_catalog()?;
        store.sweep()?;
        Ok(store)
    }

    /// Takes the write lock; hold it from reading the old state to the last change.
    pub fn write(&self) -> Writing<'_> {
        // A panic elsewhere leaves no half-applied batch, so the lock is not poisoned for us.
        Writing {
            _guard: self.writer.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Returns once everything applied before the call survives a power cut.
    /// Callers that wait at the same time share one barrier.
    pub fn make_durable(&self) -> Result<(), StoreError> {
        let wanted = self.applied.load(Ordering::SeqCst);
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if *durable >= wanted {
            return Ok(());
        }
        let covered = self.applied.load(Ordering::SeqCst);
        self.db.flush()?;
        self.file.sync_data().map_err(StoreError::Sync)?;
        *durable = covered;
        Ok(())
    }

    /// Bytes on disk.
    pub fn size_on_disk(&self) -> Result<u64, StoreError> {
        Ok(self.db.size_on_disk()?)
    }

    fn apply(&self, batch: sled::Batch, _lock: &Writing<'_>) -> Result<(), StoreError> {
        self.tree.apply_batch(batch)?;
        self.applied.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
