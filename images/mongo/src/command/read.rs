//! `find`, `count` and `distinct`.

use std::collections::BTreeSet;

use bson::{Bson, Document, doc};

use super::Call;
use super::cursors::{Results, first_batch};
use super::target::{check_hint, matching};
use crate::order::key_of;
use crate::query::filter::whole_number;
use crate::query::path::Path;
use crate::query::project::Projection;
use crate::query::sort::Sort;
use crate::refusal::{Answer, Refusal};
use crate::wire;

/// Fields of `find`; those that would change the result and that we lack are refused below.
pub const FIND_FIELDS: &[&str] = &[
    "filter",
    "sort",
    "projection",
    "hint",
    "skip",
    "limit",
    "batchSize",
    "singleBatch",
    "max",
    "min",
    "returnKey",
    "showRecordId",
    "tailable",
    "awaitData",
    "oplogReplay",
    "noCursorTimeout",
    "allowPartialResults",
    "collation",
    "allowDiskUse",
    "let",
];

const REFUSED: [&str; 8] = [
    "max",
    "min",
    "returnKey",
    "showRecordId",
    "tailable",
    "awaitData",
    "oplogReplay",
    "let",
];

pub fn find(call: &Call<'_>) -> Answer<Document> {
    call.refuse_if_used(&REFUSED)?;
    call.refuse_collation()?;
    let collection = call.collection()?;
    check_hint(collection.as_ref(), call.body.get("hint"))?;
    let empty = Document::new();
    let query = call.document("filter")?.unwrap_or(&empty);
    let sort = Sort::parse(call.document("sort")?.unwrap_or(&empty))?;
    let projection = Projection::parse(call.document("projection")?.unwrap_or(&empty))?;
    let found = matching(call.server, collection.as_ref(), query)?.map(|item| Ok(item?.1));
    let mut results: Results = match sort {
        Some(sort) => Box::new(sort.apply(found)?.into_iter().map(Ok)),
        None => Box::new(found),
    };
    if let Some(skip) = call.amount("skip")? {
        results = skip_some(results, skip);
    }
    if let Some(limit) = call.amount("limit")?.filter(|n| *n > 0) {
        results = Box::new(results.take(usize::try_from(limit).unwrap_or(usize::MAX)));
    }
    if let Some(projection) = projection {
        results = Box::new(results.map(move |document| projection.apply(document?)));
    }
    let namespace = call.namespace()?.to_string();
    first_batch(
        call.server,
        &namespace,
        results,
        call.amount("batchSize")?,
        call.flag("singleBatch"),
    )
}

/// Leaves out the first documents.
pub fn skip_some(results: Results, skip: u64) -> Results {
    let mut left = skip;
    // Errors are never skipped over.
    Box::new(results.filter(move |item| {
        let skipped = item.is_ok() && left > 0;
        if skipped {
            left -= 1;
        }
        !skipped
    }))
}

pub fn count(call: &Call<'_>) -> Answer<Document> {
    call.refuse_collation()?;
    let collection = call.collection()?;
    check_hint(collection.as_ref(), call.body.get("hint"))?;
    let empty = Document::new();
    let query = call.document("query")?.unwrap_or(&empty);
    let mut counted = 0u64;
    if query.is_empty() {
        counted = collection.map_or(0, |c| c.count());
    } else {
        for item in matching(call.server, collection.as_ref(), query)? {
            item?;
            counted += 1;
        }
    }
    counted = counted.saturating_sub(call.amount("skip")?.unwrap_or(0));
    // A negative limit means the same as a positive one, from the time of OP_QUERY.
    let limit = call
        .body
        .get("limit")
        .and_then(whole_number)
        .unwrap_or(0)
        .unsigned_abs();
    if limit > 0 {
        counted = counted.min(limit);
    }
    let n = match i32::try_from(counted) {
        Ok(n) => Bson::Int32(n),
        Err(_) => Bson::Int64(i64::try_from(counted).unwrap_or(i64::MAX)),
    };
    Ok(doc! { "n": n })
}

pub fn distinct(call: &Call<'_>) -> Answer<Document> {
    call.refuse_collation()?;
    let collection = call.collection()?;
    check_hint(collection.as_ref(), call.body.get("hint"))?;
    let key = call
        .body
        .get_str("key")
        .map_err(|_| call.wrong_type("key", "a string"))?;
    let path = Path::parse(key)?;
    let empty = Document::new();
    let query = call.document("query")?.unwrap_or(&empty);
    let mut seen = BTreeSet::new();
    let mut values = Vec::new();
    let mut bytes = 0usize;
    for item in matching(call.server, collection.as_ref(), query)? {
        let (_, document) = item?;
        path.any(&document, &mut |value| {
            let items = match value {
                None => &[],
                Some(Bson::Array(items)) => items.as_slice(),
                Some(single) => std::slice::from_ref(single),
            };
            for item in items {
                let key = key_of(item);
                let size = key.len();
                if seen.insert(key) {
                    bytes = bytes.saturating_add(size);
                    values.push(item.clone());
                }
            }
            false
        });
        if bytes > wire::MAX_DOCUMENT {
            return Err(Refusal::bad_value("distinct too big, 16mb cap"));
        }
    }
    Ok(doc! { "values": values })
}
