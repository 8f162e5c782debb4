//! Projections: which fields of a document are handed out.

use bson::{Bson, Document};

use super::expression::Expression;
use super::filter::{truth, whole_number};
use super::parse::is_operators;
use super::path::Path;
use crate::number::is_number;
use crate::refusal::{Answer, Refusal};

/// A parsed projection.
#[derive(Debug, Clone)]
pub struct Projection {
    keep_id: bool,
    shape: Shape,
    slices: Vec<(Path, i64, Option<i64>)>,
}

#[derive(Debug, Clone)]
enum Shape {
    Include(Vec<Path>, Vec<(Path, Expression)>),
    Exclude(Vec<Path>),
}

impl Projection {
    /// Understands a projection; an empty one means the whole document (none).
    ///
    /// # Errors
    /// `BadValue` for mixed shapes, positional projections and unknown operators.
    pub fn parse(spec: &Document) -> Answer<Option<Self>> {
        if spec.is_empty() {
            return Ok(None);
        }
        let (mut include, mut exclude, mut computed, mut slices) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut id = None;
        for (name, value) in spec {
            if name.starts_with('$') || name.ends_with(".$") {
                return Err(Refusal::not_supported(&format!("the projection '{name}'")));
            }
            let path = Path::parse(name)?;
            match value {
                flag if matches!(flag, Bson::Boolean(_)) || is_number(flag) => {
                    if name == "_id" {
                        id = Some(truth(flag));
                    } else if truth(flag) {
                        include.push(path);
                    } else {
                        exclude.push(path);
                    }
                }
                Bson::Document(operators)
                    if is_operators(operators) && operators.contains_key("$slice") =>
                {
                    let (skip, limit) = slice(operators)?;
                    slices.push((path, skip, limit));
                }
                Bson::Document(operators)
                    if is_operators(operators) && operators.contains_key("$elemMatch") =>
                {
                    return Err(Refusal::not_supported("$elemMatch in a projection"));
                }
                expression => computed.push((path, Expression::parse(expression)?)),
            }
        }
        let includes = !include.is_empty() || !computed.is_empty();
        if includes && !exclude.is_empty() {
            return Err(Refusal::bad_value(
                "Cannot do exclusion in inclusion projection (or the reverse)",
            ));
        }
        let only_id_wanted = id == Some(true) && exclude.is_empty() && slices.is_empty();
        let shape = if includes || only_id_wanted {
            Shape::Include(include, computed)
        } else {
            Shape::Exclude(exclude)
        };
        Ok(Some(Self {
            keep_id: id.unwrap_or(true),
            shape,
            slices,
        }))
    }

    /// The projected document.
    pub fn apply(&self, document: Document) -> Answer<Document> {
        let mut projected = match &self.shape {
            Shape::Include(paths, computed) => {
                let mut kept = Document::new();
                if let (true, Some(id)) = (self.keep_id, document.get("_id")) {
                    kept.insert("_id", id.clone());
                }
                let parts: Vec<&[String]> = paths.iter().map(Path::parts).collect();
                let slices = self.slices.iter().map(|(path, ..)| path.parts());
                let all: Vec<&[String]> = parts.into_iter().chain(slices).collect();
                include(&document, &all, &mut kept);
                for (path, expression) in computed {
                    if let Some(value) = expression.find(&document)? {
                        put(&mut kept, path.parts(), value);
                    }
                }
                kept
            }
            Shape::Exclude(paths) => {
                let mut rest = document;
                if !self.keep_id {
                    rest.remove("_id");
                }
                for path in paths {
                    exclude(&mut rest, path.parts());
                }
                rest
            }
        };
        for (path, skip, limit) in &self.slices {
            apply_slice(&mut projected, path.parts(), *skip, *limit);
        }
        Ok(projected)
    }
}

fn slice(operators: &Document) -> Answer<(i64, Option<i64>)> {
    let bad = || {
        Refusal::bad_value("$slice needs a number or an array of two numbers, the second positive")
    };
    if operators.len() != 1 {
        return Err(bad());
    }
    match operators.get("$slice") {
        Some(Bson::Array(pair)) if pair.len() == 2 => {
            let skip = whole_number(&pair[0]).ok_or_else(bad)?;
            let limit = whole_number(&pair[1]).filter(|n| *n > 0).ok_or_else(bad)?;
            Ok((skip, Some(limit)))
        }
        Some(number) => whole_number(number).map(|n| (n, None)).ok_or_else(bad),
        None => Err(bad()),
    }
}

/// Copies what the paths name, in the order of the source document.
fn include(source: &Document, paths: &[&[String]], kept: &mut Document) {
    for (name, value) in source {
        let below: Vec<&[String]> = paths
            .iter()
            .filter_map(|parts| match parts.split_first() {
                Some((first, rest)) if first == name => Some(rest),
                _ => None,
            })
            .collect();
        if below.is_empty() {
            continue;
        }
        if below.iter().any(|rest| rest.is_empty()) {
            kept.insert(name, value.clone());
        } else if let Some(part) = include_value(value, &below) {
            kept.insert(name, part);
        }
    }
}

