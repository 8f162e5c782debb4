//! `findAndModify`: one document, changed and handed out in one step.

use bson::{Bson, Document, doc};

use super::Call;
use super::target::{check_hint, matching};
use super::write::upsert;
use crate::query::project::Projection;
use crate::query::sort::Sort;
use crate::refusal::{Answer, Refusal};
use crate::update::Update;

/// Fields of the command.
pub const FIELDS: &[&str] = &[
    "query",
    "sort",
    "remove",
    "update",
    "new",
    "fields",
    "upsert",
    "hint",
    "collation",
    "arrayFilters",
    "bypassDocumentValidation",
    "let",
];

pub fn find_and_modify(call: &Call<'_>) -> Answer<Document> {
    call.refuse_if_used(&["let"])?;
    call.refuse_collation()?;
    if call
        .body
        .get_array("arrayFilters")
        .is_ok_and(|filters| !filters.is_empty())
    {
        return Err(Refusal::not_supported("arrayFilters"));
    }
    let remove = call.flag("remove");
    let update = match call.body.get("update") {
        Some(update) if !remove => Some(Update::parse(update)?),
        None if remove => None,
        _ => {
            return Err(Refusal::failed_to_parse(
                "Either an update or remove=true must be specified",
            ));
        }
    };
    if remove && (call.flag("upsert") || call.flag("new")) {
        return Err(Refusal::failed_to_parse(
            "Cannot specify both upsert=true or new=true and remove=true",
        ));
    }
    let empty = Document::new();
    let query = call.document("query")?.unwrap_or(&empty);
    let sort = Sort::parse(call.document("sort")?.unwrap_or(&empty))?;
    let projection = Projection::parse(call.document("fields")?.unwrap_or(&empty))?;

    let namespace = call.namespace()?;
    let store = &call.server.store;
    let lock = store.write();
    let collection = store.collection(&namespace);
    check_hint(collection.as_ref(), call.body.get("hint"))?;
    let mut found = matching(call.server, collection.as_ref(), query)?;
    let chosen = match sort {
        None => found.next().transpose()?,
        Some(sort) => {
            let mut best: Option<(Vec<u8>, (u64, Document))> = None;
            for item in found {
                let item = item?;
                let key = sort.key(&item.1);
                if best.as_ref().is_none_or(|(least, _)| key < *least) {
                    best = Some((key, item));
                }
            }
            best.map(|(_, item)| item)
        }
    };

    let mut last = doc! { "n": i32::from(chosen.is_some()) };
    let mut value = None;
    match (chosen, update, collection) {
        (Some((record, before)), None, Some(collection)) => {
            store.remove(&collection, record, &before, &lock)?;
            value = Some(before);
        }
        (Some((record, before)), Some(update), Some(collection)) => {
            let after = update.apply(&before, false)?;
            if after != before {
                store.replace(&collection, record, &before, &after, &lock)?;
            }
            last.insert("updatedExisting", true);
            value = Some(if call.flag("new") { after } else { before });
        }
        (_, Some(update), _) => {
            last.insert("updatedExisting", false);
            if call.flag("upsert") {
                let document = upsert(call, &namespace, query, &update, &lock)?;
                last.insert("n", 1);
                last.insert(
                    "upserted",
                    document.get("_id").cloned().unwrap_or(Bson::Null),
                );
                value = call.flag("new").then_some(document);
            }
        }
        _ => {}
    }
    drop(lock);
    store.make_durable()?;
    let value = match (value, projection) {
        (Some(document), Some(projection)) => Bson::Document(projection.apply(document)?),
        (Some(document), None) => Bson::Document(document),
        (None, _) => Bson::Null,
    };
    Ok(doc! { "lastErrorObject": last, "value": value })
}
