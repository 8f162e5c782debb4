//! Sort orders.

use bson::{Bson, Document};

use super::filter::whole_number;
use super::path::Path;
use crate::order::{append_key, reverse};
use crate::refusal::{Answer, Refusal};

/// Memory a sort may hold before it is refused, as in MongoDB (100 MiB there; the
/// stand-in lives in a small pod).
const MEMORY_LIMIT: usize = 32 << 20;

/// An ordering over several paths.
#[derive(Debug, Clone)]
pub struct Sort {
    parts: Vec<(Path, bool)>,
}

impl Sort {
    /// Understands `{a: 1, b: -1}`; an empty document keeps the natural order.
    pub fn parse(spec: &Document) -> Answer<Option<Self>> {
        let mut parts = Vec::new();
        for (name, direction) in spec {
            let descending = match whole_number(direction) {
                Some(1) => false,
                Some(-1) => true,
                _ => {
                    return Err(Refusal::bad_value(format!(
                        "the sort direction of '{name}' must be 1 or -1, not {direction}"
                    )));
                }
            };
            if name == "$natural" {
                if spec.len() > 1 || descending {
                    return Err(Refusal::not_supported(
                        "$natural other than {$natural: 1} alone",
                    ));
                }
                return Ok(None);
            }
            if name.starts_with('$') {
                return Err(Refusal::bad_value(format!(
                    "FieldPath field names may not start with '$': {name}"
                )));
            }
            parts.push((Path::parse(name)?, descending));
        }
        Ok(if parts.is_empty() {
            None
        } else {
            Some(Self { parts })
        })
    }

    /// The bytes by which a document sorts. Of an array, the lowest element counts,
    /// or the highest if descending.
    pub fn key(&self, document: &Document) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.parts.len() * 16);
        for (path, descending) in &self.parts {
            let keys = path.index_values(document).into_iter().map(|value: Bson| {
                let mut one = Vec::new();
                append_key(&mut one, &value);
                one
            });
            let chosen = if *descending { keys.max() } else { keys.min() };
            let mut chosen = chosen.unwrap_or_default();
            if *descending {
                reverse(&mut chosen);
            }
            key.extend(chosen);
        }
        key
    }

    /// Sorts documents; equal ones keep their order.
    ///
    /// # Errors
    /// `BadValue` once the documents outgrow the memory limit.
    pub fn apply(
        &self,
        documents: impl Iterator<Item = Answer<Document>>,
    ) -> Answer<Vec<Document>> {
        let mut keyed = Vec::new();
        let mut held = 0usize;
        for document in documents {
            let document = document?;
            held = held.saturating_add(crate::wire::size_of(&document)?);
            if held > MEMORY_LIMIT {
                return Err(Refusal::bad_value(format!(
                    "the sort would hold more than {MEMORY_LIMIT} bytes"
                )));
            }
            keyed.push((self.key(&document), document));
        }
        keyed.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(keyed.into_iter().map(|(_, document)| document).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;

    fn sorted(spec: Document, documents: Vec<Document>) -> Vec<i32> {
        let sort = Sort::parse(&spec).unwrap().unwrap();
        let sorted = sort.apply(documents.into_iter().map(Ok)).unwrap();
        sorted.iter().map(|d| d.get_i32("_id").unwrap()).collect()
    }

    #[test]
    fn sorts_by_several_paths_and_directions() {
        let documents = vec![
            doc! { "_id": 1, "a": "x", "b": 1 },
            doc! { "_id": 2, "a": "y" },
            doc! { "_id": 3, "a": "x", "b": 2.5 },
            doc! { "_id": 4 },
        ];
        assert_eq!(
            sorted(doc! { "a": 1, "b": -1 }, documents.clone()),
            [4, 3, 1, 2]
        );
        assert_eq!(sorted(doc! { "a": -1, "b": 1 }, documents), [2, 1, 3, 4]);
    }

    #[test]
    fn arrays_sort_by_their_extreme() {
        let documents = vec![
            doc! { "_id": 1, "a": [5, 1] },
            doc! { "_id": 2, "a": 3 },
            doc! { "_id": 3, "a": [] },
        ];
        assert_eq!(sorted(doc! { "a": 1 }, documents.clone()), [3, 1, 2]);
        assert_eq!(sorted(doc! { "a": -1 }, documents), [1, 2, 3]);
    }

    #[test]
    fn odd_directions_are_refused() {
        assert!(Sort::parse(&doc! { "a": 2 }).is_err());
        assert!(Sort::parse(&doc! { "a": { "$meta": "textScore" } }).is_err());
        assert!(Sort::parse(&doc! { "$natural": -1 }).is_err());
        assert!(Sort::parse(&doc! {}).unwrap().is_none());
    }
}
