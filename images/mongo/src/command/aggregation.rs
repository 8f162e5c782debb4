//! `aggregate`: a pipeline over one collection.

use bson::{Bson, Document};

use super::Call;
use super::cursors::first_batch;
use super::target::{check_hint, matching};
use crate::aggregate::Pipeline;
use crate::query::filter::whole_number;
use crate::refusal::{Answer, Refusal};

/// Fields of the command; those that change the result are refused below.
pub const FIELDS: &[&str] = &[
    "pipeline",
    "cursor",
    "explain",
    "allowDiskUse",
    "hint",
    "collation",
    "let",
    "bypassDocumentValidation",
];

pub fn aggregate(call: &Call<'_>) -> Answer<Document> {
    call.refuse_if_used(&["explain", "let"])?;
    call.refuse_collation()?;
    if !matches!(call.body.get(call.name), Some(Bson::String(_))) {
        return Err(Refusal::not_supported("aggregating over a whole database"));
    }
    let cursor = call.document("cursor")?.ok_or_else(|| {
        Refusal::failed_to_parse(
            "The 'cursor' option is required, except for aggregate with the explain argument",
        )
    })?;
    if let Some(extra) = cursor.keys().find(|key| *key != "batchSize") {
        return Err(Refusal::unknown_field("aggregate.cursor", extra));
    }
    let size = match cursor.get("batchSize") {
        None => None,
        Some(value) => Some(
            whole_number(value)
                .and_then(|n| u64::try_from(n).ok())
                .ok_or_else(|| {
                    Refusal::bad_value("cursor.batchSize must be a number that is not negative")
                })?,
        ),
    };
    let mut pipeline = Pipeline::parse(call.array("pipeline")?)?;
    let collection = call.collection()?;
    check_hint(collection.as_ref(), call.body.get("hint"))?;
    // A leading $match may find its documents by _id.
    let query = pipeline.take_leading_match().unwrap_or_default();
    let found = matching(call.server, collection.as_ref(), &query)?.map(|item| Ok(item?.1));
    let results = pipeline.run(Box::new(found))?;
    first_batch(
        call.server,
        &call.namespace()?.to_string(),
        results,
        size,
        false,
    )
}
