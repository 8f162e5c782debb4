//! Databases, collections and indexes: list, create, drop.

use std::collections::BTreeMap;

use bson::{Bson, Document, doc};

use super::Call;
use super::cursors::{Results, first_batch};
use crate::order::key_of;
use crate::query::filter::Filter;
use crate::refusal::{Answer, Refusal};
use crate::store::compile_index;
use crate::wire;

/// Fields of `create`. Those that make another kind of collection are refused below.
pub const CREATE_FIELDS: &[&str] = &[
    "capped",
    "size",
    "max",
    "autoIndexId",
    "validator",
    "validationLevel",
    "validationAction",
    "viewOn",
    "pipeline",
    "collation",
    "timeseries",
    "expireAfterSeconds",
    "clusteredIndex",
    "changeStreamPreAndPostImages",
    "storageEngine",
    "indexOptionDefaults",
    "encryptedFields",
];

const CREATE_REFUSED: [&str; 13] = [
    "capped",
    "size",
    "max",
    "validator",
    "viewOn",
    "pipeline",
    "timeseries",
    "expireAfterSeconds",
    "clusteredIndex",
    "changeStreamPreAndPostImages",
    "storageEngine",
    "indexOptionDefaults",
    "encryptedFields",
];

fn passing(filter: Option<&Document>, items: Vec<Document>) -> Answer<Vec<Document>> {
    let filter = Filter::parse(filter.unwrap_or(&Document::new()))?;
    let mut passed = Vec::new();
    for item in items {
        if filter.passes(&item)? {
            passed.push(item);
        }
    }
    Ok(passed)
}

pub fn list_databases(call: &Call<'_>) -> Answer<Document> {
    let mut sizes: BTreeMap<String, i64> = BTreeMap::new();
    for collection in call.server.store.collections() {
        let mut bytes = 0;
        if !call.flag("nameOnly") {
            bytes = data_size(call, &collection)?;
        }
        *sizes
            .entry(collection.namespace.database.clone())
            .or_default() += bytes;
    }
    let listed = sizes
        .into_iter()
        .map(|(name, bytes)| {
            if call.flag("nameOnly") {
                doc! { "name": name }
            } else {
                doc! { "name": name, "sizeOnDisk": bytes, "empty": false }
            }
        })
        .collect();
    let databases = passing(call.document("filter")?, listed)?;
    let mut reply = doc! { "databases": databases };
    if !call.flag("nameOnly") {
        let total = i64::try_from(call.server.store.size_on_disk()?).unwrap_or(i64::MAX);
        reply.extend(doc! { "totalSize": total, "totalSizeMb": total >> 20 });
    }
    Ok(reply)
}

fn data_size(call: &Call<'_>, collection: &crate::store::Collection) -> Answer<i64> {
    let mut bytes = 0i64;
    for item in call.server.store.scan(collection) {
        let size = wire::size_of(&item?.1)?;
        bytes = bytes.saturating_add(i64::try_from(size).unwrap_or(i64::MAX));
    }
    Ok(bytes)
}

pub fn list_collections(call: &Call<'_>) -> Answer<Document> {
    let mut listed = Vec::new();
    for collection in call.server.store.collections() {
        if collection.namespace.database != call.database {
            continue;
        }
        let mut item = doc! { "name": &collection.namespace.collection, "type": "collection" };
        if !call.flag("nameOnly") {
            let id = collection
                .indexes
                .first()
                .map(|i| i.spec.clone())
                .unwrap_or_default();
            item.extend(doc! { "options": {}, "info": { "readOnly": false }, "idIndex": id });
        }
        listed.push(item);
    }
    let listed = passing(call.document("filter")?, listed)?;
    cursor_over(call, "$cmd.listCollections", listed)
}

fn cursor_over(call: &Call<'_>, collection: &str, documents: Vec<Document>) -> Answer<Document> {
    let size = match call.document("cursor")?.and_then(|c| c.get("batchSize")) {
        None => None,
        Some(value) => {
            crate::query::filter::whole_number(value).and_then(|n| u64::try_from(n).ok())
        }
    };
    let results: Results = Box::new(documents.into_iter().map(Ok));
    let namespace = format!("{}.{collection}", call.database);
    first_batch(call.server, &namespace, results, size, false)
}

