//! The world of a store that other servers change as well: catching up with them, and
//! beginning anew when changes were lost.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use cadet_store::{Guard, Revision, Unfresh};

use super::hub::Hub;
use super::{DEFINITIONS, World};
use crate::object::Object;

/// Longest a request waits for what other servers have written.
const PATIENCE: Duration = Duration::from_secs(3);

impl World {
    /// Whether other servers write to the store. If not, this world is always the newest.
    pub fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    /// Waits until everything can be read here that any server had written before.
    pub async fn settle(&self) -> Result<(), Unfresh> {
        let newest = self.store.fresh().await?;
        self.catch_up(newest).await
    }

    /// Begins a decision that looks at many objects: what can be read here is then no older
    /// than the last decision under this guard.
    pub async fn guard(&self, name: &str) -> Result<Guard, Unfresh> {
        let guard = self.store.guard(name).await?;
        self.catch_up(guard.newest).await?;
        Ok(guard)
    }

    async fn catch_up(&self, revision: Revision) -> Result<(), Unfresh> {
        let reached = tokio::time::timeout(PATIENCE, self.reach(revision)).await;
        reached.map_err(|_| Unfresh {
            reason: "changes of other servers do not arrive".to_owned(),
        })
    }

    /// Takes everything in again after changes were lost. All watches end: nobody can tell
    /// them what happened; who resumes is told that his version is too old.
    pub(super) fn reload(&self) {
        let listing = match self.store.list("/", None) {
            Ok(listing) => listing,
            Err(error) => {
                tracing::error!(%error, "cannot read the store again");
                return;
            }
        };
        let read = |entry| match Object::from_entry(entry, &self.kinds) {
            Ok(object) => Some(Arc::new(object)),
            Err(error) => {
                tracing::error!(%error, "a record is left out");
                None
            }
        };
        let mut defined = HashSet::new();
        for entry in &listing.entries {
            if let Some(name) = entry.key.strip_prefix(DEFINITIONS)
                && let Some(object) = read(entry)
            {
                self.kinds.define(&object.value());
                defined.insert(name.to_owned());
            }
        }
        self.kinds.retain(|name| defined.contains(name));
        let objects: Vec<Arc<Object>> = listing.entries.iter().filter_map(read).collect();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let (window, buffer) = state.hub.sizes();
        state.kinds.clear();
        for object in objects {
            state.put(object);
        }
        state.revision = listing.revision;
        state.hub = Hub::new(listing.revision, window, buffer);
        drop(state);
        self.rules_changed.fetch_add(1, Ordering::Release);
        self.hooks_changed.fetch_add(1, Ordering::Release);
        self.wake(listing.revision);
    }
}
