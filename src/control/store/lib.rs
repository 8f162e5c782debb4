//! The store: keys, bytes and one global revision, with etcd's promise and no idea of kinds.
//! A store of one server, [`LocalStore`], works so; `etcd` draws the one of several:
//!
//! ```text
//!   commit ──▶ writer thread ──▶ disk (batch, flush, barrier) ──▶ index + history ──▶ watches
//!                   ▲                                                  │
//!                   └──────────── compare with the index ◀─────────────┘
//! ```
//!
//! Invariants: a reader or a watch never sees a revision that is not yet durable; revisions
//! go up with every change, but need not be dense; every change of one key compares with
//! the revision the writer had read.
//!
//! A local store belongs to one server. A shared one ([`EtcdStore`]) serves several: each
//! keeps the index in memory and may be a moment behind the others, so who needs the newest
//! state asks [`Store::fresh`] first, and who decides over several keys uses a [`Guard`].

mod disk;
mod etcd;
mod index;
mod local;
mod redb_disk;

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast;

pub use disk::{Disk, MemoryDisk, Record, Stored};
pub use etcd::{EtcdOptions, EtcdStore, Tls};
pub use local::{LocalStore, Options};
pub use redb_disk::{Barrier, RedbDisk};

/// The global counter of changes. 0 means "before the first change".
pub type Revision = u64;

/// One key as it is at some revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: Arc<str>,
    pub value: Bytes,
    /// Revision at which the key came into being (again).
    pub created: Revision,
    /// Revision of the last change; what a writer must name to change it again.
    pub modified: Revision,
}

/// One change, as watches see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub revision: Revision,
    /// The key after the change; `None` when it was deleted.
    pub current: Option<Entry>,
    /// The key before the change; `None` when it was created.
    pub previous: Option<Entry>,
}

impl Event {
    /// The key that changed.
    pub fn key(&self) -> &Arc<str> {
        match (&self.current, &self.previous) {
            (Some(entry), _) | (None, Some(entry)) => &entry.key,
            (None, None) => unreachable!("an event has at least one side"),
        }
    }
}

/// What a writer wants done to one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Fails with [`CommitError::Exists`] if the key is there.
    Create(Bytes),
    /// Fails unless the key's last change is `expect`.
    Update { value: Bytes, expect: Revision },
    /// Fails unless the key's last change is `expect`.
    Delete { expect: Revision },
}

/// Keys below a prefix at one revision, in key order.
#[derive(Debug, Clone)]
pub struct Listing {
    pub revision: Revision,
    pub entries: Vec<Entry>,
}

/// Why a write was refused or lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    #[error("create {key}: the key exists (revision {modified})")]
    Exists { key: Arc<str>, modified: Revision },
    #[error("change {key}: the key does not exist")]
    Missing { key: Arc<str> },
    #[error("change {key}: expected revision {expected}, found {found}")]
    Conflict {
        key: Arc<str>,
        expected: Revision,
        found: Revision,
    },
    /// The disk refused. The store takes no more writes: what reached the platter is unknown.
    #[error("write {key}: {reason}; the store takes no more writes until it is reopened")]
    Disk { key: Arc<str>, reason: String },
    #[error("write {key}: the store is closed")]
    Closed { key: Arc<str> },
    /// Somebody else decided under the same guard meanwhile: look again, decide anew.
    #[error("write {key}: the decision was overtaken by another one about {guard}")]
    Overtaken { key: Arc<str>, guard: Arc<str> },
    /// Nothing was written; another attempt may succeed.
    #[error("write {key}: {reason}")]
    Unreachable { key: Arc<str>, reason: String },
    /// The write was sent and not answered: it may or may not have taken place.
    #[error("write {key}: {reason}")]
    Unanswered { key: Arc<str>, reason: String },
    /// The engine does not take this write, whoever sends it.
    #[error("write {key}: {reason}")]
    Refused { key: Arc<str>, reason: String },
}

