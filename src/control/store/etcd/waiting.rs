//! Who waits for which revision. Each is woken once, at its own: with one signal for all,
//! a hundred writers would wake each other for every change.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::Revision;

#[derive(Default)]
pub(super) struct Waiting(Mutex<BTreeMap<Revision, Vec<oneshot::Sender<()>>>>);

impl Waiting {
    /// Waits until `revision` is reached; `now` tells how far it is.
    pub async fn reach(&self, revision: Revision, now: impl Fn() -> Revision) {
        let arrival = {
            let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Looked at under the lock, which `wake` takes after the revision was reached.
            if now() >= revision {
                return;
            }
            let (waiter, arrival) = oneshot::channel();
            waiting.entry(revision).or_default().push(waiter);
            arrival
        };
        // The sender lives in `self`, so waiting cannot fail.
        let _ = arrival.await;
    }

    pub fn wake(&self, reached: Revision) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(first) = waiting.first_entry().filter(|e| *e.key() <= reached) {
            for waiter in first.remove() {
                // A writer that has gone away waits no more.
                let _ = waiter.send(());
            }
        }
    }
}
