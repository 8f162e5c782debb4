//! Lists and sets.

use std::cmp::Ordering;

use cel::Value;

use super::{Function, Owner, function, list_of};

pub(super) const ALL: &[Function] = &[
    function!(Owner::List, "isSorted", 0, is_sorted),
    function!(Owner::List, "sum", 0, sum),
    function!(Owner::List, "min", 0, min),
    function!(Owner::List, "max", 0, max),
    function!(Owner::List, "indexOf", 1, index_of),
    function!(Owner::List, "lastIndexOf", 1, last_index_of),
    function!(Owner::Nobody, "sets.contains", 2, |args| {
        let (all, some) = (list_of(args, 0)?, list_of(args, 1)?);
        Ok(Value::Bool(within(some, all)?))
    }),
    function!(Owner::Nobody, "sets.equivalent", 2, |args| {
        let (a, b) = (list_of(args, 0)?, list_of(args, 1)?);
        Ok(Value::Bool(within(a, b)? && within(b, a)?))
    }),
    function!(Owner::Nobody, "sets.intersects", 2, |args| {
        let (a, b) = (list_of(args, 0)?, list_of(args, 1)?);
        pay(a, b)?;
        Ok(Value::Bool(a.iter().any(|v| b.contains(v))))
    }),
];

/// Comparing every item with every other is work that grows with both.
fn pay(a: &[Value], b: &[Value]) -> Result<(), String> {
    let work = a.len().saturating_mul(b.len());
    crate::cel::budget::spend(work).map_err(|error| error.to_string())
}

fn within(some: &[Value], all: &[Value]) -> Result<bool, String> {
    pay(some, all)?;
    Ok(some.iter().all(|v| all.contains(v)))
}

fn compare(a: &Value, b: &Value) -> Result<Ordering, String> {
    a.partial_cmp(b)
        .ok_or_else(|| "no such overload".to_owned())
}

fn is_sorted(args: &[Value]) -> Result<Value, String> {
    for pair in list_of(args, 0)?.windows(2) {
        if compare(&pair[0], &pair[1])? == Ordering::Greater {
            return Ok(Value::Bool(false));
        }
    }
    Ok(Value::Bool(true))
}

fn sum(args: &[Value]) -> Result<Value, String> {
    let mut total: Option<Value> = None;
    for item in list_of(args, 0)? {
        let overflow = || "integer overflow".to_owned();
        total = Some(match (total, item) {
            (None, Value::Int(_) | Value::UInt(_) | Value::Float(_)) => item.clone(),
            (Some(Value::Int(a)), Value::Int(b)) => {
                Value::Int(a.checked_add(*b).ok_or_else(overflow)?)
            }
            (Some(Value::UInt(a)), Value::UInt(b)) => {
                Value::UInt(a.checked_add(*b).ok_or_else(overflow)?)
            }
            (Some(Value::Float(a)), Value::Float(b)) => Value::Float(a + b),
            _ => return Err("no such overload".to_owned()),
        });
    }
    Ok(total.unwrap_or(Value::Int(0)))
}

fn extreme(args: &[Value], wanted: Ordering, name: &str) -> Result<Value, String> {
    let mut found: Option<&Value> = None;
    for item in list_of(args, 0)? {
        let better = match found {
            Some(best) => compare(item, best)? == wanted,
            None => true,
        };
        if better {
            found = Some(item);
        }
    }
    let found = found.cloned();
    found.ok_or_else(|| format!("{name} called on empty list"))
}

fn min(args: &[Value]) -> Result<Value, String> {
    extreme(args, Ordering::Less, "min")
}

fn max(args: &[Value]) -> Result<Value, String> {
    extreme(args, Ordering::Greater, "max")
}

fn place(at: Option<usize>) -> Value {
    let at = at.and_then(|at| i64::try_from(at).ok());
    Value::Int(at.unwrap_or(-1))
}

fn index_of(args: &[Value]) -> Result<Value, String> {
    let list = list_of(args, 0)?;
    Ok(place(list.iter().position(|v| Some(v) == args.get(1))))
}

fn last_index_of(args: &[Value]) -> Result<Value, String> {
    let list = list_of(args, 0)?;
    Ok(place(list.iter().rposition(|v| Some(v) == args.get(1))))
}