fn include_value(value: &Bson, paths: &[&[String]]) -> Option<Bson> {
    match value {
        Bson::Document(inner) => {
            let mut kept = Document::new();
            include(inner, paths, &mut kept);
            Some(Bson::Document(kept))
        }
        Bson::Array(items) => Some(Bson::Array(
            items
                .iter()
                .filter_map(|item| include_value(item, paths))
                .collect(),
        )),
        _ => None,
    }
}

/// Removes what a path names; arrays are mapped over.
pub fn exclude(document: &mut Document, parts: &[String]) {
    match parts {
        [] => {}
        [last] => {
            document.remove(last);
        }
        [first, rest @ ..] => {
            if let Some(value) = document.get_mut(first) {
                exclude_in(value, rest);
            }
        }
    }
}

fn exclude_in(value: &mut Bson, parts: &[String]) {
    match value {
        Bson::Document(inner) => exclude(inner, parts),
        Bson::Array(items) => items.iter_mut().for_each(|item| exclude_in(item, parts)),
        _ => {}
    }
}

/// Sets a computed field, making documents on the way; arrays are mapped over.
pub fn put(document: &mut Document, parts: &[String], value: Bson) {
    match parts {
        [] => {}
        [last] => {
            document.insert(last, value);
        }
        [first, rest @ ..] => {
            if !matches!(
                document.get(first),
                Some(Bson::Document(_) | Bson::Array(_))
            ) {
                document.insert(first, Document::new());
            }
            match document.get_mut(first) {
                Some(Bson::Document(inner)) => put(inner, rest, value),
                Some(Bson::Array(items)) => {
                    for item in items {
                        if !matches!(item, Bson::Document(_)) {
                            *item = Bson::Document(Document::new());
                        }
                        if let Bson::Document(inner) = item {
                            put(inner, rest, value.clone());
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

fn apply_slice(document: &mut Document, parts: &[String], skip: i64, limit: Option<i64>) {
    let Some((first, rest)) = parts.split_first() else {
        return;
    };
    match document.get_mut(first) {
        Some(Bson::Array(items)) if rest.is_empty() => {
            let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
            let (from, count) = match limit {
                Some(limit) => (skip, limit),
                None if skip < 0 => (skip, skip.saturating_neg()),
                None => (0, skip),
            };
            let from = if from < 0 {
                length.saturating_add(from).max(0)
            } else {
                from
            };
            let from = usize::try_from(from).unwrap_or(usize::MAX);
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            *items = items.drain(..).skip(from).take(count).collect();
        }
        Some(Bson::Array(items)) => {
            for item in items {
                if let Bson::Document(inner) = item {
                    apply_slice(inner, rest, skip, limit);
                }
            }
        }
        Some(Bson::Document(inner)) => apply_slice(inner, rest, skip, limit),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;

    fn projected(spec: Document, document: Document) -> Document {
        Projection::parse(&spec)
            .unwrap()
            .unwrap()
            .apply(document)
            .unwrap()
    }

    #[test]
    fn includes_excludes_computes_and_slices() {
        let whole = doc! { "_id": 1, "a": { "b": 1, "c": 2 }, "l": [ { "x": 1, "y": 2 }, 3 ], "t": [1, 2, 3] };
        assert_eq!(
            projected(doc! { "a.b": 1 }, whole.clone()),
            doc! { "_id": 1, "a": { "b": 1 } }
        );
        assert_eq!(
            projected(doc! { "_id": 0, "l.x": true }, whole.clone()),
            doc! { "l": [ { "x": 1 } ] }
        );
        assert_eq!(
            projected(doc! { "a": 0, "l": 0, "_id": 0 }, whole.clone()),
            doc! { "t": [1, 2, 3] }
        );
        assert_eq!(
            projected(doc! { "_id": 1 }, whole.clone()),
            doc! { "_id": 1 }
        );
        assert_eq!(
            projected(doc! { "_id": 0 }, doc! { "_id": 1, "a": 2 }),
            doc! { "a": 2 }
        );
        assert_eq!(
            projected(
                doc! { "_id": 0, "n": { "$size": "$t" }, "b": "$a.b" },
                whole.clone()
            ),
            doc! { "n": 3, "b": 1 }
        );
        assert_eq!(
            projected(doc! { "t": { "$slice": -2 }, "a": 0, "l": 0 }, whole),
            doc! { "_id": 1, "t": [2, 3] }
        );
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert!(Projection::parse(&doc! { "a": 1, "b": 0 }).is_err());
        assert!(Projection::parse(&doc! { "a.$": 1 }).is_err());
        assert!(Projection::parse(&doc! { "a": { "$meta": "textScore" } }).is_err());
        assert!(Projection::parse(&doc! { "a": { "$elemMatch": { "b": 1 } } }).is_err());
    }
}
