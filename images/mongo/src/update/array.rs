//! The array operators of updates: `$push`, `$addToSet`, `$pull`.

use std::collections::BTreeSet;

use bson::{Bson, Document};

use crate::order::key_of;
use crate::query::filter::{Condition, Filter, whole_number};
use crate::query::parse::is_operators;
use crate::query::sort::Sort;
use crate::refusal::{Answer, Refusal};

/// A parsed `$push`.
#[derive(Debug, Clone)]
pub struct Push {
    values: Vec<Bson>,
    position: Option<i64>,
    slice: Option<i64>,
    order: Option<Order>,
}

#[derive(Debug, Clone)]
enum Order {
    Values { descending: bool },
    Documents(Sort),
}

impl Push {
    /// Understands a plain value or `{$each, $position, $slice, $sort}`.
    pub fn parse(value: &Bson) -> Answer<Self> {
        let mut push = Push {
            values: Vec::new(),
            position: None,
            slice: None,
            order: None,
        };
        let modifiers = match value {
            Bson::Document(modifiers) if modifiers.contains_key("$each") => modifiers,
            Bson::Document(operators) if is_operators(operators) => {
                return Err(Refusal::bad_value("$push with modifiers needs $each"));
            }
            plain => {
                push.values.push(plain.clone());
                return Ok(push);
            }
        };
        for (name, argument) in modifiers {
            let whole = || {
                whole_number(argument).ok_or_else(|| {
                    Refusal::bad_value(format!("{name} in $push must be a whole number"))
                })
            };
            match name.as_str() {
                "$each" => push.values = each("$push", argument)?,
                "$position" => push.position = Some(whole()?),
                "$slice" => push.slice = Some(whole()?),
                "$sort" => push.order = Some(order(argument)?),
                unknown => {
                    return Err(Refusal::bad_value(format!(
                        "Unrecognized clause in $push: {unknown}"
                    )));
                }
            }
        }
        Ok(push)
    }

    /// Adds the values, then sorts, then cuts, in this order whatever the order of modifiers.
    pub fn apply(&self, items: &mut Vec<Bson>) -> Answer<()> {
        let at = match self.position {
            None => items.len(),
            Some(at) if at >= 0 => usize::try_from(at).unwrap_or(usize::MAX).min(items.len()),
            Some(from_end) => {
                let back = usize::try_from(from_end.unsigned_abs()).unwrap_or(usize::MAX);
                items.len().saturating_sub(back)
            }
        };
        items.splice(at..at, self.values.iter().cloned());
        match &self.order {
            None => {}
            Some(Order::Values { descending }) => {
                items.sort_by_cached_key(key_of);
                if *descending {
                    items.reverse();
                }
            }
            Some(Order::Documents(sort)) => {
                let empty = Document::new();
                items.sort_by_cached_key(|item| sort.key(item.as_document().unwrap_or(&empty)));
            }
        }
        match self.slice {
            None => {}
            Some(keep) if keep >= 0 => items.truncate(usize::try_from(keep).unwrap_or(usize::MAX)),
            Some(keep) => {
                let keep = usize::try_from(keep.unsigned_abs()).unwrap_or(usize::MAX);
                items.drain(..items.len().saturating_sub(keep));
            }
        }
        Ok(())
    }
}

fn order(argument: &Bson) -> Answer<Order> {
    match argument {
        Bson::Document(spec) => Sort::parse(spec)?
            .map(Order::Documents)
            .ok_or_else(|| Refusal::bad_value("$sort in $push must not be empty")),
        number => match whole_number(number) {
            Some(1) => Ok(Order::Values { descending: false }),
            Some(-1) => Ok(Order::Values { descending: true }),
            _ => Err(Refusal::bad_value(
                "$sort in $push must be 1, -1 or a document",
            )),
        },
    }
}

fn each(operator: &str, argument: &Bson) -> Answer<Vec<Bson>> {
    match argument {
        Bson::Array(items) => Ok(items.clone()),
        _ => Err(Refusal::type_mismatch(format!(
            "The argument to $each in {operator} must be an array"
        ))),
    }
}

/// The values of an `$addToSet`: one, or those of `$each`.
pub fn add_to_set(value: &Bson) -> Answer<Vec<Bson>> {
    match value {
        Bson::Document(modifiers) if modifiers.contains_key("$each") => {
            if let Some(extra) = modifiers.keys().find(|k| *k != "$each") {
                return Err(Refusal::bad_value(format!(
                    "Found unexpected field after $each in $addToSet: {extra}"
                )));
            }
            each("$addToSet", &modifiers["$each"])
        }
        Bson::Document(operators) if is_operators(operators) => Err(Refusal::bad_value(
            "$addToSet takes a value or {$each: […]}",
        )),
        plain => Ok(vec![plain.clone()]),
    }
}

/// Appends those values that are not in the array yet.
pub fn add_missing(items: &mut Vec<Bson>, values: &[Bson]) {
    let mut present: BTreeSet<Vec<u8>> = items.iter().map(key_of).collect();
    for value in values {
        if present.insert(key_of(value)) {
            items.push(value.clone());
        }
    }
}

/// What a `$pull` takes out.
#[derive(Debug, Clone)]
pub enum Pulled {
    /// Elements equal to the value with this key.
    Equal(Vec<u8>),
    /// Embedded documents that pass.
    Documents(Filter),
    /// Elements that hold all conditions, e.g. `{$gte: 5}`.
    Conditions(Vec<Condition>),
}

impl Pulled {
    /// Understands the condition.
    pub fn parse(value: &Bson) -> Answer<Self> {
        let conditions = |value: Bson| {
            // One way to read operators exists: as the condition of a field.
            let mut query = Document::new();
            query.insert("value", value);
            match Filter::parse(&query)? {
                Filter::And(parts) => parts
                    .into_iter()
                    .map(|part| match part {
                        Filter::Field(_, condition) => Ok(condition),
                        _ => Err(Refusal::bad_value("$pull cannot use this condition")),
                    })
                    .collect::<Answer<Vec<_>>>(),
                _ => Err(Refusal::bad_value("$pull cannot use this condition")),
            }
        };
        match value {
            Bson::Document(operators) if is_operators(operators) => {
                Ok(Pulled::Conditions(conditions(value.clone())?))
            }
            Bson::RegularExpression(_) => Ok(Pulled::Conditions(conditions(value.clone())?)),
            Bson::Document(query) => Ok(Pulled::Documents(Filter::parse(query)?)),
            plain => Ok(Pulled::Equal(key_of(plain))),
        }
    }

    /// Takes matching elements out.
    pub fn apply(&self, items: &mut Vec<Bson>) -> Answer<()> {
        let mut kept = Vec::with_capacity(items.len());
        for item in items.drain(..) {
            if !self.takes(&item)? {
                kept.push(item);
            }
        }
        *items = kept;
        Ok(())
    }

    fn takes(&self, item: &Bson) -> Answer<bool> {
        match self {
            Pulled::Equal(key) => Ok(key_of(item) == *key),
            Pulled::Documents(filter) => match item {
                Bson::Document(document) => filter.passes(document),
                _ => Ok(false),
            },
            Pulled::Conditions(conditions) => {
                for condition in conditions {
                    if !condition.holds_for(Some(item))? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }
}
