//! Which documents a filter leads to: by `_id` where the query names it, else by scanning.

use std::sync::Arc;

use bson::{Bson, Document};

use super::{Call, Server};
use crate::query::filter::Filter;
use crate::query::parse::named_ids;
use crate::refusal::{Answer, Refusal};
use crate::store::{Collection, StoreError};

/// Record numbers with their documents, in insertion order.
pub type Matches = Box<dyn Iterator<Item = Answer<(u64, Document)>> + Send>;

/// Every document of the collection that passes the query.
pub fn matching(
    server: &Server,
    collection: Option<&Arc<Collection>>,
    query: &Document,
) -> Answer<Matches> {
    let filter = Filter::parse(query)?;
    let Some(collection) = collection else {
        return Ok(Box::new(std::iter::empty()));
    };
    let candidates: Box<dyn Iterator<Item = Result<(u64, Document), StoreError>> + Send> =
        match named_ids(query) {
            Some(ids) => Box::new(by_id(server, collection, &ids)?.into_iter().map(Ok)),
            None => Box::new(server.store.scan(collection)),
        };
    Ok(Box::new(candidates.filter_map(move |candidate| {
        let (record, document) = match candidate {
            Ok(found) => found,
            Err(error) => return Some(Err(error.into())),
        };
        match filter.passes(&document) {
            Ok(true) => Some(Ok((record, document))),
            Ok(false) => None,
            Err(refusal) => Some(Err(refusal)),
        }
    })))
}

fn by_id(server: &Server, collection: &Collection, ids: &[Bson]) -> Answer<Vec<(u64, Document)>> {
    let mut records = Vec::new();
    for id in ids {
        records.extend(server.store.find_id(collection, id)?);
    }
    records.sort_unstable();
    records.dedup();
    let mut found = Vec::new();
    for record in records {
        found.extend(
            server
                .store
                .fetch(collection, record)?
                .map(|document| (record, document)),
        );
    }
    Ok(found)
}

/// A hint cannot change a result, but it must name an index that exists.
pub fn check_hint(collection: Option<&Arc<Collection>>, hint: Option<&Bson>) -> Answer<()> {
    let (Some(collection), Some(hint)) = (collection, hint) else {
        return Ok(());
    };
    let known = match hint {
        Bson::Null => true,
        Bson::String(name) => collection.indexes.iter().any(|i| i.name() == name),
        Bson::Document(key) if key.is_empty() || key.contains_key("$natural") => true,
        Bson::Document(key) => collection.indexes.iter().any(|i| {
            crate::order::key_of(&Bson::Document(i.pattern()))
                == crate::order::key_of(&Bson::Document(key.clone()))
        }),
        _ => {
            return Err(Refusal::failed_to_parse(
                "hint must be a string or a document",
            ));
        }
    };
    if known {
        return Ok(());
    }
    Err(Refusal::bad_value(
        "hint provided does not correspond to an existing index",
    ))
}

impl Call<'_> {
    /// The collection the command names, if it exists.
    pub fn collection(&self) -> Answer<Option<Arc<Collection>>> {
        Ok(self.server.store.collection(&self.namespace()?))
    }
}
