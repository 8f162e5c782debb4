//! Forgets the past: of all servers one per interval, and never what is younger than it.
//!
//! Each server remembers how often the key of this trade was written and etcd's revision
//! at that time. Who finds it unwritten since writes it and forgets up to that revision.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Shared;
use super::client::CallError;
use super::wire::{Compare, RequestOp, TxnRequest};
use crate::Revision;

/// How often the key was written, and etcd's revision when we looked.
type Seen = (i64, Revision);

/// Forgets for ever.
pub(super) async fn run(shared: Arc<Shared>, every: Duration) {
    let mut seen = (0, 0);
    loop {
        tokio::time::sleep(every).await;
        match once(&shared, seen).await {
            Ok(now) => seen = now,
            // Tried again next time; etcd only grows a little meanwhile.
            Err(error) => tracing::warn!(%error, "cannot compact etcd"),
        }
    }
}

async fn once(shared: &Shared, (written, revision): Seen) -> Result<Seen, CallError> {
    let key = &shared.names.compaction;
    let answer = shared
        .client
        .txn(TxnRequest {
            compare: vec![Compare::version(key, written)],
            success: vec![RequestOp::put(key, Bytes::from(revision.to_string()))],
            failure: vec![RequestOp::look(key)],
        })
        .await?;
    let now = answer.revision();
    if !answer.succeeded {
        return Ok((answer.found(0).map_or(0, |kv| kv.version), now));
    }
    if revision > 0 {
        shared.client.compact(revision).await?;
        tracing::debug!(revision, "etcd compacted");
    }
    Ok((written + 1, now))
}