pub fn create(call: &Call<'_>) -> Answer<Document> {
    call.refuse_if_used(&CREATE_REFUSED)?;
    call.refuse_collation()?;
    let namespace = call.namespace()?;
    let lock = call.server.store.write();
    // Creating it again with the same (default) options is no error since MongoDB 7.
    call.server.store.ensure_collection(&namespace, &lock)?;
    std::mem::drop(lock);
    call.server.store.make_durable()?;
    Ok(Document::new())
}

pub fn drop(call: &Call<'_>) -> Answer<Document> {
    let namespace = call.namespace()?;
    let lock = call.server.store.write();
    let indexes = call
        .server
        .store
        .collection(&namespace)
        .map_or(0, |c| c.indexes.len());
    let existed = call.server.store.drop_collection(&namespace, &lock)?;
    std::mem::drop(lock);
    call.server.store.make_durable()?;
    // Dropping what is not there is a success since MongoDB 7.0.
    Ok(if existed {
        doc! { "ns": namespace.to_string(), "nIndexesWas": i32::try_from(indexes).unwrap_or(i32::MAX) }
    } else {
        Document::new()
    })
}

pub fn drop_database(call: &Call<'_>) -> Answer<Document> {
    let lock = call.server.store.write();
    for collection in call.server.store.collections() {
        if collection.namespace.database == call.database {
            call.server
                .store
                .drop_collection(&collection.namespace, &lock)?;
        }
    }
    std::mem::drop(lock);
    call.server.store.make_durable()?;
    Ok(doc! { "dropped": call.database })
}

pub fn create_indexes(call: &Call<'_>) -> Answer<Document> {
    let namespace = call.namespace()?;
    let mut wanted = Vec::new();
    for item in call.array("indexes")? {
        let Bson::Document(spec) = item else {
            return Err(call.wrong_type("indexes", "an array of documents"));
        };
        let mut spec = spec.clone();
        spec.remove("ns");
        if !spec.contains_key("v") {
            spec.insert("v", 2);
        }
        // Understood before anything is made, so that a bad one leaves no trace.
        compile_index(0, &spec)?;
        wanted.push(spec);
    }
    if wanted.is_empty() {
        return Err(Refusal::bad_value(
            "Must specify at least one index to create",
        ));
    }
    let store = &call.server.store;
    let lock = store.write();
    let created = store.collection(&namespace).is_none();
    let mut collection = store.ensure_collection(&namespace, &lock)?;
    let before = collection.indexes.len();
    for spec in wanted {
        let key = |spec: &Document| spec.get("key").map(key_of);
        let name = spec.get_str("name").unwrap_or_default();
        let same = collection
            .indexes
            .iter()
            .find(|i| i.name() == name || key(&i.spec) == key(&spec));
        match same {
            Some(existing) if is_same(&existing.spec, &spec) => {}
            Some(existing) => {
                return Err(Refusal::index_options_conflict(format!(
                    "index '{name}' exists already with a different key, name or options: {}",
                    existing.spec
                )));
            }
            None => collection = store.add_index(&collection, &spec, &lock)?,
        }
    }
    std::mem::drop(lock);
    store.make_durable()?;
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let mut reply = doc! {
        "numIndexesBefore": count(before),
        "numIndexesAfter": count(collection.indexes.len()),
        "createdCollectionAutomatically": created,
    };
    if before == collection.indexes.len() {
        reply.insert("note", "all indexes already exist");
    }
    Ok(reply)
}

/// Same name, key and options that matter; the order of options does not.
fn is_same(a: &Document, b: &Document) -> bool {
    let flag = |d: &Document, name: &str| crate::update::flag(d, name);
    let part = |d: &Document, name: &str| d.get(name).map(key_of);
    ["name", "key", "partialFilterExpression"]
        .iter()
        .all(|name| part(a, name) == part(b, name))
        && ["unique", "sparse"]
            .iter()
            .all(|name| flag(a, name) == flag(b, name))
        || (a.get_str("name").is_ok_and(|name| name == "_id_") && part(a, "key") == part(b, "key"))
}

