//! The filter of a query as a tree, and whether a document passes it.

use std::collections::BTreeSet;

use bson::{Bson, Document};

use super::expression::Expression;
use super::path::Path;
use super::pattern::Pattern;
use crate::order::{class, class_of, key_of};
use crate::refusal::Answer;

/// A parsed filter.
#[derive(Debug, Clone)]
pub enum Filter {
    /// All must pass; with none, everything passes.
    And(Vec<Filter>),
    /// One must pass.
    Or(Vec<Filter>),
    /// None may pass.
    Nor(Vec<Filter>),
    /// One condition on the values of one path.
    Field(Path, Condition),
    /// `$expr`: an aggregation expression that must be true.
    Expr(Expression),
}

/// A condition on the values of a path.
#[derive(Debug, Clone)]
pub enum Condition {
    /// Equal to the value with this key, or missing when the value is null.
    Equal(Vec<u8>),
    /// Ordered against a value of the same class.
    Compare(Ordered, u8, Vec<u8>),
    /// Equal to one of these keys, or found by one of these patterns.
    In(BTreeSet<Vec<u8>>, Vec<Pattern>),
    /// Text in which the pattern finds something.
    Regex(Pattern),
    /// Present (or, with false, absent).
    Exists(bool),
    /// An array of that many elements.
    Size(i64),
    /// Holds every one of these conditions, each on any element.
    All(Vec<Condition>),
    /// An array with one element that holds all conditions itself.
    ElementValue(Vec<Condition>),
    /// An array with one embedded document that passes the filter.
    ElementDocument(Box<Filter>),
    /// Leaves `remainder` when divided by `divisor`.
    Modulo { divisor: i64, remainder: i64 },
    /// Of one of these BSON types, by their numbers on the wire.
    Type(BTreeSet<i32>),
    /// Not all of these hold.
    Not(Vec<Condition>),
}

/// The four order operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ordered {
    /// `$lt`
    Less,
    /// `$lte`
    LessOrEqual,
    /// `$gt`
    Greater,
    /// `$gte`
    GreaterOrEqual,
}

