//! Aggregation expressions: `"$field"`, literals, and a set of common operators.

use bson::{Bson, DateTime, Document};

use super::filter::truth;
use crate::number::{Arithmetic, Overflow, as_double, calculate, is_number};
use crate::order::key_of;
use crate::refusal::{Answer, Refusal};

/// An understood expression.
#[derive(Debug, Clone)]
pub enum Expression {
    /// A constant.
    Literal(Bson),
    /// `"$a.b"`: the value at a path, arrays mapped over.
    Field(Vec<String>),
    /// `"$$ROOT"` and `"$$CURRENT"`.
    Root,
    /// `"$$NOW"`.
    Now,
    /// `"$$REMOVE"`: no value at all.
    Remove,
    /// A document built from expressions.
    Object(Vec<(String, Expression)>),
    /// An array built from expressions.
    Array(Vec<Expression>),
    /// An operator with its operands.
    Call(Operator, Vec<Expression>),
}

/// Operators the stand-in knows, with how many operands each takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Concat,
    ToLower,
    ToUpper,
    IfNull,
    Cond,
    Eq,
    Ne,
    Gt,
    Gte,
    Lt,
    Lte,
    And,
    Or,
    Not,
    Size,
    In,
    ArrayElemAt,
}

/// Name, operator, fewest and most operands.
const OPERATORS: [(&str, Operator, usize, usize); 21] = [
    ("$add", Operator::Add, 0, usize::MAX),
    ("$subtract", Operator::Subtract, 2, 2),
    ("$multiply", Operator::Multiply, 0, usize::MAX),
    ("$divide", Operator::Divide, 2, 2),
    ("$concat", Operator::Concat, 0, usize::MAX),
    ("$toLower", Operator::ToLower, 1, 1),
    ("$toUpper", Operator::ToUpper, 1, 1),
    ("$ifNull", Operator::IfNull, 2, usize::MAX),
    ("$cond", Operator::Cond, 3, 3),
    ("$eq", Operator::Eq, 2, 2),
    ("$ne", Operator::Ne, 2, 2),
    ("$gt", Operator::Gt, 2, 2),
    ("$gte", Operator::Gte, 2, 2),
    ("$lt", Operator::Lt, 2, 2),
    ("$lte", Operator::Lte, 2, 2),
    ("$and", Operator::And, 0, usize::MAX),
    ("$or", Operator::Or, 0, usize::MAX),
    ("$not", Operator::Not, 1, 1),
    ("$size", Operator::Size, 1, 1),
    ("$in", Operator::In, 2, 2),
    ("$arrayElemAt", Operator::ArrayElemAt, 2, 2),
];

impl Expression {
    /// Understands an expression.
    ///
    /// # Errors
    /// `InvalidPipelineOperator` for operators, `BadValue` for variables that are not known.
    pub fn parse(value: &Bson) -> Answer<Self> {
        match value {
            Bson::String(text) => match text.strip_prefix('$') {
                None => Ok(Expression::Literal(value.clone())),
                Some(rest) => match rest.strip_prefix('$') {
                    None => Ok(Expression::Field(components(rest)?)),
                    Some(variable) => parse_variable(variable),
                },
            },
            Bson::Array(items) => Ok(Expression::Array(parse_all(items)?)),
            Bson::Document(document) => parse_document(document),
            plain => Ok(Expression::Literal(plain.clone())),
        }
    }

    /// The value for one document; missing counts as null.
    pub fn evaluate(&self, document: &Document) -> Answer<Bson> {
        Ok(self.find(document)?.unwrap_or(Bson::Null))
    }

    /// The value for one document, none where a field is missing.
    pub fn find(&self, document: &Document) -> Answer<Option<Bson>> {
        match self {
            Expression::Literal(value) => Ok(Some(value.clone())),
            Expression::Field(parts) => Ok(field(document, parts)),
            Expression::Root => Ok(Some(Bson::Document(document.clone()))),
            Expression::Now => Ok(Some(Bson::DateTime(DateTime::now()))),
            Expression::Remove => Ok(None),
            Expression::Object(fields) => {
                let mut built = Document::new();
                for (name, expression) in fields {
                    if let Some(value) = expression.find(document)? {
                        built.insert(name, value);
                    }
                }
                Ok(Some(Bson::Document(built)))
            }
            Expression::Array(items) => {
                let values: Answer<Vec<Bson>> =
                    items.iter().map(|e| e.evaluate(document)).collect();
                Ok(Some(Bson::Array(values?)))
            }
            Expression::Call(operator, operands) => call(*operator, operands, document),
        }
    }
}