pub fn list_indexes(call: &Call<'_>) -> Answer<Document> {
    let namespace = call.namespace()?;
    let collection = call
        .server
        .store
        .collection(&namespace)
        .ok_or_else(|| Refusal::no_such_namespace(format!("ns does not exist: {namespace}")))?;
    let specs = collection.indexes.iter().map(|i| i.spec.clone()).collect();
    cursor_over(call, &namespace.collection, specs)
}

pub fn drop_indexes(call: &Call<'_>) -> Answer<Document> {
    let namespace = call.namespace()?;
    let store = &call.server.store;
    let lock = store.write();
    let collection = store
        .collection(&namespace)
        .ok_or_else(|| Refusal::no_such_namespace(format!("ns not found {namespace}")))?;
    let wanted = call.body.get("index").cloned().unwrap_or(Bson::Null);
    let names: Vec<String> = match &wanted {
        Bson::String(star) if star == "*" => collection
            .indexes
            .iter()
            .filter(|i| i.number != 0)
            .map(|i| i.name().to_owned())
            .collect(),
        Bson::String(name) => vec![name.clone()],
        Bson::Array(names) => names
            .iter()
            .filter_map(|n| n.as_str().map(str::to_owned))
            .collect(),
        Bson::Document(key) => collection
            .indexes
            .iter()
            .filter(|i| {
                key_of(&Bson::Document(i.pattern())) == key_of(&Bson::Document(key.clone()))
            })
            .map(|i| i.name().to_owned())
            .collect(),
        _ => return Err(call.wrong_type("index", "a name, names or a key")),
    };
    for name in &names {
        match collection.indexes.iter().find(|i| i.name() == name) {
            None => {
                return Err(Refusal::no_such_index(format!(
                    "index not found with name [{name}]"
                )));
            }
            Some(index) if index.number == 0 => {
                return Err(Refusal::invalid_options("cannot drop _id index"));
            }
            Some(_) => {}
        }
    }
    if names.is_empty() && !matches!(&wanted, Bson::String(star) if star == "*") {
        return Err(Refusal::no_such_index(format!(
            "can't find index with key: {wanted}"
        )));
    }
    store.remove_indexes(
        &collection,
        |index| names.iter().any(|n| n == index.name()),
        &lock,
    )?;
    std::mem::drop(lock);
    store.make_durable()?;
    Ok(doc! { "nIndexesWas": i32::try_from(collection.indexes.len()).unwrap_or(i32::MAX) })
}

fn scale(call: &Call<'_>) -> Answer<i64> {
    match call.amount("scale")? {
        None => Ok(1),
        Some(0) => Err(Refusal::bad_value("scale has to be above 0")),
        Some(scale) => Ok(i64::try_from(scale).unwrap_or(i64::MAX)),
    }
}

pub fn db_stats(call: &Call<'_>) -> Answer<Document> {
    let scale = scale(call)?;
    let (mut collections, mut objects, mut bytes, mut indexes) = (0i64, 0i64, 0i64, 0i64);
    for collection in call.server.store.collections() {
        if collection.namespace.database == call.database {
            collections += 1;
            objects += i64::try_from(collection.count()).unwrap_or(i64::MAX);
            indexes += i64::try_from(collection.indexes.len()).unwrap_or(i64::MAX);
            bytes = bytes.saturating_add(data_size(call, &collection)?);
        }
    }
    let disk = i64::try_from(call.server.store.size_on_disk()?).unwrap_or(i64::MAX);
    Ok(doc! {
        "db": call.database, "collections": collections, "views": 0i64, "objects": objects,
        "dataSize": bytes / scale, "storageSize": disk / scale, "indexes": indexes, "scaleFactor": scale,
    })
}

pub fn coll_stats(call: &Call<'_>) -> Answer<Document> {
    let scale = scale(call)?;
    let namespace = call.namespace()?;
    let (mut count, mut bytes, mut indexes) = (0i64, 0i64, 0i64);
    if let Some(collection) = call.collection()? {
        count = i64::try_from(collection.count()).unwrap_or(i64::MAX);
        bytes = data_size(call, &collection)?;
        indexes = i64::try_from(collection.indexes.len()).unwrap_or(i64::MAX);
    }
    Ok(doc! {
        "ns": namespace.to_string(), "count": count, "size": bytes / scale,
        "nindexes": indexes, "capped": false, "scaleFactor": scale,
    })
}
