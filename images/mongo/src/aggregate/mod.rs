//! Aggregation pipelines: each stage turns one stream of documents into another.

mod group;

use bson::{Bson, Document};

use crate::command::Results;
use crate::order::{class, class_of};
use crate::query::expression::Expression;
use crate::query::filter::{Filter, whole_number};
use crate::query::path::Path;
use crate::query::project::{Projection, exclude, put};
use crate::query::sort::Sort;
use crate::refusal::{Answer, Refusal};
use group::Group;

/// Most stages of one pipeline, as in MongoDB.
const MAX_STAGES: usize = 1000;

/// A parsed pipeline.
pub struct Pipeline {
    stages: Vec<Stage>,
}

enum Stage {
    Match(Document),
    Sort(Sort),
    Skip(u64),
    Limit(u64),
    Project(Projection),
    AddFields(Vec<(Path, Expression)>),
    Unset(Projection),
    Group(Group),
    Count(String),
    Unwind { path: Path, keep_empty: bool },
}

impl Pipeline {
    /// Understands a pipeline.
    ///
    /// # Errors
    /// Code 40324 for stages that are not known, `BadValue` for bad arguments.
    pub fn parse(stages: &[Bson]) -> Answer<Self> {
        if stages.len() > MAX_STAGES {
            return Err(Refusal::bad_value(format!(
                "a pipeline may have at most {MAX_STAGES} stages"
            )));
        }
        let mut parsed = Vec::new();
        for stage in stages {
            let single = stage
                .as_document()
                .filter(|d| d.len() == 1)
                .and_then(|d| d.iter().next());
            let Some((name, argument)) = single else {
                return Err(Refusal::bad_value(
                    "A pipeline stage specification object must contain exactly one field.",
                ));
            };
            match name.as_str() {
                "$sortByCount" => {
                    parsed.push(Stage::Group(Group::counting(argument)?));
                    parsed.extend(Sort::parse(&bson::doc! { "count": -1 })?.map(Stage::Sort));
                }
                _ => parsed.push(parse_stage(name, argument)?),
            }
        }
        Ok(Self { stages: parsed })
    }

    /// Takes the query of a `$match` at the front, so that the collection can answer it.
    pub fn take_leading_match(&mut self) -> Option<Document> {
        match self.stages.first() {
            Some(Stage::Match(_)) => match self.stages.remove(0) {
                Stage::Match(query) => Some(query),
                _ => None,
            },
            _ => None,
        }
    }

    /// Connects the stages to the documents that go in.
    pub fn run(self, documents: Results) -> Answer<Results> {
        self.stages
            .into_iter()
            .try_fold(documents, |input, stage| stage.run(input))
    }
}

fn document<'a>(name: &str, argument: &'a Bson) -> Answer<&'a Document> {
    argument
        .as_document()
        .ok_or_else(|| Refusal::bad_value(format!("the {name} stage needs a document")))
}

fn amount(name: &str, argument: &Bson) -> Answer<u64> {
    whole_number(argument)
        .and_then(|n| u64::try_from(n).ok())
        .ok_or_else(|| {
            Refusal::bad_value(format!(
                "the argument to {name} must be a number that is not negative"
            ))
        })
}

fn parse_stage(name: &str, argument: &Bson) -> Answer<Stage> {
    Ok(match name {
        "$match" => {
            let query = document(name, argument)?;
            Filter::parse(query)?;
            Stage::Match(query.clone())
        }
        "$sort" => Sort::parse(document(name, argument)?)?
            .map(Stage::Sort)
            .ok_or_else(|| Refusal::bad_value("$sort stage must have at least one sort key"))?,
        "$skip" => Stage::Skip(amount(name, argument)?),
        "$limit" => match amount(name, argument)? {
            0 => return Err(Refusal::bad_value("the limit must be positive")),
            limit => Stage::Limit(limit),
        },
        "$project" => Projection::parse(document(name, argument)?)?
            .map(Stage::Project)
            .ok_or_else(|| {
                Refusal::bad_value("$project specification must have at least one field")
            })?,
        "$addFields" | "$set" => {
            let fields = document(name, argument)?.iter();
            let parsed: Answer<Vec<_>> = fields
                .map(|(path, value)| Ok((Path::parse(path)?, Expression::parse(value)?)))
                .collect();
            Stage::AddFields(parsed?)
        }
        "$unset" => unset(argument)?,
        "$group" => Stage::Group(Group::parse(document(name, argument)?)?),
        "$count" => match argument {
            Bson::String(field)
                if !field.is_empty() && !field.starts_with('$') && !field.contains('.') =>
            {
                Stage::Count(field.clone())
            }
            _ => {
                return Err(Refusal::bad_value(
                    "the count field must be a plain non-empty string",
                ));
            }
        },
        "$unwind" => unwind(argument)?,
        unknown => return Err(Refusal::unknown_stage(unknown)),
    })
}