fn components(path: &str) -> Answer<Vec<String>> {
    Ok(super::path::Path::parse(path)?.parts().to_vec())
}

fn parse_variable(variable: &str) -> Answer<Expression> {
    let (name, rest) = match variable.split_once('.') {
        Some((name, rest)) => (name, Some(rest)),
        None => (variable, None),
    };
    match (name, rest) {
        ("ROOT" | "CURRENT", None) => Ok(Expression::Root),
        ("ROOT" | "CURRENT", Some(path)) => Ok(Expression::Field(components(path)?)),
        ("NOW", None) => Ok(Expression::Now),
        ("REMOVE", None) => Ok(Expression::Remove),
        _ => Err(Refusal::bad_value(format!(
            "Use of undefined variable: {name}"
        ))),
    }
}

fn parse_all(items: &[Bson]) -> Answer<Vec<Expression>> {
    items.iter().map(Expression::parse).collect()
}

fn parse_document(document: &Document) -> Answer<Expression> {
    let Some((name, argument)) = document.iter().next() else {
        return Ok(Expression::Literal(Bson::Document(Document::new())));
    };
    if !name.starts_with('$') {
        return document
            .iter()
            .map(|(name, value)| {
                if name.starts_with('$') || name.contains('.') {
                    return Err(Refusal::bad_value(format!(
                        "'{name}' cannot be a field name in an expression"
                    )));
                }
                Ok((name.clone(), Expression::parse(value)?))
            })
            .collect::<Answer<Vec<_>>>()
            .map(Expression::Object);
    }
    if document.len() != 1 {
        return Err(Refusal::bad_value(
            "an object representing an expression must have exactly one field",
        ));
    }
    if name == "$literal" {
        return Ok(Expression::Literal(argument.clone()));
    }
    let Some((_, operator, fewest, most)) = OPERATORS.iter().find(|(known, ..)| known == name)
    else {
        return Err(Refusal::unknown_expression(name));
    };
    let operands = match argument {
        Bson::Array(items) => parse_all(items)?,
        Bson::Document(named) if *operator == Operator::Cond => parse_condition(named)?,
        single => vec![Expression::parse(single)?],
    };
    if operands.len() < *fewest || operands.len() > *most {
        return Err(Refusal::bad_value(format!(
            "Expression {name} takes {fewest} arguments. {} were passed in.",
            operands.len()
        )));
    }
    Ok(Expression::Call(*operator, operands))
}

fn parse_condition(named: &Document) -> Answer<Vec<Expression>> {
    if let Some(extra) = named
        .keys()
        .find(|k| !matches!(k.as_str(), "if" | "then" | "else"))
    {
        return Err(Refusal::bad_value(format!(
            "Unrecognized parameter to $cond: {extra}"
        )));
    }
    ["if", "then", "else"]
        .iter()
        .map(|part| match named.get(part) {
            Some(value) => Expression::parse(value),
            None => Err(Refusal::bad_value(format!(
                "Missing '{part}' parameter to $cond"
            ))),
        })
        .collect()
}

fn field(document: &Document, parts: &[String]) -> Option<Bson> {
    let (first, rest) = parts.split_first()?;
    inside(document.get(first)?, rest)
}

fn inside(value: &Bson, parts: &[String]) -> Option<Bson> {
    if parts.is_empty() {
        return Some(value.clone());
    }
    match value {
        Bson::Document(document) => field(document, parts),
        Bson::Array(items) => Some(Bson::Array(
            items
                .iter()
                .filter(|item| matches!(item, Bson::Document(_)))
                .filter_map(|item| inside(item, parts))
                .collect(),
        )),
        _ => None,
    }
}

fn is_null(value: &Bson) -> bool {
    matches!(value, Bson::Null | Bson::Undefined)
}

fn call(operator: Operator, operands: &[Expression], document: &Document) -> Answer<Option<Bson>> {
    // These decide which operands are looked at.
    match operator {
        Operator::Cond => {
            let chosen = if truth(&operands[0].evaluate(document)?) {
                1
            } else {
                2
            };
            return operands[chosen].find(document);
        }
        Operator::And | Operator::Or => {
            for operand in operands {
                if truth(&operand.evaluate(document)?) == (operator == Operator::Or) {
                    return Ok(Some(Bson::Boolean(operator == Operator::Or)));
                }
            }
            return Ok(Some(Bson::Boolean(operator == Operator::And)));
        }
        Operator::IfNull => {
            for operand in operands {
                if let Some(value) = operand.find(document)?
                    && !is_null(&value)
                {
                    return Ok(Some(value));
                }
            }
            return operands[operands.len() - 1].find(document);
        }
        _ => {}
    }
    let values: Answer<Vec<Bson>> = operands.iter().map(|e| e.evaluate(document)).collect();
    apply(operator, &values?)
}

