//! Indexes: unique ones are kept and enforced, others are only remembered.
//!
//! A non-unique index changes speed, never results; the stand-in answers by scanning,
//! so keeping such entries would cost space and earn nothing in a lesson.

use std::collections::BTreeSet;

use bson::{Bson, Document};

use crate::order::append_key;
use crate::query::filter::{Filter, truth, whole_number};
use crate::query::path::Path;
use crate::refusal::{Answer, Refusal};

/// Options that only tune or describe an index, and so may be kept without effect.
const HARMLESS: [&str; 4] = ["v", "background", "ns", "hidden"];

/// An index of a collection.
#[derive(Debug, Clone)]
pub struct Index {
    /// Number in the keys of its entries; 0 is `_id_`.
    pub number: u32,
    /// As `listIndexes` shows it: `v`, `key`, `name` and options.
    pub spec: Document,
    /// Whether entries are kept and duplicates refused.
    pub unique: bool,
    sparse: bool,
    partial: Option<Filter>,
    paths: Vec<Path>,
}

/// Understands an index specification as `createIndexes` has it.
///
/// # Errors
/// `CannotCreateIndex` for kinds the stand-in has not, such as text, and for expiry
/// (documents would have to vanish, which it does not do).
pub fn compile(number: u32, spec: &Document) -> Answer<Index> {
    let key = spec
        .get_document("key")
        .map_err(|_| Refusal::failed_to_parse("an index needs a 'key' document"))?;
    let name = spec
        .get_str("name")
        .map_err(|_| Refusal::failed_to_parse("an index needs a 'name'"))?;
    if key.is_empty() || name.is_empty() {
        return Err(Refusal::cannot_create_index(
            "index keys and names cannot be empty",
        ));
    }
    let mut paths = Vec::new();
    for (field, direction) in key {
        if !matches!(whole_number(direction), Some(n) if n != 0) {
            return Err(Refusal::cannot_create_index(format!(
                "Cadet's stand-in for MongoDB has only ascending and descending indexes, not {{{field}: {direction}}}"
            )));
        }
        if field.contains('$') {
            return Err(Refusal::cannot_create_index(format!(
                "the index key '{field}' is not supported"
            )));
        }
        paths.push(Path::parse(field)?);
    }
    let mut partial = None;
    for (option, value) in spec {
        match option.as_str() {
            "key" | "name" | "unique" | "sparse" => {}
            known if HARMLESS.contains(&known) => {}
            "partialFilterExpression" => match value {
                Bson::Document(filter) => partial = Some(Filter::parse(filter)?),
                _ => {
                    return Err(Refusal::cannot_create_index(
                        "partialFilterExpression must be a document",
                    ));
                }
            },
            "collation" if is_simple_collation(value) => {}
            other => {
                return Err(Refusal::cannot_create_index(format!(
                    "Cadet's stand-in for MongoDB does not support the index option '{other}'"
                )));
            }
        }
    }
    let flag = |name| spec.get(name).is_some_and(truth);
    let is_id = key.len() == 1 && key.contains_key("_id");
    Ok(Index {
        number,
        spec: spec.clone(),
        unique: flag("unique") || is_id,
        sparse: flag("sparse"),
        partial,
        paths,
    })
}

/// True for the one collation the stand-in has: plain comparison of bytes.
pub fn is_simple_collation(value: &Bson) -> bool {
    value
        .as_document()
        .is_some_and(|d| d.len() == 1 && d.get_str("locale").is_ok_and(|name| name == "simple"))
}

impl Index {
    /// The index's name.
    pub fn name(&self) -> &str {
        self.spec.get_str("name").unwrap_or_default()
    }

    /// The index's key pattern.
    pub fn pattern(&self) -> Document {
        self.spec.get_document("key").cloned().unwrap_or_default()
    }

    /// All keys under which a document is found: several if it has an array there,
    /// none if the index skips it.
    ///
    /// # Errors
    /// `CannotIndexParallelArrays` if two of the paths meet arrays.
    pub fn keys(&self, document: &Document) -> Answer<BTreeSet<Vec<u8>>> {
        let skipped = self.sparse && !self.paths.iter().any(|path| path.exists(document));
        let left_out = match &self.partial {
            Some(filter) => !filter.passes(document)?,
            None => false,
        };
        if skipped || left_out {
            return Ok(BTreeSet::new());
        }
        let mut keys = BTreeSet::from([Vec::new()]);
        let mut arrays = 0;
        for path in &self.paths {
            let values = path.index_values(document);
            if values.len() > 1 {
                arrays += 1;
            }
            if arrays > 1 {
                return Err(Refusal::parallel_arrays(format!(
                    "cannot index parallel arrays in index {}",
                    self.name()
                )));
            }
            keys = keys
                .iter()
                .flat_map(|prefix| {
                    values.iter().map(move |value| {
                        let mut key = prefix.clone();
                        append_key(&mut key, value);
                        key
                    })
                })
                .collect();
        }
        Ok(keys)
    }

    /// The indexed values of a document, for the message about a duplicate.
    pub fn values(&self, document: &Document) -> Document {
        let mut values = Document::new();
        for (path, name) in self.paths.iter().zip(self.pattern().keys()) {
            let value = path.index_values(document).into_iter().next();
            values.insert(name, value.unwrap_or(Bson::Null));
        }
        values
    }
}