fn unset(argument: &Bson) -> Answer<Stage> {
    let names: Option<Vec<&str>> = match argument {
        Bson::String(name) => Some(vec![name]),
        Bson::Array(items) => items.iter().map(Bson::as_str).collect(),
        _ => None,
    };
    let spec: Document = names
        .ok_or_else(|| Refusal::bad_value("$unset needs a field name or several"))?
        .into_iter()
        .map(|name| (name.to_owned(), Bson::Int32(0)))
        .collect();
    Projection::parse(&spec)?
        .map(Stage::Unset)
        .ok_or_else(|| Refusal::bad_value("$unset needs at least one field"))
}

fn unwind(argument: &Bson) -> Answer<Stage> {
    let (path, keep_empty) = match argument {
        Bson::String(path) => (path.as_str(), false),
        Bson::Document(options) => {
            let known = ["path", "preserveNullAndEmptyArrays"];
            if let Some(extra) = options.keys().find(|key| !known.contains(&key.as_str())) {
                return Err(Refusal::not_supported(&format!(
                    "the $unwind option '{extra}'"
                )));
            }
            let path = options.get_str("path").unwrap_or_default();
            (
                path,
                crate::update::flag(options, "preserveNullAndEmptyArrays"),
            )
        }
        _ => ("", false),
    };
    let path = path.strip_prefix('$').ok_or_else(|| {
        Refusal::bad_value("path option to $unwind stage should be prefixed with a '$'")
    })?;
    Ok(Stage::Unwind {
        path: Path::parse(path)?,
        keep_empty,
    })
}

impl Stage {
    fn run(self, input: Results) -> Answer<Results> {
        Ok(match self {
            Stage::Match(query) => {
                let filter = Filter::parse(&query)?;
                Box::new(input.filter_map(move |item| match item {
                    Err(refusal) => Some(Err(refusal)),
                    Ok(document) => match filter.passes(&document) {
                        Ok(true) => Some(Ok(document)),
                        Ok(false) => None,
                        Err(refusal) => Some(Err(refusal)),
                    },
                }))
            }
            Stage::Sort(sort) => Box::new(sort.apply(input)?.into_iter().map(Ok)),
            Stage::Skip(count) => crate::command::skip_some(input, count),
            Stage::Limit(count) => {
                Box::new(input.take(usize::try_from(count).unwrap_or(usize::MAX)))
            }
            Stage::Project(projection) | Stage::Unset(projection) => {
                Box::new(input.map(move |document| projection.apply(document?)))
            }
            Stage::AddFields(fields) => Box::new(input.map(move |document| {
                let before = document?;
                let mut after = before.clone();
                for (path, expression) in &fields {
                    match expression.find(&before)? {
                        Some(value) => put(&mut after, path.parts(), value),
                        None => exclude(&mut after, path.parts()),
                    }
                }
                Ok(after)
            })),
            Stage::Group(group) => Box::new(group.run(input)?.into_iter().map(Ok)),
            Stage::Count(field) => {
                let mut count = 0i64;
                for document in input {
                    document?;
                    count += 1;
                }
                let number = i32::try_from(count).map_or(Bson::Int64(count), Bson::Int32);
                let mut counted = Document::new();
                counted.insert(field, number);
                // Nothing counted is nothing handed on, as in MongoDB.
                Box::new((count > 0).then_some(Ok(counted)).into_iter())
            }
            Stage::Unwind { path, keep_empty } => Box::new(input.flat_map(move |document| {
                match document {
                    Err(refusal) => vec![Err(refusal)],
                    Ok(document) => unwound(document, &path, keep_empty)
                        .into_iter()
                        .map(Ok)
                        .collect(),
                }
            })),
        })
    }
}

fn unwound(document: Document, path: &Path, keep_empty: bool) -> Vec<Document> {
    let value = lookup(&document, path.parts()).cloned();
    match value {
        Some(Bson::Array(items)) if items.is_empty() => {
            let mut rest = document;
            if let Some((last, way)) = path.parts().split_last()
                && let Some(holder) = holder(&mut rest, way)
            {
                holder.remove(last);
            }
            if keep_empty { vec![rest] } else { Vec::new() }
        }
        Some(Bson::Array(items)) => items
            .into_iter()
            .map(|item| {
                let mut one = document.clone();
                put(&mut one, path.parts(), item);
                one
            })
            .collect(),
        Some(value) if class_of(&value) > class::NULL => vec![document],
        _ if keep_empty => vec![document],
        _ => Vec::new(),
    }
}

fn lookup<'a>(document: &'a Document, parts: &[String]) -> Option<&'a Bson> {
    match parts {
        [] => None,
        [last] => document.get(last),
        [first, rest @ ..] => lookup(document.get(first)?.as_document()?, rest),
    }
}

fn holder<'a>(document: &'a mut Document, way: &[String]) -> Option<&'a mut Document> {
    match way {
        [] => Some(document),
        [first, rest @ ..] => holder(document.get_mut(first)?.as_document_mut()?, rest),
    }
}

#[cfg(test)]
mod tests;