fn apply(operator: Operator, values: &[Bson]) -> Answer<Option<Bson>> {
    let compare = || key_of(&values[0]).cmp(&key_of(&values[1]));
    let result = match operator {
        Operator::Add => fold(Arithmetic::Add, 0, values)?,
        Operator::Multiply => fold(Arithmetic::Multiply, 1, values)?,
        Operator::Subtract if values.iter().any(is_null) => Bson::Null,
        Operator::Subtract => calculate(
            Arithmetic::Subtract,
            &values[0],
            &values[1],
            Overflow::Widen,
        )?,
        Operator::Divide if values.iter().any(is_null) => Bson::Null,
        Operator::Divide => {
            let divisor = as_double(&values[1])?;
            if divisor == 0.0 {
                return Err(Refusal::bad_value("can't $divide by zero"));
            }
            Bson::Double(as_double(&values[0])? / divisor)
        }
        Operator::Concat if values.iter().any(is_null) => Bson::Null,
        Operator::Concat => {
            let texts: Answer<Vec<String>> = values.iter().map(|v| text("$concat", v)).collect();
            Bson::String(texts?.concat())
        }
        Operator::ToLower if is_null(&values[0]) => Bson::String(String::new()),
        Operator::ToLower => Bson::String(text("$toLower", &values[0])?.to_lowercase()),
        Operator::ToUpper if is_null(&values[0]) => Bson::String(String::new()),
        Operator::ToUpper => Bson::String(text("$toUpper", &values[0])?.to_uppercase()),
        Operator::Eq => Bson::Boolean(compare().is_eq()),
        Operator::Ne => Bson::Boolean(compare().is_ne()),
        Operator::Gt => Bson::Boolean(compare().is_gt()),
        Operator::Gte => Bson::Boolean(compare().is_ge()),
        Operator::Lt => Bson::Boolean(compare().is_lt()),
        Operator::Lte => Bson::Boolean(compare().is_le()),
        Operator::Not => Bson::Boolean(!truth(&values[0])),
        Operator::Size => {
            let items = array("$size", &values[0])?;
            Bson::Int32(i32::try_from(items.len()).unwrap_or(i32::MAX))
        }
        Operator::In => {
            let wanted = key_of(&values[0]);
            Bson::Boolean(
                array("$in", &values[1])?
                    .iter()
                    .any(|v| key_of(v) == wanted),
            )
        }
        Operator::ArrayElemAt if values.iter().any(is_null) => Bson::Null,
        Operator::ArrayElemAt => {
            let items = array("$arrayElemAt", &values[0])?;
            let index = super::filter::whole_number(&values[1])
                .ok_or_else(|| Refusal::bad_value("$arrayElemAt needs a whole number"))?;
            let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
            let index = if index < 0 {
                length.saturating_add(index)
            } else {
                index
            };
            return Ok(usize::try_from(index)
                .ok()
                .and_then(|i| items.get(i))
                .cloned());
        }
        Operator::Cond | Operator::And | Operator::Or | Operator::IfNull => {
            return Err(Refusal::internal("a lazy operator was applied to values"));
        }
    };
    Ok(Some(result))
}

fn fold(what: Arithmetic, start: i32, values: &[Bson]) -> Answer<Bson> {
    if values.iter().any(is_null) {
        return Ok(Bson::Null);
    }
    let mut result = Bson::Int32(start);
    for value in values {
        if !is_number(value) {
            return Err(Refusal::type_mismatch(format!(
                "only numbers can be calculated with, not {value}"
            )));
        }
        result = calculate(what, &result, value, Overflow::Widen)?;
    }
    Ok(result)
}

fn text(operator: &str, value: &Bson) -> Answer<String> {
    match value {
        Bson::String(text) => Ok(text.clone()),
        other => Err(Refusal::bad_value(format!(
            "{operator} only supports strings, not {other}"
        ))),
    }
}

fn array<'a>(operator: &str, value: &'a Bson) -> Answer<&'a Vec<Bson>> {
    value.as_array().ok_or_else(|| {
        Refusal::bad_value(format!(
            "the argument to {operator} must be an array, but was {value}"
        ))
    })
}
