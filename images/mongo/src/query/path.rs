//! Dotted paths, and how they walk through documents and arrays.

use bson::{Bson, Document};

use crate::refusal::{Answer, Refusal};

/// Most components a path may have; MongoDB nests documents at most 100 deep.
const MAX_PARTS: usize = 100;

/// A dotted path such as `author.name` or `tags.0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    parts: Vec<String>,
}

impl Path {
    /// Splits a path; empty components are refused, as they name nothing.
    pub fn parse(text: &str) -> Answer<Self> {
        let parts: Vec<String> = text.split('.').map(str::to_owned).collect();
        if parts.len() > MAX_PARTS {
            return Err(Refusal::bad_value(format!(
                "the path '{}…' has more than {MAX_PARTS} components",
                text.chars().take(40).collect::<String>()
            )));
        }
        if parts.iter().any(String::is_empty) {
            return Err(Refusal::bad_value(format!(
                "the path '{text}' has an empty component"
            )));
        }
        Ok(Self { parts })
    }

    /// The components, at least one.
    pub fn parts(&self) -> &[String] {
        &self.parts
    }

    /// Shows every value the path leads to, `None` where a document lacks the field,
    /// until `found` says true. Arrays on the way are entered, an array at the end is
    /// shown as a whole.
    pub fn any(&self, root: &Document, found: &mut dyn FnMut(Option<&Bson>) -> bool) -> bool {
        any_in_document(root, &self.parts, found)
    }

    /// Does the path lead anywhere?
    pub fn exists(&self, root: &Document) -> bool {
        self.any(root, &mut |value| value.is_some())
    }

    /// All values the path leads to, with arrays at the end replaced by their elements:
    /// what an index or a sort sees. A missing field counts as null, an empty array as
    /// undefined.
    pub fn index_values(&self, root: &Document) -> Vec<Bson> {
        let mut values = Vec::new();
        self.any(root, &mut |value| {
            match value {
                None => values.push(Bson::Null),
                Some(Bson::Array(items)) if items.is_empty() => values.push(Bson::Undefined),
                Some(Bson::Array(items)) => values.extend(items.iter().cloned()),
                Some(other) => values.push(other.clone()),
            }
            false
        });
        if values.is_empty() {
            values.push(Bson::Null);
        }
        values
    }
}

fn any_in_document(
    document: &Document,
    parts: &[String],
    found: &mut dyn FnMut(Option<&Bson>) -> bool,
) -> bool {
    let Some((first, rest)) = parts.split_first() else {
        return false;
    };
    match document.get(first) {
        Some(value) => any_in_value(value, rest, found),
        None => found(None),
    }
}

fn any_in_value(
    value: &Bson,
    parts: &[String],
    found: &mut dyn FnMut(Option<&Bson>) -> bool,
) -> bool {
    let Some((first, rest)) = parts.split_first() else {
        return found(Some(value));
    };
    match value {
        Bson::Document(document) => any_in_document(document, parts, found),
        Bson::Array(items) => {
            // A number that is an index is meant as one; only documents that really have
            // such a field are looked into as well.
            let indexed = array_index(first).and_then(|index| items.get(index));
            indexed.is_some_and(|item| any_in_value(item, rest, found))
                || items.iter().any(|item| match item {
                    Bson::Document(inner) if indexed.is_none() || inner.contains_key(first) => {
                        any_in_document(inner, parts, found)
                    }
                    _ => false,
                })
        }
        _ => found(None),
    }
}

/// A path component that may be an array index: digits without a leading zero.
pub fn array_index(part: &str) -> Option<usize> {
    let plain = part == "0" || (!part.starts_with('0') && part.bytes().all(|b| b.is_ascii_digit()));
    if plain { part.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;

    fn seen(document: &Document, path: &str) -> Vec<Option<Bson>> {
        let mut values = Vec::new();
        Path::parse(path).unwrap().any(document, &mut |value| {
            values.push(value.cloned());
            false
        });
        values
    }

    #[test]
    fn walks_documents_and_arrays() {
        let document =
            doc! { "a": [ { "b": 1 }, { "b": [2, 3] }, { "c": 4 }, 5 ], "d": { "e": 6 }, "f": 7 };
        assert_eq!(
            seen(&document, "a.b"),
            [Some(Bson::Int32(1)), Some(bson::bson!([2, 3])), None]
        );
        assert_eq!(seen(&document, "a.1.b.0"), [Some(Bson::Int32(2))]);
        assert_eq!(seen(&document, "a.3"), [Some(Bson::Int32(5))]);
        assert_eq!(seen(&document, "d.e"), [Some(Bson::Int32(6))]);
        assert_eq!(seen(&document, "f.g"), [None]);
        assert_eq!(seen(&document, "g"), [None]);
    }

    #[test]
    fn refuses_paths_that_name_nothing() {
        for bad in ["", ".", "a.", ".a", "a..b"] {
            assert!(Path::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Path::parse(&"a.".repeat(200)).is_err());
    }

    #[test]
    fn index_values_flatten_arrays() {
        let path = Path::parse("t").unwrap();
        assert_eq!(
            path.index_values(&doc! { "t": [1, 2] }),
            [Bson::Int32(1), Bson::Int32(2)]
        );
        assert_eq!(path.index_values(&doc! { "t": [] }), [Bson::Undefined]);
        assert_eq!(path.index_values(&doc! {}), [Bson::Null]);
    }
}
