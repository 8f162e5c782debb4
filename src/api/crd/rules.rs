//! `x-kubernetes-validations`: rules of a schema's author, asked at every place they stand.

use serde_json::Value;

use super::Custom;
use crate::cel::{Old, Program};
use crate::field::{Error, Fault, index, member};
use crate::json::{bool_at, list_at, map_at, str_at};

/// What rules say about an object; `old` is what it was before.
pub fn check(custom: &Custom, new: &Value, old: Option<&Value>) -> Vec<Error> {
    let mut errors = Vec::new();
    if !custom.programs.is_empty() {
        walk(custom, &custom.schema, new, old, "", &mut errors);
    }
    errors
}

fn walk(
    custom: &Custom,
    schema: &Value,
    new: &Value,
    old: Option<&Value>,
    path: &str,
    e: &mut Vec<Error>,
) {
    if new.is_null() {
        return;
    }
    for rule in list_at(schema, "/x-kubernetes-validations") {
        ask(custom, schema, rule, (new, old), path, e);
    }
    match new {
        Value::Object(members) => {
            let properties = map_at(schema, "/properties");
            let additional = schema.get("additionalProperties").filter(|a| a.is_object());
            for (name, value) in members {
                let inner = properties.and_then(|p| p.get(name)).or(additional);
                if let Some(inner) = inner {
                    let before = old.and_then(|o| o.get(name));
                    walk(custom, inner, value, before, &member(path, name), e);
                }
            }
        }
        Value::Array(items) => {
            let Some(inner) = schema.get("items") else {
                return;
            };
            let keys = list_at(schema, "/x-kubernetes-list-map-keys");
            for (at, item) in items.iter().enumerate() {
                // Only items that are known by keys can be found again.
                let before = old.and_then(Value::as_array).filter(|_| !keys.is_empty());
                let before = before.and_then(|list| {
                    list.iter().find(|o| {
                        keys.iter()
                            .filter_map(Value::as_str)
                            .all(|key| o.get(key) == item.get(key))
                    })
                });
                walk(custom, inner, item, before, &index(path, at), e);
            }
        }
        _ => {}
    }
}

fn ask(
    custom: &Custom,
    schema: &Value,
    rule: &Value,
    (new, old): (&Value, Option<&Value>),
    path: &str,
    e: &mut Vec<Error>,
) {
    let text = str_at(rule, "/rule");
    let Some(program) = custom.programs.get(text) else {
        return;
    };
    let old = match (bool_at(rule, "/optionalOldSelf"), old) {
        (true, old) => Old::Perhaps(old),
        (false, Some(old)) => Old::Was(old),
        (false, None) if program.looks_back => return,
        (false, None) => Old::Nothing,
    };
    let shown = match str_at(schema, "/type") {
        "" => "object",
        kind => kind,
    };
    let place = format!("{path}{}", str_at(rule, "/fieldPath"));
    let detail = match program.holds(new, old) {
        Ok(true) => return,
        Ok(false) => words(custom, rule, new, old, text),
        Err(why) => {
            let named = match str_at(rule, "/message") {
                "" => text,
                message => message,
            };
            let named = named.trim();
            match why.as_str() {
                "no such overload" => format!(
                    "'{why}': call arguments did not match a supported operator, function or macro signature for rule: {named}"
                ),
                _ if why.starts_with("operation cancelled") => format!(
                    "'{why}': no further validation rules will be run due to call cost exceeds limit for rule: {named}"
                ),
                _ => format!("{why} evaluating rule: {named}"),
            }
        }
    };
    let mut error = Error::invalid(&place, shown, detail);
    error.fault = match str_at(rule, "/reason") {
        "FieldValueRequired" => Fault::Required,
        "FieldValueForbidden" => Fault::Forbidden,
        "FieldValueDuplicate" => Fault::Duplicate,
        _ => Fault::Invalid,
    };
    e.push(error);
}

fn words(custom: &Custom, rule: &Value, new: &Value, old: Old<'_>, text: &str) -> String {
    let expression = str_at(rule, "/messageExpression");
    if let Some(program) = custom.programs.get(expression)
        && let Ok(made) = program.text(new, old)
        && !made.trim().is_empty()
    {
        return made;
    }
    match str_at(rule, "/message") {
        "" => format!("failed rule: {}", text.trim()),
        message => message.trim().to_owned(),
    }
}

/// What is wrong with a rule of a definition.
pub(super) fn check_rule(schema: &Value, rule: &Value, at: &str, e: &mut Vec<Error>) {
    const REASONS: &[&str] = &[
        "FieldValueInvalid",
        "FieldValueForbidden",
        "FieldValueRequired",
        "FieldValueDuplicate",
    ];
    let (text, message) = (str_at(rule, "/rule"), str_at(rule, "/message"));
    if text.trim().is_empty() {
        e.push(Error::required(
            &format!("{at}.rule"),
            "rule is not specified",
        ));
        return;
    }
    let place = format!("{at}.message");
    if !message.is_empty() && message.trim().is_empty() {
        let why = "message must be non-empty if specified";
        e.push(Error::invalid(&place, message, why));
    } else if message.trim().contains('\n') {
        let why = "message must not contain line breaks";
        e.push(Error::invalid(&place, message, why));
    } else if text.trim().contains('\n') && message.is_empty() {
        let why = "message must be specified if rule contains line breaks";
        e.push(Error::required(&place, why));
    }
    let reason = str_at(rule, "/reason");
    if !reason.is_empty() && !REASONS.contains(&reason) {
        e.push(Error::not_supported(
            &format!("{at}.reason"),
            reason,
            REASONS,
        ));
    }
    let optional = bool_at(rule, "/optionalOldSelf");
    if let Err(why) = Program::compile_for(text, schema, optional) {
        e.push(Error::invalid(&format!("{at}.rule"), text, why));
    }
    let made = str_at(rule, "/messageExpression");
    if !made.is_empty()
        && let Err(why) = Program::compile_message(made, schema, optional)
    {
        let why = why.replace("compilation failed", "messageExpression compilation failed");
        e.push(Error::invalid(
            &format!("{at}.messageExpression"),
            made,
            why,
        ));
    }
}
