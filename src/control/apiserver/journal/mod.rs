//! The journal: which requests came from outside lately, and who wrote which revision.
//!
//! ```text
//!   guard ── Trail (who asks) ──▶ handler ──▶ writing ── wrote(revision) ──▶ writers
//!     └───────── answered: an Entry, if the asker is no part of the cluster ──▶ ring
//! ```
//! Bounded in number and bytes, kept in memory only. Readers wait for a signal and look
//! into the ring; a slow one misses what has left it and costs nobody anything.

mod entry;
mod ring;
mod routes;
mod trail;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cadet_store::Revision;
use tokio::sync::Notify;

use crate::moment::Moment;
use ring::Ring;

pub use entry::Entry;
pub use routes::routes;
pub use trail::{Trail, Writer, follow, wrote};

/// Longest wait for the writer of a revision that is there already.
const SOON: Duration = Duration::from_secs(1);

/// See the module's opening.
#[derive(Debug)]
pub struct Journal {
    ring: Mutex<Ring>,
    writers: Mutex<BTreeMap<Revision, Arc<Writer>>>,
    /// How many revisions' writers are kept.
    remembered: usize,
    /// The server itself, whose writes are nobody's request.
    server: Arc<Writer>,
    /// Told of every entry.
    arrived: Notify,
    /// Told of every writer.
    wrote: Notify,
}

impl Journal {
    /// Remembers the writers of as many revisions.
    pub fn new(remembered: usize) -> Journal {
        Journal {
            ring: Mutex::default(),
            writers: Mutex::default(),
            remembered: remembered.max(1),
            server: Arc::new(Writer::server()),
            arrived: Notify::new(),
            wrote: Notify::new(),
        }
    }

    /// Takes in an answered request.
    pub fn record(&self, entry: Entry) {
        self.ring().push(entry);
        self.arrived.notify_waiters();
    }

    /// All entries newer than `since`, oldest first, and the moment of looking: every later
    /// entry is newer than that.
    pub fn after(&self, since: Moment) -> (Moment, Vec<Arc<Entry>>) {
        let mut ring = self.ring();
        (ring.mark(), ring.after(since))
    }

    /// Who wrote a revision, if that was here and lately.
    pub fn writer(&self, revision: Revision) -> Option<Arc<Writer>> {
        self.writers().get(&revision).cloned()
    }

    /// As [`Journal::writer`], but waits for the word of a write that was only just done:
    /// a change may be seen before its writer is told that it took place.
    pub async fn writer_soon(&self, revision: Revision) -> Option<Arc<Writer>> {
        let known = async {
            loop {
                let mut news = pin!(self.wrote.notified());
                news.as_mut().enable();
                if let Some(writer) = self.writer(revision) {
                    return writer;
                }
                news.await;
            }
        };
        tokio::time::timeout(SOON, known).await.ok()
    }

    fn written(&self, revision: Revision, writer: Option<Arc<Writer>>) {
        let writer = writer.unwrap_or_else(|| Arc::clone(&self.server));
        let mut writers = self.writers();
        writers.insert(revision, writer);
        while writers.len() > self.remembered {
            writers.pop_first();
        }
        drop(writers);
        self.wrote.notify_waiters();
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        // No writer leaves it half-changed, so a poisoned lock is still sound.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writers(&self) -> MutexGuard<'_, BTreeMap<Revision, Arc<Writer>>> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_of_old_revisions_are_forgotten() {
        let journal = Journal::new(2);
        for revision in [3, 1, 2] {
            journal.written(revision, None);
        }
        let known: Vec<bool> = (1..=3).map(|r| journal.writer(r).is_some()).collect();
        assert_eq!(known, [false, true, true]);
    }
}
