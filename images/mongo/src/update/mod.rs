//! Updates: replacement documents and `$` operators, understood before anything is touched.

mod array;
mod place;
mod seed;

use bson::{Bson, DateTime, Document, Timestamp};

use crate::number::{Arithmetic, Overflow, calculate, is_number};
use crate::order::key_of;
use crate::query::filter::truth;
use crate::query::parse::is_operators;
use crate::query::path::Path;
use crate::refusal::{Answer, Refusal};
use array::Push;

pub use seed::seed_of;

/// Every operator of an update; checked first, since one without fields changes nothing.
const OPERATORS: [&str; 14] = [
    "$set",
    "$setOnInsert",
    "$unset",
    "$inc",
    "$mul",
    "$min",
    "$max",
    "$currentDate",
    "$rename",
    "$push",
    "$addToSet",
    "$pull",
    "$pullAll",
    "$pop",
];

/// A parsed update.
#[derive(Debug, Clone)]
pub enum Update {
    /// Everything but `_id` becomes this document.
    Replace(Document),
    /// Changes at paths.
    Change(Vec<(Path, Change)>),
}

/// One change at one path.
#[derive(Debug, Clone)]
pub enum Change {
    Set(Bson),
    SetOnInsert(Bson),
    Unset,
    Calculate(Arithmetic, Bson),
    Min(Bson),
    Max(Bson),
    CurrentDate { timestamp: bool },
    RenameTo(Path),
    Push(Push),
    AddToSet(Vec<Bson>),
    Pull(array::Pulled),
    PullAll(Vec<Bson>),
    Pop { first: bool },
}

impl Update {
    /// Understands an update.
    ///
    /// # Errors
    /// `FailedToParse` and `BadValue` for unknown operators and shapes,
    /// `ConflictingUpdateOperators` when two changes meet.
    pub fn parse(update: &Bson) -> Answer<Self> {
        let document = match update {
            Bson::Document(document) => document,
            Bson::Array(_) => return Err(Refusal::not_supported("an update by pipeline")),
            _ => return Err(Refusal::failed_to_parse("the update must be a document")),
        };
        if !is_operators(document) {
            if let Some(key) = document.keys().find(|key| key.starts_with('$')) {
                return Err(Refusal::bad_value(format!(
                    "The dollar ($) prefixed field '{key}' is not allowed in a replacement document"
                )));
            }
            return Ok(Update::Replace(document.clone()));
        }
        let mut changes = Vec::new();
        for (operator, argument) in document {
            let Bson::Document(fields) = argument else {
                return Err(Refusal::failed_to_parse(format!(
                    "Modifiers operate on fields but we found {argument} for {operator}"
                )));
            };
            if !OPERATORS.contains(&operator.as_str()) {
                return Err(Refusal::failed_to_parse(format!(
                    "Unknown modifier: {operator}. Expected a valid update modifier"
                )));
            }
            for (field, value) in fields {
                if field.contains('$') {
                    return Err(Refusal::not_supported(&format!(
                        "the positional path '{field}'"
                    )));
                }
                changes.push((Path::parse(field)?, change(operator, field, value)?));
            }
        }
        refuse_conflicts(&changes)?;
        Ok(Update::Change(changes))
    }

    /// True for operators (which may apply to many documents), false for a replacement.
    pub fn is_change(&self) -> bool {
        matches!(self, Update::Change(_))
    }

    /// The changed document. `inserting` is true for the insert half of an upsert.
    ///
    /// # Errors
    /// What the operators refuse, and `ImmutableField` if `_id` would change.
    pub fn apply(&self, before: &Document, inserting: bool) -> Answer<Document> {
        let mut after = match self {
            Update::Replace(replacement) => {
                let mut after = Document::new();
                if let Some(id) = before.get("_id").or(replacement.get("_id")) {
                    after.insert("_id", id.clone());
                }
                if let (Some(old), Some(new)) = (before.get("_id"), replacement.get("_id"))
                    && key_of(old) != key_of(new)
                {
                    return Err(immutable_id());
                }
                after.extend(
                    replacement
                        .iter()
                        .filter(|(k, _)| *k != "_id")
                        .map(|(k, v)| (k.clone(), v.clone())),
                );
                after
            }
            Update::Change(changes) => {
                let mut after = before.clone();
                for (path, change) in changes {
                    apply_change(&mut after, path, change, inserting)?;
                }
                after
            }
        };
        if let Some(old) = before.get("_id") {
            match after.get("_id") {
                Some(new) if key_of(new) == key_of(old) => {}
                _ => return Err(immutable_id()),
            }
        }
        stamp_dates(&mut after);
        Ok(after)
    }
}