impl Filter {
    /// Does the document pass?
    ///
    /// # Errors
    /// Only expressions (`$expr`) can fail, for instance by dividing by zero.
    pub fn passes(&self, document: &Document) -> Answer<bool> {
        match self {
            Filter::And(parts) => {
                for part in parts {
                    if !part.passes(document)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Filter::Or(parts) => one_passes(parts, document),
            Filter::Nor(parts) => Ok(!one_passes(parts, document)?),
            Filter::Field(path, condition) => condition.holds_in(document, path),
            Filter::Expr(expression) => Ok(truth(&expression.evaluate(document)?)),
        }
    }
}

fn one_passes(parts: &[Filter], document: &Document) -> Answer<bool> {
    for part in parts {
        if part.passes(document)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// MongoDB's idea of true: all but false, zero, null and undefined.
pub fn truth(value: &Bson) -> bool {
    match value {
        Bson::Boolean(v) => *v,
        Bson::Null | Bson::Undefined => false,
        number if class_of(number) == class::NUMBER => key_of(number) != key_of(&Bson::Int32(0)),
        _ => true,
    }
}

impl Condition {
    fn holds_in(&self, document: &Document, path: &Path) -> Answer<bool> {
        match self {
            Condition::Not(inner) => {
                for condition in inner {
                    if !condition.holds_in(document, path)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Condition::All(inner) => {
                for condition in inner {
                    if !condition.holds_in(document, path)? {
                        return Ok(false);
                    }
                }
                Ok(!inner.is_empty())
            }
            Condition::Exists(wanted) => Ok(path.exists(document) == *wanted),
            _ => {
                let mut failure = None;
                let found = path.any(document, &mut |value| match self.holds_at(value) {
                    Ok(holds) => holds,
                    Err(refusal) => {
                        failure = Some(refusal);
                        true
                    }
                });
                match failure {
                    Some(refusal) => Err(refusal),
                    None => Ok(found),
                }
            }
        }
    }

    /// Holds for the value at the end of a path: the value itself, or one of its elements.
    fn holds_at(&self, value: Option<&Bson>) -> Answer<bool> {
        if self.holds_for(value)? {
            return Ok(true);
        }
        let whole_array = matches!(
            self,
            Condition::Size(_) | Condition::ElementValue(_) | Condition::ElementDocument(_)
        );
        if let (Some(Bson::Array(items)), false) = (value, whole_array) {
            for item in items {
                if self.holds_for(Some(item))? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Holds for this one value, without looking into it if it is an array.
    pub fn holds_for(&self, value: Option<&Bson>) -> Answer<bool> {
        let holds = match self {
            Condition::Equal(key) => key_of(value.unwrap_or(&Bson::Null)) == *key,
            Condition::Compare(ordered, wanted, key) => {
                let value = value.unwrap_or(&Bson::Null);
                let comparable = class_of(value) == *wanted
                    || matches!(*wanted, class::MIN_KEY | class::MAX_KEY);
                comparable && !is_nan(value) && ordered.holds(&key_of(value), key)
            }
            Condition::In(keys, patterns) => {
                keys.contains(&key_of(value.unwrap_or(&Bson::Null)))
                    || patterns
                        .iter()
                        .any(|pattern| matches_pattern(pattern, value))
            }
            Condition::Regex(pattern) => matches_pattern(pattern, value),
            Condition::Exists(wanted) => value.is_some() == *wanted,
            Condition::Size(wanted) => match value {
                Some(Bson::Array(items)) => i64::try_from(items.len()) == Ok(*wanted),
                _ => false,
            },
            Condition::Modulo { divisor, remainder } => value
                .and_then(whole_number)
                .is_some_and(|number| number % divisor == *remainder),
            Condition::Type(wanted) => value.is_some_and(|v| wanted.contains(&wire_type(v))),
            Condition::ElementValue(inner) => match value {
                Some(Bson::Array(items)) => {
                    for item in items {
                        if all_hold(inner, item)? {
                            return Ok(true);
                        }
                    }
                    false
                }
                _ => false,
            },
            Condition::ElementDocument(filter) => match value {
                Some(Bson::Array(items)) => {
                    for item in items {
                        if let Bson::Document(document) = item
                            && filter.passes(document)?
                        {
                            return Ok(true);
                        }
                    }
                    false
                }
                _ => false,
            },
            Condition::All(inner) => {
                for condition in inner {
                    if !condition.holds_at(value)? {
                        return Ok(false);
                    }
                }
                !inner.is_empty()
            }
            Condition::Not(inner) => {
                for condition in inner {
                    if !condition.holds_at(value)? {
                        return Ok(true);
                    }
                }
                false
            }
        };
        Ok(holds)
    }
}

fn all_hold(conditions: &[Condition], value: &Bson) -> Answer<bool> {
    for condition in conditions {
        if !condition.holds_for(Some(value))? {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Ordered {
    fn holds(self, value: &[u8], limit: &[u8]) -> bool {
        match self {
            Ordered::Less => value < limit,
            Ordered::LessOrEqual => value <= limit,
            Ordered::Greater => value > limit,
            Ordered::GreaterOrEqual => value >= limit,
        }
    }
}

fn matches_pattern(pattern: &Pattern, value: Option<&Bson>) -> bool {
    match value {
        Some(Bson::String(text) | Bson::Symbol(text)) => pattern.finds(text),
        Some(Bson::RegularExpression(stored)) => pattern.is_same(stored),
        _ => false,
    }
}

fn is_nan(value: &Bson) -> bool {
    matches!(value, Bson::Double(v) if v.is_nan())
}

/// A number cut to an integer, as `$mod` sees it; none outside of 64 bits.
pub fn whole_number(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(v) => Some(i64::from(*v)),
        Bson::Int64(v) => Some(*v),
        // Both limits are exact doubles; the upper one is the first that does not fit.
        Bson::Double(v) if *v >= i64::MIN as f64 && *v < i64::MAX as f64 => Some(v.trunc() as i64),
        _ => None,
    }
}

/// The number of a type as `$type` and the wire have it.
pub fn wire_type(value: &Bson) -> i32 {
    match value.element_type() {
        bson::spec::ElementType::MinKey => -1,
        other => i32::from(other as u8),
    }
}
