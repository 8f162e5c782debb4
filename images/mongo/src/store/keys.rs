//! The layout of keys in the one tree.

/// First byte of catalog entries.
pub const CATALOG: u8 = 0;
/// First byte of everything inside collections.
pub const CONTENT: u8 = 1;
const DOCUMENT: u8 = 0;
const INDEX: u8 = 1;

/// Prefix of all keys of a collection.
pub fn collection(id: u32) -> [u8; 5] {
    let mut key = [CONTENT; 5];
    key[1..].copy_from_slice(&id.to_be_bytes());
    key
}

/// Prefix of all documents of a collection.
pub fn documents(id: u32) -> [u8; 6] {
    let mut key = [DOCUMENT; 6];
    key[..5].copy_from_slice(&collection(id));
    key
}

/// Key of one document.
pub fn document(id: u32, record: u64) -> [u8; 14] {
    let mut key = [0; 14];
    key[..6].copy_from_slice(&documents(id));
    key[6..].copy_from_slice(&record.to_be_bytes());
    key
}

/// Prefix of all entries of an index.
pub fn index(id: u32, index: u32) -> [u8; 10] {
    let mut key = [INDEX; 10];
    key[..5].copy_from_slice(&collection(id));
    key[6..].copy_from_slice(&index.to_be_bytes());
    key
}

/// Key of one index entry.
pub fn entry(id: u32, number: u32, value: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(10 + value.len());
    key.extend(index(id, number));
    key.extend(value);
    key
}

/// The collection number in a content key, if the key is long enough to hold one.
pub fn collection_of(key: &[u8]) -> Option<u32> {
    let bytes: [u8; 4] = key.get(1..5)?.try_into().ok()?;
    Some(u32::from_be_bytes(bytes))
}

/// The record number in a document key or an index entry's value (its last 8 bytes).
pub fn record_of(bytes: &[u8]) -> Option<u64> {
    let start = bytes.len().checked_sub(8)?;
    let bytes: [u8; 8] = bytes.get(start..)?.try_into().ok()?;
    Some(u64::from_be_bytes(bytes))
}
