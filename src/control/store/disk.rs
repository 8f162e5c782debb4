//! What a local engine must do for the store: load everything once, then append batches durably.

use std::sync::Arc;

use bytes::Bytes;

use crate::{Entry, OpenError, Revision};

/// One key of a batch: its new state, or `None` to remove it.
#[derive(Debug, Clone)]
pub struct Record {
    pub key: Arc<str>,
    pub entry: Option<Entry>,
    /// What it replaces: that of the record before it in the batch, else what the disk has.
    pub previous: Option<Entry>,
}

/// Everything a disk held when it was opened.
#[derive(Debug, Default)]
pub struct Stored {
    pub revision: Revision,
    pub entries: Vec<Entry>,
}

/// A place that keeps the latest state of every key.
pub trait Disk: Send + 'static {
    /// Reads the whole content, checking it.
    fn load(&mut self) -> Result<Stored, OpenError>;

    /// Makes the records and the new revision durable, all or nothing. Returns only when a
    /// power cut can no longer undo it.
    fn append(&mut self, revision: Revision, records: &[Record]) -> Result<(), String>;
}

/// Keeps nothing: for tests and for throw-away clusters.
#[derive(Debug, Default)]
pub struct MemoryDisk;

impl Disk for MemoryDisk {
    fn load(&mut self) -> Result<Stored, OpenError> {
        Ok(Stored::default())
    }

    fn append(&mut self, _revision: Revision, _records: &[Record]) -> Result<(), String> {
        Ok(())
    }
}

/// The bytes of one entry on a disk: both revisions, a checksum over all, the value.
///
/// The checksum is ours because the embedded database has been seen to hand back damaged
/// pages without noticing (sled issue 1509).
///
/// `fingerprint` is that of the entry, in which the checksum is known already; what was in
/// `bytes` before goes.
pub(crate) fn encode(entry: &Entry, fingerprint: u64, bytes: &mut Vec<u8>) {
    let checksum = (fingerprint >> 32) as u32;
    bytes.clear();
    bytes.extend_from_slice(&entry.created.to_be_bytes());
    bytes.extend_from_slice(&entry.modified.to_be_bytes());
    bytes.extend_from_slice(&checksum.to_be_bytes());
    bytes.extend_from_slice(&entry.value);
}

/// Reads what [`encode`] wrote; the error is a sentence for the operator.
pub(crate) fn decode(key: &str, bytes: &[u8]) -> Result<Entry, String> {
    if bytes.len() < HEADER {
        return Err(format!(
            "record {key} is cut short at {} bytes",
            bytes.len()
        ));
    }
    let number = |at: usize| {
        let mut eight = [0_u8; 8];
        eight.copy_from_slice(&bytes[at..at + 8]);
        u64::from_be_bytes(eight)
    };
    let entry = Entry {
        key: key.into(),
        value: Bytes::copy_from_slice(&bytes[HEADER..]),
        created: number(0),
        modified: number(8),
    };
    if u64::from(checksum(&entry)) != number(12) & u64::from(u32::MAX) {
        return Err(format!("record {key} does not match its checksum"));
    }
    Ok(entry)
}

/// What one entry adds to the digest of the whole content, see [`Digest`].
pub(crate) fn fingerprint(entry: &Entry) -> u64 {
    (u64::from(checksum(entry)) << 32) | (entry.modified & u64::from(u32::MAX))
}

/// The content in two numbers, written with every batch. A key that a damaged database
/// has dropped without a word no longer adds up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    pub keys: u64,
    pub sum: u64,
}

impl Digest {
    pub(crate) fn add(&mut self, fingerprint: u64) {
        self.keys += 1;
        self.sum = self.sum.wrapping_add(fingerprint);
    }

    pub(crate) fn remove(&mut self, fingerprint: u64) {
        self.keys = self.keys.saturating_sub(1);
        self.sum = self.sum.wrapping_sub(fingerprint);
    }
}

const HEADER: usize = 20;

fn checksum(entry: &Entry) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(entry.key.as_bytes());
    hasher.update(&entry.created.to_be_bytes());
    hasher.update(&entry.modified.to_be_bytes());
    hasher.update(&entry.value);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            key: "/pods/default/a".into(),
            value: Bytes::from_static(b"{}"),
            created: 7,
            modified: u64::MAX - 1,
        }
    }

    fn encoded(entry: &Entry) -> Vec<u8> {
        let mut bytes = b"from before".to_vec();
        encode(entry, fingerprint(entry), &mut bytes);
        bytes
    }

    #[test]
    fn a_record_survives_its_encoding() {
        let entry = entry();
        assert_eq!(decode(&entry.key, &encoded(&entry)), Ok(entry));
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let entry = entry();
        let good = encoded(&entry);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert!(decode(&entry.key, &bad).is_err(), "byte {at}");
        }
        assert!(
            decode("/pods/default/b", &good).is_err(),
            "record under a wrong key"
        );
        assert!(decode(&entry.key, &good[..19]).is_err());
        assert!(decode(&entry.key, &good[..good.len() - 1]).is_err());
    }
}
