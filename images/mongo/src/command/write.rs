//! `insert`, `update` and `delete`.

use bson::{Bson, Document, doc, oid::ObjectId};

use super::target::{check_hint, matching};
use super::{Call, refuse_collation};
use crate::order::{class, class_of};
use crate::query::filter::whole_number;
use crate::refusal::{Answer, Refusal};
use crate::store::{Namespace, Writing};
use crate::update::{Update, flag, seed_of, stamp_dates};
use crate::wire::MAX_WRITE_BATCH;

/// A document ready to be stored: with an `_id` of an allowed type, in first place.
///
/// # Errors
/// `BadValue` for an `_id` that is an array, a pattern or undefined.
pub fn with_id(document: Document) -> Answer<Document> {
    let mut ready = Document::new();
    let id = document
        .get("_id")
        .cloned()
        .unwrap_or_else(|| ObjectId::new().into());
    match class_of(&id) {
        class::ARRAY | class::REGEX | class::UNDEFINED => {
            return Err(Refusal::bad_value(format!("can't use {id} for _id")));
        }
        _ => {}
    }
    if let Bson::Document(inner) = &id
        && inner.keys().any(|key| key.starts_with('$'))
    {
        return Err(Refusal::bad_value(
            "the fields of _id must not begin with '$'",
        ));
    }
    ready.insert("_id", id);
    ready.extend(document.into_iter().filter(|(name, _)| name != "_id"));
    stamp_dates(&mut ready);
    Ok(ready)
}

/// Runs the statements of a write command; stops at the first refusal if they are ordered.
fn statements(
    call: &Call<'_>,
    items: &[Bson],
    mut one: impl FnMut(usize, &Document) -> Answer<()>,
) -> Answer<Vec<Document>> {
    if items.is_empty() || items.len() > MAX_WRITE_BATCH {
        return Err(Refusal::bad_value(format!(
            "Write batch sizes must be between 1 and {MAX_WRITE_BATCH}. Got {} operations.",
            items.len()
        )));
    }
    let ordered = call
        .body
        .get("ordered")
        .is_none_or(|_| call.flag("ordered"));
    let mut errors = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let outcome = match item {
            Bson::Document(statement) => one(index, statement),
            _ => Err(Refusal::type_mismatch("every statement must be a document")),
        };
        if let Err(refusal) = outcome {
            errors.push(refusal.write_error(index));
            if ordered {
                break;
            }
        }
    }
    // Also when some were refused: what was accepted before them is acknowledged too.
    call.server.store.make_durable()?;
    Ok(errors)
}

fn finish(mut reply: Document, errors: Vec<Document>) -> Document {
    if !errors.is_empty() {
        reply.insert("writeErrors", errors);
    }
    reply
}

pub fn insert(call: &Call<'_>) -> Answer<Document> {
    let namespace = call.namespace()?;
    let mut n = 0;
    let errors = statements(call, call.array("documents")?, |_, document| {
        let document = with_id(document.clone())?;
        let lock = call.server.store.write();
        let collection = call.server.store.ensure_collection(&namespace, &lock)?;
        call.server.store.insert(&collection, &document, &lock)?;
        n += 1;
        Ok(())
    })?;
    Ok(finish(doc! { "n": n }, errors))
}

fn refuse_unknown(command: &str, statement: &Document, known: &[&str]) -> Answer<()> {
    match statement.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(Refusal::unknown_field(command, key)),
        None => Ok(()),
    }
}

fn query_of(statement: &Document) -> Answer<&Document> {
    statement
        .get_document("q")
        .map_err(|_| Refusal::failed_to_parse("a statement needs the document 'q'"))
}

