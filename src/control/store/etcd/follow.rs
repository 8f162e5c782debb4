//! Keeps the index true: one watch over all our keys, taken up again whenever it breaks.
//!
//! ```text
//!   ask for the head ──▶ watch from the last change seen ──▶ events ──▶ index, watches
//!     │  ▲                      │ compacted          │ broken
//!     │  └──── pause ◀──────────┼────────────────────┘
//!     └─ another past ─▶ load anew ─ the same as the index? ── no ──▶ begin anew: watches end
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::broadcast;

use super::client::CallError;
use super::wire::{EventType, WatchCreateRequest, WatchEvent};
use super::{Shared, load};
use crate::index::Index;
use crate::{Entry, Event, Revision};

/// Pause before the watch is opened again, doubled with each failure.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Follows for ever, from `start` of etcd's revisions on.
pub(super) async fn run(shared: Arc<Shared>, start: Revision) {
    let mut start = Some(start);
    let mut pause = FIRST_PAUSE;
    loop {
        let used = shared.client.endpoint();
        let error = match follow(&shared, &mut start, &mut pause).await {
            Ok(()) => continue,
            Err(error) => error,
        };
        let reason = format!("etcd does not answer: {error}");
        if shared.fault().is_none() {
            tracing::warn!(%error, "etcd is lost; reads go on from memory");
        }
        shared.set_fault(Some(reason));
        shared.client.leave(used);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Watches until the watch must be opened again, at once (`Ok`) or after a pause.
/// `start` says from where if not from the last change.
async fn follow(
    shared: &Shared,
    start: &mut Option<Revision>,
    pause: &mut Duration,
) -> Result<(), CallError> {
    let head = shared.head().await?;
    // An etcd that was restored from a backup, or made anew, has another past.
    if shared.is_another_cluster(head.cluster) || head.revision < shared.revision() {
        *start = Some(reload(shared).await?);
    }
    let (key, range_end) = shared.names.range();
    let from = start.unwrap_or_else(|| shared.revision() + 1);
    let mut watching = shared
        .client
        .watch(WatchCreateRequest {
            key,
            range_end,
            start_revision: from.cast_signed(),
        })
        .await?;
    loop {
        let answer = watching.next().await?;
        if answer.compact_revision != 0 {
            tracing::warn!(
                from,
                compacted = answer.compact_revision,
                "etcd has forgotten what changed meanwhile"
            );
            *start = Some(reload(shared).await?);
            return Ok(());
        }
        if answer.canceled {
            return Err(CallError::Unanswered(answer.cancel_reason));
        }
        if answer.created {
            if shared.fault().is_some() {
                tracing::info!("etcd is back");
            }
            shared.set_fault(None);
            *pause = FIRST_PAUSE;
        }
        if !answer.events.is_empty() {
            take(shared, &answer.events);
            *start = None;
        }
    }
}

/// Brings events into the index and to those who watch.
fn take(shared: &Shared, events: &[WatchEvent]) {
    let mut state = shared.write();
    for event in events {
        let Some(event) = read(shared, &state.index, event) else {
            continue;
        };
        let event = Arc::new(event);
        state.index.apply(Arc::clone(&event));
        // An error only says that nobody watches.
        let _ = state.events.send(event);
    }
    let reached = state.index.revision();
    drop(state);
    shared.waiting.wake(reached);
}

/// What an event of etcd means for the index; nothing if it knows it already.
fn read(shared: &Shared, index: &Index, event: &WatchEvent) -> Option<Event> {
    let kv = event.kv.as_ref()?;
    let key = load::key_of(&shared.names, &kv.key)?;
    let revision = kv.mod_revision.cast_unsigned();
    let previous = index.get(key).cloned();
    if revision < index.revision() || previous.as_ref().is_some_and(|p| p.modified >= revision) {
        return None;
    }
    let current = match EventType::try_from(event.kind) {
        Ok(EventType::Put) => {
            let mut entry = load::entry_of(&shared.names, kv)?;
            if let Some(Entry { key, .. }) = &previous {
                entry.key = Arc::clone(key);
            }
            Some(entry)
        }
        Ok(EventType::Delete) => {
            previous.as_ref()?;
            None
        }
        Err(_) => return None,
    };
    Some(Event {
        revision,
        current,
        previous,
    })
}

/// Loads everything again. If something was missed, the index begins anew without a past
/// and all watches end, for nobody can tell them what happened in between. Returns from
/// which revision of etcd to go on.
async fn reload(shared: &Shared) -> Result<Revision, CallError> {
    let loaded = load::load(&shared.client, &shared.names).await?;
    shared.cluster.store(loaded.cluster, Ordering::Relaxed);
    let mut state = shared.write();
    let figures = |entry: &Entry| (Arc::clone(&entry.key), entry.created, entry.modified);
    if loaded.revision == state.index.revision()
        && loaded
            .entries
            .iter()
            .map(figures)
            .eq(state.index.entries().map(figures))
    {
        return Ok(loaded.at + 1);
    }
    tracing::warn!("changes were missed: watches begin anew");
    let (events, _) = broadcast::channel(shared.sizes.watch_buffer.max(1));
    state.index = Index::new(loaded.revision, loaded.entries, shared.sizes.history);
    state.events = events;
    drop(state);
    shared.waiting.wake(loaded.revision);
    Ok(loaded.at + 1)
}