fn immutable_id() -> Refusal {
    Refusal::immutable_field(
        "Performing an update on the path '_id' would modify the immutable field '_id'",
    )
}

fn change(operator: &str, field: &str, value: &Bson) -> Answer<Change> {
    let number = || {
        if is_number(value) {
            return Ok(value.clone());
        }
        Err(Refusal::type_mismatch(format!(
            "Cannot {} with non-numeric argument: {{{field}: {value}}}",
            operator.trim_start_matches('$')
        )))
    };
    Ok(match operator {
        "$set" => Change::Set(value.clone()),
        "$setOnInsert" => Change::SetOnInsert(value.clone()),
        "$unset" => Change::Unset,
        "$inc" => Change::Calculate(Arithmetic::Add, number()?),
        "$mul" => Change::Calculate(Arithmetic::Multiply, number()?),
        "$min" => Change::Min(value.clone()),
        "$max" => Change::Max(value.clone()),
        "$currentDate" => current_date(value)?,
        "$rename" => rename(field, value)?,
        "$push" => Change::Push(Push::parse(value)?),
        "$addToSet" => Change::AddToSet(array::add_to_set(value)?),
        "$pull" => Change::Pull(array::Pulled::parse(value)?),
        "$pullAll" => match value {
            Bson::Array(items) => Change::PullAll(items.clone()),
            _ => return Err(Refusal::bad_value("$pullAll requires an array argument")),
        },
        "$pop" => match crate::query::filter::whole_number(value) {
            Some(1) => Change::Pop { first: false },
            Some(-1) => Change::Pop { first: true },
            _ => return Err(Refusal::failed_to_parse("$pop expects 1 or -1")),
        },
        unknown => {
            return Err(Refusal::failed_to_parse(format!(
                "Unknown modifier: {unknown}"
            )));
        }
    })
}

fn current_date(value: &Bson) -> Answer<Change> {
    let kind = match value {
        Bson::Boolean(true) => Some("date"),
        Bson::Document(spec) if spec.len() == 1 => spec.get_str("$type").ok(),
        _ => None,
    };
    match kind {
        Some("date") => Ok(Change::CurrentDate { timestamp: false }),
        Some("timestamp") => Ok(Change::CurrentDate { timestamp: true }),
        _ => Err(Refusal::bad_value(
            "$currentDate takes true or {$type: 'date'} or {$type: 'timestamp'}",
        )),
    }
}

fn rename(field: &str, value: &Bson) -> Answer<Change> {
    match value {
        Bson::String(to) if to != field && !to.contains('$') => {
            Ok(Change::RenameTo(Path::parse(to)?))
        }
        _ => Err(Refusal::bad_value(format!(
            "the 'to' field for $rename must be another field's name: {field}: {value}"
        ))),
    }
}

/// Two changes must not touch the same place, nor one inside the other.
fn refuse_conflicts(changes: &[(Path, Change)]) -> Answer<()> {
    let mut touched: Vec<&[String]> = Vec::new();
    for (path, change) in changes {
        let mut places = vec![path.parts()];
        if let Change::RenameTo(to) = change {
            places.push(to.parts());
        }
        for place in places {
            if let Some(other) = touched
                .iter()
                .find(|o| o.starts_with(place) || place.starts_with(o))
            {
                return Err(Refusal::conflicting_update(format!(
                    "Updating the path '{}' would create a conflict at '{}'",
                    place.join("."),
                    other.join(".")
                )));
            }
            touched.push(place);
        }
    }
    Ok(())
}

