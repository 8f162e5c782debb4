//! `aggregate`: a pipeline over one collection.

use bson::{Bson, DateTime, Document, doc};

use super::Call;
use super::cursors::first_batch;
use super::target::{check_hint, matching};
use crate::aggregate::Pipeline;
use crate::query::filter::whole_number;
use crate::refusal::{Answer, Refusal};
use crate::store::Collection;

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
    let namespace = call.namespace()?.to_string();
    let collection = call.collection()?;
    check_hint(collection.as_ref(), call.body.get("hint"))?;
    let stages = call.array("pipeline")?;
    if let Some((wanted, stages)) = statistics_stage(stages) {
        let counted = statistics(&namespace, wanted, collection.as_deref())?;
        let results = Pipeline::parse(stages)?.run(Box::new(std::iter::once(Ok(counted))))?;
        return first_batch(call.server, &namespace, results, size, false);
    }
    let mut pipeline = Pipeline::parse(stages)?;
    // A leading $match may find its documents by _id.
    let query = pipeline.take_leading_match().unwrap_or_default();
    let found = matching(call.server, collection.as_ref(), &query)?.map(|item| Ok(item?.1));
    let results = pipeline.run(Box::new(found))?;
    first_batch(call.server, &namespace, results, size, false)
}

/// A `$collStats` at the front with its argument, and the stages after it.
fn statistics_stage(stages: &[Bson]) -> Option<(&Bson, &[Bson])> {
    let (first, rest) = stages.split_first()?;
    let stage = first.as_document().filter(|stage| stage.len() == 1)?;
    Some((stage.get("$collStats")?, rest))
}

/// The one document of `$collStats: {count: {}}`. Drivers of 2021 and 2022 estimate the
/// size of a collection with it; its other parts tell about MongoDB's own storage.
fn statistics(namespace: &str, wanted: &Bson, collection: Option<&Collection>) -> Answer<Document> {
    let only_count = wanted
        .as_document()
        .is_some_and(|parts| parts.len() == 1 && parts.contains_key("count"));
    if !only_count {
        return Err(Refusal::not_supported(
            "$collStats with anything but {count: {}}",
        ));
    }
    let collection = collection
        .ok_or_else(|| Refusal::no_such_namespace(format!("ns does not exist: {namespace}")))?;
    let count = i64::try_from(collection.count()).unwrap_or(i64::MAX);
    Ok(doc! { "ns": namespace, "localTime": DateTime::now(), "count": count })
}
