//! Regular expressions, and the functions that can make much of little: those are called
//! by names of ours, because the language's own do not count what they make.

use cel::Value;
use regex::Regex;

use super::{Function, Owner, function, list_of, number_of, string, strings, text_of};
use crate::cel::budget;

pub(super) const ALL: &[Function] = &[
    function!(Owner::Text, "find", 1, |args| {
        let found = pattern(args)?.find(text_of(args, 0)?).map(|m| m.as_str());
        Ok(string(found.unwrap_or_default()))
    }),
    function!(Owner::Text, "findAll", 1, |args| {
        let pattern = pattern(args)?;
        let found = pattern.find_iter(text_of(args, 0)?);
        Ok(strings(found.map(|m| m.as_str().to_owned())))
    }),
    function!(Owner::Text, "findAll", 2, |args| {
        let pattern = pattern(args)?;
        let found = pattern.find_iter(text_of(args, 0)?);
        // Less than none means all.
        let most = usize::try_from(number_of(args, 2)?).unwrap_or(usize::MAX);
        Ok(strings(found.take(most).map(|m| m.as_str().to_owned())))
    }),
    function!(Owner::Text, "@replace", 2, |args| replace(args, usize::MAX)),
    function!(Owner::Text, "@replace", 3, |args| {
        // Less than none means all.
        let most = usize::try_from(number_of(args, 3)?).unwrap_or(usize::MAX);
        replace(args, most)
    }),
    function!(Owner::List, "@join", 0, |args| join(args, "")),
    function!(Owner::List, "@join", 1, |args| join(
        args,
        text_of(args, 1)?
    )),
];

fn made(size: usize) -> Result<(), String> {
    budget::made(size).map_err(|error| error.to_string())
}

fn replace(args: &[Value], most: usize) -> Result<Value, String> {
    let (text, old, new) = (text_of(args, 0)?, text_of(args, 1)?, text_of(args, 2)?);
    let count = text.matches(old).count().min(most);
    made(count.saturating_mul(new.len()).saturating_add(text.len()))?;
    Ok(string(text.replacen(old, new, most)))
}

fn join(args: &[Value], between: &str) -> Result<Value, String> {
    let mut parts = vec![];
    for at in list_of(args, 0)? {
        match at {
            Value::String(text) => parts.push(text.as_str()),
            _ => return Err("no such overload".to_owned()),
        }
    }
    let size: usize = parts.iter().map(|part| part.len()).sum();
    made(
        parts
            .len()
            .saturating_mul(between.len())
            .saturating_add(size),
    )?;
    Ok(string(parts.join(between)))
}

fn pattern(args: &[Value]) -> Result<Regex, String> {
    let text = text_of(args, 1)?;
    Regex::new(text).map_err(|_| format!("Illegal regex: {text}"))
}
