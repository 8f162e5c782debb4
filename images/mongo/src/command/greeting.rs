//! `hello` and its older spelling: what drivers ask before anything else.

use bson::{DateTime, Document, doc};

use super::Call;
use crate::refusal::Answer;
use crate::wire;

/// Newest wire version we claim: that of MongoDB 7.0. Drivers refuse servers below
/// their own minimum (9 for the newest today), and send nothing at 21 that we lack:
/// the client-wide bulkWrite command begins with 25.
const MAX_WIRE_VERSION: i32 = 21;

/// Minutes after which drivers should drop a session of their own.
const SESSION_MINUTES: i32 = 30;

/// What every place that introduces us says.
pub const NOTICE: &str = "Cadet's stand-in for MongoDB, not MongoDB";

pub fn hello(call: &Call<'_>) -> Answer<Document> {
    let mut reply = doc! { "isWritablePrimary": true };
    reply.extend(common(call));
    Ok(reply)
}

pub fn is_master(call: &Call<'_>) -> Answer<Document> {
    let mut reply = doc! { "ismaster": true };
    if call.flag("helloOk") {
        reply.insert("helloOk", true);
    }
    reply.extend(common(call));
    Ok(reply)
}

/// Without a topologyVersion, so that drivers poll instead of holding a stream open.
fn common(call: &Call<'_>) -> Document {
    doc! {
        "maxBsonObjectSize": wire::MAX_DOCUMENT as i32,
        "maxMessageSizeBytes": wire::MAX_MESSAGE as i32,
        "maxWriteBatchSize": wire::MAX_WRITE_BATCH as i32,
        "localTime": DateTime::now(),
        "logicalSessionTimeoutMinutes": SESSION_MINUTES,
        "connectionId": call.peer.connection,
        "minWireVersion": 0,
        "maxWireVersion": MAX_WIRE_VERSION,
        "readOnly": false,
        "cadet": NOTICE,
    }
}