pub fn update(call: &Call<'_>) -> Answer<Document> {
    call.refuse_if_used(&["let"])?;
    let namespace = call.namespace()?;
    let (mut n, mut modified, mut upserted) = (0, 0, Vec::new());
    let errors = statements(call, call.array("updates")?, |index, statement| {
        let known = [
            "q",
            "u",
            "upsert",
            "multi",
            "hint",
            "collation",
            "arrayFilters",
        ];
        refuse_unknown("update.updates", statement, &known)?;
        refuse_collation(statement)?;
        if statement
            .get_array("arrayFilters")
            .is_ok_and(|filters| !filters.is_empty())
        {
            return Err(Refusal::not_supported("arrayFilters"));
        }
        let query = query_of(statement)?;
        let update = Update::parse(statement.get("u").unwrap_or(&Bson::Null))?;
        let multi = flag(statement, "multi");
        if multi && !update.is_change() {
            return Err(Refusal::failed_to_parse(
                "multi update is not supported for replacement-style update",
            ));
        }
        let lock = call.server.store.write();
        let found = change_matching(
            call,
            &namespace,
            query,
            statement.get("hint"),
            &update,
            multi,
            &lock,
        )?;
        n += found.matched;
        modified += found.modified;
        if found.matched == 0 && flag(statement, "upsert") {
            let document = upsert(call, &namespace, query, &update, &lock)?;
            let id = document.get("_id").cloned().unwrap_or(Bson::Null);
            upserted.push(doc! { "index": i32::try_from(index).unwrap_or(i32::MAX), "_id": id });
            n += 1;
        }
        Ok(())
    })?;
    let mut reply = doc! { "n": n, "nModified": modified };
    if !upserted.is_empty() {
        reply.insert("upserted", upserted);
    }
    Ok(finish(reply, errors))
}

struct Changed {
    matched: i32,
    modified: i32,
}

fn change_matching(
    call: &Call<'_>,
    namespace: &Namespace,
    query: &Document,
    hint: Option<&Bson>,
    update: &Update,
    multi: bool,
    lock: &Writing<'_>,
) -> Answer<Changed> {
    let store = &call.server.store;
    let collection = store.collection(namespace);
    check_hint(collection.as_ref(), hint)?;
    let mut changed = Changed {
        matched: 0,
        modified: 0,
    };
    // A change keeps a document's record number, and the lock keeps others away, so the
    // scan meets every document once.
    for item in matching(call.server, collection.as_ref(), query)? {
        let (record, before) = item?;
        let after = update.apply(&before, false)?;
        changed.matched += 1;
        if let (true, Some(collection)) = (after != before, &collection) {
            store.replace(collection, record, &before, &after, lock)?;
            changed.modified += 1;
        }
        if !multi {
            break;
        }
    }
    Ok(changed)
}

/// Inserts what the query's equalities and the update make together.
pub fn upsert(
    call: &Call<'_>,
    namespace: &Namespace,
    query: &Document,
    update: &Update,
    lock: &Writing<'_>,
) -> Answer<Document> {
    let seed = if update.is_change() {
        seed_of(query)?
    } else {
        // A replacement takes nothing from the query but the _id.
        seed_of(query)?
            .into_iter()
            .filter(|(name, _)| name == "_id")
            .collect()
    };
    let document = with_id(update.apply(&seed, true)?)?;
    let collection = call.server.store.ensure_collection(namespace, lock)?;
    call.server.store.insert(&collection, &document, lock)?;
    Ok(document)
}

pub fn delete(call: &Call<'_>) -> Answer<Document> {
    call.refuse_if_used(&["let"])?;
    let namespace = call.namespace()?;
    let mut n = 0;
    let errors = statements(call, call.array("deletes")?, |_, statement| {
        refuse_unknown(
            "delete.deletes",
            statement,
            &["q", "limit", "hint", "collation"],
        )?;
        refuse_collation(statement)?;
        let one = match statement.get("limit").and_then(whole_number) {
            Some(0) => false,
            Some(1) => true,
            _ => {
                return Err(Refusal::failed_to_parse(
                    "The limit field in delete objects must be 0 or 1",
                ));
            }
        };
        let store = &call.server.store;
        let lock = store.write();
        let collection = store.collection(&namespace);
        check_hint(collection.as_ref(), statement.get("hint"))?;
        for item in matching(call.server, collection.as_ref(), query_of(statement)?)? {
            let (record, document) = item?;
            if let Some(collection) = &collection {
                store.remove(collection, record, &document, &lock)?;
                n += 1;
            }
            if one {
                break;
            }
        }
        Ok(())
    })?;
    Ok(finish(doc! { "n": n }, errors))
}