fn apply_change(
    document: &mut Document,
    path: &Path,
    change: &Change,
    inserting: bool,
) -> Answer<()> {
    let parts = path.parts();
    let current = place::get(document, parts).cloned();
    match change {
        Change::Set(value) => place::set(document, parts, value.clone()),
        Change::SetOnInsert(value) if inserting => place::set(document, parts, value.clone()),
        Change::SetOnInsert(_) => Ok(()),
        Change::Unset => {
            place::unset(document, parts);
            Ok(())
        }
        Change::Calculate(what, amount) => {
            let result = match (current, what) {
                (Some(value), _) if is_number(&value) => {
                    calculate(*what, &value, amount, Overflow::Refuse)?
                }
                (Some(value), _) => {
                    return Err(Refusal::type_mismatch(format!(
                        "Cannot calculate with the non-numeric value {value} of '{}'",
                        parts.join(".")
                    )));
                }
                (None, Arithmetic::Multiply) => {
                    calculate(*what, &Bson::Int32(0), amount, Overflow::Refuse)?
                }
                (None, _) => amount.clone(),
            };
            place::set(document, parts, result)
        }
        Change::Min(value) => match current {
            Some(old) if key_of(&old) <= key_of(value) => Ok(()),
            _ => place::set(document, parts, value.clone()),
        },
        Change::Max(value) => match current {
            Some(old) if key_of(&old) >= key_of(value) => Ok(()),
            _ => place::set(document, parts, value.clone()),
        },
        Change::CurrentDate { timestamp: false } => {
            place::set(document, parts, Bson::DateTime(DateTime::now()))
        }
        Change::CurrentDate { timestamp: true } => place::set(document, parts, now_timestamp()),
        Change::RenameTo(to) => match current {
            None => Ok(()),
            Some(value) => {
                place::unset(document, parts);
                place::set(document, to.parts(), value)
            }
        },
        Change::Push(push) => {
            let mut items = array_at(current, "$push", parts)?;
            push.apply(&mut items)?;
            place::set(document, parts, Bson::Array(items))
        }
        Change::AddToSet(values) => {
            let mut items = array_at(current, "$addToSet", parts)?;
            array::add_missing(&mut items, values);
            place::set(document, parts, Bson::Array(items))
        }
        Change::Pull(_) | Change::PullAll(_) | Change::Pop { .. } if current.is_none() => Ok(()),
        Change::Pull(pulled) => {
            let mut items = array_at(current, "$pull", parts)?;
            pulled.apply(&mut items)?;
            place::set(document, parts, Bson::Array(items))
        }
        Change::PullAll(values) => {
            let mut items = array_at(current, "$pullAll", parts)?;
            let gone: Vec<Vec<u8>> = values.iter().map(key_of).collect();
            items.retain(|item| !gone.contains(&key_of(item)));
            place::set(document, parts, Bson::Array(items))
        }
        Change::Pop { first } => {
            let mut items = array_at(current, "$pop", parts)?;
            if *first && !items.is_empty() {
                items.remove(0);
            } else {
                items.pop();
            }
            place::set(document, parts, Bson::Array(items))
        }
    }
}

fn array_at(current: Option<Bson>, operator: &str, parts: &[String]) -> Answer<Vec<Bson>> {
    match current {
        None => Ok(Vec::new()),
        Some(Bson::Array(items)) => Ok(items),
        Some(other) => Err(Refusal::bad_value(format!(
            "The field '{}' must be an array for {operator}, but it is {other}",
            parts.join(".")
        ))),
    }
}

/// Server time as the internal timestamp type (seconds since 1970 and a counter).
fn now_timestamp() -> Bson {
    let seconds = DateTime::now().timestamp_millis() / 1000;
    Bson::Timestamp(Timestamp {
        time: u32::try_from(seconds).unwrap_or(u32::MAX),
        increment: 1,
    })
}

/// An empty timestamp at the top level of a stored document means "now" (as in MongoDB).
pub fn stamp_dates(document: &mut Document) {
    for (name, value) in document.iter_mut() {
        if name != "_id"
            && matches!(
                value,
                Bson::Timestamp(Timestamp {
                    time: 0,
                    increment: 0
                })
            )
        {
            *value = now_timestamp();
        }
    }
}

/// Reads a boolean option, as lenient as MongoDB is (numbers count).
pub fn flag(document: &Document, name: &str) -> bool {
    document.get(name).is_some_and(truth)
}

#[cfg(test)]
mod tests;