/// A decision that looks at many keys and writes one (which address is free?) is safe under
/// a guard: of two that were made at once under the same guard only one is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    pub name: Arc<str>,
    /// The last decision under this guard that was known.
    pub seen: Revision,
    /// Look at no state older than this.
    pub newest: Revision,
}

/// The newest revision cannot be told: the engine does not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unfresh {
    pub reason: String,
}

/// Why a revision cannot be read or watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RevisionError {
    /// The history needed was compacted away; `oldest` can still be asked for.
    #[error("revision {asked} is too old, the oldest kept is {oldest}")]
    TooOld { asked: Revision, oldest: Revision },
    #[error("revision {asked} is in the future, the newest is {newest}")]
    Future { asked: Revision, newest: Revision },
}

/// Why a watch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnd {
    /// The reader was so slow that events were dropped; watch again from the last one seen.
    #[error("the watch fell {missed} events behind and was cut")]
    Lagged { missed: u64 },
    /// The store was closed, or had to begin anew because events were lost to it: to watch
    /// again from the last one seen tells which.
    #[error("the store was closed or began anew")]
    Closed,
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("open store {path}: another process has it open")]
    Locked { path: String },
    #[error("open store {path}: the files are damaged: {reason}")]
    Corrupt { path: String, reason: String },
    #[error("open store {path}: {source}")]
    Io {
        path: String,
        source: std::io::Error,
    },
    #[error("open store in etcd at {endpoints}: {reason}")]
    Etcd { endpoints: String, reason: String },
}

/// The seam: what the API server needs of storage, and nothing else.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The newest durable revision.
    fn revision(&self) -> Revision;

    /// Why the store takes no more writes, once it does not.
    fn fault(&self) -> Option<String>;

    /// One key, now.
    fn get(&self, key: &str) -> Option<Entry>;

    /// All keys below `prefix`, now or as they were at an earlier revision.
    fn list(&self, prefix: &str, at: Option<Revision>) -> Result<Listing, RevisionError>;

    /// Changes one key. Returns the revision of the change once it is durable and can be
    /// read here.
    async fn commit(&self, key: &str, change: Change) -> Result<Revision, CommitError>;

    /// Whether other servers change this store as well.
    fn is_shared(&self) -> bool {
        false
    }

    /// The newest revision of whatever any server had written before the call. This server
    /// may reach it a little later.
    async fn fresh(&self) -> Result<Revision, Unfresh> {
        Ok(self.revision())
    }

    /// Begins a decision under a guard. A store of one server needs none: its callers hold
    /// locks of their own.
    async fn guard(&self, name: &str) -> Result<Guard, Unfresh> {
        let newest = self.revision();
        Ok(Guard {
            name: name.into(),
            seen: 0,
            newest,
        })
    }

    /// As [`Store::commit`], unless a guard was used by somebody else meanwhile.
    async fn commit_guarded(
        &self,
        key: &str,
        change: Change,
        guards: &[&Guard],
    ) -> Result<Revision, CommitError> {
        // A store of one server: nobody else decides, and its callers hold locks of their own.
        let _ = guards;
        self.commit(key, change).await
    }

    /// All changes after `from`, in order, without a gap.
    fn watch(&self, from: Revision) -> Result<Watch, RevisionError>;
}

/// A stream of changes. Memory is bounded: a reader that falls behind is cut.
#[derive(Debug)]
pub struct Watch {
    backlog: VecDeque<Arc<Event>>,
    live: broadcast::Receiver<Arc<Event>>,
}

impl Watch {
    /// The next change; waits for one. Safe to drop while waiting.
    pub async fn next(&mut self) -> Result<Arc<Event>, WatchEnd> {
        if let Some(event) = self.backlog.pop_front() {
            return Ok(event);
        }
        match self.live.recv().await {
            Ok(event) => Ok(event),
            Err(broadcast::error::RecvError::Lagged(missed)) => Err(WatchEnd::Lagged { missed }),
            Err(broadcast::error::RecvError::Closed) => Err(WatchEnd::Closed),
        }
    }
}
