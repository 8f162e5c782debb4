//! The few messages of etcd's v3 API that we speak: field numbers are facts of that API,
//! what we do not use is left out (Protocol Buffers skip what they do not know).

use prost::{Enumeration, Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub struct Header {
    #[prost(uint64, tag = "1")]
    pub cluster_id: u64,
    /// The store's revision when the answer was made, whoever's keys it changed.
    #[prost(int64, tag = "3")]
    pub revision: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    #[prost(bytes = "bytes", tag = "1")]
    pub key: bytes::Bytes,
    #[prost(int64, tag = "2")]
    pub create_revision: i64,
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    /// How often the key was written since it was created.
    #[prost(int64, tag = "4")]
    pub version: i64,
    #[prost(bytes = "bytes", tag = "5")]
    pub value: bytes::Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// First key not wanted; empty for the one key.
    #[prost(bytes = "vec", tag = "2")]
    pub range_end: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub limit: i64,
    /// 0 for now.
    #[prost(int64, tag = "4")]
    pub revision: i64,
    #[prost(bool, tag = "8")]
    pub keys_only: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct RangeResponse {
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
    #[prost(message, repeated, tag = "2")]
    pub kvs: Vec<KeyValue>,
    #[prost(bool, tag = "3")]
    pub more: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: bytes::Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub struct DeleteRangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct RequestOp {
    #[prost(oneof = "Request", tags = "1, 2, 3")]
    pub request: Option<Request>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum Request {
    #[prost(message, tag = "1")]
    Range(RangeRequest),
    #[prost(message, tag = "2")]
    Put(PutRequest),
    #[prost(message, tag = "3")]
    Delete(DeleteRangeRequest),
}

/// The answer to one operation; of puts and deletions nothing is needed.
#[derive(Clone, PartialEq, Message)]
pub struct ResponseOp {
    #[prost(message, optional, tag = "1")]
    pub range: Option<RangeResponse>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum CompareTarget {
    Version = 0,
    Create = 1,
    Mod = 2,
}

/// Holds if the figure of the key equals; a key that is not there has 0 for all of them.
#[derive(Clone, PartialEq, Message)]
pub struct Compare {
    #[prost(enumeration = "CompareTarget", tag = "2")]
    pub target: i32,
    #[prost(bytes = "vec", tag = "3")]
    pub key: Vec<u8>,
    #[prost(oneof = "Figure", tags = "4, 6")]
    pub figure: Option<Figure>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum Figure {
    #[prost(int64, tag = "4")]
    Version(i64),
    #[prost(int64, tag = "6")]
    ModRevision(i64),
}

#[derive(Clone, PartialEq, Message)]
pub struct TxnRequest {
    #[prost(message, repeated, tag = "1")]
    pub compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    pub success: Vec<RequestOp>,
    #[prost(message, repeated, tag = "3")]
    pub failure: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TxnResponse {
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
    #[prost(bool, tag = "2")]
    pub succeeded: bool,
    #[prost(message, repeated, tag = "3")]
    pub responses: Vec<ResponseOp>,
}

#[derive(Clone, PartialEq, Message)]
pub struct CompactionRequest {
    #[prost(int64, tag = "1")]
    pub revision: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct CompactionResponse {}

#[derive(Clone, PartialEq, Message)]
pub struct StatusRequest {}

#[derive(Clone, PartialEq, Message)]
pub struct StatusResponse {
    #[prost(string, tag = "2")]
    pub version: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct WatchRequest {
    #[prost(message, optional, tag = "1")]
    pub create: Option<WatchCreateRequest>,
}

#[derive(Clone, PartialEq, Message)]
pub struct WatchCreateRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub range_end: Vec<u8>,
    /// The first revision wanted.
    #[prost(int64, tag = "3")]
    pub start_revision: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct WatchResponse {
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
    #[prost(bool, tag = "3")]
    pub created: bool,
    #[prost(bool, tag = "4")]
    pub canceled: bool,
    /// Not 0 if the watch was refused because its start is compacted away.
    #[prost(int64, tag = "5")]
    pub compact_revision: i64,
    #[prost(string, tag = "6")]
    pub cancel_reason: String,
    #[prost(message, repeated, tag = "11")]
    pub events: Vec<WatchEvent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum EventType {
    Put = 0,
    Delete = 1,
}

#[derive(Clone, PartialEq, Message)]
pub struct WatchEvent {
    #[prost(enumeration = "EventType", tag = "1")]
    pub kind: i32,
    #[prost(message, optional, tag = "2")]
    pub kv: Option<KeyValue>,
}

impl RequestOp {
    pub fn get(key: &str) -> RequestOp {
        RequestOp {
            request: Some(Request::Range(RangeRequest {
                key: key.as_bytes().to_vec(),
                ..RangeRequest::default()
            })),
        }
    }

    /// The figures of a key, without its value.
    pub fn look(key: &str) -> RequestOp {
        RequestOp {
            request: Some(Request::Range(RangeRequest {
                key: key.as_bytes().to_vec(),
                keys_only: true,
                ..RangeRequest::default()
            })),
        }
    }

    pub fn put(key: &str, value: bytes::Bytes) -> RequestOp {
        RequestOp {
            request: Some(Request::Put(PutRequest {
                key: key.as_bytes().to_vec(),
                value,
            })),
        }
    }

    pub fn delete(key: &str) -> RequestOp {
        RequestOp {
            request: Some(Request::Delete(DeleteRangeRequest {
                key: key.as_bytes().to_vec(),
            })),
        }
    }
}

impl Compare {
    /// The key's last change is `revision`; 0 for a key that is not there.
    pub fn modified(key: &str, revision: u64) -> Compare {
        Compare {
            target: CompareTarget::Mod as i32,
            key: key.as_bytes().to_vec(),
            figure: Some(Figure::ModRevision(revision.cast_signed())),
        }
    }

    /// The key was written so often; 0 for a key that is not there.
    pub fn version(key: &str, version: i64) -> Compare {
        Compare {
            target: CompareTarget::Version as i32,
            key: key.as_bytes().to_vec(),
            figure: Some(Figure::Version(version)),
        }
    }
}

impl TxnResponse {
    /// The one key that operation `at` looked for.
    pub fn found(&self, at: usize) -> Option<&KeyValue> {
        self.responses.get(at)?.range.as_ref()?.kvs.first()
    }

    /// The last change of the one key that operation `at` looked for; 0 if it is not there.
    pub fn modified(&self, at: usize) -> u64 {
        self.found(at)
            .map_or(0, |kv| kv.mod_revision.cast_unsigned())
    }

    pub fn revision(&self) -> u64 {
        revision_of(self.header.as_ref())
    }
}

/// The store's revision that an answer tells.
pub fn revision_of(header: Option<&Header>) -> u64 {
    header.map_or(0, |header| header.revision.cast_unsigned())
}
