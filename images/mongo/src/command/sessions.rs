//! Sessions: their ids are accepted, nothing hangs on them; transactions are refused.

use bson::{Binary, Document, doc, spec::BinarySubtype};

use super::Call;
use crate::refusal::{Answer, Refusal};

/// Ends, renews or kills sessions: there is no state to do it to.
pub fn end(_: &Call<'_>) -> Answer<Document> {
    Ok(Document::new())
}

/// A fresh session id, for clients that let the server choose.
pub fn start(_: &Call<'_>) -> Answer<Document> {
    let mut bytes = bson::oid::ObjectId::new().bytes().to_vec();
    bytes.extend(&bson::oid::ObjectId::new().bytes()[8..]);
    // Marks of a random UUID (version 4), which drivers may check.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let id = Binary {
        subtype: BinarySubtype::Uuid,
        bytes,
    };
    Ok(doc! { "id": { "id": id }, "timeoutMinutes": 30 })
}

pub fn transaction(_: &Call<'_>) -> Answer<Document> {
    Err(no_transactions())
}

/// The words and code of a MongoDB that stands alone.
pub fn no_transactions() -> Refusal {
    Refusal::illegal_operation(
        "Transaction numbers are only allowed on a replica set member or mongos",
    )
}
