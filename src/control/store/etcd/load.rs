//! Everything etcd has for us at one of its revisions, page by page.

use bytes::Bytes;
use tonic::Code;

use super::Names;
use super::client::{CallError, Client};
use super::wire::{KeyValue, RangeRequest, revision_of};
use crate::{Entry, Revision};

/// Most keys in one answer.
const PAGE: i64 = 1000;

pub(super) struct Loaded {
    /// The newest change among ours.
    pub revision: Revision,
    /// The revision of etcd at which we looked: later ones bring what is not in here.
    pub at: Revision,
    pub cluster: u64,
    /// In key order.
    pub entries: Vec<Entry>,
}

/// Loads; begins again if etcd forgets the revision meanwhile.
pub(super) async fn load(client: &Client, names: &Names) -> Result<Loaded, CallError> {
    loop {
        match once(client, names).await {
            Err(CallError::Refused {
                code: Code::OutOfRange,
                reason,
            }) => tracing::warn!(reason, "etcd was compacted while it was read"),
            other => return other,
        }
    }
}

async fn once(client: &Client, names: &Names) -> Result<Loaded, CallError> {
    let (mut key, range_end) = names.range();
    let mut loaded = Loaded {
        revision: 0,
        at: 0,
        cluster: 0,
        entries: vec![],
    };
    loop {
        let page = client
            .range(RangeRequest {
                key,
                range_end: range_end.clone(),
                limit: PAGE,
                revision: loaded.at.cast_signed(),
                keys_only: false,
            })
            .await?;
        if loaded.at == 0 {
            loaded.at = revision_of(page.header.as_ref());
            loaded.cluster = page.header.as_ref().map_or(0, |h| h.cluster_id);
        }
        let read = page.kvs.iter().filter_map(|kv| entry_of(names, kv));
        loaded.entries.extend(read);
        match page.kvs.last() {
            Some(last) if page.more => {
                key = last.key.to_vec();
                key.push(0);
            }
            _ => break,
        }
    }
    let head = client
        .range(RangeRequest {
            key: names.head.clone().into_bytes(),
            revision: loaded.at.cast_signed(),
            ..RangeRequest::default()
        })
        .await?;
    let head = head.kvs.iter().map(|kv| kv.mod_revision.cast_unsigned());
    let newest = loaded.entries.iter().map(|entry| entry.modified);
    loaded.revision = newest.chain(head).max().unwrap_or(0);
    Ok(loaded)
}

/// The key of the store that a key of etcd stands for.
pub(super) fn key_of<'a>(names: &Names, key: &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(key).ok()?.strip_prefix(&names.objects)
}

/// The value is copied: it would keep the whole answer in memory that it came in.
pub(super) fn entry_of(names: &Names, kv: &KeyValue) -> Option<Entry> {
    Some(Entry {
        key: key_of(names, &kv.key)?.into(),
        value: Bytes::copy_from_slice(&kv.value),
        created: kv.create_revision.cast_unsigned(),
        modified: kv.mod_revision.cast_unsigned(),
    })
}
